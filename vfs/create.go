package vfs

import (
	"context"
	"syscall"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

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
