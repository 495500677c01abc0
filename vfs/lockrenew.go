package vfs

import (
	"context"
	"io"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// renew makes the version that S3 has now the one that the handles of f show,
// after a lock on path was granted through one of them. A handle keeps its
// version otherwise; but a program that locks a file which it has open is about
// to read what the holder before it has written, as on a local disk. Nothing
// is asked if no other gateway can have written since the file was last checked.
//
// A file that lost its name since somebody else wrote it goes on under that
// name, with commits that demand the version shown: others may have opened the
// newer version under the name meanwhile, as another node. What was removed or
// written here, and temporary files, stay as they are.
func (fs *FS) renew(ctx context.Context, f *file, path string) error {
	f.node.mu.Lock()
	gone := f.goneLocked()
	f.node.mu.Unlock()
	if gone { // what the node that has the name sends must be there
		if err := fs.quiet(ctx, path); err != nil {
			return err
		}
	}
	if !fs.mayBeOld(f, path) {
		return nil
	}
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	for fs.mayBeOld(f, path) {
		if err := fs.renewOnce(ctx, f, path); err != errOutdated {
			return err
		}
	}
	return nil
}

// mayBeOld reports whether f, locked at path, may be another version than the
// one in S3.
func (fs *FS) mayBeOld(f *file, path string) bool {
	acquired := fs.acquiredAt()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if f.content == nil || f.removed || f.staged || f.dirtyLocked() {
		return false
	}
	if f.superseded && f.was != path || f.full {
		return false
	}
	known, ok := fs.idx.Peek(path)
	return f.superseded || !f.checked.After(acquired) || ok && known.ETag != f.entry.ETag
}

func (fs *FS) renewOnce(ctx context.Context, f *file, path string) error {
	f.node.mu.Lock()
	known := f.entry.ETag
	f.node.mu.Unlock()
	asOf := fs.now()
	obj, err := fs.store.Get(ctx, path, store.GetOptions{Length: f.firstRead(), IfNoneMatch: known})
	switch {
	case store.IsKind(err, store.NotModified):
		f.node.mu.Lock()
		fs.reviveLocked(f, path)
		f.checked = asOf
		e := f.entry
		f.node.mu.Unlock()
		if e.Attr != nil {
			fs.idx.Put(path, e, asOf)
		}
		return nil
	case store.IsKind(err, store.NotExist):
		fs.idx.Remove(path)
		fs.supersede(f.node) // as a file on a local disk that somebody unlinks
		return nil
	case err != nil:
		return err
	}
	defer obj.Body.Close()
	e := index.Decode(obj.Info)
	_, e.Name = splitPath(path)
	fs.idx.Put(path, e, asOf)
	if e.Type != TypeFile {
		fs.supersede(f.node)
		return nil
	}
	data, err := io.ReadAll(obj.Body)
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return errOutdated
	}
	if err != nil {
		return err
	}
	return fs.showVersion(ctx, f, path, e, data, asOf)
}

// reviveLocked lets f go on at path. node.mu is held.
func (fs *FS) reviveLocked(f *file, path string) {
	if f.superseded {
		f.superseded, f.revived, f.was = false, true, path
	}
}

// showVersion makes e, which begins with data, the version that f shows. The
// lock of path is held.
func (fs *FS) showVersion(ctx context.Context, f *file, path string, e index.Entry, data []byte, asOf time.Time) error {
	n := f.node
	n.mu.Lock()
	if f.dirtyLocked() || f.removed {
		n.mu.Unlock()
		return nil
	}
	if err := fs.writableLocked(f); err != nil {
		n.mu.Unlock()
		return err
	}
	c, gen := f.content, f.committed
	n.mu.Unlock()
	followed, err := c.shift(ctx, shift{keep: c.length(), to: e.Size, gen: gen, base: data,
		o: origin{key: path, etag: e.ETag, size: e.Size}})
	if err != nil || !followed {
		return err // written meanwhile, so that it stays as it is
	}
	n.mu.Lock()
	if f.attrDirtyLocked() {
		e.Attr, e.Mtime = f.entry.Attr, f.entry.Mtime
	}
	f.entry, f.checked = e, asOf
	fs.reviveLocked(f, path)
	n.pageETag = ""
	f.appendsLocked().moved++
	n.mu.Unlock()
	fs.invalidator().InvalidateNode(n.id)
	return nil
}

// Releasing returns when all that was acknowledged here is in S3, before
// another gateway is given something that this one had.
func (fs *FS) Releasing(ctx context.Context) error {
	err := fs.Sync(ctx, "")
	if KindOf(err) == Stale { // S3 refused something for good, which is kept: it will not come
		err = fs.Sync(ctx, "")
	}
	return err
}
