package vfs

import (
	"context"
	"errors"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// errOutdated says that the answer to a check was overtaken.
var errOutdated = errors.New("replaced meanwhile")

// revalidate makes the content of f the version that S3 has now, with one
// request, and gets the first bytes with it.
func (fs *FS) revalidate(ctx context.Context, f *file) error {
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	if !f.beginCheck() {
		return &Error{Op: "open", Kind: Stale} // whoever asked has left
	}
	defer fs.endCheck(f)
	for {
		if err := fs.revalidateOnce(ctx, f); err != errOutdated {
			return err
		}
	}
}

// beginCheck keeps f from being settled, as long as it is not settled yet: who
// asked for a check may leave before its end.
func (f *file) beginCheck() bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if f.node.file != f {
		return false
	}
	f.checking = true
	return true
}

func (fs *FS) endCheck(f *file) {
	f.node.mu.Lock()
	f.checking = false
	f.node.mu.Unlock()
	fs.settle(f.node)
}

func (fs *FS) revalidateOnce(ctx context.Context, f *file) error {
	n := f.node
	path, ok := fs.nodes.path(n)
	if !ok {
		return f.staysAsItIs() // removed meanwhile
	}
	n.mu.Lock()
	if f.dirtyLocked() {
		n.mu.Unlock()
		return nil
	}
	known := store.ETag("")
	if f.content != nil {
		known = f.entry.ETag
	} else if c, etag, _ := fs.cache.open(fs, path); c != nil {
		f.content, known = c, etag
		f.entry.ETag, f.entry.Size = etag, c.length()
	}
	n.mu.Unlock()
	asOf := fs.now()
	obj, err := fs.store.Get(ctx, path, store.GetOptions{Length: f.firstRead(), IfNoneMatch: known})
	switch {
	case store.IsKind(err, store.NotModified):
		n.mu.Lock()
		f.checked = asOf
		n.mu.Unlock()
		return fs.needAttr(ctx, f, path)
	case store.IsKind(err, store.NotExist):
		fs.idx.Remove(path)
		return fs.vanished(f, path, err)
	case err != nil:
		return err
	}
	defer obj.Body.Close()
	return fs.adopt(f, path, obj, asOf)
}

// staysAsItIs ends a check of a file whose name went away meanwhile: an open
// may have what others have open, but not a version of the cache of which S3
// has not said that it is the current one.
func (f *file) staysAsItIs() error {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if f.dirtyLocked() || f.shownLocked() {
		return nil
	}
	return &Error{Op: "open", Path: f.entry.Name, Kind: Stale}
}

// needAttr gets the attributes of a file of which only a listing has told.
func (fs *FS) needAttr(ctx context.Context, f *file, path string) error {
	known := func() bool {
		f.node.mu.Lock()
		defer f.node.mu.Unlock()
		return f.entry.Attr != nil
	}
	if known() {
		return nil
	}
	ans, err := fs.ask(ctx, path, fs.idx.Stat)
	if store.IsKind(err, store.NotExist) {
		return fs.vanished(f, path, err)
	}
	if err != nil {
		return err
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if f.entry.Attr == nil {
		f.entry.Attr, f.entry.Mtime, f.entry.Modified = ans.Attr, ans.Mtime, ans.Modified
	}
	return nil
}

// firstRead is how many bytes come with the check that an open makes.
const firstRead = 1 << 20

// vanished handles an open of a name that is no longer in S3. The kernel looks
// a stale name up again, and then says that there is none or makes it anew, as
// the flags of open(2) ask, which Open does not see.
func (fs *FS) vanished(f *file, path string, err error) error {
	f.node.mu.Lock()
	others := f.handles > 1
	f.node.mu.Unlock()
	if others {
		fs.supersede(f.node)
	} else if p, name := fs.nodes.parentOf(f.node); p != nil {
		fs.invalidator().InvalidateEntry(p.id, name)
	}
	return &Error{Op: "open", Path: path, Kind: Stale, Err: err}
}

// adopt makes the version of obj the content of f, unless handles are open on
// another version: these keep theirs, and the name gets a new node.
func (fs *FS) adopt(f *file, path string, obj *store.Object, asOf time.Time) error {
	e := index.Decode(obj.Info)
	_, e.Name = splitPath(path)
	fs.idx.Put(path, e, asOf)
	if now, ok := fs.idx.Peek(path); !ok || now.ETag != e.ETag {
		return errOutdated // replaced while the answer was on its way
	}
	n := f.node
	if e.Type != n.typ {
		fs.supersede(n)
		return &Error{Op: "open", Path: path, Kind: Stale}
	}
	n.mu.Lock()
	if f.content != nil && (f.removed || f.superseded || f.dirtyLocked()) {
		n.mu.Unlock()
		return f.staysAsItIs() // written meanwhile: what is here is newer
	}
	if now, ok := fs.idx.Peek(path); !ok || now.ETag != e.ETag {
		n.mu.Unlock()
		return errOutdated // under the lock, so that e is not older than a commit
	}
	tag := f.entry.ETag
	if f.heldLocked() && tag == e.ETag { // somebody else was quicker
		f.checked = latest(f.checked, asOf)
		n.mu.Unlock()
		return nil
	}
	if f.heldLocked() {
		n.mu.Unlock()
		if done, err := fs.follow(f, path, e, obj, asOf); done || err != nil {
			return err
		}
		if !fs.supersedeFrom(n, tag) {
			return errOutdated
		}
		fs.preload(path, e, obj, asOf)
		return &Error{Op: "open", Path: path, Kind: Stale}
	}
	c, err := fs.loadLocked(f, path, e, asOf)
	n.mu.Unlock()
	if err != nil {
		return err
	}
	err = fs.pour(obj.Body, obj.Offset, sink{c: c})
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return errOutdated // replaced while its bytes were on their way
	}
	return err
}

// loadLocked gives f an empty content of the version e.
func (fs *FS) loadLocked(f *file, path string, e index.Entry, asOf time.Time) (*content, error) {
	c, err := newContent(fs, fs.state.newStaged())
	if err != nil {
		return nil, err
	}
	c.gen = f.committed
	c.setOrigin(origin{key: path, etag: e.ETag, size: e.Size})
	fs.swapContentLocked(f, c)
	if f.attrDirtyLocked() {
		e.Attr, e.Mtime = f.entry.Attr, f.entry.Mtime
	}
	f.entry, f.checked = e, asOf
	return c, nil
}

// preloadTime is how long a preloaded node waits for the kernel's second try.
const preloadTime = time.Second

// preload gives a name a new node that has the version obj already, so that
// the second try of an open that was told to look again needs no request, and
// succeeds even if the name was replaced once more.
func (fs *FS) preload(path string, e index.Entry, obj *store.Object, asOf time.Time) {
	dir, name := splitPath(path)
	p := fs.nodes.find(dir)
	if p == nil {
		return
	}
	n := fs.nodes.intern(p, name, e.Type, false)
	if n == nil {
		return
	}
	defer fs.nodes.unpin(n)
	n.mu.Lock()
	if n.file != nil {
		n.mu.Unlock()
		return // somebody else was first
	}
	f := fs.fileLocked(n, e)
	c, err := fs.loadLocked(f, path, e, asOf)
	fs.holdLocked(f)
	n.mu.Unlock()
	if err == nil {
		err = fs.pour(obj.Body, obj.Offset, sink{c: c})
	}
	if err != nil {
		fs.noteError(fs.fault("open", path, err))
	}
}

// holdLocked keeps f for the second try of an open.
func (fs *FS) holdLocked(f *file) {
	f.handles++
	f.awaited = true
	fs.start(func(ctx context.Context) {
		select {
		case <-ctx.Done():
		case <-time.After(preloadTime):
		}
		f.node.mu.Lock()
		f.arrivedLocked()
		f.node.mu.Unlock()
		fs.settle(f.node)
	})
}

// arrivedLocked ends what holdLocked began.
func (f *file) arrivedLocked() {
	if f.awaited {
		f.awaited = false
		f.handles--
	}
}
