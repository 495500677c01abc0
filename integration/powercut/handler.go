package powercut

import (
	"path"
	"syscall"

	raw "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handler answers the kernel. Inode numbers are the node ids, there are no
// handles, and locks are left to the kernel.
type handler struct {
	raw.RawFileSystem
	f *FS
}

var _ raw.RawFileSystem = (*handler)(nil)

// validity is how long the kernel may remember what it was told: nobody else
// changes anything.
const validity = 3600 // seconds

// node returns the inode of a request. The caller holds f.mu.
func (h *handler) node(id uint64) (*inode, raw.Status) {
	if n := h.f.nodes[id]; n != nil {
		return n, raw.OK
	}
	return nil, raw.Status(syscall.ESTALE)
}

// dir returns the directory of a request and what it has under a name.
func (h *handler) dir(id uint64, name string) (dir, child *inode, status raw.Status) {
	if dir, status = h.node(id); status != raw.OK {
		return nil, nil, status
	}
	if !dir.isDir() {
		return nil, nil, raw.ENOTDIR
	}
	return dir, dir.entries[name], raw.OK
}

func (n *inode) fill(out *raw.Attr) {
	*out = raw.Attr{
		Ino: n.ino, Mode: n.kind | n.attr.perm, Nlink: uint32(max(n.links, 0)), Rdev: n.rdev, Blksize: pageSize,
		Mtime: uint64(n.attr.mtime.Unix()), Mtimensec: uint32(n.attr.mtime.Nanosecond()),
		Ctime: uint64(n.attr.ctime.Unix()), Ctimensec: uint32(n.attr.ctime.Nanosecond()),
		Owner: raw.Owner{Uid: n.attr.uid, Gid: n.attr.gid},
	}
	out.Atime, out.Atimensec = out.Mtime, out.Mtimensec
	switch {
	case n.bytes != nil:
		out.Size = uint64(n.bytes.live.size)
		out.Blocks = uint64(len(n.bytes.live.at)) * pageSize / 512
	case n.isDir():
		out.Nlink++
	default:
		out.Size = uint64(len(n.target))
	}
}

// know tells the kernel about an inode, which it then keeps until Forget.
func (h *handler) know(n *inode, out *raw.EntryOut) raw.Status {
	n.known++
	id := n.ino
	if n == h.f.tree.root {
		id = raw.FUSE_ROOT_ID
	}
	h.f.nodes[id] = n
	*out = raw.EntryOut{NodeId: id, Generation: 1, EntryValid: validity, AttrValid: validity}
	n.fill(&out.Attr)
	return raw.OK
}

// Forget implements raw.RawFileSystem.
func (h *handler) Forget(id, lookups uint64) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n := h.f.nodes[id]
	if n == nil || n == h.f.tree.root {
		return
	}
	if n.known -= min(lookups, n.known); n.known == 0 {
		delete(h.f.nodes, id)
	}
}

// Lookup implements raw.RawFileSystem.
func (h *handler) Lookup(_ <-chan struct{}, in *raw.InHeader, name string, out *raw.EntryOut) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	_, n, status := h.dir(in.NodeId, name)
	if status != raw.OK {
		return status
	}
	if n == nil {
		return raw.ENOENT
	}
	return h.know(n, out)
}

// GetAttr implements raw.RawFileSystem.
func (h *handler) GetAttr(_ <-chan struct{}, in *raw.GetAttrIn, out *raw.AttrOut) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	out.AttrValid = validity
	n.fill(&out.Attr)
	return raw.OK
}

// SetAttr implements raw.RawFileSystem.
func (h *handler) SetAttr(_ <-chan struct{}, in *raw.SetAttrIn, out *raw.AttrOut) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	if size, ok := in.GetSize(); ok {
		if n.bytes == nil {
			return raw.EINVAL
		}
		if status := h.f.do(Truncate, n.path(), func() raw.Status {
			n.bytes.do(change{kind: changeTruncate, off: int64(size)})
			n.touch()
			return raw.OK
		}); status != raw.OK {
			return status
		}
	}
	if a, changed := setAttr(n.attr, in); changed {
		if status := h.f.do(Attribute, n.path(), func() raw.Status {
			n.setAttr(a)
			return raw.OK
		}); status != raw.OK {
			return status
		}
	}
	out.AttrValid = validity
	n.fill(&out.Attr)
	return raw.OK
}

// setAttr returns attributes with what a request changes of them.
func setAttr(a attributes, in *raw.SetAttrIn) (attributes, bool) {
	changed := false
	if perm, ok := in.GetMode(); ok {
		a.perm, changed = perm, true
	}
	if uid, ok := in.GetUID(); ok {
		a.uid, changed = uid, true
	}
	if gid, ok := in.GetGID(); ok {
		a.gid, changed = gid, true
	}
	if mtime, ok := in.GetMTime(); ok {
		a.mtime, changed = mtime, true
	}
	return a, changed
}

// make adds a new inode to a directory.
func (h *handler) make(in *raw.InHeader, name string, op Kind, mode uint32, more func(*inode), out *raw.EntryOut) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	dir, n, status := h.dir(in.NodeId, name)
	if status != raw.OK {
		return status
	}
	if n != nil {
		return raw.Status(syscall.EEXIST)
	}
	status = h.f.do(op, path.Join(dir.path(), name), func() raw.Status {
		n = h.f.tree.newInode(mode&unix.S_IFMT, mode&^unix.S_IFMT, in.Uid, in.Gid)
		more(n)
		h.f.tree.change(entryChange{{dir, name, n}})
		return raw.OK
	})
	if status != raw.OK {
		return status
	}
	return h.know(n, out)
}

// Create implements raw.RawFileSystem.
func (h *handler) Create(_ <-chan struct{}, in *raw.CreateIn, name string, out *raw.CreateOut) raw.Status {
	out.OpenFlags = raw.FOPEN_KEEP_CACHE
	return h.make(&in.InHeader, name, Create, in.Mode&^uint32(unix.S_IFMT)|unix.S_IFREG, func(*inode) {}, &out.EntryOut)
}

// Mknod implements raw.RawFileSystem.
func (h *handler) Mknod(_ <-chan struct{}, in *raw.MknodIn, name string, out *raw.EntryOut) raw.Status {
	return h.make(&in.InHeader, name, Create, in.Mode, func(n *inode) { n.rdev = in.Rdev }, out)
}

// Mkdir implements raw.RawFileSystem.
func (h *handler) Mkdir(_ <-chan struct{}, in *raw.MkdirIn, name string, out *raw.EntryOut) raw.Status {
	return h.make(&in.InHeader, name, Mkdir, in.Mode&^uint32(unix.S_IFMT)|unix.S_IFDIR, func(*inode) {}, out)
}

// Symlink implements raw.RawFileSystem.
func (h *handler) Symlink(_ <-chan struct{}, in *raw.InHeader, target, name string, out *raw.EntryOut) raw.Status {
	return h.make(in, name, Create, unix.S_IFLNK|0o777, func(n *inode) { n.target = target }, out)
}

// Readlink implements raw.RawFileSystem.
func (h *handler) Readlink(_ <-chan struct{}, in *raw.InHeader) ([]byte, raw.Status) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return nil, status
	}
	return []byte(n.target), raw.OK
}

// Link implements raw.RawFileSystem.
func (h *handler) Link(_ <-chan struct{}, in *raw.LinkIn, name string, out *raw.EntryOut) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	dir, old, status := h.dir(in.NodeId, name)
	if status != raw.OK {
		return status
	}
	n, status := h.node(in.Oldnodeid)
	if status != raw.OK {
		return status
	}
	if old != nil {
		return raw.Status(syscall.EEXIST)
	}
	status = h.f.do(Link, path.Join(dir.path(), name), func() raw.Status {
		h.f.tree.change(entryChange{{dir, name, n}})
		return raw.OK
	})
	if status != raw.OK {
		return status
	}
	return h.know(n, out)
}

// Unlink implements raw.RawFileSystem.
func (h *handler) Unlink(_ <-chan struct{}, in *raw.InHeader, name string) raw.Status {
	return h.remove(in, name, Unlink)
}

// Rmdir implements raw.RawFileSystem.
func (h *handler) Rmdir(_ <-chan struct{}, in *raw.InHeader, name string) raw.Status {
	return h.remove(in, name, Rmdir)
}

func (h *handler) remove(in *raw.InHeader, name string, op Kind) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	dir, n, status := h.dir(in.NodeId, name)
	switch {
	case status != raw.OK:
		return status
	case n == nil:
		return raw.ENOENT
	case op == Rmdir && len(n.entries) > 0:
		return raw.Status(syscall.ENOTEMPTY)
	}
	return h.f.do(op, path.Join(dir.path(), name), func() raw.Status {
		h.f.tree.change(entryChange{{dir, name, nil}})
		return raw.OK
	})
}

// Rename implements raw.RawFileSystem.
func (h *handler) Rename(_ <-chan struct{}, in *raw.RenameIn, from, to string) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	dir, n, status := h.dir(in.NodeId, from)
	if status != raw.OK {
		return status
	}
	newDir, old, status := h.dir(in.Newdir, to)
	switch {
	case status != raw.OK:
		return status
	case n == nil, old == nil && in.Flags&unix.RENAME_EXCHANGE != 0:
		return raw.ENOENT
	case old != nil && in.Flags&unix.RENAME_NOREPLACE != 0:
		return raw.Status(syscall.EEXIST)
	case in.Flags&unix.RENAME_WHITEOUT != 0:
		return raw.EINVAL
	case old == n:
		return raw.OK
	}
	change := entryChange{{dir, from, nil}, {newDir, to, n}}
	if in.Flags&unix.RENAME_EXCHANGE != 0 {
		change[0].node = old
	} else if old != nil {
		if old.isDir() && len(old.entries) > 0 {
			return raw.Status(syscall.ENOTEMPTY)
		}
	}
	return h.f.do(Rename, path.Join(newDir.path(), to), func() raw.Status {
		h.f.tree.change(change)
		return raw.OK
	})
}

// StatFs implements raw.RawFileSystem.
func (h *handler) StatFs(_ <-chan struct{}, _ *raw.InHeader, out *raw.StatfsOut) raw.Status {
	const blocks = 8 << 30 / pageSize
	*out = raw.StatfsOut{
		Blocks: blocks, Bfree: blocks / 2, Bavail: blocks / 2, Files: 1 << 20, Ffree: 1 << 19,
		Bsize: pageSize, Frsize: pageSize, NameLen: 255,
	}
	return raw.OK
}
