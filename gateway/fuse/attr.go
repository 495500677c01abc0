package fuse

import (
	"cmp"
	"syscall"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// blockSize is st_blksize. cp and cat read and write at least 256 KiB at a
// time anyway; a larger value would make programs that size their buffers by
// it, Python for one, read that much for each seek.
const blockSize = 256 << 10

// typeBits are the file type bits of st_mode.
var typeBits = [...]uint32{
	vfs.TypeFile:        syscall.S_IFREG,
	vfs.TypeDir:         syscall.S_IFDIR,
	vfs.TypeSymlink:     syscall.S_IFLNK,
	vfs.TypeFIFO:        syscall.S_IFIFO,
	vfs.TypeSocket:      syscall.S_IFSOCK,
	vfs.TypeCharDevice:  syscall.S_IFCHR,
	vfs.TypeBlockDevice: syscall.S_IFBLK,
}

// fillAttr translates a to the kernel's form. The access time is not kept; it
// shows as the modification time.
func fillAttr(out *raw.Attr, a *vfs.Attr) {
	out.Ino = uint64(cmp.Or(a.Ino, a.ID))
	out.Size = uint64(a.Size)
	out.Blocks = uint64(a.Size+511) / 512
	out.Mode = typeBits[a.Type] | a.Mode&07777
	out.Nlink = a.Nlink
	out.Uid = a.UID
	out.Gid = a.GID
	out.Rdev = a.Rdev
	out.Blksize = blockSize
	if a.Type == vfs.TypeDir {
		out.Blocks = 0
	}
	out.Mtime, out.Mtimensec = unixTime(a.Mtime)
	out.Atime, out.Atimensec = out.Mtime, out.Mtimensec
	out.Ctime, out.Ctimensec = unixTime(a.Ctime)
}

func unixTime(t time.Time) (sec uint64, nsec uint32) {
	if t.IsZero() {
		return 0, 0
	}
	return uint64(t.Unix()), uint32(t.Nanosecond())
}

// fillEntry is the answer to a lookup that found k. The generation is always
// the same: vfs does not give an ID to another node while the kernel knows it.
func fillEntry(out *raw.EntryOut, k *vfs.Known) {
	out.NodeId = uint64(k.ID)
	out.Generation = 1
	out.SetEntryTimeout(k.EntryTTL)
	out.SetAttrTimeout(k.AttrTTL)
	fillAttr(&out.Attr, &k.Attr)
}

func fillAttrOut(out *raw.AttrOut, k *vfs.Known) {
	out.SetTimeout(k.AttrTTL)
	fillAttr(&out.Attr, &k.Attr)
}

func callerOf(h *raw.InHeader) vfs.Caller {
	return vfs.Caller{UID: h.Uid, GID: h.Gid, PID: h.Pid}
}
