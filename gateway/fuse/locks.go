package fuse

import (
	"context"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/vfs"
)

// GetLk is fcntl(2) with F_GETLK. The pid is that of the holder if it is a
// process of this host, as the kernel needs it, and otherwise 0.
func (b *bridge) GetLk(cancel <-chan struct{}, in *raw.LkIn, out *raw.LkOut) raw.Status {
	h := b.files.get(in.Fh)
	if h == nil {
		return raw.EBADF
	}
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	held, err := b.ops.TestLock(ctx, h, lockRequest(in))
	if err != nil {
		return b.status("getlk", in.NodeId, err)
	}
	out.Lk = in.Lk
	out.Lk.Typ, out.Lk.Pid = syscall.F_UNLCK, 0
	if held != nil {
		out.Lk = raw.FileLock{Start: held.Start, End: min(held.End, math.MaxInt64), Typ: syscall.F_WRLCK, Pid: uint32(held.Holder.PID)}
		if held.Mode == locks.Shared {
			out.Lk.Typ = syscall.F_RDLCK
		}
	}
	return raw.OK
}

// SetLk is fcntl(2) with F_SETLK and F_OFD_SETLK, and flock(2) with LOCK_NB.
func (b *bridge) SetLk(cancel <-chan struct{}, in *raw.LkIn) raw.Status {
	return b.setLock(b.begin(cancel, &in.InHeader), in, false)
}

// SetLkw is fcntl(2) with F_SETLKW and F_OFD_SETLKW, and flock(2). It waits in
// a goroutine of its own; others go on reading requests.
func (b *bridge) SetLkw(cancel <-chan struct{}, in *raw.LkIn) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	if in.Lk.Typ != syscall.F_UNLCK {
		ctx.dying = anySignal
	}
	return b.setLock(ctx, in, true)
}

// anySignal makes a request end at each INTERRUPT.
func anySignal(uint32) bool { return true }

func (b *bridge) setLock(ctx *requestContext, in *raw.LkIn, wait bool) raw.Status {
	defer ctx.finish()
	h := b.files.get(in.Fh)
	if h == nil {
		return raw.EBADF
	}
	r := lockRequest(in)
	if in.Lk.Typ == syscall.F_UNLCK {
		return b.status("unlock", in.NodeId, b.ops.Unlock(ctx, h, r))
	}
	r.Wait = wait
	r.Command = commandOf(in.Lk.Pid)
	err := b.ops.SetLock(ctx, h, r)
	if err == nil && b.mover != nil && b.kernel != nil && b.mover.Moved(h) {
		// What the kernel has is of the version before. Requests that use its
		// pages do not wait for this one, so waiting for them is safe here.
		b.kernel.InodeNotify(in.NodeId, 0, 0)
	}
	return b.status("lock", in.NodeId, err)
}

// flushLocks gives up what a process has locked of a file that it closes.
func (b *bridge) flushLocks(cancel <-chan struct{}, in *raw.FlushIn) raw.Status {
	return b.onHandle(cancel, "close", &in.InHeader, in.Fh, func(ctx context.Context, h *vfs.Handle) error {
		return b.ops.FlushLocks(ctx, h, recordOwner(in.LockOwner))
	})
}

// lockRequest translates a request of the kernel.
func lockRequest(in *raw.LkIn) vfs.LockRequest {
	r := vfs.LockRequest{Mode: locks.Exclusive, PID: int(in.Lk.Pid)}
	if in.Lk.Typ == syscall.F_RDLCK {
		r.Mode = locks.Shared
	}
	if in.LkFlags&raw.FUSE_LK_FLOCK != 0 {
		r.Owner, r.Via = locks.Owner(fmt.Sprintf("flock:%x", in.Owner)), "flock"
		r.End = locks.MaxOffset
		return r
	}
	r.Owner, r.Space, r.Via = recordOwner(in.Owner), locks.Record, "fcntl"
	r.Start, r.End = in.Lk.Start, in.Lk.End
	if r.End >= math.MaxInt64 { // OFFSET_MAX: to the end, however long the file gets
		r.End = locks.MaxOffset
	}
	return r
}

func recordOwner(id uint64) locks.Owner { return locks.Owner(fmt.Sprintf("posix:%x", id)) }

// commandOf returns the name of a process, for people; empty if it cannot be
// told.
func commandOf(pid uint32) string {
	if pid == 0 {
		return ""
	}
	name, err := os.ReadFile("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/comm")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
