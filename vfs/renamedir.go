package vfs

import (
	"context"
	"strings"

	"github.com/causewayfs/causeway/index"
)

// renameDir moves a directory.
func (fs *FS) renameDir(ctx context.Context, m *move) error {
	unlock, err := fs.locks.lockTrees(ctx, m.src, m.dst)
	if err != nil {
		return fs.fault("rename", m.src, err)
	}
	defer unlock()
	release, err := fs.claimTrees(ctx, "rename", m.src, m.dst)
	if err != nil {
		return err
	}
	defer release()
	if err := fs.recheckMove(ctx, m); err != nil {
		return err
	}
	if err := fs.sendBelow(ctx, m.src, m.dst); err != nil {
		return fs.fault("rename", m.src, err)
	}
	if err := fs.announce(ctx); err != nil {
		return fs.fault("rename", m.src, err)
	}
	meta, err := fs.encode(m.entry)
	if err != nil {
		return err
	}
	if dir, _ := splitPath(m.src); !strings.HasPrefix(m.dst+"/", dir+"/") {
		fs.ensureMarker(ctx, dir)
	}
	tctx := context.WithoutCancel(ctx)
	t, err := fs.beginTree(tctx, treeRecord{Op: treeRename, Src: m.src, Dst: m.dst, Exclusive: m.exclusive, Meta: meta, Phase: phaseCopying})
	if err != nil {
		return fs.fault("rename", m.src, err)
	}
	t.landed = func() { fs.landed(t, m) }
	return fs.fault("rename", m.src, t.run(tctx))
}

// landed gives the directory of a rename that is done its new name here.
func (fs *FS) landed(t *treeTask, m *move) {
	if m.target != nil {
		fs.bury(m.target)
	}
	fs.idx.Forget(m.src)
	fs.idx.Forget(m.dst)
	fs.idx.Remove(m.src)
	if target := m.target; target != nil && target != m.n {
		fs.replace(target)
	}
	t.keepStaged(m)
	fs.nodes.move(m.n, m.to, m.newName)
	t.followOpen(m)
	if e := m.entry; e.Type == TypeDir {
		e.Name, e.Marker = m.newName, true
		if e.Attr == nil {
			e.Attr = &index.Attr{}
		}
		fs.idx.Put(m.dst, e, fs.now())
	}
	fs.touchDir(m.from)
	fs.touchDir(m.to)
}

// keepStaged tells the journal where the temporary files below the directory
// are about to be.
func (t *treeTask) keepStaged(m *move) {
	for _, n := range t.fs.nodes.below(m.n) {
		path, ok := t.fs.nodes.path(n)
		n.mu.Lock()
		f := n.file
		kept := f != nil && f.intents.staged != 0
		n.mu.Unlock()
		if !kept || !ok {
			continue
		}
		if err := t.fs.keepStagedAt(t.fs.bg, f, m.dst+strings.TrimPrefix(path, m.src)); err != nil {
			t.fs.noteError(err)
		}
	}
}

// followOpen tells the open files below the directory where their versions are.
func (t *treeTask) followOpen(m *move) {
	for _, n := range t.fs.nodes.below(m.n) {
		path, ok := t.fs.nodes.path(n)
		n.mu.Lock()
		f := n.file
		if f == nil || !ok {
			n.mu.Unlock()
			continue
		}
		fact, found := t.known[strings.TrimPrefix(path, m.dst+"/")]
		if found && fact.Done && fact.Copy != "" && f.entry.ETag != "" && fact.ETag == f.entry.ETag {
			if n.pageETag == f.entry.ETag {
				n.pageETag = fact.Copy
			}
			f.entry.ETag = fact.Copy
			if f.content != nil {
				f.content.moved(path, f.entry.ETag)
			}
		}
		if err := t.fs.recordAttrLocked(f, path); err != nil {
			t.fs.noteError(err)
		}
		n.mu.Unlock()
	}
	if err := t.fs.ledger.sync(); err != nil {
		t.fs.noteError(err)
	}
}
