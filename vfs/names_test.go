package vfs

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// A directory whose mode was changed is renamed while the change waits.
func TestChmodThenRenameResurrectsDir(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	w.must(w.mkdir("d"))
	w.must(w.write("d/f", "x", 0))
	k, err := w.lookup("d")
	w.must(err)
	mode := uint32(0o700)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: &mode})
	w.must(err)
	s.beforeCopy = func(string, string) { time.Sleep(250 * time.Millisecond) } // longer than attrDelay
	w.must(w.rename("d", "e", 0))
	time.Sleep(300 * time.Millisecond)
	if _, _, ok := objectOf(t, s.Store, "d/"); ok {
		t.Error("the marker d/ is back")
	}
	if _, err := w.lookup("d"); err == nil {
		t.Error("the name d is back")
	}
}

// An unlinked file that is still open, whose name is made again at once.
func TestRecreateTakesBytesOfOpenFile(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<18)
	w := newWorld(t, mem.New(), nil)
	w.must(w.write("big", big, 0))
	w2 := newWorld(t, w.ops.Store, func(o *Options) { o.CacheSize = 1 })
	h, err := w2.open("big", syscall.O_RDONLY)
	w.must(err)
	w2.must(w2.unlink("big"))
	w2.must(w2.write("big", "new", 0))
	if got, err := w2.readHandle(h); err != nil || got != big {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	w2.fs.Release(h)
}

// The last entry of a directory without a marker goes, and then the directory.
func TestMarkerOfRemovedDirShowsAgain(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	_, err := s.Store.Put(w.ctx, "d/f", store.Body{Reader: strings.NewReader("x"), Size: 1}, store.PutOptions{})
	w.must(err)
	w.list("d")
	reached, goOn := make(chan struct{}), make(chan struct{})
	s.beforePut = func(key string) {
		if key == "d/" {
			close(reached)
			<-goOn
		}
	}
	w.must(w.unlink("d/f"))
	<-reached
	w.must(w.rmdir("d"))
	close(goOn)
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if _, err := w.lookup("d"); KindOf(err) != NotExist {
		t.Errorf("lookup of the removed directory: %v", err)
	}
	if got := w.list(""); got != "" {
		t.Errorf("root lists %q", got)
	}
	_, _, ok := objectOf(t, s.Store, "d/")
	t.Log("marker in S3:", ok)
}

// A new file whose PUT was carried out although its answer was lost is unlinked while open.
func TestUnlinkAfterLostAnswer(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_CREAT)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("x"), 0)
	w.must(err)
	s.afterPut = func(key string) error {
		if key != "f" {
			return nil
		}
		return unavailable(store.OpPut, key)
	}
	w.wantKind(w.fs.Flush(w.ctx, h), IO)
	s.afterPut = nil
	w.must(w.unlink("f"))
	w.fs.Release(h)
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if _, _, ok := objectOf(t, s.Store, "f"); ok {
		t.Error("the unlinked file is in S3")
	}
}

// A rename waits for its target's lock while the source is unlinked.
func TestRenameOfUnlinked(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	w.must(w.write("a", "x", 0))
	_, err := w.lookup("a")
	w.must(err)
	unlock, err := w.fs.locks.lock(w.ctx, "b") // as a commit of b holds it
	w.must(err)
	done := make(chan error)
	go func() { done <- w.rename("a", "b", 0) }()
	time.Sleep(50 * time.Millisecond)
	w.must(w.unlink("a"))
	unlock()
	err = <-done
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if _, _, ok := objectOf(t, s, "b"); ok || err == nil {
		t.Errorf("rename of an unlinked file: %v; b exists: %v", err, ok)
	}
}

// Two renames of one file: one of them must fail.
func TestTwoRenamesOfOneFile(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	w.must(w.write("a", "x", 0))
	unlock, err := w.fs.locks.lock(w.ctx, "a")
	w.must(err)
	var ok atomic.Int64
	var wg sync.WaitGroup
	for _, to := range []string{"b", "c"} {
		wg.Go(func() {
			if w.rename("a", to, 0) == nil {
				ok.Add(1)
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	unlock()
	wg.Wait()
	_, _, b := objectOf(t, s, "b")
	_, _, c := objectOf(t, s, "c")
	if ok.Load() != 1 || b == c {
		t.Errorf("%d renames succeeded; b %v, c %v", ok.Load(), b, c)
	}
}

// An unlink here must not remove what another gateway made since.
func TestDelayedDeleteTakesNewerFile(t *testing.T) {
	s := &hooked{Store: mem.New()}
	a := newWorld(t, s, nil)
	b := newWorld(t, s.Store, nil)
	a.must(a.write("f", "old", 0))
	var down atomic.Bool
	s.beforeDelete = func(key string) error {
		if down.Load() {
			return unavailable(store.OpDelete, key)
		}
		return nil
	}
	down.Store(true) // an outage between this gateway and S3
	a.must(a.unlink("f"))
	time.Sleep(100 * time.Millisecond)
	b.must(b.write("f", "new, acknowledged to b", syscall.O_TRUNC))
	down.Store(false)
	a.must(a.fs.FsyncDir(a.ctx, RootID))
	if data, _, _ := objectOf(t, s.Store, "f"); data != "new, acknowledged to b" {
		t.Errorf("S3 has %q", data)
	}
}

// A removal that keeps failing must not hold up a PUT of its key for ever.
func TestFailingDeleteBlocksCommit(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	w.must(w.write("f", "old", 0))
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var heal atomic.Bool
	s.beforeDelete = func(key string) error {
		once.Do(func() { close(reached); <-goOn })
		if heal.Load() {
			return nil
		}
		return unavailable(store.OpDelete, key) // DELETE fails, PUT works
	}
	w.must(w.unlink("f"))
	<-reached
	done := make(chan error, 1)
	go func() { done <- w.write("f", "new", 0) }()
	time.Sleep(50 * time.Millisecond)
	close(goOn)
	select {
	case err := <-done:
		w.must(err)
	case <-time.After(4 * time.Second):
		t.Error("a commit waits for a removal that fails again and again")
	}
	heal.Store(true)
}

// A source that others replaced since it was opened here moves with its directory.
func TestRenameDirAdoptsForeignVersion(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, nil)
	b := newWorld(t, s, nil)
	a.must(a.mkdir("d"))
	a.must(a.write("d/f", "original", 0))
	h, err := a.open("d/f", syscall.O_RDWR)
	a.must(err)
	b.must(b.write("d/f", "THEIRS!!", syscall.O_TRUNC))
	a.must(a.rename("d", "e", 0))
	_, err = a.fs.Write(a.ctx, h, []byte("x"), 0)
	a.must(err)
	err = a.fs.Flush(a.ctx, h)
	a.fs.Release(h)
	if data, _, _ := objectOf(t, s, "e/f"); KindOf(err) != Stale || data != "THEIRS!!" {
		t.Errorf("edit of a replaced file: %v; S3 has %q", err, data)
	}
}

// A reader meanwhile, of a file that this gateway renames.
func TestReadDuringRename(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<18)
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, func(o *Options) { o.CacheSize = 1 })
	w.must(w.write("f", big, 0))
	h, err := w.open("f", syscall.O_RDONLY)
	w.must(err)
	reached, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.beforeGet = func(key string) {
		if key == "f" {
			once.Do(func() { close(reached); <-goOn })
		}
	}
	done := make(chan error)
	go func() {
		_, err := w.fs.Read(w.ctx, h, make([]byte, 4096), 3<<20)
		done <- err
	}()
	<-reached
	w.must(w.rename("f", "g", 0))
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	close(goOn)
	if err := <-done; err != nil {
		t.Errorf("read of a file that was renamed here: %v", err)
	}
	w.fs.Release(h)
}

// chmod while a PUT is under way.
func TestChmodDuringCommit(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	w.must(w.write("f", "old", 0))
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("x"), 0)
	w.must(err)
	reached, goOn := make(chan struct{}), make(chan struct{})
	s.beforePut = func(key string) { s.beforePut = nil; close(reached); <-goOn }
	done := make(chan error)
	go func() { done <- w.fs.Flush(w.ctx, h) }()
	<-reached
	mode := uint32(0o600)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, h.Node(), h, SetAttr{Mode: &mode})
	w.must(err)
	time.Sleep(200 * time.Millisecond)
	close(goOn)
	w.must(<-done)
	w.fs.Release(h)
	if !eventually(3*time.Second, func() bool { return w.fs.Stats().PendingAttr == 0 }) {
		_, info, _ := objectOf(t, s.Store, "f")
		t.Errorf("3 s after close: %d attributes pending, S3 has %v", w.fs.Stats().PendingAttr, info.Meta)
	}
}

// Names are looked up while somebody writes and syncs the file.
func TestLookupSupersedesWriter(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.must(w.write("f", "0", 0))
	h, err := w.open("f", syscall.O_RDWR)
	w.must(err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if k, err := w.fs.Lookup(w.ctx, RootID, "f"); err == nil {
					w.fs.GetAttr(w.ctx, k.ID, nil)
					w.fs.Forget(k.ID, 1)
				}
			}
		})
	}
	for i := range 3000 {
		_, err := w.fs.Write(w.ctx, h, []byte{byte(i), byte(i >> 8)}, 0)
		w.must(err)
		if err := w.fs.Fsync(w.ctx, h); err != nil {
			t.Errorf("fsync %d: %v", i, err)
			break
		}
	}
	close(stop)
	wg.Wait()
	w.fs.Release(h)
}
