package vfs

import (
	"fmt"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// A directory that is removed elsewhere while a chmod of it waits here.
func TestChmodResurrectsRemovedDir(t *testing.T) {
	s := mem.New()
	a, b := newWorld(t, s, nil), newWorld(t, s, nil)
	a.must(a.mkdir("d"))
	k, err := a.lookup("d")
	a.must(err)
	b.must(b.stat("d"))
	mode := uint32(0o700)
	_, err = a.fs.SetAttr(a.ctx, Caller{}, k.ID, nil, SetAttr{Mode: &mode})
	a.must(err)
	b.must(b.rmdir("d"))
	b.must(b.fs.FsyncDir(b.ctx, RootID)) // acknowledged and in S3
	if !eventually(2*time.Second, func() bool { return a.fs.Stats().PendingAttr == 0 }) {
		t.Error("pending")
	}
	if _, _, ok := objectOf(t, s, "d/"); ok {
		t.Error("the removed directory is back")
	}
}

// The attributes of a file whose object is gone are given up: the index must not show it again.
func TestAttrOfGoneFileIndexed(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, nil)
	a.must(a.write("f", "x", 0))
	k, err := a.lookup("f")
	a.must(err)
	mode := uint32(0o600)
	_, err = a.fs.SetAttr(a.ctx, Caller{}, k.ID, nil, SetAttr{Mode: &mode})
	a.must(err)
	a.must(s.Delete(a.ctx, "f", store.Always)) // another tool
	if !eventually(2*time.Second, func() bool { return a.fs.Stats().PendingAttr == 0 }) {
		t.Error("pending")
	}
	if err := a.stat("f"); KindOf(err) != NotExist {
		t.Errorf("S3 said that it is gone; stat: %v", err)
	}
}

// A write that the local disk takes only in part leaves no bytes behind.
func TestPartialLocalWrite(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	w := newWorld(t, mem.New(), nil)
	h, err := w.open("f", syscall.O_RDWR|syscall.O_CREAT)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("head"), 0)
	w.must(err)
	var old syscall.Rlimit
	w.must(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	w.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8192, Max: old.Max}))
	_, werr := w.fs.Write(w.ctx, h, []byte(strings.Repeat("G", 16384)), 4) // as on a full disk
	w.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	if werr == nil {
		t.Fatal("the write was not refused: RLIMIT_FSIZE does not apply here")
	}
	size := int64(8192)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, h.Node(), h, SetAttr{Size: &size})
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("tail"), size)
	w.must(err)
	w.must(w.fs.Flush(w.ctx, h))
	w.fs.Release(h)
	if got, _ := w.read("f"); strings.Contains(got, "G") {
		t.Errorf("%d bytes of the failed write are in the file", strings.Count(got, "G"))
	}
}

// The same inside of a committed file: what failed must not count as clean.
func TestPartialLocalWriteClean(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	w := newWorld(t, mem.New(), nil)
	orig := strings.Repeat("o", 16384)
	w.must(w.write("f", orig, 0))
	h, err := w.open("f", syscall.O_RDWR)
	w.must(err)
	var old syscall.Rlimit
	w.must(syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	w.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8192, Max: old.Max}))
	_, werr := w.fs.Write(w.ctx, h, []byte(strings.Repeat("G", 16384)), 0)
	w.must(syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old))
	if werr == nil {
		t.Fatal("the write was not refused: RLIMIT_FSIZE does not apply here")
	}
	cerr := w.fs.Flush(w.ctx, h)
	w.fs.Release(h)
	data, _, _ := objectOf(t, w.ops.Store, "f")
	if got, _ := w.read("f"); got != data {
		t.Errorf("write %v, close %v: the mount reads %d new bytes that S3 does not have", werr, cerr, strings.Count(got, "G"))
	}
}

// chmod while an open is getting the first bytes of a file known from a listing.
func TestChmodDuringOpenLosesOwner(t *testing.T) {
	s := &hooked{Store: mem.New()}
	w := newWorld(t, s, nil)
	meta, err := w.fs.encode(index.Entry{Type: TypeFile, Mtime: time.Unix(1e9, 0),
		Attr: &index.Attr{UID: 4711, HasUID: true, XAttrs: map[string][]byte{"user.k": []byte("v")}}})
	w.must(err)
	big := strings.Repeat("x", 1<<20)
	_, err = s.Store.Put(w.ctx, "f", store.Body{Reader: strings.NewReader(big), Size: int64(len(big))}, store.PutOptions{Meta: meta})
	w.must(err)
	w.list("") // knows f without its attributes
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
	go func() { h, _ := w.fs.Open(w.ctx, k.ID, syscall.O_RDONLY); done <- h }()
	<-reached
	mode := uint32(0o600)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: &mode})
	w.must(err)
	close(goOn)
	if h := <-done; h != nil {
		w.fs.Release(h)
	}
	eventually(2*time.Second, func() bool { return w.fs.Stats().PendingAttr == 0 })
	_, info, _ := objectOf(t, s.Store, "f")
	if e := index.Decode(info); e.Attr == nil || e.Attr.UID != 4711 || len(e.Attr.XAttrs) != 1 {
		t.Errorf("after a chmod: %v", info.Meta)
	}
}

// FS.local must not miss nodes with changes, when changes meet the end of a commit.
func TestLocalSetRace(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.must(w.write("f", "x", 0))
	h, err := w.open("f", syscall.O_RDWR)
	w.must(err)
	defer w.fs.Release(h)
	lost, rounds := 0, 0
	for end := time.Now().Add(8 * time.Second); time.Now().Before(end) && lost == 0; rounds++ {
		_, err = w.fs.Write(w.ctx, h, []byte{byte(rounds)}, 0)
		w.must(err)
		done := make(chan struct{})
		go func() { w.fs.Fsync(w.ctx, h); close(done) }()
		h.node.mu.Lock()
		gen := h.f.content.generation()
		for h.f.committed < gen { // a chmod that comes just when the commit ends
			h.node.mu.Unlock()
			h.node.mu.Lock()
		}
		h.node.mu.Unlock()
		_, err := w.fs.Write(w.ctx, h, []byte{1}, 1)
		w.must(err)
		<-done
		h.node.mu.Lock()
		dirty := h.f.localLocked()
		h.node.mu.Unlock()
		w.fs.mu.Lock()
		_, known := w.fs.local[h.node]
		w.fs.mu.Unlock()
		if dirty && !known {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("round %d: written bytes that Close, keepLocal and Stats do not know of", rounds)
	}
}

// Several create the same name at the same time, all of whom have found that
// there is none: one makes the file, and the others open it.
func TestCreateAtTheSameTime(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	for round := range 200 {
		name := fmt.Sprint("log", round)
		const callers = 4
		var wg sync.WaitGroup
		for i := range callers {
			wg.Go(func() {
				_, h, err := a.fs.Create(a.ctx, Caller{}, RootID, name, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT, 0o644)
				if err != nil {
					t.Error(err)
					return
				}
				defer a.fs.Release(h)
				if _, err := a.fs.Write(a.ctx, h, fmt.Appendf(nil, "%d\n", i), 0); err != nil {
					t.Error(err)
				}
				if err := a.fs.Flush(a.ctx, h); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got, _ := a.read(name); len(got) != 2*callers {
			t.Fatalf("round %d: %q", round, got)
		}
	}
}
