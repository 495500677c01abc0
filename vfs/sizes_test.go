package vfs

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store/mem"
)

// twoSizes is a file of 100 bytes that the kernel of a knows, and which b has
// replaced by one of size bytes.
func twoSizes(t *testing.T, size int) (a, b *world, was Known) {
	s := mem.New()
	a, b = newWorld(t, s, nil).asThread(7), newWorld(t, s, nil)
	b.must(b.write("f", strings.Repeat("x", 100), 0))
	a.wantRead("f", strings.Repeat("x", 100))
	was, err := a.fs.Lookup(a.ctx, RootID, "f")
	a.must(err)
	b.must(b.write("f", strings.Repeat("y", size), syscall.O_TRUNC))
	return a, b, was
}

// A version of another size is a new node, of the same inode number, and costs
// no request more.
func TestOtherSizeIsAnotherNode(t *testing.T) {
	a, _, was := twoSizes(t, 50)
	a.ops.reset()
	_, err := a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
	a.wantKind(err, Stale)
	now, err := a.fs.Lookup(a.ctx, RootID, "f")
	a.must(err)
	if now.ID == was.ID || now.Ino != was.Ino || now.Size != 50 {
		t.Errorf("node %d, inode %d, %d bytes; it was node %d, inode %d", now.ID, now.Ino, now.Size, was.ID, was.Ino)
	}
	h, err := a.fs.Open(a.ctx, now.ID, syscall.O_RDONLY)
	a.must(err)
	a.wantOps("open", "GET 1")
	if h.Direct() || a.fs.KeepCache(h) {
		t.Errorf("direct %v, keeps the pages of the version before %v", h.Direct(), a.fs.KeepCache(h))
	}
	if got, err := a.readHandle(h); err != nil || got != strings.Repeat("y", 50) {
		t.Errorf("read %q, %v", got, err)
	}
	if k, err := a.fs.GetAttr(a.ctx, was.ID, nil); err != nil || k.ID != was.ID || k.Size != 50 {
		t.Errorf("stat of the node that it was: node %d, %d bytes, %v", k.ID, k.Size, err)
	}
	a.fs.Release(h)
	h, err = a.fs.Open(a.ctx, now.ID, syscall.O_RDONLY)
	a.must(err)
	if h.Direct() || !a.fs.KeepCache(h) {
		t.Errorf("read again: direct %v, keeps its pages %v", h.Direct(), a.fs.KeepCache(h))
	}
	a.fs.Release(h)
	a.fs.Forget(was.ID, 10)
	a.fs.Forget(now.ID, 10)
	a.wantNothingLeft()
	if len(a.fs.nodes.inos)+len(a.fs.nodes.past) > 0 {
		t.Errorf("left: %v, %v", a.fs.nodes.inos, a.fs.nodes.past)
	}
}

// A version of the same size is the same node.
func TestSameSizeIsTheSameNode(t *testing.T) {
	a, _, was := twoSizes(t, 100)
	h, err := a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
	a.must(err)
	defer a.fs.Release(h)
	if h.Direct() || a.fs.KeepCache(h) {
		t.Errorf("direct %v, keeps the pages of the version before %v", h.Direct(), a.fs.KeepCache(h))
	}
	if got, err := a.readHandle(h); err != nil || got != strings.Repeat("y", 100) {
		t.Errorf("read %q, %v", got, err)
	}
}

// A kernel that asks for the old node once more, because it came by no name, is
// not let down, and reads past its pages.
func TestOtherSizeWithoutName(t *testing.T) {
	a, _, was := twoSizes(t, 50)
	_, err := a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
	a.wantKind(err, Stale)
	for range 2 {
		h, err := a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
		if err != nil {
			_, err = a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
		}
		a.must(err)
		if !h.Direct() || a.fs.KeepCache(h) {
			t.Errorf("direct %v, keeps pages %v", h.Direct(), a.fs.KeepCache(h))
		}
		if got, err := a.readHandle(h); err != nil || got != strings.Repeat("y", 50) {
			t.Errorf("read %q, %v", got, err)
		}
		a.fs.Release(h)
		_, err = a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
		a.wantKind(err, Stale)
	}
}

// A stat that tells of another size while nobody has the file open makes the
// next lookup a new node; the size of what is open is the only one told.
func TestStatOfOtherSize(t *testing.T) {
	a, b, was := twoSizes(t, 50)
	a.fs.idx.Forget("f")
	if k, err := a.fs.GetAttr(a.ctx, was.ID, nil); err != nil || k.Size != 50 {
		t.Fatalf("%d bytes, %v", k.Size, err)
	}
	now, err := a.fs.Lookup(a.ctx, RootID, "f")
	a.must(err)
	if now.ID == was.ID {
		t.Error("the kernel was told of two sizes for one node")
	}
	h, err := a.fs.Open(a.ctx, now.ID, syscall.O_RDONLY)
	a.must(err)
	defer a.fs.Release(h)
	b.must(b.write("f", "third", syscall.O_TRUNC))
	a.fs.idx.Forget("f")
	if k, err := a.fs.GetAttr(a.ctx, now.ID, nil); err != nil || k.Size != 50 {
		t.Errorf("%d bytes, %v", k.Size, err)
	}
}

// What is written here changes the size of a node, not the node; what others
// append to a file that is open here is not read through the kernel's pages.
func TestSizesOfWriters(t *testing.T) {
	s := mem.New()
	a, b := newWorld(t, s, nil), newWorld(t, s, nil)
	a.must(a.write("f", "123456", 0))
	id := a.id("f")
	a.must(a.writeAt("f", "789", 6))
	a.must(a.add("f", "0\n"))
	a.must(a.write("f", "1", syscall.O_TRUNC))
	a.must(a.add("f", "0\n"))
	if got := a.id("f"); got != id {
		t.Errorf("node %d was %d before it was written here", got, id)
	}
	h, err := a.open("f", syscall.O_RDWR|syscall.O_APPEND)
	a.must(err)
	defer a.fs.Release(h)
	if h.Direct() {
		t.Error("the kernel's pages are right")
	}
	b.must(b.add("f", "from b\n"))
	_, err = a.fs.Write(a.ctx, h, []byte("from a\n"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	r, err := a.open("f", syscall.O_RDONLY)
	a.must(err)
	if got, err := a.readHandle(r); err != nil || got != "10\nfrom b\nfrom a\n" || !r.Direct() {
		t.Errorf("read %q, %v, direct %v", got, err, r.Direct())
	}
	a.fs.Release(r)
}

// An open that is awaited holds its node only until it comes.
func TestAwaitedOpen(t *testing.T) {
	a, _, was := twoSizes(t, 50)
	_, err := a.fs.Open(a.ctx, was.ID, syscall.O_RDONLY)
	a.wantKind(err, Stale)
	n := a.fs.nodes.get(a.id("f"))
	if n.fileState() == nil {
		t.Fatal("the version is not at hand")
	}
	h, err := a.fs.Open(a.ctx, n.id, syscall.O_RDONLY)
	a.must(err)
	a.fs.Release(h)
	if n.fileState() != nil {
		t.Error("held after the open")
	}
	time.Sleep(preloadTime + 100*time.Millisecond)
	a.wantRead("f", strings.Repeat("y", 50))
}
