package fuse

import (
	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// Mknod makes a file, FIFO, socket or device.
func (b *bridge) Mknod(cancel <-chan struct{}, in *raw.MknodIn, name string, out *raw.EntryOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	k, err := b.ops.Mknod(ctx, callerOf(&in.InHeader), vfs.NodeID(in.NodeId), name, in.Mode, in.Rdev)
	return b.entry("mknod", in.NodeId, out, &k, err)
}

// Mkdir makes a directory. The kernel has applied the umask.
func (b *bridge) Mkdir(cancel <-chan struct{}, in *raw.MkdirIn, name string, out *raw.EntryOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	k, err := b.ops.Mkdir(ctx, callerOf(&in.InHeader), vfs.NodeID(in.NodeId), name, in.Mode&07777)
	return b.entry("mkdir", in.NodeId, out, &k, err)
}

// Symlink makes a symbolic link.
func (b *bridge) Symlink(cancel <-chan struct{}, h *raw.InHeader, target, name string, out *raw.EntryOut) raw.Status {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	k, err := b.ops.Symlink(ctx, callerOf(h), vfs.NodeID(h.NodeId), name, target)
	return b.entry("symlink", h.NodeId, out, &k, err)
}

// Readlink reads a symbolic link.
func (b *bridge) Readlink(cancel <-chan struct{}, h *raw.InHeader) ([]byte, raw.Status) {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	target, err := b.ops.Readlink(ctx, vfs.NodeID(h.NodeId))
	return []byte(target), b.status("readlink", h.NodeId, err)
}

// Link is not possible: an object has one key.
func (b *bridge) Link(<-chan struct{}, *raw.LinkIn, string, *raw.EntryOut) raw.Status {
	return raw.ENOTSUP
}

// Unlink removes a name.
func (b *bridge) Unlink(cancel <-chan struct{}, h *raw.InHeader, name string) raw.Status {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	return b.status("unlink", h.NodeId, b.ops.Unlink(ctx, vfs.NodeID(h.NodeId), name))
}

// Rmdir removes an empty directory.
func (b *bridge) Rmdir(cancel <-chan struct{}, h *raw.InHeader, name string) raw.Status {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	return b.status("rmdir", h.NodeId, b.ops.Rmdir(ctx, vfs.NodeID(h.NodeId), name))
}

// Rename moves a name. Swapping two names, or leaving a whiteout, cannot be
// done with one object at a time, and is EINVAL as renameat2(2) says.
func (b *bridge) Rename(cancel <-chan struct{}, in *raw.RenameIn, name, newName string) raw.Status {
	if in.Flags&^renameNoReplace != 0 {
		return raw.EINVAL
	}
	var flags vfs.RenameFlags
	if in.Flags&renameNoReplace != 0 {
		flags = vfs.RenameNoReplace
	}
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	err := b.ops.Rename(ctx, vfs.NodeID(in.NodeId), name, vfs.NodeID(in.Newdir), newName, flags)
	return b.status("rename", in.NodeId, err)
}
