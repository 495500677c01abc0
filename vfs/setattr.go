package vfs

import (
	"context"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/vfs/journal"
)

// Attribute changes that come before a file's commit go with it. Later ones
// become one copy of the object onto itself, attrDelay after the first, so
// that the chmod, chown and utimes of one program are one request.
const attrDelay = 100 * time.Millisecond

// SetAttr implements Lookups.
func (fs *FS) SetAttr(ctx context.Context, c Caller, id NodeID, h *Handle, set SetAttr) (Known, error) {
	n := fs.nodeOf(id, h)
	if n == nil {
		return Known{}, &Error{Op: "setattr", Kind: Stale}
	}
	if fs.opts.ReadOnly {
		return Known{}, &Error{Op: "setattr", Path: fs.pathOf(n), Kind: ReadOnly}
	}
	if set.Size != nil {
		if err := fs.setSize(ctx, n, h, *set.Size); err != nil {
			return Known{}, err
		}
	}
	if set.Mode != nil || set.UID != nil || set.GID != nil || set.Mtime != nil {
		if err := fs.changeAttr(ctx, n, func(f *file, a *index.Attr) error { return set.apply(f, a) }); err != nil {
			return Known{}, err
		}
	}
	return fs.GetAttr(ctx, id, h)
}

func (set SetAttr) apply(f *file, a *index.Attr) error {
	if set.Mode != nil {
		a.Mode, a.HasMode = *set.Mode&0o7777, true
	}
	if set.UID != nil {
		a.UID, a.HasUID = *set.UID, true
	}
	if set.GID != nil {
		a.GID, a.HasGID = *set.GID, true
	}
	if set.Mtime != nil {
		f.entry.Mtime = *set.Mtime
		f.node.changed.Store(0)
	}
	return nil
}

// changeAttr changes attributes of n; they are sent with the next commit or
// on their own in a while.
func (fs *FS) changeAttr(ctx context.Context, n *node, change func(f *file, a *index.Attr) error) error {
	if f := n.fileState(); f != nil {
		if err := fs.findLost(ctx, f, fs.pathOf(n)); err != nil {
			return fs.fault("setattr", fs.pathOf(n), err)
		}
	}
	f, err := fs.lockForAttr(ctx, n)
	if err != nil {
		return err
	}
	err = fs.changeAttrLocked(f, func(a *index.Attr) error { return change(f, a) })
	path, named := fs.nodes.path(n)
	if n == fs.nodes.root {
		f.attrSaved = f.attrGen // there is no object to hold them
	} else if err == nil && named {
		err = fs.recordAttrLocked(f, path)
	}
	n.mu.Unlock()
	if err == nil {
		err = fs.keepAttr(ctx, f)
	}
	if named && err == nil && !f.dirty() {
		fs.idx.Put(path, fs.entryNow(f), fs.now())
	}
	fs.tickAttr()
	fs.settle(n)
	return fs.fault("setattr", path, err)
}

// lockForAttr returns the file state of n, made if needed, with n.mu held.
func (fs *FS) lockForAttr(ctx context.Context, n *node) (*file, error) {
	for try := 1; ; try++ {
		e, err := fs.entryOf(ctx, n)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		if try == openTries || fs.currentLocked(n, e) {
			return fs.fileLocked(n, e), nil
		}
		n.mu.Unlock()
	}
}

// currentLocked reports whether a file state of n that is made from e now, if
// there is none, has the version and attributes that this gateway knows: others
// may have been committed here, and their file dropped, since e was found.
func (fs *FS) currentLocked(n *node, e index.Entry) bool {
	if n.file != nil {
		return n.file.entry.Attr != nil || n.typ != TypeFile
	}
	path, named := fs.nodes.path(n)
	if !named {
		return true
	}
	now, ok := fs.idx.Peek(path)
	return !ok || now.ETag == e.ETag && now.Modified.Equal(e.Modified)
}

// recordAttrLocked puts the attributes of f that are not in S3 into the
// journal, in place of earlier ones. Those of a file that is not in S3 go with
// its bytes.
func (fs *FS) recordAttrLocked(f *file, path string) error {
	if !f.attrDirtyLocked() || f.entry.ETag == "" && f.node.typ != TypeDir {
		return nil
	}
	e := f.entry
	meta, err := fs.encode(e)
	if err != nil {
		return err
	}
	ids, err := fs.ledger.add([]journal.ID{f.intents.attr}, intent{Op: intentAttr, Path: path, ETag: e.ETag, Modified: e.Modified,
		Type: f.node.typ, Marker: e.Marker, Size: e.Size, Meta: meta, Time: fs.now()})
	if err != nil {
		return err
	}
	f.intents.attr = ids[0]
	return nil
}

// endAttrLocked ends the intent of the attributes of f if they are in S3.
func (fs *FS) endAttrLocked(f *file) {
	if f.attrSaved == f.attrGen {
		fs.ledger.done(f.intents.attr)
		f.intents.attr = 0
	}
}

// keepAttr makes a change of attributes durable here.
func (fs *FS) keepAttr(ctx context.Context, f *file) error {
	if f.isStaged() {
		return fs.keepStaged(ctx, f)
	}
	if f.isWaiting() {
		if err := fs.commit(ctx, f); err != nil {
			return err
		}
	}
	return fs.ledger.sync() // the commit has done nothing if the bytes arrived in S3 before it
}

func (fs *FS) entryNow(f *file) index.Entry {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.entry
}

// entryOf returns what is known of n, asking S3 if needed.
func (fs *FS) entryOf(ctx context.Context, n *node) (index.Entry, error) {
	path, ok := fs.nodes.path(n)
	if f := n.fileState(); f != nil {
		if ok && n != fs.nodes.root {
			if err := fs.needAttr(ctx, f, path); err != nil {
				return index.Entry{}, fs.fault("setattr", path, err)
			}
		}
		return fs.entryNow(f), nil
	}
	switch {
	case n == fs.nodes.root:
		return index.Entry{Type: TypeDir, Attr: &index.Attr{}}, nil
	case !ok:
		return index.Entry{}, &Error{Op: "setattr", Kind: Stale}
	}
	ans, err := fs.ask(ctx, path, fs.idx.Stat)
	if err == nil && ans.Type != n.typ {
		return index.Entry{}, &Error{Op: "setattr", Path: path, Kind: Stale}
	}
	return ans.Entry, fs.fault("setattr", path, err)
}

// setSize truncates or extends a file. With an open handle the change is
// committed when that is closed, without one at once.
func (fs *FS) setSize(ctx context.Context, n *node, h *Handle, size int64) error {
	path := fs.pathOf(n)
	if size < 0 || size > maxSize {
		return &Error{Op: "truncate", Path: path, Kind: FileTooLarge}
	}
	if h != nil {
		return fs.truncate(ctx, h, size)
	}
	flags := syscall.O_WRONLY
	if size == 0 {
		flags |= syscall.O_TRUNC
	}
	h, err := fs.Open(ctx, n.id, flags)
	if err != nil {
		return err
	}
	defer fs.Release(h)
	if size > 0 {
		if err := fs.truncate(ctx, h, size); err != nil {
			return err
		}
	}
	return fs.Flush(ctx, h)
}

func (fs *FS) truncate(ctx context.Context, h *Handle, size int64) error {
	if !h.writable {
		return &Error{Op: "truncate", Path: fs.pathOf(h.node), Kind: Invalid}
	}
	err := fs.change(h.f, h, func(c *content) (uint64, error) { return c.truncate(ctx, size) })
	return fs.fault("truncate", fs.pathOf(h.node), err)
}
