package vfs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store/mem"
)

// An open for reading whose GET is under way meets a writer that empties the file.
func TestOpenReplacesDirtyContent(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, func(o *Options) { o.CacheSize = 1 })
	other := newWorld(t, s.Store, nil)
	other.must(other.write("f", "old", 0))
	k, err := w.lookup("f")
	w.must(err)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.beforeGet = func(key string) {
		if key == "f" {
			once.Do(func() { close(reached); <-goOn })
		}
	}
	done := make(chan *Handle)
	go func() {
		h, err := w.fs.Open(w.ctx, k.ID, syscall.O_RDONLY)
		if err != nil {
			h = nil
		}
		done <- h
	}()
	<-reached
	h, err := w.fs.Open(w.ctx, k.ID, syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("new data"), 0)
	w.must(err)
	close(goOn)
	if r := <-done; r != nil {
		w.fs.Release(r)
	}
	err = w.fs.Flush(w.ctx, h)
	w.fs.Release(h)
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
		h, err := w.fs.Open(w.ctx, k.ID, syscall.O_RDONLY)
		if err != nil {
			h = nil
		}
		done <- h
	}()
	<-reached
	h, err := w.fs.Open(w.ctx, k.ID, syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("mine"), 0)
	w.must(err)
	close(goOn)
	if r := <-done; r != nil {
		w.fs.Release(r)
	}
	err = w.fs.Flush(w.ctx, h)
	w.fs.Release(h)
	if data, _, _ := objectOf(t, s, "f"); err != nil || data != "mine" {
		t.Errorf("close of a whole rewrite: %v; S3 has %q", err, data)
	}
}
