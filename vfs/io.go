package vfs

import (
	"context"
	"errors"
	"syscall"
)

// maxSize is the largest object that S3 holds (AWS "Amazon S3 multipart upload
// limits").
const maxSize = 5 << 40

// Read implements Files.
func (fs *FS) Read(ctx context.Context, h *Handle, p []byte, off int64) (int, error) {
	c, err := fs.beginRead(h, off)
	if err != nil {
		return 0, err
	}
	if h.view != nil {
		return readView(h.view, p, off), nil
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	b, err := c.read(waiting, int64(len(p)), off, h.ahead(off, len(p)))
	if fs.catchUp(waiting, h.f, err) {
		b, err = c.read(waiting, int64(len(p)), off, 0)
	}
	if err != nil {
		return 0, fs.fault("read", fs.pathOf(h.node), waiting.explain(err))
	}
	defer b.Release()
	n, err := b.copyTo(p)
	return n, fs.fault("read", fs.pathOf(h.node), err)
}

// ReadBytes is Read without a copy: for a front end that can move bytes to its
// client from where they are. There are fewer than n only at the end.
func (fs *FS) ReadBytes(ctx context.Context, h *Handle, n int, off int64) (*Bytes, error) {
	c, err := fs.beginRead(h, off)
	if err != nil {
		return nil, err
	}
	if h.view != nil {
		p := make([]byte, n)
		n = readView(h.view, p, off)
		return &Bytes{n: n, slices: [][]byte{p[:n]}}, nil
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	b, err := c.read(waiting, int64(n), off, h.ahead(off, n))
	if fs.catchUp(waiting, h.f, err) {
		b, err = c.read(waiting, int64(n), off, 0)
	}
	return b, fs.fault("read", fs.pathOf(h.node), waiting.explain(err))
}

// beginRead checks a read and returns the content to read from.
func (fs *FS) beginRead(h *Handle, off int64) (*content, error) {
	if !h.readable {
		return nil, &Error{Op: "read", Kind: BadHandle}
	}
	if off < 0 {
		return nil, &Error{Op: "read", Kind: Invalid}
	}
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	if h.f.full && h.f.superseded {
		return nil, &Error{Op: "read", Path: h.f.was, Kind: Stale}
	}
	if !h.read.Swap(true) && !h.f.dirtyLocked() {
		h.node.pageETag = h.f.entry.ETag
	}
	return h.f.content, nil
}

// ahead tells how many bytes to fetch behind a read: more, the longer the
// handle has been read in sequence. A reader that the kernel reads ahead for
// may ask a little out of order.
func (h *Handle) ahead(off int64, n int) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	near := off >= h.next-sequentialBlock && off <= h.next+sequentialBlock
	h.next = max(off+int64(n), h.next)
	if !near {
		h.next, h.runs = off+int64(n), 0
		return 0
	}
	h.runs++
	if h.runs < 2 && off > 0 {
		return 0
	}
	return min(maxAhead, int64(sequentialBlock)<<min(h.runs/2, 8))
}

// Write implements Files.
func (fs *FS) Write(ctx context.Context, h *Handle, p []byte, off int64) (int, error) {
	if !h.writable {
		return 0, &Error{Op: "write", Kind: BadHandle}
	}
	if off < 0 || off+int64(len(p)) > maxSize {
		return 0, &Error{Op: "write", Path: fs.pathOf(h.node), Kind: FileTooLarge}
	}
	if fs.opts.CommitLocal {
		if err := fs.spool.room(ctx, int64(len(p))); err != nil {
			return 0, fs.fault("write", fs.pathOf(h.node), err)
		}
	}
	var appender *Handle
	if h.appends {
		appender = h
	}
	err := fs.change(h.f, h, func(c *content) (uint64, error) {
		_, gen, err := c.writeAt(ctx, p, off, appender)
		return gen, err
	})
	if err != nil {
		return 0, fs.fault("write", fs.pathOf(h.node), err)
	}
	fs.sendAhead(h.f)
	return len(p), nil
}

// change runs an operation that changes the bytes of f, and notes it. When
// the disk is full, the cache gives way first.
func (fs *FS) change(f *file, h *Handle, op func(*content) (uint64, error)) error {
	n := f.node
	for attempt := 0; ; attempt++ {
		n.mu.Lock()
		err := fs.writableLocked(f)
		c := f.content
		n.mu.Unlock()
		if err != nil {
			return err
		}
		before := c.generation()
		gen, err := op(c)
		if err != nil {
			if attempt == 0 && noSpace(err) && fs.cache.shrink(spaceStep) {
				continue
			}
			fs.noteFull(f, noSpace(err))
			if gen = c.generation(); gen == before {
				return err
			}
		} else {
			fs.noteFull(f, false)
		}
		if gen == before {
			return nil
		}
		n.mu.Lock()
		fs.wroteLocked(f)
		if err != nil { // the kernel does not know how far the change went
			n.told = toldMany
		}
		if path, ok := fs.nodes.path(n); ok && f.committed < gen {
			fs.stageLocked(f, path)
		}
		n.mu.Unlock()
		if h != nil {
			h.wrote.Store(gen)
		}
		return err
	}
}

// spaceStep is how much of the cache is given up when the disk is full.
const spaceStep = 256 << 20

// Flush implements Files. A descriptor that was duplicated is flushed several
// times: what was committed once is not sent again.
func (fs *FS) Flush(ctx context.Context, h *Handle) error {
	h.endRecord()
	if err := fs.keepStaged(ctx, h.f); err != nil {
		return fs.fault("close", fs.pathOf(h.node), err)
	}
	err := fs.commitHandle(ctx, h)
	if fs.opts.CommitLocal && KindOf(err) == NoSpace {
		fs.spoil(h.f)
	}
	return err
}

// Fsync implements Files.
func (fs *FS) Fsync(ctx context.Context, h *Handle) error {
	h.endRecord()
	h.node.mu.Lock()
	f, c := h.f, h.f.content
	local := f.staged && f.dirtyLocked() && !f.superseded
	h.node.mu.Unlock()
	if local {
		return fs.fault("fsync", fs.pathOf(h.node), fs.keepStaged(ctx, f))
	}
	if f.dirty() {
		h.wrote.Store(c.generation()) // fsync is about the file, not only this handle
	}
	if err := fs.commitHandle(ctx, h); err != nil || fs.opts.FsyncLocal {
		return err
	}
	if err := fs.awaitParcels(ctx, h.node); err != nil {
		return err
	}
	return fs.flushAttr(ctx, h.node)
}

// awaitParcels returns when what was accepted of n is in S3.
func (fs *FS) awaitParcels(ctx context.Context, n *node) error {
	path, ok := fs.nodes.path(n)
	if !ok {
		return nil
	}
	size := int64(0)
	for _, p := range fs.spool.of(path) {
		size = max(size, p.Size)
	}
	fs.spool.prefer(path)
	ctx, cancel := fs.spool.whileMoving(ctx, fs.transferTime(size))
	defer cancel(nil)
	refused, err := fs.spool.wait(ctx, func(p string) bool { return p == path })
	if err != nil {
		err = context.Cause(ctx)
	}
	if refused > 0 {
		err = &Error{Op: "fsync", Path: path, Kind: Stale, Err: errors.New("S3 did not take the file; `causeway recover` lists it")}
	}
	return fs.fault("fsync", path, err)
}

// commitHandle commits what was written through h.
func (fs *FS) commitHandle(ctx context.Context, h *Handle) error {
	f := h.f
	h.node.mu.Lock()
	wrote := h.wrote.Load()
	pending := wrote > max(f.committed, f.accepted.gen) && !f.removed && !(f.staged && !f.superseded)
	h.node.mu.Unlock()
	if !pending {
		return nil
	}
	return fs.commit(ctx, f)
}

// Allocate implements Files.
func (fs *FS) Allocate(ctx context.Context, h *Handle, mode uint32, off, length int64) error {
	const keepSize, punchHole, zeroRange = 1, 2, 16 // linux/falloc.h
	path := fs.pathOf(h.node)
	switch {
	case !h.writable:
		return &Error{Op: "fallocate", Path: path, Kind: BadHandle}
	case off < 0 || length <= 0:
		return &Error{Op: "fallocate", Path: path, Kind: Invalid}
	case off+length > maxSize:
		return &Error{Op: "fallocate", Path: path, Kind: FileTooLarge}
	case mode&^(keepSize|punchHole|zeroRange) != 0, mode == punchHole:
		return &Error{Op: "fallocate", Path: path, Kind: NotSupported}
	}
	err := fs.change(h.f, h, func(c *content) (uint64, error) {
		gen := c.generation()
		if mode&keepSize == 0 && c.length() < off+length {
			g, err := c.truncate(ctx, off+length)
			if err != nil {
				return g, err
			}
			gen = g
		}
		if mode&(punchHole|zeroRange) != 0 {
			return c.zero(ctx, off, off+length)
		}
		return gen, nil
	})
	return fs.fault("fallocate", path, err)
}

// Seek implements Files.
func (fs *FS) Seek(ctx context.Context, h *Handle, off int64, whence int) (int64, error) {
	const seekData, seekHole = 3, 4
	if whence != seekData && whence != seekHole {
		return 0, &Error{Op: "lseek", Kind: Invalid}
	}
	h.node.mu.Lock()
	c := h.f.content
	h.node.mu.Unlock()
	pos, err := c.seek(off, whence == seekHole)
	if errors.Is(err, syscall.ENXIO) {
		return 0, &Error{Op: "lseek", Kind: NoDevice, Err: err}
	}
	return pos, fs.fault("lseek", fs.pathOf(h.node), err)
}

// pathOf names a node in errors.
func (fs *FS) pathOf(n *node) string {
	path, _ := fs.nodes.path(n)
	return path
}

// WritePage writes back pages of a mapping: at their offset, also through a
// handle that appends.
func (fs *FS) WritePage(ctx context.Context, h *Handle, p []byte, off int64) (int, error) {
	err := fs.change(h.f, h, func(c *content) (uint64, error) {
		_, gen, err := c.writeAt(ctx, p, off, nil)
		return gen, err
	})
	if err != nil {
		return 0, fs.fault("write", fs.pathOf(h.node), err)
	}
	return len(p), nil
}

// Untouched reports whether h made or emptied its file and nothing was written
// to it since: closing one of several descriptors of h then need not commit
// yet.
func (fs *FS) Untouched(h *Handle) bool {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	f := h.f
	return f.wholeLocked() && f.content.generation() == f.wholeFrom
}

// NameOf returns where a node is, for front ends that must name it to the
// kernel, or for messages. ok is false if it has no name.
func (fs *FS) NameOf(id NodeID) (parent NodeID, name string, ok bool) {
	n := fs.nodes.get(id)
	if n == nil {
		return 0, "", false
	}
	p, name := fs.nodes.parentOf(n)
	if p == nil {
		return 0, "", false
	}
	return p.id, name, true
}

// pathOfID names a node in errors.
func (fs *FS) pathOfID(id NodeID) string {
	path, _ := fs.PathOf(id)
	return path
}

// PathOf returns the path of a node from the root; ok is false if it has none.
func (fs *FS) PathOf(id NodeID) (path string, ok bool) {
	n := fs.nodes.get(id)
	if n == nil {
		return "", false
	}
	return fs.nodes.path(n)
}
