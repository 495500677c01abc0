package vfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// broken fails requests of some kinds while it is told to.
type broken struct {
	store.Store
	puts, gets, deletes atomic.Bool
}

func (b *broken) fail(op store.Op, key string) error {
	return &store.Error{Op: op, Key: key, Kind: store.Unavailable, Err: errors.New("broken on purpose")}
}

func (b *broken) Put(ctx context.Context, key string, body store.Body, o store.PutOptions) (store.Info, error) {
	if b.puts.Load() {
		return store.Info{}, b.fail(store.OpPut, key)
	}
	return b.Store.Put(ctx, key, body, o)
}

func (b *broken) Get(ctx context.Context, key string, o store.GetOptions) (*store.Object, error) {
	if b.gets.Load() {
		return nil, b.fail(store.OpGet, key)
	}
	return b.Store.Get(ctx, key, o)
}

func (b *broken) Delete(ctx context.Context, key string, p store.Precondition) error {
	if b.deletes.Load() {
		return b.fail(store.OpDelete, key)
	}
	return b.Store.Delete(ctx, key, p)
}

// TestCommitFails keeps the bytes, says so, and commits them later.
func TestCommitFails(t *testing.T) {
	s := &broken{Store: mem.New()}
	w := newWorld(t, s, nil)
	w.must(w.write("f", "first", 0))
	s.puts.Store(true)
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("second"), 0)
	w.must(err)
	w.wantKind(w.fs.Fsync(w.ctx, h), IO)
	kept, err := Kept(w.fs.opts.StateDir)
	if err != nil || len(kept) != 1 || kept[0].Path != "f" || readFile(t, kept[0].File) != "second" {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	if st := w.fs.Stats(); st.KeptVersions != 1 || st.CommitErrors != 1 || st.DirtyFiles != 1 || st.LastError == "" {
		t.Errorf("stats %+v", st)
	}
	s.puts.Store(false)
	w.must(w.fs.Fsync(w.ctx, h))
	w.fs.Release(h)
	w.wantRead("f", "second")
	if kept, _ := Kept(w.fs.opts.StateDir); len(kept) != 0 {
		t.Errorf("still kept: %+v", kept)
	}

	w.must(w.write(".f.tmp", "saved", 0))
	s.puts.Store(true)
	w.wantKind(w.rename(".f.tmp", "f", 0), IO)
	s.puts.Store(false)
	w.wantRead(".f.tmp", "saved")
	w.must(w.rename(".f.tmp", "f", 0))
	w.wantRead("f", "saved")
	w.must(w.write("f", "second", syscall.O_TRUNC))

	s.puts.Store(true)
	w.wantKind(w.write("f", "third", syscall.O_TRUNC), IO)
	w.wantKind(w.write("new", "fourth", 0), IO)
	s.puts.Store(false)
	w.wantRead("f", "second")
	_, err = w.read("new")
	w.wantKind(err, NotExist)
	kept, _ = Kept(w.fs.opts.StateDir)
	if len(kept) != 2 {
		t.Fatalf("kept %+v", kept)
	}
	w.must(DropKept(w.fs.opts.StateDir, kept[0].ID))
	if err := DropKept(w.fs.opts.StateDir, "../staged"); err == nil {
		t.Error("an id that leaves the directory was taken")
	}
}

// TestReadFails is an error and never zeros, and passes when S3 is back.
func TestReadFails(t *testing.T) {
	s := &broken{Store: mem.New()}
	w := newWorld(t, s, func(o *Options) { o.CacheSize = 1 })
	data := strings.Repeat("x", 3<<20)
	w.must(w.write("f", data, 0))
	h, err := w.open("f", syscall.O_RDONLY)
	w.must(err)
	s.gets.Store(true)
	buf := make([]byte, 4096)
	_, err = w.fs.Read(w.ctx, h, buf, 2<<20)
	w.wantKind(err, IO)
	_, err = w.read("f")
	w.wantKind(err, IO)
	s.gets.Store(false)
	if n, err := w.fs.Read(w.ctx, h, buf, 2<<20); err != nil || string(buf[:n]) != data[:4096] {
		t.Errorf("after the outage: %d, %v", n, err)
	}
	// The version goes away under the handle: stale, never zeros.
	other := newWorld(t, s, nil)
	other.must(other.unlink("f"))
	other.must(other.fs.FsyncDir(w.ctx, RootID))
	_, err = w.fs.Read(w.ctx, h, buf, 1<<20+512<<10)
	if err == nil && strings.Trim(string(buf), "x") != "" {
		t.Errorf("read %q", buf[:16])
	}
	w.fs.Release(h)
}

// TestRemovalsAreRetried keeps a name hidden until its removal has gone.
func TestRemovalsAreRetried(t *testing.T) {
	s := &broken{Store: mem.New()}
	w := newWorld(t, s, nil)
	w.must(w.write("f", "x", 0))
	s.deletes.Store(true)
	w.must(w.unlink("f"))
	ctx, cancel := context.WithTimeout(w.ctx, 200*time.Millisecond)
	defer cancel()
	w.wantKind(w.fs.FsyncDir(ctx, RootID), Timeout)
	w.wantRoot("")
	s.deletes.Store(false)
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if _, err := s.Head(w.ctx, "f"); !store.IsKind(err, store.NotExist) {
		t.Errorf("still there: %v", err)
	}
}

// TestKilledGatewayLeavesTemporaryFiles finds what a gateway that was killed
// had acknowledged and not committed.
func TestKilledGatewayLeavesTemporaryFiles(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.must(w.mkdir("d"))
	w.must(w.write("d/.save.tmp", "half done", 0))
	k, err := w.lookup("d/.save.tmp")
	w.must(err)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: ptr(uint32(0o640))})
	w.must(err)
	w.must(w.write("done", "committed", 0))
	// A copy of the directory is what a kill at this moment leaves.
	dir := t.TempDir()
	w.must(copyTree(w.fs.opts.StateDir, dir))
	_, err = Open(w.ctx, Options{Store: w.ops, StateDir: w.fs.opts.StateDir})
	var inUse *InUseError
	if !errors.As(err, &inUse) || inUse.PID != os.Getpid() {
		t.Errorf("second owner: %v", err)
	}
	kept, err := Kept(dir)
	if err != nil || len(kept) != 1 || kept[0].Path != "d/.save.tmp" || bytesOf(t, kept[0]) != "half done" {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	w.must(os.WriteFile(filepath.Join(dir, "cache", "left"), nil, 0o600))
	w.must(os.WriteFile(filepath.Join(dir, "boot"), []byte("another"), 0o600))
	next := newWorld(t, w.ops.Store, func(o *Options) { o.StateDir = dir })
	if left, err := os.ReadDir(filepath.Join(dir, "cache")); err != nil || len(left) != 0 {
		t.Errorf("cache of an earlier boot: %v, %v", left, err)
	}
	if kept, err := Kept(dir); err != nil || len(kept) != 0 {
		t.Errorf("kept beside a gateway that has it: %+v, %v", kept, err)
	}
	next.wantRead("d/.save.tmp", "half done")
	if k, err := next.lookup("d/.save.tmp"); err != nil || k.Mode != 0o640 {
		t.Errorf("attributes %+v, %v", k, err)
	}
	next.must(next.rename("d/.save.tmp", "d/.again.tmp", 0))
	next.must(next.rename("d/.again.tmp", "d/final", 0))
	next.wantRead("d/final", "half done")
	next.wantRead("done", "committed")
}

// copyTree copies a directory.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, 0o600)
	})
}

// TestStagedIsUploadedAfterAWhile does not keep a temporary file for ever.
func TestStagedIsUploadedAfterAWhile(t *testing.T) {
	w := newWorld(t, mem.New(), func(o *Options) { o.StagedTTL = time.Millisecond })
	w.must(w.write("film.part", "bytes", 0))
	w.wantRead("film.part", "bytes")
	time.Sleep(5 * time.Millisecond)
	w.fs.uploadOldStaged()
	other := newWorld(t, w.ops.Store, nil)
	other.wantRead("film.part", "bytes")
}

// TestConcurrentOperations lets goroutines do anything to few names, and then
// compares what two gateways and the store say.
func TestConcurrentOperations(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, func(o *Options) { o.DirTTL = 10 * time.Millisecond })
	b := newWorld(t, s, func(o *Options) { o.DirTTL = 10 * time.Millisecond })
	a.must(a.mkdir("d"))
	time.Sleep(20 * time.Millisecond)
	var wg sync.WaitGroup
	for g := range 8 {
		w := []*world{a, b}[g%2]
		wg.Go(func() {
			for i := range 150 {
				dir, err := w.fs.Lookup(w.ctx, RootID, "d")
				if err != nil {
					t.Errorf("lookup of d: %v", err)
					return
				}
				w.anything(dir.ID, fmt.Sprintf("f%d", (g*7+i*13)%5), (g+i)%7)
				w.fs.Forget(dir.ID, 1)
			}
		})
	}
	wg.Wait()
	for _, w := range []*world{a, b} {
		w.must(w.fs.FsyncDir(w.ctx, RootID))
	}
	time.Sleep(300 * time.Millisecond)
	page, err := s.List(a.ctx, store.ListOptions{Prefix: "d/", Delimiter: "/"})
	a.must(err)
	var want []string
	for _, o := range page.Objects {
		if o.Key != "d/" {
			want = append(want, strings.TrimPrefix(o.Key, "d/"))
		}
	}
	for _, w := range []*world{a, b} {
		if got := w.list("d"); got != strings.Join(want, " ") {
			t.Errorf("gateway lists %q, S3 has %q", got, want)
		}
		for _, name := range want {
			w.wantRead("d/"+name, name)
		}
	}
}

// anything does one operation whose outcome depends on the others.
func (w *world) anything(dir NodeID, name string, what int) {
	flags := syscall.O_WRONLY | syscall.O_CREAT
	target := name
	switch what {
	case 0:
		w.fs.Unlink(w.ctx, dir, name)
		return
	case 1:
		target = "." + name + ".tmp"
	case 2:
		flags |= syscall.O_EXCL
	case 3:
		if k, err := w.fs.Lookup(w.ctx, dir, name); err == nil {
			if h, err := w.fs.Open(w.ctx, k.ID, syscall.O_RDONLY); err == nil {
				if got, err := w.readHandle(h); err == nil && got != name && got != "" {
					w.t.Errorf("%s holds %q", name, got)
				}
				w.fs.Release(h)
			}
			w.fs.Forget(k.ID, 1)
		}
		return
	default:
		flags |= syscall.O_TRUNC
	}
	w.save(dir, target, name, flags)
	if target != name {
		w.fs.Rename(w.ctx, dir, target, dir, name, 0)
	}
}

func (w *world) save(dir NodeID, target, data string, flags int) {
	k, h, err := w.fs.Create(w.ctx, Caller{}, dir, target, flags, 0o644)
	if err != nil {
		return
	}
	w.fs.Write(w.ctx, h, []byte(data), 0)
	w.fs.Flush(w.ctx, h)
	w.fs.Release(h)
	w.fs.Forget(k.ID, 1)
}
