package fuse

import (
	"math"
	"os"
	"syscall"
	"testing"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/locks"
)

func lkIn(node, fh, owner uint64, typ uint32, flags uint32) *raw.LkIn {
	return &raw.LkIn{InHeader: raw.InHeader{NodeId: node}, Fh: fh, Owner: owner, LkFlags: flags,
		Lk: raw.FileLock{Start: 10, End: math.MaxInt64, Typ: typ, Pid: uint32(os.Getpid())}}
}

func TestLockRequest(t *testing.T) {
	r := lockRequest(lkIn(2, 3, 0xab, syscall.F_RDLCK, 0))
	if r.Owner != "posix:ab" || r.Space != locks.Record || r.Mode != locks.Shared || r.Start != 10 || r.End != locks.MaxOffset || r.Via != "fcntl" || r.PID != os.Getpid() {
		t.Errorf("record lock: %+v", r)
	}
	r = lockRequest(lkIn(2, 3, 0xab, syscall.F_WRLCK, raw.FUSE_LK_FLOCK))
	if r.Owner != "flock:ab" || r.Space != locks.Whole || r.Mode != locks.Exclusive || r.Start != 0 || r.End != locks.MaxOffset || r.Via != "flock" {
		t.Errorf("flock: %+v", r)
	}
}

func TestLocks(t *testing.T) {
	b, f := openTest(t)
	node, fh := create(t, b, "f", syscall.O_RDWR)
	want := func(what string, got, want raw.Status) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	want("lock", b.SetLk(nil, lkIn(node, fh, 1, syscall.F_WRLCK, 0)), raw.OK)
	want("lock of another space", b.SetLk(nil, lkIn(node, fh, 2, syscall.F_WRLCK, raw.FUSE_LK_FLOCK)), raw.OK)
	want("lock again by another owner", b.SetLk(nil, lkIn(node, fh, 2, syscall.F_WRLCK, 0)), raw.Status(syscall.EAGAIN))
	var out raw.LkOut
	want("test", b.GetLk(nil, lkIn(node, fh, 2, syscall.F_RDLCK, 0), &out), raw.OK)
	if out.Lk != (raw.FileLock{Start: 10, End: math.MaxInt64, Typ: syscall.F_WRLCK, Pid: uint32(os.Getpid())}) {
		t.Errorf("in the way: %+v", out.Lk)
	}
	if own := f.locks[0].Command; own != commandOf(uint32(os.Getpid())) {
		t.Errorf("command %q", own)
	}

	// A wait ends with any signal.
	cancel := make(chan struct{})
	time.AfterFunc(10*time.Millisecond, func() { close(cancel) })
	want("interrupted wait", b.SetLkw(cancel, lkIn(node, fh, 2, syscall.F_WRLCK, 0)), raw.EINTR)

	in := &raw.FlushIn{InHeader: raw.InHeader{NodeId: node}, Fh: fh, LockOwner: 3}
	want("close by another process", b.Flush(nil, in), raw.OK)
	want("still locked", b.SetLk(nil, lkIn(node, fh, 2, syscall.F_WRLCK, 0)), raw.Status(syscall.EAGAIN))
	in.LockOwner = 1
	want("close by the owner", b.Flush(nil, in), raw.OK)
	out = raw.LkOut{}
	want("test", b.GetLk(nil, lkIn(node, fh, 2, syscall.F_RDLCK, 0), &out), raw.OK)
	if out.Lk.Typ != syscall.F_UNLCK {
		t.Errorf("after the close: %+v", out.Lk)
	}
	want("unlock", b.SetLkw(nil, lkIn(node, fh, 2, syscall.F_UNLCK, raw.FUSE_LK_FLOCK)), raw.OK)
	if len(f.locks) != 0 {
		t.Errorf("left: %+v", f.locks)
	}
	want("a handle that is closed", b.SetLk(nil, lkIn(node, fh+1<<40, 1, syscall.F_WRLCK, 0)), raw.EBADF)
}
