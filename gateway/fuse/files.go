package fuse

import (
	"context"
	"syscall"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// PageWriter is what vfs.Operations may have beside: WritePage writes p at off
// even if h was opened with O_APPEND. The kernel writes back pages of a shared
// mapping through any writable handle of the file.
type PageWriter interface {
	WritePage(ctx context.Context, h *vfs.Handle, p []byte, off int64) (n int, err error)
}

// BytesReader is what vfs.Operations may have beside: large reads are answered
// from where the bytes are, be it memory or the local file.
type BytesReader interface {
	// ReadBytes reads up to n bytes; fewer only at the end.
	ReadBytes(ctx context.Context, h *vfs.Handle, n int, off int64) (*vfs.Bytes, error)
}

// bytesFrom is the size of a read, in bytes, from which a copy costs more than
// answering from where the bytes are.
const bytesFrom = 128 << 10

// Create makes and opens a file.
func (b *bridge) Create(cancel <-chan struct{}, in *raw.CreateIn, name string, out *raw.CreateOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	k, h, err := b.ops.Create(ctx, callerOf(&in.InHeader), vfs.NodeID(in.NodeId), name, openFlags(in.Flags), in.Mode&07777)
	if err != nil {
		return b.status("create", in.NodeId, err)
	}
	fillEntry(&out.EntryOut, &k)
	b.opened(h, in.Flags, &out.OpenOut)
	return raw.OK
}

// Open opens a file. ESTALE makes the kernel look the name up and try again.
func (b *bridge) Open(cancel <-chan struct{}, in *raw.OpenIn, out *raw.OpenOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	h, err := b.ops.Open(ctx, vfs.NodeID(in.NodeId), openFlags(in.Flags))
	if err != nil {
		return b.status("open", in.NodeId, err)
	}
	if in.Mode&raw.OPEN_KILL_SUIDGID != 0 {
		b.killPrivileges(ctx, &in.InHeader, h)
	}
	if !b.ops.KeepCache(h) && b.kernel != nil {
		// The kernel may hold the times of an older version for as long as it
		// may cache attributes. These alone are dropped without a lock.
		b.kernel.InodeNotify(in.NodeId, -1, 0)
	}
	b.opened(h, in.Flags, out)
	if h.Direct() || h.Elsewhere(vfs.NodeID(in.NodeId)) {
		// Elsewhere: its pages are not those of the node that the kernel opened.
		out.OpenFlags |= raw.FOPEN_DIRECT_IO
	}
	return raw.OK
}

// openFlags removes what the kernel adds to the flags of open(2).
func openFlags(flags uint32) int { return int(flags &^ raw.FMODE_EXEC) }

// opened gives h a number and decides what the kernel caches.
func (b *bridge) opened(h *vfs.Handle, flags uint32, out *raw.OpenOut) {
	out.Fh = b.files.put(h)
	if b.ops.KeepCache(h) {
		out.OpenFlags |= raw.FOPEN_KEEP_CACHE
	}
	if flags&syscall.O_ACCMODE == syscall.O_WRONLY && flags&syscall.O_APPEND != 0 {
		// Else the kernel would put the data into its pages where it believes
		// the end to be, which is elsewhere if another gateway appended.
		out.OpenFlags |= raw.FOPEN_DIRECT_IO
	}
}

// killPrivileges takes setuid and setgid off a file that was written.
func (b *bridge) killPrivileges(ctx *requestContext, in *raw.InHeader, h *vfs.Handle) {
	mode := b.killedMode(ctx, in.NodeId, h)
	if mode == nil {
		return
	}
	_, err := b.ops.SetAttr(ctx, callerOf(in), vfs.NodeID(in.NodeId), h, vfs.SetAttr{Mode: mode})
	b.status("setattr", in.NodeId, err)
}

// Read reads; fewer bytes than asked for mean the end of the file.
func (b *bridge) Read(cancel <-chan struct{}, in *raw.ReadIn, buf []byte) (raw.ReadResult, raw.Status) {
	h := b.files.get(in.Fh)
	if h == nil {
		return nil, raw.EBADF
	}
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	if b.bytes != nil && len(buf) >= bytesFrom {
		data, err := b.bytes.ReadBytes(ctx, h, len(buf), int64(in.Offset))
		if err != nil || data.Len() == 0 {
			return raw.ReadResultData(nil), b.status("read", in.NodeId, err)
		}
		if data.Slices() != nil {
			return memoryResult{data}, raw.OK
		}
		file, off := data.File()
		return raw.ReadResultFd(file.Fd(), off, data.Len()), raw.OK
	}
	n, err := b.ops.Read(ctx, h, buf, int64(in.Offset))
	if err != nil {
		return nil, b.status("read", in.NodeId, err)
	}
	return raw.ReadResultData(buf[:n]), raw.OK
}

// memoryResult answers a read with bytes in memory.
type memoryResult struct{ data *vfs.Bytes }

var _ raw.ReadResult = memoryResult{}

// Slices makes the reply go out with writev(2).
func (r memoryResult) Slices() ([][]byte, raw.Status) { return r.data.Slices(), raw.OK }

// Size implements raw.ReadResult.
func (r memoryResult) Size() int { return r.data.Len() }

// Bytes implements raw.ReadResult.
func (r memoryResult) Bytes(buf []byte) ([]byte, raw.Status) {
	buf = buf[:0]
	for _, s := range r.data.Slices() {
		buf = append(buf, s...)
	}
	return buf, raw.OK
}

// Done implements raw.ReadResult.
func (r memoryResult) Done() { r.data.Release() }

// Write writes.
func (b *bridge) Write(cancel <-chan struct{}, in *raw.WriteIn, data []byte) (uint32, raw.Status) {
	h := b.files.get(in.Fh)
	if h == nil {
		return 0, raw.EBADF
	}
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	write := b.ops.Write
	if in.WriteFlags&raw.WRITE_CACHE != 0 && b.pages != nil {
		write = b.pages.WritePage
	}
	n, err := write(ctx, h, data, int64(in.Offset))
	if err != nil {
		return 0, b.status("write", in.NodeId, err)
	}
	if in.WriteFlags&raw.WRITE_KILL_SUIDGID != 0 {
		b.killPrivileges(ctx, &in.InHeader, h)
	}
	return uint32(n), raw.OK
}

// Fsync is fsync(2).
func (b *bridge) Fsync(cancel <-chan struct{}, in *raw.FsyncIn) raw.Status {
	st := b.onHandle(cancel, "fsync", &in.InHeader, in.Fh, b.ops.Fsync)
	b.resize(in.NodeId, in.Fh)
	return st
}

func (b *bridge) onHandle(cancel <-chan struct{}, op string, in *raw.InHeader, fh uint64, do func(context.Context, *vfs.Handle) error) raw.Status {
	h := b.files.get(fh)
	if h == nil {
		return raw.EBADF
	}
	ctx := b.begin(cancel, in)
	defer ctx.finish()
	return b.status(op, in.NodeId, do(ctx, h))
}

// Release ends a handle; the kernel sends it once, after everything else.
func (b *bridge) Release(_ <-chan struct{}, in *raw.ReleaseIn) {
	if h := b.files.take(in.Fh); h != nil {
		b.ops.Release(h)
	}
}

// Fallocate is fallocate(2).
func (b *bridge) Fallocate(cancel <-chan struct{}, in *raw.FallocateIn) raw.Status {
	return b.onHandle(cancel, "fallocate", &in.InHeader, in.Fh, func(ctx context.Context, h *vfs.Handle) error {
		return b.ops.Allocate(ctx, h, in.Mode, int64(in.Offset), int64(in.Length))
	})
}

// Lseek is lseek(2) for data and holes.
func (b *bridge) Lseek(cancel <-chan struct{}, in *raw.LseekIn, out *raw.LseekOut) raw.Status {
	return b.onHandle(cancel, "lseek", &in.InHeader, in.Fh, func(ctx context.Context, h *vfs.Handle) error {
		off, err := b.ops.Seek(ctx, h, int64(in.Offset), int(in.Whence))
		out.Offset = uint64(off)
		return err
	})
}
