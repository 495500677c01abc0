package vfs

import (
	"context"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store/mem"
)

// Whoever makes a name exclusively sees all that was committed before the
// previous holder let go of it, with nothing asked again for its age.
func TestAcquireByExclusiveName(t *testing.T) {
	s, c := mem.New(), newClub()
	change := func(o *Options) { o.OpenTTL = time.Hour }
	a, _ := c.join(t, s, change)
	b, _ := c.join(t, s, change)
	a.must(a.mkdir("d"))
	a.must(a.write("d/changed", "old", 0))
	a.must(a.write("d/gone", "x", 0))
	b.must(b.mkdir("other"))
	b.wantRead("d/changed", "old")
	b.wantRead("d/gone", "x")
	if got := b.list("d"); got != "changed gone" {
		t.Fatalf("b lists %q", got)
	}
	a.must(a.create("lock", "a"))
	a.must(a.write("d/changed", "new", 0))
	a.must(a.write("d/new", "x", 0))
	a.must(a.chmod("d/changed", 0o600))
	a.must(a.unlink("d/gone"))
	a.must(a.unlink("lock"))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		dir, name := b.walk("lock")
		k, h, err := b.fs.Create(b.ctx, Caller{}, dir, name, syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL, 0o644)
		if err == nil {
			if k.EntryTTL != 0 {
				t.Errorf("the name may be kept for %v", k.EntryTTL)
			}
			b.fs.Release(h)
			break
		}
		if KindOf(err) != Exist || time.Now().After(end) {
			t.Fatalf("create: %v", err)
		}
		_, _ = b.lookup("lock")
		b.fs.idx.Forget("lock") // as one of another program does not need: it waits
	}
	if _, err := b.lookup("d/gone"); KindOf(err) != NotExist {
		t.Errorf("what was removed is there: %v", err)
	}
	if _, err := b.lookup("d/new"); err != nil {
		t.Errorf("what was made is not there: %v", err)
	}
	b.wantMode("d/changed", 0o600)
	b.wantRead("d/changed", "new")
	if got := b.list("d"); got != "changed new" {
		t.Errorf("b lists %q", got)
	}
}

// An acquire waits until a front end asks again for what it was lent.
func TestAcquireWaitsForWhatWasLent(t *testing.T) {
	c := newClub()
	w, l := c.join(t, mem.New(), nil)
	w.must(w.fs.opts.Locks.Enter(w.ctx))
	w.must(w.write("f", "x", 0))
	k, err := w.lookup("f")
	w.must(err)
	if k.EntryTTL <= lendShared || k.EntryTTL > lendAlone {
		t.Errorf("alone, a name may be kept for %v", k.EntryTTL)
	}
	l.sole.Store(false)
	w.fs.lending.from.Store(0) // as when it entered long ago
	k, err = w.lookup("f")
	w.must(err)
	if k.EntryTTL <= 0 || k.EntryTTL > lendShared {
		t.Errorf("with others, a name may be kept for %v", k.EntryTTL)
	}
	until := time.Unix(0, w.fs.lending.until.Load())
	w.must(w.fs.Acquired(w.ctx))
	if now := time.Now(); now.Before(until) {
		t.Errorf("acquired %v before what was lent is over", until.Sub(now))
	}
	k, err = w.lookup("f")
	w.must(err)
	if k.EntryTTL != 0 || k.AttrTTL != 0 {
		t.Errorf("after that, a name may be kept for %v", k.EntryTTL)
	}
	w.fs.lending.until.Store(time.Now().Add(time.Hour).UnixNano())
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := w.fs.Acquired(ctx); err != context.Canceled {
		t.Errorf("Acquired: %v, want that it was cancelled", err)
	}
	w.fs.lending.until.Store(0)
}

// What was acknowledged before a lock file goes, or gives its name to another
// file, is in S3 before that.
func TestReleaseSendsFirst(t *testing.T) {
	for name, let := range map[string]func(w *world) error{
		"unlink":      func(w *world) error { return w.unlink("lock") },
		"rename away": func(w *world) error { return w.rename("lock", "result", 0) },
		"replace": func(w *world) error {
			if err := w.write("x.tmp", "x", 0); err != nil {
				return err
			}
			return w.rename("x.tmp", "lock", 0)
		},
		"fsync of a directory": func(w *world) error { return w.fs.FsyncDir(w.ctx, RootID) },
	} {
		t.Run(name, func(t *testing.T) {
			s := &hooked{Store: mem.New()}
			w, l := newClub().join(t, s, nil)
			w.must(w.mkdir("d"))
			l.sole.Store(false)
			w.must(w.write("d/gone", "x", 0))
			w.must(w.write("d/f", "x", 0))
			w.must(w.create("lock", "mine"))
			var early atomic.Bool
			check := func(key string) {
				_, info, ok := objectOf(t, s.Store, "d/f")
				if _, _, there := objectOf(t, s.Store, "d/gone"); strings.HasPrefix(key, "lock") && (there || !ok || index.Decode(info).Attr.Mode != 0o600) {
					early.Store(true)
				}
			}
			w.must(w.chmod("d/f", 0o600))
			w.must(w.unlink("d/gone"))
			s.beforePut = check
			s.beforeDelete = func(key string) error { check(key); return nil }
			w.must(let(w))
			check("lock")
			w.must(w.fs.Sync(w.ctx, ""))
			if early.Load() {
				t.Error("the lock was let go before all was in S3")
			}
		})
	}
}

// A copy of a tree with O_EXCL, as cp makes it, costs what it did.
func TestAcquireIsFreeAlone(t *testing.T) {
	for _, sole := range []bool{false, true} {
		var w *world
		want := "PUT 40"
		if sole {
			w, _ = alone(t, mem.New())
			w.must(w.mkdir("d"))
			want = "PUT 20"
		} else {
			w = newWorld(t, mem.New(), nil)
			w.must(w.mkdir("d"))
			for end := time.Now().Add(20 * time.Second); !w.fs.alone(); time.Sleep(10 * time.Millisecond) {
				w.list("d")
				if time.Now().After(end) {
					t.Fatal("not alone after 20 s")
				}
			}
		}
		w.ops.reset()
		for i := range 20 {
			w.must(w.create("d/"+string(rune('a'+i)), "x"))
		}
		if got := strings.TrimPrefix(w.ops.String(), "LIST 1, "); got != want {
			t.Errorf("20 exclusive files, sole lease %v: %s, want %s", sole, w.ops, want)
		}
	}
}
