package vfs

import (
	"bytes"
	"context"
	"io"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

const (
	typeBits = 0o170000 // S_IFMT of inode(7)
	setgid   = 0o2000   // S_ISGID
)

// pathMax bounds the target of a symbolic link, and with it the size of an
// object that may be something else than a file (linux/limits.h).
const pathMax = 4096

// newEntry is a name that c makes in p. In a directory with the setgid bit it
// gets the directory's group, and a directory the bit too (inode(7)).
func (fs *FS) newEntry(c Caller, p *node, name string, typ FileType, mode uint32) index.Entry {
	a := &index.Attr{Mode: mode & 0o7777, HasMode: true, UID: c.UID, HasUID: true, GID: c.GID, HasGID: true}
	if dir := fs.attrHere(p); dir.Mode&setgid != 0 {
		a.GID = dir.GID
		if typ == TypeDir {
			a.Mode |= setgid
		}
	}
	return index.Entry{Name: name, Type: typ, Mtime: fs.now(), Attr: a}
}

// attrHere is what this gateway knows of a directory's attributes.
func (fs *FS) attrHere(n *node) Attr {
	n.mu.Lock()
	if n.file != nil {
		defer n.mu.Unlock()
		return fs.attrLocked(n.file)
	}
	n.mu.Unlock()
	e := index.Entry{Type: TypeDir}
	if path, ok := fs.nodes.path(n); ok && n != fs.nodes.root {
		if known, ok := fs.idx.Peek(path); ok {
			e = known
		}
	}
	return fs.attrOf(n, e)
}

// touchDir notes that the names of a directory changed.
func (fs *FS) touchDir(n *node) { n.changed.Store(fs.now().UnixNano()) }

// Mkdir implements Directories.
func (fs *FS) Mkdir(ctx context.Context, c Caller, parent NodeID, name string, mode uint32) (Known, error) {
	return fs.makeName(ctx, "mkdir", c, parent, name, TypeDir, mode, 0, nil)
}

// Symlink implements Directories.
func (fs *FS) Symlink(ctx context.Context, c Caller, parent NodeID, name, target string) (Known, error) {
	if len(target) >= pathMax {
		return Known{}, &Error{Op: "symlink", Path: name, Kind: NameTooLong}
	}
	return fs.makeName(ctx, "symlink", c, parent, name, TypeSymlink, 0o777, 0, []byte(target))
}

// Mknod implements Directories.
func (fs *FS) Mknod(ctx context.Context, c Caller, parent NodeID, name string, mode, rdev uint32) (Known, error) {
	typ, ok := nodeType(mode & typeBits)
	if !ok {
		return Known{}, &Error{Op: "mknod", Path: name, Kind: Permission}
	}
	return fs.makeName(ctx, "mknod", c, parent, name, typ, mode, rdev, nil)
}

// nodeType returns the type that mknod(2) makes for type bits; none means a
// regular file.
func nodeType(bits uint32) (FileType, bool) {
	for _, t := range []FileType{TypeFile, TypeFIFO, TypeSocket, TypeCharDevice, TypeBlockDevice} {
		if bits == t.Bits() || bits == 0 {
			return t, true
		}
	}
	return 0, false
}

// makeName makes an object that exists as soon as it has its name.
func (fs *FS) makeName(ctx context.Context, op string, c Caller, parent NodeID, name string, typ FileType, mode, rdev uint32, body []byte) (Known, error) {
	p, path, err := fs.target(op, parent, name)
	if err != nil {
		return Known{}, err
	}
	if fs.exists(p, name, path) {
		return Known{}, &Error{Op: op, Path: path, Kind: Exist}
	}
	e := fs.newEntry(c, p, name, typ, mode)
	if typ == TypeCharDevice || typ == TypeBlockDevice {
		e.Attr.Rdev = rdev
	}
	if err := fs.claimName(ctx, path, &e, store.Body{Reader: bytes.NewReader(body), Size: int64(len(body))}); err != nil {
		return Known{}, err
	}
	n := fs.nodes.intern(p, name, typ, true)
	if n == nil {
		return Known{}, &Error{Op: op, Path: path, Kind: NotExist}
	}
	fs.touchDir(p)
	return fs.known(n, index.Answer{Entry: e, Until: fs.now().Add(fs.opts.DirTTL)}), nil
}

// Readlink implements Directories.
func (fs *FS) Readlink(ctx context.Context, id NodeID) (string, error) {
	n := fs.nodes.get(id)
	if n == nil {
		return "", &Error{Op: "readlink", Kind: Stale}
	}
	path, named := fs.nodes.path(n)
	if n.typ != TypeSymlink {
		return "", &Error{Op: "readlink", Path: path, Kind: Invalid}
	}
	_, again := fs.retries.begin(ctx, fs.now())
	if !named {
		return "", fs.notALink(ctx, path, again)
	}
	if e, ok := fs.idx.Peek(path); ok {
		if target, ok := fs.links.Get(e.ETag); ok {
			return target, nil
		}
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	obj, err := fs.store.Get(waiting, path, store.GetOptions{})
	if err != nil {
		return "", fs.fault("readlink", path, waiting.explain(err))
	}
	defer obj.Body.Close()
	if index.Decode(obj.Info).Type != TypeSymlink {
		return "", fs.notALink(ctx, path, again)
	}
	target, err := io.ReadAll(io.LimitReader(obj.Body, pathMax))
	if err != nil {
		return "", fs.fault("readlink", path, err)
	}
	fs.links.Add(obj.Info.ETag, string(target))
	return string(target), nil
}

// notALink answers for a link that was replaced meanwhile: the kernel looks
// again, once, and then the name is no link.
func (fs *FS) notALink(ctx context.Context, path string, again bool) error {
	if again {
		return &Error{Op: "readlink", Path: path, Kind: Invalid}
	}
	fs.retries.again(ctx, fs.now(), false)
	return &Error{Op: "readlink", Path: path, Kind: Stale}
}

// needsBytes reports whether open handles of n still need bytes from S3.
func (fs *FS) needsBytes(n *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.file
	return f != nil && f.handles > 0 && f.content != nil && !f.content.whole()
}

// materialize gets all bytes of an open file, whose object is about to go. If
// it cannot, readers get Stale, never wrong bytes.
func (fs *FS) materialize(ctx context.Context, n *node) {
	n.mu.Lock()
	var c *content
	if n.file != nil {
		c = n.file.content
	}
	n.mu.Unlock()
	if c == nil || c.use() != nil {
		return
	}
	defer c.done()
	if err := c.ensure(ctx, 0, c.length()); err != nil {
		fs.log.Warn("keep the bytes of an open file that is being removed", "err", err)
	}
}

// ensureMarker makes the marker object of a directory that has none, so that
// it stays when its last entry goes.
func (fs *FS) ensureMarker(ctx context.Context, dir string) {
	e, ok := fs.idx.Peek(dir)
	if dir == "" || !ok || e.Marker || fs.decisions.dir(dir) != nil {
		return // the last is in the journal, and will get one
	}
	if fs.opts.Locks != nil && fs.alone() && fs.hasStored(dir) {
		return // there is more in it, and nobody else takes that away
	}
	e.Type, e.Marker = TypeDir, true
	if e.Mtime.IsZero() {
		e.Mtime = fs.now()
	}
	_, err := fs.store.Put(ctx, dir+"/", store.Body{}, store.PutOptions{ContentType: contentType(e), If: store.IfAbsent()})
	if err != nil && !store.IsKind(err, store.PreconditionFailed) {
		fs.noteError(fs.fault("mkdir", dir, err))
		return
	}
	if e.Attr == nil {
		e.Attr = &index.Attr{}
	}
	if _, ok := fs.idx.Peek(dir); ok { // else it was removed meanwhile
		fs.idx.Put(dir, e, fs.now())
	}
}

// Rmdir implements Directories.
func (fs *FS) Rmdir(ctx context.Context, parent NodeID, name string) error {
	p, path, err := fs.target("rmdir", parent, name)
	if err != nil {
		return err
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	ctx = waiting
	unlock, err := fs.locks.lockTrees(ctx, path)
	if err != nil {
		return fs.fault("rmdir", path, waiting.explain(err))
	}
	defer unlock()
	n := fs.nodes.child(p, name)
	if n != nil && n.typ != TypeDir {
		return &Error{Op: "rmdir", Path: path, Kind: NotDir}
	}
	if n == nil {
		if e, err := fs.idx.Lookup(ctx, path); err != nil {
			return fs.fault("rmdir", path, waiting.explain(err))
		} else if e.Type != TypeDir {
			return &Error{Op: "rmdir", Path: path, Kind: NotDir}
		}
	}
	if done, err := fs.rmdirHere(n, path); done || err != nil {
		if done {
			fs.touchDir(p)
		}
		return err
	}
	if nd := fs.decisions.dir(path); nd != nil {
		if err := fs.storeDirAt(ctx, nd); err != nil {
			return fs.fault("rmdir", path, waiting.explain(err))
		}
	}
	if err := fs.checkEmpty(ctx, n, path); err != nil {
		fs.lookForTrees() // perhaps a removal or rename that nobody carries on
		return waiting.explain(err)
	}
	if n != nil {
		fs.bury(n)
	}
	if err := fs.removeName(ctx, n, path, path+"/"); err != nil {
		return fs.fault("rmdir", path, err)
	}
	fs.touchDir(p)
	return nil
}

// bury remembers the attributes of a directory that goes, for fstat(2) of one
// that is open.
func (fs *FS) bury(n *node) {
	a := fs.attrHere(n)
	a.Nlink = 0
	fs.removed.Add(n.id, a)
}

// checkEmpty returns NotEmpty if a directory has names, here or in S3.
func (fs *FS) checkEmpty(ctx context.Context, n *node, path string) error {
	if n != nil && len(fs.uncommittedIn(n, nil)) > 0 {
		return &Error{Op: "rmdir", Path: path, Kind: NotEmpty}
	}
	empty, err := fs.idx.Empty(ctx, path)
	if err != nil {
		return fs.fault("rmdir", path, err)
	}
	if !empty {
		return &Error{Op: "rmdir", Path: path, Kind: NotEmpty}
	}
	return nil
}

// copyLimit bounds one copy on the server, which may move much data.
const copyLimit = 10 * time.Minute
