package vfs

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// A directory is renamed by copying every object below it and then deleting
// the originals. Sources are listed again after the copies, until a listing
// shows nothing that was not copied as it is: what another gateway wrote
// meanwhile moves too. Here the whole subtree is locked meanwhile; elsewhere
// both trees are visible until the originals are gone.
const (
	treeParallel = 32
	treePasses   = 100 // listings before giving up on a tree that never rests
	treeTimeout  = 24 * time.Hour
)

// renameDir moves a directory.
func (fs *FS) renameDir(ctx context.Context, m *move) error {
	unlock, err := fs.locks.lockTrees(ctx, m.src, m.dst)
	if err != nil {
		return fs.fault("rename", m.src, err)
	}
	defer unlock()
	if err := fs.recheckMove(ctx, m); err != nil {
		return err
	}
	if err := fs.deleter.flush(ctx); err != nil {
		return fs.fault("rename", m.src, err)
	}
	if err := fs.announce(ctx); err != nil {
		return fs.fault("rename", m.src, err)
	}
	tctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), treeTimeout)
	defer cancel()
	if m.exclusive {
		if err := fs.claimDir(tctx, m); err != nil {
			return err
		}
	}
	t := &treeMove{fs: fs, src: m.src + "/", dst: m.dst + "/", copied: map[string]store.Info{}}
	if err := t.run(tctx); err != nil {
		return fs.fault("rename", m.src, err)
	}
	if m.target != nil {
		fs.bury(m.target)
	}
	fs.idx.Forget(m.src)
	fs.idx.Forget(m.dst)
	fs.idx.Remove(m.src)
	if target := m.target; target != nil && target != m.n {
		fs.replace(target)
	}
	fs.nodes.move(m.n, m.to, m.newName)
	t.followOpen(m)
	e := m.entry
	e.Name, e.Marker = m.newName, true
	if e.Attr == nil {
		e.Attr = &index.Attr{}
	}
	fs.idx.Put(m.dst, e, fs.now())
	fs.touchDir(m.from)
	fs.touchDir(m.to)
	return nil
}

// claimDir makes the target's marker if nobody has it.
func (fs *FS) claimDir(ctx context.Context, m *move) error {
	e := m.entry
	e.Name = m.newName
	_, err := fs.putNew(ctx, m.dst+"/", e, store.Body{})
	if store.IsKind(err, store.PreconditionFailed) {
		return &Error{Op: "rename", Path: m.dst, Kind: Exist, Err: err}
	}
	return fs.fault("rename", m.dst, err)
}

// treeMove copies and then removes all objects below a prefix.
type treeMove struct {
	fs       *FS
	src, dst string // prefixes, with their slash

	mu     sync.Mutex
	copied map[string]store.Info // by source key: what was copied, with the copy's ETag as Key
}

func (t *treeMove) run(ctx context.Context) error {
	for pass := 1; ; pass++ {
		found, err := t.copyNew(ctx)
		if err != nil {
			return err
		}
		if found == 0 {
			break
		}
		if pass == treePasses {
			return fmt.Errorf("%s changes faster than it can be copied", t.src)
		}
	}
	if len(t.copied) == 0 {
		// A directory without a marker and without entries.
		_, err := t.fs.store.Put(ctx, t.dst, store.Body{}, store.PutOptions{ContentType: contentType(index.Entry{Type: TypeDir})})
		return err
	}
	return t.removeSources(ctx)
}

// copyNew copies what a listing shows and was not copied as it is, and returns
// how many objects that were.
func (t *treeMove) copyNew(ctx context.Context) (found int, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(treeParallel)
	opts := store.ListOptions{Prefix: t.src}
	for {
		page, err := t.fs.store.List(gctx, opts)
		if err != nil {
			group.Wait()
			return found, err
		}
		for _, obj := range page.Objects {
			t.mu.Lock()
			done, ok := t.copied[obj.Key]
			t.mu.Unlock()
			if ok && done.ETag == obj.ETag && done.Modified.Equal(obj.Modified) {
				continue
			}
			found++
			group.Go(func() error { return t.copyOne(gctx, obj) })
		}
		if page.Next == "" {
			return found, group.Wait()
		}
		opts.Token = page.Next
	}
}

func (t *treeMove) copyOne(ctx context.Context, obj store.Info) error {
	dst := t.dst + strings.TrimPrefix(obj.Key, t.src)
	ctx, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	if strings.HasSuffix(obj.Key, "/") {
		return t.copyMarker(ctx, obj, dst)
	}
	e := index.Entry{ETag: obj.ETag, Size: obj.Size}
	var meta store.Metadata
	if obj.Size > store.MaxCopySize {
		info, err := t.fs.store.Head(ctx, obj.Key)
		if err != nil {
			return err
		}
		meta = info.Meta
	}
	info, err := t.fs.copyObject(ctx, obj.Key, dst, e, meta, store.Precondition{})
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return nil // replaced or removed meanwhile: the next listing shows
	}
	if err != nil {
		return err
	}
	t.note(obj, info.ETag)
	return nil
}

// copyMarker makes a directory's marker anew: some servers do not copy keys
// that end in a slash.
func (t *treeMove) copyMarker(ctx context.Context, obj store.Info, dst string) error {
	info, err := t.fs.store.Head(ctx, obj.Key)
	if store.IsKind(err, store.NotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	opts := store.PutOptions{Meta: info.Meta, ContentType: contentType(index.Entry{Type: TypeDir})}
	made, err := t.fs.store.Put(ctx, dst, store.Body{}, opts)
	if err != nil {
		return err
	}
	t.note(obj, made.ETag)
	return nil
}

// note remembers that obj was copied, and the copy's ETag.
func (t *treeMove) note(obj store.Info, etag store.ETag) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.copied[obj.Key] = store.Info{Key: string(etag), ETag: obj.ETag, Modified: obj.Modified}
}

func (t *treeMove) removeSources(ctx context.Context) error {
	var keys []string
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		failed, err := t.fs.store.DeleteMany(ctx, keys)
		for key, e := range failed {
			err = fmt.Errorf("remove %s: %w", key, e)
		}
		keys = keys[:0]
		return err
	}
	for key := range t.copied {
		keys = append(keys, key)
		if len(keys) == store.MaxDeleteMany {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// followOpen tells the open files below the directory where their versions are.
func (t *treeMove) followOpen(m *move) {
	for _, n := range t.fs.nodes.below(m.n) {
		path, ok := t.fs.nodes.path(n)
		n.mu.Lock()
		f := n.file
		if f == nil || !ok || f.entry.ETag == "" {
			n.mu.Unlock()
			continue
		}
		info, found := t.copied[t.src+strings.TrimPrefix(path, t.dst)]
		if found && info.ETag == f.entry.ETag {
			if n.pageETag == f.entry.ETag {
				n.pageETag = store.ETag(info.Key)
			}
			f.entry.ETag = store.ETag(info.Key)
			if f.content != nil {
				f.content.moved(path, f.entry.ETag)
			}
		}
		n.mu.Unlock()
	}
}
