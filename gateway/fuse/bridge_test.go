package fuse

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// openTest returns a bridge over a new fakeFS. At the end of the test no
// handle may be open.
func openTest(t *testing.T) (*bridge, *fakeFS) {
	t.Helper()
	f := newFakeFS()
	log := slog.New(slog.DiscardHandler)
	b := newBridge(f, newEventLog(log, time.Now), time.Now)
	t.Cleanup(func() {
		b.OnUnmount()
		if len(f.handles)+len(f.dirs) > 0 {
			t.Errorf("after unmounting %d files and %d directories are open", len(f.handles), len(f.dirs))
		}
	})
	return b, f
}

func root() raw.InHeader { return raw.InHeader{NodeId: 1} }

// create makes name in the root and returns its number and that of the handle.
func create(t *testing.T, b *bridge, name string, flags uint32) (node, fh uint64) {
	t.Helper()
	var out raw.CreateOut
	st := b.Create(nil, &raw.CreateIn{InHeader: root(), Flags: flags, Mode: syscall.S_IFREG | 0o644}, name, &out)
	if st != raw.OK {
		t.Fatalf("create %s: %v", name, st)
	}
	return out.NodeId, out.Fh
}

func TestErrnoTotal(t *testing.T) {
	seen := make(map[vfs.Kind]bool)
	for _, k := range vfs.Kinds() {
		if int(k) >= len(errnos) || errnos[k] == 0 {
			t.Errorf("no errno for %v", k)
		}
		seen[k] = true
	}
	if len(errnos) != len(seen) {
		t.Errorf("%d errnos for %d kinds", len(errnos), len(seen))
	}
	if got := errno(vfs.Kind(200)); got != syscall.EIO {
		t.Errorf("unknown kind: got %v, want EIO", got)
	}
}

func TestNegativeLookup(t *testing.T) {
	b, f := openTest(t)
	h := root()
	var out raw.EntryOut
	if st := b.Lookup(nil, &h, "none", &out); st != raw.ENOENT {
		t.Errorf("without a time to live: got %v, want ENOENT", st)
	}
	f.negative = 3 * time.Second
	if st := b.Lookup(nil, &h, "none", &out); st != raw.OK || out.NodeId != 0 || out.EntryTimeout() != f.negative {
		t.Errorf("with one: got %v, node %d, %v; want OK, 0, %v", st, out.NodeId, out.EntryTimeout(), f.negative)
	}
	f.setHook(func(context.Context, string) *vfs.Error { return fail("lookup", vfs.Timeout) })
	if st := b.Lookup(nil, &h, "none", &out); st != raw.Status(syscall.ETIMEDOUT) {
		t.Errorf("another error: got %v, want ETIMEDOUT", st)
	}
}

func TestAttributes(t *testing.T) {
	when := time.Unix(1700000000, 123456789)
	a := vfs.Attr{ID: 7, Type: vfs.TypeFile, Mode: 0o4755, UID: 1, GID: 2, Nlink: 1, Size: 513, Mtime: when, Ctime: when.Add(time.Second)}
	var out raw.Attr
	fillAttr(&out, &a)
	want := raw.Attr{
		Ino: 7, Size: 513, Blocks: 2, Mode: syscall.S_IFREG | 0o4755, Nlink: 1, Owner: raw.Owner{Uid: 1, Gid: 2}, Blksize: blockSize,
		Atime: 1700000000, Mtime: 1700000000, Ctime: 1700000001, Atimensec: 123456789, Mtimensec: 123456789, Ctimensec: 123456789,
	}
	if out != want {
		t.Errorf("got  %+v\nwant %+v", out, want)
	}
	for typ, bits := range map[vfs.FileType]uint32{
		vfs.TypeDir: syscall.S_IFDIR, vfs.TypeSymlink: syscall.S_IFLNK, vfs.TypeFIFO: syscall.S_IFIFO,
		vfs.TypeSocket: syscall.S_IFSOCK, vfs.TypeCharDevice: syscall.S_IFCHR, vfs.TypeBlockDevice: syscall.S_IFBLK,
	} {
		fillAttr(&out, &vfs.Attr{Type: typ, Mode: 0o600})
		if out.Mode != bits|0o600 {
			t.Errorf("type %v: mode %o, want %o", typ, out.Mode, bits|0o600)
		}
	}
}

func TestSetAttr(t *testing.T) {
	b, _ := openTest(t)
	now := time.Unix(5, 0)
	b.now = func() time.Time { return now }
	ptr := func(n uint32) *uint32 { return &n }
	size, then := int64(9), time.Unix(3, 4)
	in := func(valid uint32) raw.SetAttrIn {
		var s raw.SetAttrIn
		s.Valid, s.Mode, s.Size, s.Mtime, s.Mtimensec = valid, syscall.S_IFREG|0o640, 9, 3, 4
		s.Uid, s.Gid = 10, 20
		return s
	}
	tests := []struct {
		name  string
		valid uint32
		want  vfs.SetAttr
	}{
		{"mode", raw.FATTR_MODE, vfs.SetAttr{Mode: ptr(0o640)}},
		{"owner", raw.FATTR_UID, vfs.SetAttr{UID: ptr(10)}},
		{"group", raw.FATTR_GID, vfs.SetAttr{GID: ptr(20)}},
		{"size", raw.FATTR_SIZE, vfs.SetAttr{Size: &size}},
		{"mtime", raw.FATTR_MTIME, vfs.SetAttr{Mtime: &then}},
		{"mtime now", raw.FATTR_MTIME | raw.FATTR_MTIME_NOW, vfs.SetAttr{Mtime: &now}},
		{"touch", raw.FATTR_ATIME | raw.FATTR_ATIME_NOW | raw.FATTR_MTIME | raw.FATTR_MTIME_NOW, vfs.SetAttr{Mtime: &now}},
		{"atime", raw.FATTR_ATIME, vfs.SetAttr{}},
		{"ctime", raw.FATTR_CTIME, vfs.SetAttr{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := in(tt.valid)
			got, changes := b.setAttrOf(&req)
			if !equalSet(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if want := tt.want != (vfs.SetAttr{}); changes != want {
				t.Errorf("changes is %v, want %v", changes, want)
			}
		})
	}
}

func equalSet(a, b vfs.SetAttr) bool {
	return equalPtr(a.Mode, b.Mode) && equalPtr(a.UID, b.UID) && equalPtr(a.GID, b.GID) && equalPtr(a.Size, b.Size) && equalPtr(a.Mtime, b.Mtime)
}

func equalPtr[T comparable](a, b *T) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

func TestSetAttrOfNothing(t *testing.T) {
	b, f := openTest(t)
	var in raw.SetAttrIn
	in.NodeId, in.Valid = 1, raw.FATTR_ATIME
	var out raw.AttrOut
	if st := b.SetAttr(nil, &in, &out); st != raw.OK || out.Mode != syscall.S_IFDIR|0o755 {
		t.Errorf("got %v, mode %o", st, out.Mode)
	}
	if n := f.count("setattr"); n != 0 {
		t.Errorf("the filesystem was asked to set attributes %d times", n)
	}
}

func TestKillPrivileges(t *testing.T) {
	for _, tt := range []struct{ mode, want uint32 }{
		{0o4755, 0o755}, {0o2755, 0o755}, {0o2745, 0o2745}, {0o6711, 0o711}, {0o755, 0o755},
	} {
		b, f := openTest(t)
		node, fh := create(t, b, "f", syscall.O_RDWR)
		f.nodes[vfs.NodeID(node)].Mode = tt.mode
		in := &raw.WriteIn{InHeader: raw.InHeader{NodeId: node}, Fh: fh, WriteFlags: raw.WRITE_KILL_SUIDGID}
		if _, st := b.Write(nil, in, []byte("x")); st != raw.OK {
			t.Fatal(st)
		}
		if got := f.nodes[vfs.NodeID(node)].Mode; got != tt.want {
			t.Errorf("after a write mode %o is %o, want %o", tt.mode, got, tt.want)
		}
	}
}

func TestOpenFlags(t *testing.T) {
	const direct, keep = raw.FOPEN_DIRECT_IO, raw.FOPEN_KEEP_CACHE
	tests := []struct {
		flags uint32
		keep  bool
		want  uint32
	}{
		{syscall.O_RDONLY, true, keep},
		{syscall.O_RDONLY, false, 0},
		{syscall.O_RDWR | syscall.O_APPEND, true, keep},
		{syscall.O_WRONLY | syscall.O_APPEND, true, keep | direct},
		{syscall.O_WRONLY | syscall.O_APPEND, false, direct},
	}
	for _, tt := range tests {
		b, f := openTest(t)
		f.keep = tt.keep
		var out raw.OpenOut
		b.opened(f.open(f.nodes[1], 0), tt.flags, &out)
		if out.OpenFlags != tt.want {
			t.Errorf("flags %#x, keep %v: got %#x, want %#x", tt.flags, tt.keep, out.OpenFlags, tt.want)
		}
	}
	if got := openFlags(syscall.O_RDWR | raw.FMODE_EXEC); got != syscall.O_RDWR {
		t.Errorf("FMODE_EXEC is passed on: %#x", got)
	}
}

func TestPagesOfAppendHandle(t *testing.T) {
	b, f := openTest(t)
	node, fh := create(t, b, "f", syscall.O_RDWR|syscall.O_APPEND)
	write := func(flags uint32, off uint64, data string) {
		in := &raw.WriteIn{InHeader: raw.InHeader{NodeId: node}, Fh: fh, Offset: off, WriteFlags: flags}
		if _, st := b.Write(nil, in, []byte(data)); st != raw.OK {
			t.Fatal(st)
		}
	}
	write(0, 0, "abc")
	write(0, 0, "def")
	write(raw.WRITE_CACHE, 1, "X")
	if got := string(f.nodes[vfs.NodeID(node)].data); got != "aXcdef" {
		t.Errorf("got %q, want %q", got, "aXcdef")
	}
}

func TestRenameFlags(t *testing.T) {
	b, _ := openTest(t)
	create(t, b, "a", syscall.O_RDWR)
	create(t, b, "b", syscall.O_RDWR)
	for _, tt := range []struct {
		flags uint32
		want  raw.Status
	}{
		{2 | 8, raw.EINVAL}, {renameNoReplace | 8, raw.EINVAL}, {renameNoReplace, raw.Status(syscall.EEXIST)}, {0, raw.OK},
	} {
		in := &raw.RenameIn{InHeader: root(), Newdir: 1, Flags: tt.flags}
		if st := b.Rename(nil, in, "a", "b"); st != tt.want {
			t.Errorf("flags %#x: got %v, want %v", tt.flags, st, tt.want)
		}
	}
}

func TestXAttrSizes(t *testing.T) {
	b, f := openTest(t)
	f.nodes[1].xattrs = map[string][]byte{"user.a": []byte("value"), "user.b": nil}
	h := root()
	get := func(dest []byte) (uint32, raw.Status) { return b.GetXAttr(nil, &h, "user.a", dest) }
	list := func(dest []byte) (uint32, raw.Status) { return b.ListXAttr(nil, &h, dest) }
	tests := []struct {
		name string
		call func([]byte) (uint32, raw.Status)
		size int
		n    uint32
		st   raw.Status
		want string
	}{
		{"get size", get, 0, 5, raw.OK, ""},
		{"get too small", get, 4, 5, raw.ERANGE, ""},
		{"get", get, 6, 5, raw.OK, "value"},
		{"list size", list, 0, 14, raw.OK, ""},
		{"list too small", list, 13, 14, raw.ERANGE, ""},
		{"list", list, 14, 14, raw.OK, "user.a\x00user.b\x00"},
	}
	for _, tt := range tests {
		dest := make([]byte, tt.size)
		n, st := tt.call(dest)
		if n != tt.n || st != tt.st {
			t.Errorf("%s: got %d, %v; want %d, %v", tt.name, n, st, tt.n, tt.st)
		} else if st == raw.OK && tt.size > 0 && string(dest[:n]) != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, dest[:n], tt.want)
		}
	}
	if _, st := b.GetXAttr(nil, &h, "user.none", nil); st != raw.ENOATTR {
		t.Errorf("no such attribute: got %v, want ENODATA", st)
	}
}

func TestHandles(t *testing.T) {
	b, f := openTest(t)
	node, fh := create(t, b, "f", syscall.O_RDWR)
	release := &raw.ReleaseIn{InHeader: raw.InHeader{NodeId: node}, Fh: fh}
	b.Release(nil, release)
	b.Release(nil, release)
	if f.released != 1 {
		t.Errorf("released %d times, want once", f.released)
	}
	_, again := create(t, b, "f", syscall.O_RDWR)
	if again == fh {
		t.Errorf("number %#x is used again", fh)
	}
	var lseek raw.LseekOut
	in := raw.InHeader{NodeId: node}
	_, read := b.Read(nil, &raw.ReadIn{InHeader: in, Fh: fh}, make([]byte, 1))
	_, write := b.Write(nil, &raw.WriteIn{InHeader: in, Fh: fh}, []byte("x"))
	stale := []raw.Status{
		read, write,
		b.Flush(nil, &raw.FlushIn{InHeader: in, Fh: fh}),
		b.Fsync(nil, &raw.FsyncIn{InHeader: in, Fh: fh}),
		b.Fallocate(nil, &raw.FallocateIn{InHeader: in, Fh: fh}),
		b.Lseek(nil, &raw.LseekIn{InHeader: in, Fh: fh}, &lseek),
		b.ReadDir(nil, &raw.ReadIn{InHeader: in, Fh: fh}, raw.NewDirEntryList(nil, 0)),
	}
	if i := slices.IndexFunc(stale, func(st raw.Status) bool { return st != raw.EBADF }); i >= 0 {
		t.Errorf("request %d with a released handle: got %v, want EBADF", i, stale[i])
	}
}

func TestTable(t *testing.T) {
	var tab table[int]
	numbers := make(map[uint64]int)
	for i := range 1000 {
		fh := tab.put(&i)
		if _, dup := numbers[fh]; dup || fh == 0 {
			t.Fatalf("number %#x is given twice, or zero", fh)
		}
		numbers[fh] = i
		if i%3 == 0 {
			if got := tab.take(fh); got == nil || *got != i {
				t.Fatalf("take: got %v, want %d", got, i)
			}
			if tab.take(fh) != nil || tab.get(fh) != nil {
				t.Fatal("taken twice")
			}
		}
	}
	left := tab.takeAll()
	if len(left) != 666 {
		t.Errorf("%d are left, want 666", len(left))
	}
	for fh := range numbers {
		if tab.get(fh) != nil {
			t.Fatalf("%#x is still there", fh)
		}
	}
}

func TestLogLimit(t *testing.T) {
	var lines atomic.Int64
	now := time.Unix(0, 0)
	l := newEventLog(slog.New(countHandler{&lines}), func() time.Time { return now })
	err := fail("read", vfs.IO)
	for range 100 {
		l.failed("read", 1, vfs.IO, err)
		l.failed("lookup", 1, vfs.NotExist, err)
	}
	if lines.Load() != eventBurst {
		t.Errorf("%d lines, want %d", lines.Load(), eventBurst)
	}
	now = now.Add(2 * eventInterval)
	for range 100 {
		l.failed("read", 1, vfs.Timeout, err)
	}
	if lines.Load() != eventBurst+2 {
		t.Errorf("%d lines after two intervals, want %d", lines.Load(), eventBurst+2)
	}
}

// countHandler counts lines of level warning and above.
type countHandler struct{ n *atomic.Int64 }

func (h countHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }
func (h countHandler) Handle(context.Context, slog.Record) error    { h.n.Add(1); return nil }
func (h countHandler) WithAttrs([]slog.Attr) slog.Handler           { return h }
func (h countHandler) WithGroup(string) slog.Handler                { return h }
