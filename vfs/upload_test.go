package vfs

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store/mem"
)

// sentAhead waits until n parts of h's file are in S3.
func sentAhead(t *testing.T, h *Handle, n int) {
	t.Helper()
	if !eventually(5*time.Second, func() bool {
		h.node.mu.Lock()
		defer h.node.mu.Unlock()
		up := h.f.upload
		if up == nil {
			return false
		}
		up.mu.Lock()
		defer up.mu.Unlock()
		return len(up.sent) >= n
	}) {
		t.Fatal("parts were not sent ahead")
	}
}

// Parts behind a truncated end are completed with the upload.
func TestTruncatedAfterSendAhead(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	h, err := w.open("f", syscall.O_RDWR|syscall.O_CREAT)
	w.must(err)
	block := bytes.Repeat([]byte("a"), 1<<20)
	for i := range 40 {
		_, err := w.fs.Write(w.ctx, h, block, int64(i)<<20)
		w.must(err)
	}
	sentAhead(t, h, 4)
	size := int64(24 << 20)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, h.Node(), h, SetAttr{Size: &size})
	w.must(err)
	w.must(w.fs.Flush(w.ctx, h))
	w.fs.Release(h)
	if _, info, ok := objectOf(t, s, "f"); !ok || info.Size != size {
		t.Errorf("the object has %d bytes, want %d", info.Size, size)
	}
}

// Parts sent ahead of a commit with one PUT are used by a later multipart commit.
func TestStalePartsAfterSmallCommit(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	h, err := w.open("f", syscall.O_RDWR|syscall.O_CREAT)
	w.must(err)
	old, fresh := bytes.Repeat([]byte("a"), 1<<20), bytes.Repeat([]byte("b"), 1<<20)
	for i := range 17 {
		_, err := w.fs.Write(w.ctx, h, old, int64(i)<<20)
		w.must(err)
	}
	sentAhead(t, h, 2)
	for _, size := range []int64{0} {
		_, err = w.fs.SetAttr(w.ctx, Caller{}, h.Node(), h, SetAttr{Size: &size})
		w.must(err)
	}
	for i := range 10 {
		_, err := w.fs.Write(w.ctx, h, fresh, int64(i)<<20)
		w.must(err)
	}
	w.must(w.fs.Fsync(w.ctx, h)) // 10 MiB: one PUT
	for i := 10; i < 20; i++ {
		_, err := w.fs.Write(w.ctx, h, fresh, int64(i)<<20)
		w.must(err)
	}
	w.must(w.fs.Flush(w.ctx, h))
	w.fs.Release(h)
	data, _, _ := objectOf(t, s, "f")
	if i := bytes.IndexByte([]byte(data), 'a'); i >= 0 || len(data) != 20<<20 {
		t.Errorf("object of %d bytes holds bytes of before the truncation at %d", len(data), i)
	}
}

// Attributes that were set after the first part went must follow soon.
func TestAttrAfterSendAhead(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	h, err := w.open("f", syscall.O_RDWR|syscall.O_CREAT)
	w.must(err)
	block := bytes.Repeat([]byte("a"), 1<<20)
	for i := range 20 {
		_, err := w.fs.Write(w.ctx, h, block, int64(i)<<20)
		w.must(err)
	}
	sentAhead(t, h, 2)
	mode, mtime := uint32(0o600), time.Unix(1e9, 0)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, h.Node(), h, SetAttr{Mode: &mode, Mtime: &mtime}) // cp -p
	w.must(err)
	time.Sleep(300 * time.Millisecond)
	w.must(w.fs.Flush(w.ctx, h))
	w.fs.Release(h)
	if !eventually(3*time.Second, func() bool { return w.fs.Stats().PendingAttr == 0 }) {
		_, info, _ := objectOf(t, s, "f")
		t.Errorf("3 s after close: %d attributes pending, S3 has %v", w.fs.Stats().PendingAttr, info.Meta)
	}
}
