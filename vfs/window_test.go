package vfs

import (
	"bytes"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store/mem"
)

// readBytes reads all of h as the kernel does that reads ahead.
func (w *world) readBytes(h *Handle) []byte {
	w.t.Helper()
	var all []byte
	for {
		b, err := w.fs.ReadBytes(w.ctx, h, 1<<20, int64(len(all)))
		w.must(err)
		if b.Len() == 0 {
			return all
		}
		part := make([]byte, b.Len())
		n, err := b.copyTo(part)
		w.must(err)
		if n != len(part) {
			w.t.Fatalf("%d bytes at %d, of %d", n, len(all), len(part))
		}
		all = append(all, part...)
		b.Release()
	}
}

// wantEmptyWindow demands that nobody refers to a block.
func (w *world) wantEmptyWindow() {
	w.t.Helper()
	win := w.fs.window
	win.mu.Lock()
	defer win.mu.Unlock()
	if len(win.free) != win.made || win.order.Len() != 0 {
		w.t.Errorf("%d of %d blocks are free, %d are in the window", len(win.free), win.made, win.order.Len())
	}
}

// TestWindow reads a large file in sequence, through windows of several sizes,
// edits it on the way, and demands that nothing of it stays in memory, and all
// of it on the disk.
func TestWindow(t *testing.T) {
	data := make([]byte, 30<<20+12345)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	a := newWorld(t, mem.New(), nil)
	a.must(a.write("big", string(data), 0))
	for _, memory := range []int64{0, 8 << 20, 1} { // the default, 4 blocks, none
		b := newWorld(t, a.ops.Store, func(o *Options) { o.Memory = memory })
		h, err := b.open("big", syscall.O_RDONLY)
		b.must(err)
		if !bytes.Equal(b.readBytes(h), data) {
			t.Errorf("memory %d: read something else", memory)
		}
		b.fs.Release(h)
		b.wantEmptyWindow()
		if files, size := b.fs.cache.usage(); files != 1 || size != int64(len(data)) {
			t.Errorf("memory %d: %d files of %d bytes in the cache", memory, files, size)
		}
		b.ops.reset()
		h, err = b.open("big", syscall.O_RDWR)
		b.must(err)
		if !bytes.Equal(b.readBytes(h), data) {
			t.Errorf("memory %d: read something else from the cache", memory)
		}
		b.wantOps("read from the cache", "GET 1")
		b.fs.Release(h)
	}
}

// TestWindowAndWrites changes a file while it is being read in sequence.
func TestWindowAndWrites(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 20<<16)
	a := newWorld(t, mem.New(), nil)
	a.must(a.write("big", string(data), 0))
	b := newWorld(t, a.ops.Store, nil)
	h, err := b.open("big", syscall.O_RDWR)
	b.must(err)
	for off := int64(0); off < 4<<20; off += 1 << 20 {
		got, err := b.fs.ReadBytes(b.ctx, h, 1<<20, off)
		b.must(err)
		got.Release()
	}
	for off := int64(100); off < int64(len(data)); off += 3 << 20 {
		copy(data[off:], "changed")
		_, err := b.fs.Write(b.ctx, h, []byte("changed"), off)
		b.must(err)
	}
	if !bytes.Equal(b.readBytes(h), data) {
		t.Error("read something else after the change")
	}
	b.must(b.fs.Flush(b.ctx, h))
	b.fs.Release(h)
	b.wantEmptyWindow()
	if got, err := a.read("big"); err != nil || got != string(data) {
		t.Errorf("another gateway reads something else: %v", err)
	}
}
