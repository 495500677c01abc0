package vfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// club is who is on a bucket, for tests: the first gateway that enters has it
// for itself until a second one does.
type club struct {
	door    chan struct{} // held by who enters or leaves
	members map[*lease]bool
}

func newClub() *club { return &club{door: make(chan struct{}, 1), members: map[*lease]bool{}} }

// lease is one gateway's part of a club.
type lease struct {
	locks.Service // what is not about the bucket is not called
	club          *club
	fs            *FS
	in, sole      atomic.Bool
	handOver      func() // called before it gives the bucket up; may be nil
}

func (l *lease) Sole() bool { return l.sole.Load() }

// Check and Guard are those of a gateway that holds no lock.
func (l *lease) Check(string) error           { return nil }
func (l *lease) Guard(string) <-chan struct{} { return nil }

func (l *lease) Enter(ctx context.Context) error {
	if l.in.Load() {
		return nil
	}
	select {
	case l.club.door <- struct{}{}:
	case <-ctx.Done():
		return &locks.Error{Op: "enter", Kind: locks.Canceled, Err: ctx.Err()}
	}
	defer func() { <-l.club.door }()
	if l.in.Load() {
		return nil
	}
	for o := range l.club.members {
		if o.sole.Swap(false) {
			if o.handOver != nil {
				o.handOver()
			}
			if err := o.fs.Publish(ctx); err != nil {
				o.sole.Store(true)
				return &locks.Error{Op: "enter", Kind: locks.NoLock, Err: err}
			}
		}
	}
	if err := l.fs.Acquired(ctx); err != nil {
		return &locks.Error{Op: "enter", Kind: locks.Canceled, Err: err}
	}
	l.sole.Store(len(l.club.members) == 0)
	l.club.members[l] = true
	l.in.Store(true)
	return nil
}

// leave gives up what l has; the one that stays is alone.
func (l *lease) leave(t *testing.T) {
	l.club.door <- struct{}{}
	defer func() { <-l.club.door }()
	if l.sole.Swap(false) {
		if err := l.fs.Publish(t.Context()); err != nil {
			t.Errorf("Publish: %v", err)
		}
	}
	l.in.Store(false)
	delete(l.club.members, l)
	if len(l.club.members) == 1 {
		for o := range l.club.members {
			if err := o.fs.Acquired(t.Context()); err != nil {
				t.Errorf("Acquired: %v", err)
			}
			o.sole.Store(true)
		}
	}
}

// lose ends what l has as if it had been stopped for long.
func (l *lease) lose() {
	l.club.door <- struct{}{}
	defer func() { <-l.club.door }()
	l.in.Store(false)
	l.sole.Store(false)
	delete(l.club.members, l)
}

// join is newWorld with a lease.
func (c *club) join(t *testing.T, s store.Store, change func(*Options)) (*world, *lease) {
	t.Helper()
	l := &lease{club: c}
	w := newWorld(t, s, func(o *Options) {
		o.Locks = l
		o.DirTTL, o.Verify = time.Hour, time.Hour // nothing is seen because it is asked for again
		if change != nil {
			change(o)
		}
	})
	l.fs = w.fs
	return w, l
}

// alone is a gateway that has the bucket for itself, and knows the root.
func alone(t *testing.T, s store.Store) (*world, *lease) {
	t.Helper()
	w, l := newClub().join(t, s, nil)
	w.must(w.fs.opts.Locks.Enter(w.ctx))
	w.list("")
	w.ops.reset()
	return w, l
}

func (w *world) create(path, data string) error { return w.write(path, data, syscall.O_EXCL) }

func TestSoleCosts(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(w *world)
		want string // without what Sync does
		sync string // with it
	}{
		{"mkdir", func(w *world) { w.must(w.mkdir("d")) }, "", "PUT 1"},
		{"mkdir and rmdir", func(w *world) {
			w.must(w.mkdir("d"))
			w.must(w.rmdir("d"))
			w.must(w.mkdir("d"))
			w.must(w.rmdir("d"))
		}, "", ""},
		{"mkdir of a path", func(w *world) {
			w.must(w.mkdir("a"))
			w.must(w.mkdir("a/b"))
			w.must(w.mkdir("a/b/c"))
		}, "", "PUT 1"},
		{"exclusive", func(w *world) { w.must(w.create("f", "mine")) }, "PUT 1", "PUT 1"},
		{"exclusive and empty", func(w *world) { w.must(w.create("f", "")) }, "PUT 1", "PUT 1"},
		{"a lock file", func(w *world) {
			w.must(w.create("f", "mine"))
			w.wantKind(w.create("f", "theirs"), Exist)
			w.must(w.unlink("f"))
		}, "PUT 1", "DELETE 1, PUT 1"},
		{"save", func(w *world) {
			w.must(w.mkdir("v"))
			w.must(w.write("v/.1.tmp", "data", 0))
			w.must(w.rename("v/.1.tmp", "v/raw", 0))
			w.must(w.write(".2.tmp", "1", 0))
			w.must(w.rename(".2.tmp", "latest", 0))
		}, "PUT 2", "PUT 2"},
		{"mkdir with a mode", func(w *world) {
			dir, name := w.walk("d")
			_, err := w.fs.Mkdir(w.ctx, Caller{}, dir, name, 0o700)
			w.must(err)
			w.must(w.write("d/f", "x", 0))
		}, "PUT 1", "PUT 2"},
		{"rm -r", func(w *world) {
			for d := range 10 {
				w.must(w.mkdir(fmt.Sprint("d", d)))
				for f := range 5 {
					w.must(w.create(fmt.Sprintf("d%d/%d", d, f), "x"))
				}
			}
			w.must(w.fs.Sync(w.ctx, ""))
			w.ops.reset()
			for d := range 10 {
				for f := range 5 {
					w.must(w.unlink(fmt.Sprintf("d%d/%d", d, f)))
				}
				w.must(w.rmdir(fmt.Sprint("d", d)))
			}
			w.must(w.fs.Sync(w.ctx, ""))
			if got := w.ops.String(); strings.Contains(got, "PUT") {
				t.Errorf("rm -r: %s", got)
			}
			w.ops.reset() // how many batches there were is a matter of time
		}, "", ""},
		{"the last entry of a directory goes", func(w *world) {
			w.must(w.mkdir("d"))
			w.must(w.write("d/f", "x", 0))
			w.must(w.fs.Sync(w.ctx, ""))
			w.must(w.unlink("d/f"))
		}, "PUT 1", "DELETE 1, PUT 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := mem.New()
			w, _ := alone(t, s)
			test.do(w)
			if got := w.ops.String(); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			before := w.tree("")
			w.must(w.fs.Sync(w.ctx, ""))
			if got := w.ops.String(); got != test.sync {
				t.Errorf("with sync: %s, want %s", got, test.sync)
			}
			other := newWorld(t, s, func(o *Options) { o.ReadOnly = true })
			if after := other.tree(""); after != before {
				t.Errorf("others see %s, want %s", after, before)
			}
		})
	}
}

// tree lists all paths below a directory.
func (w *world) tree(dir string) string {
	w.t.Helper()
	k, err := w.lookup(dir)
	w.must(err)
	d, err := w.fs.OpenDir(w.ctx, k.ID)
	w.must(err)
	all := ""
	var dirs []string
	w.must(w.fs.ReadDir(w.ctx, d, dots, func(e DirEntry) bool {
		path := joinPath(dir, e.Name)
		if e.Type == TypeDir {
			dirs = append(dirs, path)
		}
		all += path + " "
		return true
	}))
	for _, d := range dirs {
		all += w.tree(d)
	}
	return all
}

// A directory that stays empty gets its marker after a while.
func TestSoleMarkerLater(t *testing.T) {
	t.Parallel()
	s := mem.New()
	w, _ := alone(t, s)
	w.must(w.mkdir("empty"))
	w.must(w.mkdir("full"))
	w.must(w.write("full/f", "x", 0))
	for end := time.Now().Add(20 * time.Second); w.fs.decisions.any(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not stored after 20 s")
		}
	}
	if _, _, ok := objectOf(t, s, "empty/"); !ok {
		t.Error("no marker for the empty directory")
	}
	if _, _, ok := objectOf(t, s, "full/"); ok {
		t.Error("a marker for the other one")
	}
}

func TestSoleHandOver(t *testing.T) {
	s, c := mem.New(), newClub()
	a, _ := c.join(t, s, nil)
	b, _ := c.join(t, s, nil)
	b.list("") // and knows that nothing is there
	a.must(a.write("first", "x", 0))
	a.must(a.mkdir("d"))
	a.must(a.mkdir("e"))
	a.must(a.write("e/f", "x", 0))
	h, err := a.open("lock", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL)
	a.must(err)
	h2, err := a.open("empty", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("mine"), 0)
	a.must(err)
	a.must(a.unlink("first"))

	b.wantKind(b.mkdir("d"), Exist)
	b.wantKind(b.mkdir("e"), Exist)
	b.wantKind(b.create("lock", "theirs"), Exist)
	b.wantKind(b.create("empty", "theirs"), Exist)
	if got := b.list(""); got != "d e empty lock" {
		t.Errorf("b lists %q", got)
	}
	a.must(a.fs.Flush(a.ctx, h))
	a.must(a.fs.Flush(a.ctx, h2))
	a.fs.Release(h)
	a.fs.Release(h2)
	if got, _, _ := objectOf(t, s, "lock"); got != "mine" {
		t.Errorf("lock holds %q", got)
	}
	a.must(a.mkdir("later"))
	if _, _, ok := objectOf(t, s, "later/"); !ok {
		t.Error("mkdir was decided here although b is there")
	}
	b.wantKind(b.mkdir("later"), Exist)
}

// What a gateway has decided that was stopped for longer than its lease loses
// against what others have made since.
func TestSoleLost(t *testing.T) {
	s, c := mem.New(), newClub()
	a, la := c.join(t, s, nil)
	b, _ := c.join(t, s, nil)
	a.must(a.fs.opts.Locks.Enter(a.ctx))
	a.list("")
	a.must(a.mkdir("d"))
	a.must(a.mkdir("mine"))
	h, err := a.open("f", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL)
	a.must(err)
	inside, err := a.open("d/x", syscall.O_WRONLY|syscall.O_CREAT)
	a.must(err)
	la.lose()
	b.must(b.mkdir("d"))
	b.must(b.create("f", "theirs"))

	_, err = a.fs.Write(a.ctx, h, []byte("lost"), 0)
	a.must(err)
	a.wantKind(a.fs.Flush(a.ctx, h), Stale)
	a.fs.Release(h)
	a.must(a.fs.storeDecided(a.ctx, "", a.fs.now()))
	_, err = a.fs.Write(a.ctx, inside, []byte("lost"), 0)
	a.must(err)
	a.wantKind(a.fs.Flush(a.ctx, inside), Stale)
	a.fs.Release(inside)
	if got, _, _ := objectOf(t, s, "f"); got != "theirs" {
		t.Errorf("f holds %q", got)
	}
	if kept, _ := Kept(a.fs.opts.StateDir); len(kept) != 2 {
		t.Errorf("kept %+v, want both files", kept)
	}
	a.must(a.write("d/y", "x", 0)) // theirs can be used
	b.must(b.fs.Acquired(b.ctx))
	if got := b.tree(""); got != "d f mine d/y " {
		t.Errorf("b shows %q", got)
	}
	a.fenced = true
}

// Another tool makes a name that was decided here: it is not overwritten.
func TestSoleForeign(t *testing.T) {
	s := mem.New()
	w, _ := alone(t, s)
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_EXCL)
	w.must(err)
	putObject(t, s, "f", "theirs")
	_, err = w.fs.Write(w.ctx, h, []byte("mine"), 0)
	w.must(err)
	w.wantKind(w.fs.Flush(w.ctx, h), Stale)
	w.fs.Release(h)
	w.wantRead("f", "theirs")
}

// TestSoleOneWinner lets gateways race for names while others come and go.
func TestSoleOneWinner(t *testing.T) {
	const gateways = 3
	rounds := 40
	if os.Getenv("CAUSEWAY_LONG") != "" {
		rounds = 2000
	}
	s, c := mem.New(), newClub()
	var worlds [gateways]*world
	var leases [gateways]*lease
	for i := range gateways {
		worlds[i], leases[i] = c.join(t, s, nil)
	}
	decided := 0
	for round := range rounds {
		var won [2]atomic.Int32
		var wg sync.WaitGroup
		absent := rand.IntN(1<<gateways) &^ (1 << rand.IntN(gateways))
		for i, w := range worlds {
			if absent&(1<<i) != 0 {
				continue
			}
			for kind := range 2 {
				wg.Go(func() {
					if rand.IntN(2) == 0 {
						time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
					}
					name := fmt.Sprint(kind, "-", round)
					err := error(nil)
					if kind == 0 {
						err = w.mkdir(name)
					} else {
						err = w.create(name, fmt.Sprint(i))
					}
					switch {
					case err == nil:
						won[kind].Add(1)
					case KindOf(err) != Exist:
						t.Errorf("%s: %v", name, err)
					}
				})
			}
		}
		if round%2 == 1 {
			for _, l := range leases {
				if rand.IntN(3) > 0 {
					wg.Go(func() { l.leave(t) })
				}
			}
		}
		wg.Wait()
		for kind := range won {
			if n := won[kind].Load(); n != 1 {
				t.Errorf("round %d: %d winners of kind %d", round, n, kind)
			}
		}
		for _, w := range worlds {
			if w.fs.decisions.any() {
				decided++
			}
		}
	}
	if decided == 0 {
		t.Error("nothing was decided by a gateway alone")
	}
}

// A directory that was made outlives a kill.
func TestSoleOutlivesKill(t *testing.T) {
	s := mem.New()
	w, _ := alone(t, s)
	w.must(w.mkdir("d"))
	w.must(w.mkdir("d/e"))
	w.must(w.mkdir("gone"))
	w.must(w.rmdir("gone"))
	next := w.kill(s)
	if got := next.tree(""); got != "d d/e " {
		t.Errorf("shows %q", got)
	}
	next.must(next.fs.Sync(next.ctx, ""))
	if _, _, ok := objectOf(t, s, "d/e/"); !ok {
		t.Error("no marker in S3")
	}
}
