package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// receiveStep is how much of a body is read at a time, in bytes.
const receiveStep = 256 << 10

var receiveBuffers = sync.Pool{New: func() any { b := make([]byte, receiveStep); return &b }}

// document is a body on its way to become the object of a name. Its file and
// node are its own, and nobody else sees them.
type document struct {
	fs   *FS
	f    *file
	path string
	size int64 // that it must have; -1: not known
}

// Put implements Documents.
func (fs *FS) Put(ctx context.Context, c Caller, parent NodeID, name string, body io.Reader, o PutOptions) (Attr, bool, error) {
	p, path, err := fs.target("put", parent, name)
	if err != nil {
		return Attr{}, false, err
	}
	waiting := fs.patient(ctx)
	t, err := fs.named(waiting, "put", p, name, path)
	err = waiting.explain(err)
	waiting.release()
	if err != nil {
		return Attr{}, false, err
	}
	e := fs.putEntry(c, t, o)
	d, err := fs.newDocument(path, e, o.Size)
	if err != nil {
		return Attr{}, false, fs.fault("put", path, err)
	}
	defer d.drop()
	staged := fs.staged.match(name)
	if err := d.receive(ctx, body, !staged); err != nil {
		return Attr{}, false, fs.fault("put", path, err)
	}
	if o.Ready != nil {
		done, err := o.Ready(ctx)
		if err != nil {
			return Attr{}, false, err
		}
		defer done()
	}
	ctx = context.WithoutCancel(ctx)
	if staged {
		return fs.putStaged(ctx, c, d, t, o)
	}
	return fs.putObject(ctx, c, d, t, o)
}

// putEntry is the file that a Put makes of t.
func (fs *FS) putEntry(c Caller, t named, o PutOptions) index.Entry {
	e := fs.newEntry(c, t.dir, t.name, TypeFile, o.Mode)
	if t.there {
		e.Attr = t.entry.Attr
		if e.Attr.Mode&(setuid|setgid) != 0 { // as Linux does when somebody writes
			a := *e.Attr
			a.Mode &^= setuid | setgid
			e.Attr = &a
		}
	}
	if !o.Mtime.IsZero() {
		e.Mtime = o.Mtime
	}
	return e
}

const setuid = 0o4000 // S_ISUID of inode(7)

func (fs *FS) newDocument(path string, e index.Entry, size int64) (*document, error) {
	if size > maxSize {
		return nil, &Error{Op: "put", Path: path, Kind: FileTooLarge}
	}
	c, err := fs.newContent()
	if err != nil {
		return nil, err
	}
	c.gen = 1
	f := &file{node: &node{typ: TypeFile}, content: c, entry: e, wholeFrom: 1}
	f.node.file = f
	return &document{fs: fs, f: f, path: path, size: size}, nil
}

// drop ends what was not handed on.
func (d *document) drop() {
	d.f.node.mu.Lock()
	up, c := d.f.takeUploadLocked(), d.f.content
	d.f.content = nil
	d.f.node.mu.Unlock()
	d.fs.dropUpload(up)
	if c != nil {
		d.fs.retire(c, "", "", false, d.fs.now())
	}
}

// receive writes body to the local file. Of a large one, parts are sent as soon
// as they are complete.
func (d *document) receive(ctx context.Context, body io.Reader, ahead bool) error {
	buf := receiveBuffers.Get().(*[]byte)
	defer receiveBuffers.Put(buf)
	size := int64(0)
	for {
		n, err := fill(body, *buf)
		if size+int64(n) > maxSize {
			return &Error{Op: "put", Path: d.path, Kind: FileTooLarge}
		}
		if n > 0 {
			if werr := d.write(ctx, (*buf)[:n], size); werr != nil {
				return werr
			}
			size += int64(n)
			if ahead {
				d.sendAhead(size)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return &Error{Op: "put", Path: d.path, Kind: IO, Err: fmt.Errorf("the body ended after %d bytes: %w", size, err)}
		}
	}
	if d.size >= 0 && size != d.size {
		return &Error{Op: "put", Path: d.path, Kind: Invalid, Err: fmt.Errorf("the body has %d bytes, not %d", size, d.size)}
	}
	return nil
}

// fill reads until p is full or body says something.
func fill(body io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var k int
		k, err = body.Read(p[n:])
		n += k
	}
	return n, err
}

// write adds to the local file. When the disk is full, the cache gives way.
func (d *document) write(ctx context.Context, p []byte, off int64) error {
	_, _, err := d.f.content.writeAt(ctx, p, off, nil)
	if err != nil && noSpace(err) && d.fs.cache.shrink(spaceStep) {
		_, _, err = d.f.content.writeAt(ctx, p, off, nil)
	}
	return err
}

// sendAhead sends what is complete of a body of which size bytes are here. One
// that is known to be large is sent from its first part on.
func (d *document) sendAhead(size int64) {
	if size < sendAheadFrom && (d.size <= singleCommit || size < smallPart) {
		return
	}
	f := d.f
	f.node.mu.Lock()
	if f.upload == nil {
		f.upload = &upload{fs: d.fs, c: f.content, key: d.path, entry: f.entry, sent: map[int]sentPart{}}
	}
	up := f.upload
	f.node.mu.Unlock()
	up.advance(partOf(size))
}

// putObject makes d the object of the name t.
func (fs *FS) putObject(ctx context.Context, c Caller, d *document, t named, o PutOptions) (Attr, bool, error) {
	waiting := fs.patient(ctx)
	defer waiting.release()
	ctx = waiting
	unlock, err := fs.locks.lock(ctx, t.path)
	if err != nil {
		return Attr{}, false, fs.fault("put", t.path, waiting.explain(err))
	}
	defer unlock()
	if err := fs.quiet(ctx, t.path); err != nil {
		return Attr{}, false, fs.fault("put", t.path, waiting.explain(err))
	}
	if t, err = fs.named(ctx, "put", t.dir, t.name, t.path); err != nil {
		return Attr{}, false, waiting.explain(err)
	}
	if !fs.stillNamed(t.dir, t.path) {
		return Attr{}, false, &Error{Op: "put", Path: t.path, Kind: NotExist}
	}
	d.refresh(fs.putEntry(c, t, o), !o.Mtime.IsZero())
	fs.spareReaders(ctx, t)
	s := shipment{f: d.f, c: d.f.content, path: t.path, key: t.path, entry: d.f.entry, cond: o.If.precondition()}
	fs.committing.Add(1)
	err = fs.ship(ctx, &s)
	fs.committing.Add(-1)
	if err != nil {
		return Attr{}, false, waiting.explain(fs.notPut(t.path, s.cond, err))
	}
	d.f.content.rebase(origin{key: t.path, etag: s.entry.ETag, size: s.entry.Size}, s.gen)
	content := d.f.content
	d.f.content = nil
	fs.installed(t, s.entry, content)
	fs.commits.Add(1)
	return fs.attrOf(&node{id: fs.idOf(t), typ: TypeFile}, s.entry), !t.there, nil
}

// refresh gives d the attributes that the name has by now. An upload that was
// begun with others is not used.
func (d *document) refresh(e index.Entry, timed bool) {
	f := d.f
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	up := f.upload
	switch {
	case up == nil:
		f.entry = e
	case e.Attr != f.entry.Attr && !sameNew(e.Attr, f.entry.Attr):
		d.fs.dropUpload(f.takeUploadLocked())
		f.entry = e
	case !timed:
		f.entry.Mtime = up.entry.Mtime // as it was sent
	}
}

// sameNew reports whether two attributes say the same of a file that is new:
// they are made anew each time.
func sameNew(a, b *index.Attr) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.HasMode == b.HasMode && a.HasUID == b.HasUID &&
		a.HasGID == b.HasGID && len(a.XAttrs)+len(b.XAttrs)+len(a.Other)+len(b.Other) == 0
}

// idOf is the node that the name has, or would get.
func (fs *FS) idOf(t named) NodeID {
	if n := fs.nodes.child(t.dir, t.name); n != nil {
		return n.id
	}
	dir, name := splitPath(t.path)
	return nodeID(dir, name)
}

// notPut says why a document was not stored. Nothing is kept of it: who sent it
// has it.
func (fs *FS) notPut(path string, cond store.Precondition, err error) error {
	fs.commitErrors.Add(1)
	refused := store.IsKind(err, store.PreconditionFailed) || cond.Match != "" && store.IsKind(err, store.NotExist)
	if !refused || !cond.Set() {
		err = fs.fault("put", path, err)
		fs.noteError(err)
		return err
	}
	fs.idx.Forget(path)
	kind := Stale
	if cond.Absent {
		kind = Exist
	}
	return &Error{Op: "put", Path: path, Kind: kind, Err: err}
}

// putStaged makes d a temporary file, which stays here until it is renamed.
// Such a name is this gateway's own, and so are conditions on it.
func (fs *FS) putStaged(ctx context.Context, c Caller, d *document, t named, o PutOptions) (Attr, bool, error) {
	t, err := fs.named(ctx, "put", t.dir, t.name, t.path)
	if err != nil {
		return Attr{}, false, err
	}
	if o.If.Absent && t.there {
		return Attr{}, false, &Error{Op: "put", Path: t.path, Kind: Exist}
	}
	if o.If.Match != "" && (!t.there || string(t.entry.ETag) != o.If.Match) {
		return Attr{}, false, &Error{Op: "put", Path: t.path, Kind: Stale}
	}
	known, h, err := fs.Create(ctx, c, t.dir.id, t.name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, o.Mode)
	if err != nil {
		return Attr{}, false, err
	}
	defer fs.Forget(known.ID, 1)
	defer fs.Release(h)
	if err := d.copyInto(ctx, h); err != nil {
		return Attr{}, false, fs.fault("put", t.path, err)
	}
	if !o.Mtime.IsZero() {
		if _, err := fs.SetAttr(ctx, c, known.ID, h, SetAttr{Mtime: &o.Mtime}); err != nil {
			return Attr{}, false, err
		}
	}
	if err := fs.Flush(ctx, h); err != nil {
		return Attr{}, false, err
	}
	h.node.mu.Lock()
	h.node.told = toldMany // the kernel has not seen these writes
	h.node.mu.Unlock()
	now, err := fs.GetAttr(ctx, known.ID, h)
	fs.invalidator().InvalidateNode(known.ID)
	fs.invalidator().InvalidateEntry(t.dir.id, t.name)
	return now.Attr, !t.there, err
}

// copyInto writes the bytes of d through a handle.
func (d *document) copyInto(ctx context.Context, h *Handle) error {
	buf := receiveBuffers.Get().(*[]byte)
	defer receiveBuffers.Put(buf)
	r := io.NewSectionReader(d.f.content.file, 0, d.f.content.length())
	for off := int64(0); ; {
		n, err := r.Read(*buf)
		if n > 0 {
			if _, werr := d.fs.Write(ctx, h, (*buf)[:n], off); werr != nil {
				return werr
			}
			off += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
