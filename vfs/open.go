package vfs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
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

// Create implements Files.
func (fs *FS) Create(ctx context.Context, c Caller, parent NodeID, name string, flags int, mode uint32) (Known, *Handle, error) {
	p, path, err := fs.target("create", parent, name)
	if err != nil {
		return Known{}, nil, err
	}
	for try := 1; fs.exists(p, name, path); try++ {
		known, h, err := fs.createExisting(ctx, parent, name, path, flags)
		changed := err != nil && (KindOf(err) == Stale || KindOf(err) == NotExist)
		if !changed || try == openTries {
			return known, h, err
		}
	}
	return fs.createNew(ctx, c, p, name, path, flags, mode)
}

// createNew is open(2) with O_CREAT of a name that does not exist.
func (fs *FS) createNew(ctx context.Context, c Caller, p *node, name, path string, flags int, mode uint32) (Known, *Handle, error) {
	e := fs.newEntry(c, p, name, TypeFile, mode)
	staged := fs.staged.match(name)
	if flags&syscall.O_EXCL != 0 && !staged {
		if err := fs.enter(ctx); err != nil {
			return Known{}, nil, fs.fault("create", path, err)
		}
		fs.programLocks.mark(ctx, path, &e)
		if known, h, done, err := fs.createHere(ctx, p, name, path, flags, e); done {
			return known, h, err
		}
		if err := fs.claimName(ctx, path, &e, store.Body{}); err != nil {
			return Known{}, nil, err
		}
	}
	n := fs.nodes.intern(p, name, TypeFile, true)
	if n == nil {
		return Known{}, nil, &Error{Op: "create", Path: path, Kind: NotExist}
	}
	h := newHandle(n, nil, flags)
	n.mu.Lock()
	if n.file != nil { // somebody was quicker: what he writes is not to be emptied
		n.mu.Unlock()
		defer fs.nodes.forget(n.id, 1)
		if e.ETag != "" { // but the name was claimed for this call
			flags &^= syscall.O_EXCL | syscall.O_TRUNC
		}
		return fs.createExisting(ctx, p.id, name, path, flags)
	}
	known, err := fs.openNewLocked(h, fs.fileLocked(n, e), path)
	n.mu.Unlock()
	if err != nil {
		fs.Release(h)
		fs.nodes.forget(n.id, 1)
		return Known{}, nil, fs.fault("create", path, err)
	}
	fs.touchDir(p)
	return known, h, nil
}

// openNewLocked opens f, which is new, with h. n.mu is held.
func (fs *FS) openNewLocked(h *Handle, f *file, path string) (Known, error) {
	h.f, h.keep = f, true
	h.addLocked()
	fs.handles.Add(1)
	err := fs.startNewLocked(h, path)
	ttl := fs.lend(fs.opts.DirTTL)
	return Known{Attr: fs.tellLocked(f), EntryTTL: ttl, AttrTTL: ttl}, err
}

// startNewLocked gives a new file its empty content. One whose name was
// claimed in S3 is clean; any other must be committed even if nobody writes.
func (fs *FS) startNewLocked(h *Handle, path string) error {
	f := h.f
	if err := fs.emptyContentLocked(f); err != nil {
		return err
	}
	h.giveLocked()
	if f.entry.ETag != "" {
		f.checked = fs.now()
		f.committed = f.content.generation()
		f.content.rebase(origin{key: path, etag: f.entry.ETag}, f.committed)
		return nil
	}
	f.wholeFrom = f.content.generation()
	if h.appends && !f.exclusive {
		f.madeByAppendLocked()
	}
	fs.stageLocked(f, path)
	fs.wroteLocked(f)
	h.wrote.Store(f.wholeFrom)
	return nil
}

// exists reports whether a name is known to exist, without asking S3: the
// kernel has just asked.
func (fs *FS) exists(p *node, name, path string) bool {
	if n := fs.nodes.child(p, name); n != nil && n.fileState() != nil {
		return true
	}
	_, ok := fs.idx.Peek(path)
	return ok
}

// createExisting is open(2) with O_CREAT of a name that exists. Kind NotExist
// or Stale: it does not exist any more, or is another file.
func (fs *FS) createExisting(ctx context.Context, parent NodeID, name, path string, flags int) (Known, *Handle, error) {
	if flags&syscall.O_EXCL != 0 {
		return Known{}, nil, &Error{Op: "create", Path: path, Kind: Exist}
	}
	known, err := fs.Lookup(ctx, parent, name)
	if err != nil {
		return Known{}, nil, err
	}
	h, err := fs.openNode(ctx, known.ID, flags, fs.now(), false)
	if err != nil {
		fs.Forget(known.ID, 1)
		return Known{}, nil, err
	}
	known, err = fs.GetAttr(ctx, known.ID, h)
	return known, h, err
}

// claimName makes the object at path with the attributes of e if there is
// none, anywhere. Kind Exist: somebody was first.
func (fs *FS) claimName(ctx context.Context, path string, e *index.Entry, body store.Body) error {
	waiting := fs.patient(ctx)
	defer waiting.release()
	ctx = waiting
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return fs.fault("create", path, waiting.explain(err))
	}
	defer unlock()
	if e.Type == TypeDir {
		if done, err := fs.claimDir(ctx, path, e); done || err != nil {
			return fs.fault("mkdir", path, waiting.explain(err))
		}
	}
	etag, err := fs.putNew(ctx, objectKey(path, e.Type), *e, body)
	if store.IsKind(err, store.PreconditionFailed) {
		fs.idx.Forget(path)
		return &Error{Op: "create", Path: path, Kind: Exist, Err: err}
	}
	if err != nil {
		return fs.fault("create", path, waiting.explain(err))
	}
	e.Size = body.Size
	if e.Type == TypeFile {
		fs.acquiredName(ctx, path) // before the index learns that the name is there now
	}
	if e.Type == TypeDir {
		e.Marker = true
		fs.idx.Made(path, *e)
		return nil
	}
	e.ETag = etag
	fs.idx.Put(path, *e, fs.now())
	return nil
}

// putNew is the one PUT with If-None-Match that makes a name.
func (fs *FS) putNew(ctx context.Context, key string, e index.Entry, body store.Body) (store.ETag, error) {
	meta, err := fs.encode(e)
	if err != nil {
		return "", err
	}
	if err := fs.announce(ctx); err != nil {
		return "", err
	}
	if err := fs.deleter.settleKey(ctx, key); err != nil {
		return "", err
	}
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	info, err := fs.store.Put(ctx, key, body, store.PutOptions{Meta: meta, ContentType: contentType(e), If: store.IfAbsent()})
	return info.ETag, err
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
