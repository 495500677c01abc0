package fuse

import (
	"context"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// OpenDir opens a directory for reading.
func (b *bridge) OpenDir(cancel <-chan struct{}, in *raw.OpenIn, out *raw.OpenOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	d, err := b.ops.OpenDir(ctx, vfs.NodeID(in.NodeId))
	if err != nil {
		return b.status("opendir", in.NodeId, err)
	}
	out.Fh = b.dirs.put(d)
	return raw.OK
}

// ReadDir lists names.
func (b *bridge) ReadDir(cancel <-chan struct{}, in *raw.ReadIn, out *raw.DirEntryList) raw.Status {
	return b.list(cancel, in, out, b.ops.ReadDir, func(e *vfs.DirEntry) bool {
		return out.AddDirEntry(dirent(e))
	})
}

// ReadDirPlus lists names with their attributes. An entry without them has
// the node number 0, by which the kernel knows that it must look it up.
func (b *bridge) ReadDirPlus(cancel <-chan struct{}, in *raw.ReadIn, out *raw.DirEntryList) raw.Status {
	return b.list(cancel, in, out, b.ops.ReadDirPlus, func(e *vfs.DirEntry) bool {
		slot := out.AddDirLookupEntry(dirent(e))
		switch {
		case e.Known == nil:
		case slot != nil:
			fillEntry(slot, e.Known)
		default:
			b.ops.Forget(e.Known.ID, 1) // did not fit: the kernel will not hear of it
		}
		return slot != nil
	})
}

type readDirFunc func(context.Context, *vfs.DirHandle, uint64, func(vfs.DirEntry) bool) error

// list calls read and hands the entries to add until it returns false.
func (b *bridge) list(cancel <-chan struct{}, in *raw.ReadIn, out *raw.DirEntryList, read readDirFunc, add func(*vfs.DirEntry) bool) raw.Status {
	d := b.dirs.get(in.Fh)
	if d == nil {
		return raw.EBADF
	}
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	err := read(ctx, d, in.Offset, func(e vfs.DirEntry) bool { return add(&e) })
	st := b.status("readdir", in.NodeId, err)
	if len(out.Bytes()) > 0 {
		// The entries count as lookups, so the kernel must get them. It asks
		// again behind the last one, and gets the error then.
		return raw.OK
	}
	return st
}

func dirent(e *vfs.DirEntry) raw.DirEntry {
	d := raw.DirEntry{Name: e.Name, Ino: uint64(e.ID), Mode: typeBits[e.Type], Off: e.Off}
	if e.TypeUnknown {
		d.Mode = 0 // DT_UNKNOWN: whoever needs the type asks for it
	}
	return d
}

// ReleaseDir closes a directory.
func (b *bridge) ReleaseDir(in *raw.ReleaseIn) {
	if d := b.dirs.take(in.Fh); d != nil {
		b.releaseDir(d)
	}
}

// releaseDir ends d if ops wants to know.
func (b *bridge) releaseDir(d *vfs.DirHandle) {
	if r, ok := b.ops.(interface{ ReleaseDir(*vfs.DirHandle) }); ok {
		r.ReleaseDir(d)
	}
}

// FsyncDir is fsync(2) of a directory.
func (b *bridge) FsyncDir(cancel <-chan struct{}, in *raw.FsyncIn) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	return b.status("fsyncdir", in.NodeId, b.ops.FsyncDir(ctx, vfs.NodeID(in.NodeId)))
}
