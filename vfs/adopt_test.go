package vfs

import (
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store/mem"
)

// rewriteDuringOpen empties and rewrites f while the GET of an open for reading
// is under way, and returns the outcome of the writer's close.
func rewriteDuringOpen(w *world, s *hooked, id NodeID, data string) error {
	reached, goOn := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	s.beforeGet = func(key string) {
		if key == "f" && first.CompareAndSwap(false, true) {
			close(reached)
			<-goOn
		}
	}
	done := make(chan *Handle)
	go func() {
		h, err := w.fs.Open(w.ctx, id, syscall.O_RDONLY)
		if err != nil {
			h = nil
		}
		done <- h
	}()
	<-reached
	h, err := w.fs.Open(w.ctx, id, syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte(data), 0)
	w.must(err)
	close(goOn)
	if r := <-done; r != nil {
		w.fs.Release(r)
	}
	err = w.fs.Flush(w.ctx, h)
	w.fs.Release(h)
	return err
}

// An open for reading whose GET is under way meets a writer that empties the file.
func TestOpenReplacesDirtyContent(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, func(o *Options) { o.CacheSize = 1 })
	other := newWorld(t, s.Store, nil)
	other.must(other.write("f", "old", 0))
	k, err := w.lookup("f")
	w.must(err)
	err = rewriteDuringOpen(w, s, k.ID, "new data")
	if data, _, _ := objectOf(t, s, "f"); err != nil || data != "new data" {
		t.Errorf("close: %v; S3 has %q", err, data)
	}
}

// The same with a version that another gateway made meanwhile: last close wins.
func TestOpenSupersedesWholeRewrite(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	other := newWorld(t, s.Store, nil)
	w.must(w.write("f", "old", 0))
	k, err := w.lookup("f")
	w.must(err)
	h0, err := w.fs.Open(w.ctx, k.ID, syscall.O_RDONLY)
	w.must(err)
	defer w.fs.Release(h0)
	other.must(other.write("f", "theirs", syscall.O_TRUNC))
	err = rewriteDuringOpen(w, s, k.ID, "mine")
	if data, _, _ := objectOf(t, s, "f"); err != nil || data != "mine" {
		t.Errorf("close of a whole rewrite: %v; S3 has %q", err, data)
	}
}
