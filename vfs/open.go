package vfs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Handle is an open file.
type Handle struct {
	node     *node
	f        *file
	readable bool
	writable bool
	appends  bool
	keep     bool // the kernel's pages are of this version
	direct   bool // it may not read this version through its pages

	view []byte // what the reader sees of a lock file; nil: the file

	moved uint64 // guarded by node.mu: see Moved
	given bool   // guarded by node.mu: the open has succeeded

	wrote atomic.Uint64 // generation of the last write through this handle
	read  atomic.Bool   // something was read: the kernel has dropped older pages

	locked atomic.Bool // a lock was taken through it

	mu   sync.Mutex
	next int64 // guarded by mu: where a sequential reader goes on
	runs int   // guarded by mu: how many reads in a row were sequential
}

// Node returns the file that is open.
func (h *Handle) Node() NodeID { return h.node.id }

// Elsewhere reports whether another node than id is open: that to which the
// name of id belonged in the end, when it was given from one to the next while
// the kernel looked for it.
func (h *Handle) Elsewhere(id NodeID) bool { return h.node != nil && h.node.id != id }

// KeepCache implements Files.
func (fs *FS) KeepCache(h *Handle) bool { return h.keep && !h.direct }

// Direct reports whether h is not to be read through the kernel's pages: it may
// not know the size of what is open, or others are to see something else.
func (h *Handle) Direct() bool { return h.direct || h.view != nil }

func newHandle(n *node, f *file, flags int) *Handle {
	acc := flags & syscall.O_ACCMODE
	return &Handle{node: n, f: f, readable: acc != syscall.O_WRONLY, writable: acc != syscall.O_RDONLY,
		appends: flags&syscall.O_APPEND != 0}
}

// Open implements Files.
func (fs *FS) Open(ctx context.Context, id NodeID, flags int) (*Handle, error) {
	call, again := fs.retries.begin(ctx, fs.now())
	h, err := fs.openNode(ctx, id, flags, call.began, again)
	if err == nil || KindOf(err) != Stale {
		return h, err
	}
	if !again {
		fs.retries.again(ctx, call.began, errors.Is(err, errRenewed))
		return nil, err
	}
	path := fs.pathOfID(id)
	if parent, name, ok := fs.nodes.pastName(id); ok && call.name == "" { // the kernel did not look, since it came by no name
		call.parent, call.name = parent, name
	}
	if call.name != "" && !fs.isOpen(id) { // the kernel does not try a third time
		if h, err = fs.openName(ctx, call, flags); err == nil || KindOf(err) != Stale {
			return h, err
		}
	}
	return nil, &Error{Op: "open", Path: path, Kind: NotExist, Err: err}
}

// openNode opens a node, for a system call that began then. It may be told that
// the name has another node now, unless it insists on this one.
func (fs *FS) openNode(ctx context.Context, id NodeID, flags int, began time.Time, insist bool) (*Handle, error) {
	n := fs.nodes.get(id)
	if n == nil {
		return nil, &Error{Op: "open", Kind: Stale}
	}
	path, named := fs.nodes.path(n)
	h := newHandle(n, nil, flags)
	switch {
	case n.typ == TypeDir:
		return nil, &Error{Op: "open", Path: path, Kind: IsDir}
	case n.typ == TypeSymlink:
		return nil, &Error{Op: "open", Path: path, Kind: Loop}
	case h.writable && fs.opts.ReadOnly:
		return nil, &Error{Op: "open", Path: path, Kind: ReadOnly}
	}
	n.mu.Lock()
	e, known := fs.idx.Peek(path)
	if n.file == nil && (!named || known && e.Type != n.typ) {
		n.mu.Unlock()
		return nil, &Error{Op: "open", Path: path, Kind: Stale}
	}
	h.f = fs.fileLocked(n, e)
	h.addLocked()
	fs.handles.Add(1)
	n.mu.Unlock()

	var err error
	if _, still := fs.nodes.path(n); named && !still {
		err = &Error{Op: "open", Path: path, Kind: Stale} // lost its name before it was pinned
	} else {
		err = fs.prepare(ctx, h, path, flags, began, insist)
	}
	if err == nil {
		err = fs.viewLock(ctx, h, path)
	}
	if err != nil {
		fs.Release(h)
		return nil, fs.fault("open", path, err)
	}
	return h, nil
}

// prepare gives the file of a new handle its content: nothing for O_TRUNC,
// the local bytes if they are newer than S3, and else the current version.
func (fs *FS) prepare(ctx context.Context, h *Handle, path string, flags int, began time.Time, insist bool) error {
	f, n := h.f, h.node
	if err := fs.findLost(ctx, f, path); err != nil {
		return err
	}
	if flags&syscall.O_TRUNC != 0 && h.writable {
		if err := fs.needAttr(ctx, f, path); err != nil { // mode and owner stay
			return err
		}
		return fs.overwrite(ctx, h, path)
	}
	n.mu.Lock()
	local := f.content != nil && !f.goneLocked() && (f.removed && f.newerLocked() || f.dirtyLocked())
	if local || fs.freshLocked(f, path, began) {
		return fs.giveAndUnlock(h, path, local, insist)
	}
	superseded := f.goneLocked()
	sole := !superseded && fs.soleLocked(h, path)
	if sole {
		h.giveLocked()
	}
	n.mu.Unlock()
	if superseded {
		return &Error{Op: "open", Path: path, Kind: Stale}
	}
	if sole {
		return nil
	}
	check := func(ctx context.Context) (struct{}, error) {
		return struct{}{}, f.checks.do(ctx, fs.start, func(ctx context.Context) error { return fs.revalidate(ctx, f) })
	}
	_, err := recall(fs, ctx, check, func() (struct{}, bool) { return struct{}{}, fs.openHere(f, path) })
	n.mu.Lock()
	// Replaced again, after others had opened a version that is new enough for
	// this open too?
	joins := err != nil && KindOf(err) == Stale && f.content != nil && !f.checked.Before(began)
	if err != nil && !joins {
		n.mu.Unlock()
		return err
	}
	return fs.giveAndUnlock(h, path, false, insist)
}

// giveLocked notes that the caller is given the content that f has now, which
// must not be exchanged for another version until the handle is released. n.mu
// is held.
func (h *Handle) giveLocked() {
	h.direct = !h.node.told.fits(h.f.content.length())
	h.given = true
	h.f.given++
	h.f.arrivedLocked()
	h.f.seen = h.f.content
}

// newerLocked reports whether what is here was shown, or written here.
func (f *file) newerLocked() bool { return f.shownLocked() || f.content.generation() > f.committed }

// freshLocked reports whether the version at hand is new enough for an open
// that began at the moment began: it was checked less than OpenTTL before, or
// after it.
func (fs *FS) freshLocked(f *file, path string, began time.Time) bool {
	limit := began.Add(-fs.opts.OpenTTL)
	if acquired := fs.acquiredAt(); acquired.After(limit) && acquired.Before(began) {
		limit = acquired
	}
	if f.content == nil && fs.opts.OpenTTL > 0 && f.entry.Attr != nil {
		if c, etag, checked := fs.cache.open(fs, path); c != nil && etag == f.entry.ETag && !checked.Before(limit) {
			f.content, f.checked = c, checked
		} else if c != nil {
			c.done()
		}
	}
	return f.content != nil && !f.checked.IsZero() && !f.checked.Before(limit)
}

// overwrite empties the file of h: what is there no longer matters.
func (fs *FS) overwrite(ctx context.Context, h *Handle, path string) error {
	f, n := h.f, h.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.goneLocked() {
		return &Error{Op: "open", Path: path, Kind: Stale}
	}
	if f.content != nil && (f.dirtyLocked() || f.handles > 1) {
		// Others have it open, and see the same bytes, or send them.
		if err := fs.writableLocked(f); err != nil {
			return err
		}
		c := f.content
		n.mu.Unlock() // a commit that reads the file may need it
		_, err := c.truncate(ctx, 0)
		n.mu.Lock()
		if err != nil {
			return err
		}
	} else if err := fs.emptyContentLocked(f); err != nil {
		return err
	}
	fs.dropUpload(f.takeUploadLocked())
	f.wholeFrom = f.content.generation()
	f.appending = nil
	n.told = toldNothing // O_TRUNC also sets the kernel's size
	fs.stageLocked(f, path)
	fs.wroteLocked(f)
	h.wrote.Store(f.wholeFrom)
	h.giveLocked()
	return nil
}

// stageLocked decides whether the bytes stay here until a rename.
func (fs *FS) stageLocked(f *file, path string) {
	_, name := splitPath(path)
	if !f.staged && fs.staged.match(name) {
		f.staged, f.since = true, fs.now()
	}
}

// Release implements Files.
func (fs *FS) Release(h *Handle) {
	n, f := h.node, h.f
	h.endRecord()
	n.mu.Lock()
	h.removeLocked()
	last := f.handles == 0
	// Writes through a mapping may arrive after the last close.
	late := last && f.dirtyLocked() && f.content.generation() > f.accepted.gen && !f.staged && !f.superseded && f.keptID == ""
	n.mu.Unlock()
	fs.handles.Add(-1)
	if late {
		fs.start(func(context.Context) {
			err := fs.commit(fs.bg, f)
			if err != nil {
				fs.noteError(err)
			}
			if fs.opts.CommitLocal && KindOf(err) == NoSpace {
				fs.spoil(f)
			}
			fs.dropLocks(h)
			fs.settle(n)
		})
		return
	}
	fs.dropLocks(h)
	if last {
		fs.settle(n)
	}
}
