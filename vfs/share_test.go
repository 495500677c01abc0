package vfs

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// TestUnlinkedAndReplacedFilesLiveOn reads and writes through handles whose
// name is gone.
func TestUnlinkedAndReplacedFilesLiveOn(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	big := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB: more than comes with an open
	w.must(w.write("big", big, 0))
	w2 := newWorld(t, w.ops.Store, func(o *Options) { o.CacheSize = 1 })
	for _, how := range []string{"unlink", "replace"} {
		h, err := w2.open("big", syscall.O_RDWR)
		w.must(err)
		if how == "unlink" {
			w.must(w2.unlink("big"))
			w.must(w2.fs.FsyncDir(w.ctx, RootID))
		} else {
			w.must(w2.write(".n.tmp", "new", 0))
			w.must(w2.rename(".n.tmp", "big", 0))
			w2.wantRead("big", "new")
		}
		if k, err := w2.fs.GetAttr(w.ctx, h.Node(), h); err != nil || k.Nlink != 0 || k.Size != int64(len(big)) {
			t.Errorf("%s: attributes %+v, %v", how, k, err)
		}
		if got, err := w2.readHandle(h); err != nil || got != big {
			t.Errorf("%s: read %d bytes, %v", how, len(got), err)
		}
		if _, err := w2.fs.Write(w.ctx, h, []byte("X"), 0); err != nil {
			t.Errorf("%s: write: %v", how, err)
		}
		w.must(w2.fs.Flush(w.ctx, h))
		w2.fs.Release(h)
		w2.must(w2.write("big", big, syscall.O_TRUNC))
	}
}

// TestEditConflict edits in place what another gateway replaces.
func TestEditConflict(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("f", "original", 0))
	h, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("ORIG"), 0)
	a.must(err)
	b.must(b.write("f", "theirs", syscall.O_TRUNC))
	a.wantKind(a.fs.Flush(a.ctx, h), Stale)
	a.fs.Release(h)
	a.wantRead("f", "theirs")
	b.wantRead("f", "theirs")
	kept, err := Kept(a.fs.opts.StateDir)
	if err != nil || len(kept) != 1 || kept[0].Path != "f" {
		t.Fatalf("kept %+v, %v", kept, err)
	}
	if got := readFile(t, kept[0].File); got != "ORIGinal" {
		t.Errorf("kept bytes %q", got)
	}
}

// TestWholeRewritesLastCloseWins does not refuse a rewrite.
func TestWholeRewritesLastCloseWins(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("f", "one", 0))
	h, err := a.open("f", syscall.O_WRONLY|syscall.O_TRUNC)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("mine"), 0)
	a.must(err)
	b.must(b.write("f", "theirs", syscall.O_TRUNC))
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	b.wantRead("f", "mine")
}

// TestExclusive has two gateways race for names.
func TestExclusive(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	for i := range 50 {
		var wg sync.WaitGroup
		won := make([]bool, 4)
		for j, w := range []*world{a, b, a, b} {
			wg.Go(func() {
				name := fmt.Sprintf("x%d", i)
				if j < 2 {
					won[j] = w.write(name, "me", syscall.O_EXCL) == nil
				} else {
					_, err := w.fs.Mkdir(w.ctx, Caller{}, RootID, "d"+name, 0o755)
					won[j] = err == nil
				}
			})
		}
		wg.Wait()
		if won[0] == won[1] || won[2] == won[3] {
			t.Fatalf("round %d: winners %v", i, won)
		}
	}
}

// TestReplacedWhileOpen keeps versions apart: an open handle stays on its own,
// a new open sees the new one.
func TestReplacedWhileOpen(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("f", "old", 0))
	a.must(a.write("g", "one", 0))
	h, err := b.open("f", syscall.O_RDONLY)
	b.must(err)
	a.must(a.write("f", "newer", syscall.O_TRUNC))
	b.wantRead("f", "newer")
	if got, err := b.readHandle(h); err != nil || got != "old" {
		t.Errorf("old handle: %q, %v", got, err)
	}
	b.fs.Release(h)
	a.must(a.unlink("f"))
	a.must(a.fs.FsyncDir(a.ctx, RootID))
	_, err = b.read("f")
	b.wantKind(err, NotExist)
	b.wantRead("g", "one")
	a.must(a.unlink("g"))
	a.must(a.fs.FsyncDir(a.ctx, RootID))
	b.must(b.write("g", "made anew", 0))
	b.wantRead("g", "made anew")
}

// TestFirstRead needs no request but the one that brings the bytes, and an
// overwrite keeps the mode that it did not know.
func TestFirstRead(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	big := strings.Repeat("x", 100_000)
	h, err := a.open("script", syscall.O_WRONLY|syscall.O_CREAT)
	a.must(err)
	_, err = a.fs.SetAttr(a.ctx, Caller{}, h.Node(), h, SetAttr{Mode: ptr(uint32(0o755))})
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte(big), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	b := newWorld(t, a.ops.Store, nil)
	b.list("")
	b.ops.reset()
	b.wantRead("script", big)
	b.wantOps("first read", "GET 1")
	if k, err := b.lookup("script"); err != nil || k.Mode != 0o755 {
		t.Errorf("attributes after it: %+v, %v", k, err)
	}
	c := newWorld(t, a.ops.Store, nil)
	c.list("")
	c.must(c.write("script", "short", syscall.O_TRUNC))
	if k, err := c.lookup("script"); err != nil || k.Mode != 0o755 || k.Size != 5 {
		t.Errorf("attributes after an overwrite: %+v, %v", k, err)
	}
}

// TestLargeEdits compares a large file with a model through random edits, and
// counts what one byte costs.
func TestLargeEdits(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	rng := rand.New(rand.NewPCG(3, 4))
	model := make([]byte, 40<<20)
	for i := range model {
		model[i] = byte(rng.Uint32())
	}
	a.must(a.write("big", string(model), 0))
	a.ops.reset()
	h, err := b.open("big", syscall.O_RDWR)
	b.must(err)
	b.ops.reset()
	model[20<<20]++
	_, err = b.fs.Write(b.ctx, h, model[20<<20:20<<20+1], 20<<20)
	b.must(err)
	b.must(b.fs.Fsync(b.ctx, h))
	b.wantOps("edit of one byte", "COPY-PART 2, GET 2, UPLOAD-PART 1")
	for range 20 {
		off := rng.Int64N(int64(len(model)) - 1000)
		p := model[off : off+1000]
		p[0]++
		_, err := b.fs.Write(b.ctx, h, p, off)
		b.must(err)
	}
	model = append(model[:39<<20], make([]byte, 3<<20)...)
	_, err = b.fs.SetAttr(b.ctx, Caller{}, h.Node(), h, SetAttr{Size: ptr(int64(39 << 20))})
	b.must(err)
	_, err = b.fs.SetAttr(b.ctx, Caller{}, h.Node(), h, SetAttr{Size: ptr(int64(42 << 20))})
	b.must(err)
	b.must(b.fs.Flush(b.ctx, h))
	b.fs.Release(h)
	got, err := a.read("big")
	if err != nil || !bytes.Equal([]byte(got), model) {
		t.Fatalf("other gateway reads %d bytes, %v; equal %v", len(got), err, got == string(model))
	}
}

func ptr[T any](v T) *T { return &v }

// TestAttributes folds changes into the commit and sends later ones once.
func TestAttributes(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	when := time.Unix(1_600_000_000, 123456789)
	h, err := a.open("f", syscall.O_WRONLY|syscall.O_CREAT)
	a.must(err)
	set := SetAttr{Mode: ptr(uint32(0o4751)), UID: ptr(uint32(12)), GID: ptr(uint32(34)), Mtime: &when}
	_, err = a.fs.SetAttr(a.ctx, Caller{}, h.Node(), h, set)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	a.wantOps("attributes before the commit", "LIST 1, PUT 1")
	check := func(w *world, mode uint32) {
		t.Helper()
		k, err := w.lookup("f")
		w.must(err)
		if k.Mode != mode || k.UID != 12 || k.GID != 34 || !k.Mtime.Equal(when) {
			t.Errorf("attributes %o %d %d %v", k.Mode, k.UID, k.GID, k.Mtime)
		}
	}
	check(a, 0o4751)
	check(b, 0o4751)
	id := h.Node()
	for _, mode := range []uint32{0o600, 0o640} {
		_, err = a.fs.SetAttr(a.ctx, Caller{}, id, nil, SetAttr{Mode: &mode})
		a.must(err)
	}
	a.must(a.fs.SetXAttr(a.ctx, id, "user.color", []byte("blue"), 0))
	check(a, 0o640)
	a.must(a.fs.flushAttr(a.ctx, a.fs.nodes.find("f")))
	a.wantOps("three attribute changes", "COPY 1")
	c := newWorld(t, a.ops.Store, nil)
	check(c, 0o640)
	k, err := c.lookup("f")
	c.must(err)
	if v, err := c.fs.GetXAttr(c.ctx, k.ID, "user.color"); err != nil || string(v) != "blue" {
		t.Errorf("xattr %q, %v", v, err)
	}
	c.wantKind(c.fs.SetXAttr(c.ctx, k.ID, "user.huge", make([]byte, 4096), 0), AttrTooLarge)
}

// TestRenameDir moves a tree with open and uncommitted files.
func TestRenameDir(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	a.must(a.mkdir("d"))
	a.must(a.mkdir("d/sub"))
	for i := range 30 {
		a.must(a.write(fmt.Sprintf("d/sub/f%d", i), fmt.Sprint(i), 0))
	}
	a.must(a.write("d/.t.tmp", "staged", 0))
	h, err := a.open("d/sub/f1", syscall.O_RDWR)
	a.must(err)
	a.wantKind(a.rename("d", "d/sub/e", 0), Invalid)
	a.must(a.rename("d", "e", 0))
	if got := a.list(""); got != "e" {
		t.Errorf("root: %q", got)
	}
	a.wantRead("e/sub/f7", "7")
	_, err = a.fs.Write(a.ctx, h, []byte("edited"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	a.must(a.rename("e/.t.tmp", "e/final", 0))
	b := newWorld(t, a.ops.Store, nil)
	b.wantRead("e/sub/f1", "edited")
	b.wantRead("e/final", "staged")
	if got := b.list("e"); got != "final sub" {
		t.Errorf("other gateway: %q", got)
	}
	a.must(a.mkdir("full"))
	a.must(a.write("full/x", "x", 0))
	a.wantKind(a.rename("e", "full", 0), NotEmpty)
	a.wantKind(a.rename("e", "full", RenameNoReplace), Exist)
	a.wantKind(a.rmdir("full"), NotEmpty)
}

// TestRecreateNeverResurrects unlinks and makes a name anew in all ways.
func TestRecreateNeverResurrects(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	for i := range 40 {
		want := fmt.Sprint("v", i)
		a.must(a.write("latest", "older", syscall.O_TRUNC))
		a.must(a.unlink("latest"))
		switch i % 4 {
		case 0:
			a.must(a.write("latest", want, 0))
		case 1:
			a.must(a.write("latest", want, syscall.O_EXCL))
		case 2:
			a.must(a.write(".l.tmp", want, 0))
			a.must(a.rename(".l.tmp", "latest", 0))
		default:
			a.must(a.fs.FsyncDir(a.ctx, RootID))
			a.wantRoot("")
			continue
		}
		a.must(a.fs.FsyncDir(a.ctx, RootID))
		a.wantRead("latest", want)
		obj, err := a.ops.Store.Head(context.Background(), "latest")
		if err != nil || obj.Size != int64(len(want)) {
			t.Fatalf("round %d: S3 has %+v, %v", i, obj, err)
		}
	}
}

func (w *world) wantRoot(want string) {
	w.t.Helper()
	if got := w.list(""); got != want {
		w.t.Fatalf("root has %q, want %q", got, want)
	}
}

// TestManyWritersOfOneFile has writers of one file share commits.
func TestManyWritersOfOneFile(t *testing.T) {
	a := newWorld(t, slow{mem.New()}, nil)
	a.must(a.write("log", "", 0))
	a.ops.reset()
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			h, err := a.open("log", syscall.O_WRONLY|syscall.O_APPEND)
			if err == nil {
				_, err = a.fs.Write(a.ctx, h, fmt.Appendf(nil, "line %02d\n", i), 0)
			}
			if err == nil {
				err = a.fs.Flush(a.ctx, h)
				a.fs.Release(h)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	a.ops.mu.Lock()
	puts := a.ops.ops[store.OpPut]
	a.ops.mu.Unlock()
	if puts > 16 {
		t.Errorf("%d commits for 32 concurrent closes", puts)
	}
	if got, err := a.read("log"); err != nil || strings.Count(got, "line") != 32 {
		t.Errorf("%q, %v", got, err)
	}
}

// slow makes every Put take a moment, so that callers meet.
type slow struct{ store.Store }

func (s slow) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	time.Sleep(5 * time.Millisecond)
	return s.Store.Put(ctx, key, b, o)
}
