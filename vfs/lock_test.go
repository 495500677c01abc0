package vfs

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/store/mem"
)

// twoLocked are two gateways on one bucket that agree through l.
func twoLocked(t *testing.T, change func(*Options)) (a, b *world, l *fakeLocks) {
	t.Helper()
	s := mem.New()
	l = newFakeLocks()
	open := func(name string) *world {
		g := &fakeGateway{fakeLocks: l, name: name}
		w := newWorld(t, s, func(o *Options) {
			o.Locks = g
			o.DirTTL = time.Hour // nothing but locks makes it look again
			if change != nil {
				change(o)
			}
		})
		g.acquired, l.releasing[name] = w.fs.Acquired, w.fs.Releasing
		return w
	}
	return open("a"), open("b"), l
}

// lockAs locks as flock(2) does, or fcntl(2) with a range.
func (w *world) lockAs(h *Handle, owner string, wait bool) error {
	return w.fs.SetLock(w.ctx, h, LockRequest{Owner: locks.Owner(owner), Mode: locks.Exclusive, End: locks.MaxOffset, Wait: wait, Via: "flock"})
}

func (w *world) unlockAs(h *Handle, owner string) error {
	return w.fs.Unlock(w.ctx, h, LockRequest{Owner: locks.Owner(owner), End: locks.MaxOffset})
}

func TestLockKinds(t *testing.T) {
	seen := map[locks.Kind]bool{}
	for k, kind := range lockKinds {
		seen[k] = true
		if err := lockFault(t.Context(), "lock", "f", &locks.Error{Kind: k}); KindOf(err) != kind || kind == IO {
			t.Errorf("%v: %v", k, err)
		}
	}
	for k := locks.Other; k <= locks.Invalid; k++ {
		if !seen[k] {
			t.Errorf("%v has no kind", k)
		}
	}
	if lockFault(t.Context(), "lock", "f", nil) != nil {
		t.Error("an error for none")
	}
}

func TestWithoutCoordinatorNoLock(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.must(w.write("f", "x", 0))
	h, err := w.open("f", syscall.O_RDWR)
	w.must(err)
	defer w.fs.Release(h)
	w.wantKind(w.lockAs(h, "o", false), NoLock)
	_, err = w.fs.LockPath(w.ctx, locks.Request{Claim: locks.Claim{Path: "f"}, Owner: "o"})
	w.wantKind(err, NoLock)
}

// TestLockShowsNewVersion: a handle that is open while somebody on another
// gateway writes under the lock shows that when it has the lock, also if its
// name has gone to another node meanwhile.
func TestLockShowsNewVersion(t *testing.T) {
	for _, opened := range []bool{false, true} {
		t.Run(fmt.Sprintf("opened anew %v", opened), func(t *testing.T) {
			a, b, _ := twoLocked(t, nil)
			a.must(a.write("f", "0 and more", 0))
			h, err := a.open("f", syscall.O_RDWR)
			a.must(err)
			defer a.fs.Release(h)
			a.must(a.lockAs(h, "flock:1", false))
			if got, err := a.readHandle(h); err != nil || got != "0 and more" {
				t.Fatalf("read %q, %v", got, err)
			}
			a.must(a.unlockAs(h, "flock:1"))

			g, err := b.open("f", syscall.O_RDWR)
			b.must(err)
			defer b.fs.Release(g)
			b.must(b.lockAs(g, "flock:1", false))
			a.wantKind(a.lockAs(h, "flock:1", false), WouldBlock)
			_, err = b.fs.Write(b.ctx, g, []byte("1"), 0)
			b.must(err)
			b.must(b.unlockAs(g, "flock:1")) // commits
			if opened {
				a.wantRead("f", "1 and more") // the name is another node's now
			}
			a.must(a.lockAs(h, "flock:1", false))
			if got, err := a.readHandle(h); err != nil || got != "1 and more" {
				t.Fatalf("under the lock: read %q, %v", got, err)
			}
			if !a.fs.Moved(h) {
				t.Error("the front end is not told that pages are of another version")
			}
			_, err = a.fs.Write(a.ctx, h, []byte("2"), 0)
			a.must(err)
			a.must(a.unlockAs(h, "flock:1"))
			b.must(b.lockAs(g, "flock:1", false))
			if got, err := b.readHandle(g); err != nil || got != "2 and more" {
				t.Fatalf("back again: read %q, %v", got, err)
			}
			b.must(b.unlockAs(g, "flock:1"))
			a.wantRead("f", "2 and more")
		})
	}
}

// TestLockAgainAsksNothing: a lock that no other gateway had in between costs
// no request.
func TestLockAgainAsksNothing(t *testing.T) {
	a, _, _ := twoLocked(t, nil)
	a.must(a.write("f", "x", 0))
	h, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	defer a.fs.Release(h)
	a.ops.reset()
	for range 3 {
		a.must(a.lockAs(h, "flock:1", false))
		a.must(a.unlockAs(h, "flock:1"))
	}
	a.wantOps("lock and unlock", "")
}

// TestLockedCounter: processes on two gateways count in a file under its lock,
// with one open for all or one for each step.
func TestLockedCounter(t *testing.T) {
	const workers, steps = 3, 8
	for _, local := range []bool{false, true} {
		for _, once := range []bool{false, true} {
			t.Run(fmt.Sprintf("local %v once %v", local, once), func(t *testing.T) {
				a, b, _ := twoLocked(t, func(o *Options) { o.CommitLocal = local })
				a.must(a.write("f", "0", 0))
				a.must(a.fs.Sync(a.ctx, ""))
				var wg sync.WaitGroup
				for i := range 2 * workers {
					w := []*world{a, b}[i%2]
					owner := fmt.Sprintf("flock:%d", i)
					wg.Go(func() { countUnderLock(t, w, owner, steps, once) })
				}
				wg.Wait()
				a.must(a.fs.Sync(a.ctx, ""))
				b.must(b.fs.Sync(b.ctx, ""))
				h, err := a.open("f", syscall.O_RDWR)
				a.must(err)
				defer a.fs.Release(h)
				a.must(a.lockAs(h, "flock:end", true))
				if got, err := a.readHandle(h); err != nil || got != strconv.Itoa(2*workers*steps) {
					t.Fatalf("counted %q, %v; want %d", got, err, 2*workers*steps)
				}
			})
		}
	}
}

func countUnderLock(t *testing.T, w *world, owner string, steps int, once bool) {
	var h *Handle
	for range steps {
		if h == nil {
			var err error
			for try := 0; try < 20; try++ { // without the kernel, Open does not know a second try
				if h, err = w.open("f", syscall.O_RDWR); err == nil || KindOf(err) != Stale {
					break
				}
			}
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
		}
		if err := w.lockAs(h, owner, true); err != nil {
			t.Errorf("lock: %v", err)
			break
		}
		text, err := w.readHandle(h)
		n, perr := strconv.Atoi(text)
		if err != nil || perr != nil {
			t.Errorf("read %q: %v", text, err)
			break
		}
		if _, err := w.fs.Write(w.ctx, h, []byte(strconv.Itoa(n+1)), 0); err != nil {
			t.Errorf("write: %v", err)
			break
		}
		if once {
			if err := w.unlockAs(h, owner); err != nil {
				t.Errorf("unlock: %v", err)
				break
			}
			continue
		}
		if err := w.fs.Flush(w.ctx, h); err != nil {
			t.Errorf("close: %v", err)
			break
		}
		w.fs.Release(h)
		h = nil
	}
	if h != nil {
		w.fs.Release(h)
	}
}

// TestLostLockStopsCommit: what was written under a lock that is lost is not
// committed, and kept.
func TestLostLockStopsCommit(t *testing.T) {
	for _, local := range []bool{false, true} {
		t.Run(fmt.Sprintf("local %v", local), func(t *testing.T) {
			a, _, l := twoLocked(t, func(o *Options) { o.CommitLocal = local })
			a.fenced = true
			a.must(a.write("f", "old", 0))
			a.must(a.fs.Sync(a.ctx, ""))
			h, err := a.open("f", syscall.O_RDWR|syscall.O_TRUNC)
			a.must(err)
			a.must(a.lockAs(h, "flock:1", false))
			_, err = a.fs.Write(a.ctx, h, []byte("new"), 0)
			a.must(err)
			l.lose("f")
			a.wantKind(a.fs.Flush(a.ctx, h), Stale)
			a.wantKind(a.unlink("f"), Stale)
			a.wantKind(a.rename("f", "g", 0), Stale)
			a.fs.Release(h)
			if kept, err := Kept(a.fs.opts.StateDir); err != nil || len(kept) != 1 {
				t.Errorf("kept %v, %v", kept, err)
			}
			a.wantRead("f", "old")
			a.must(a.write("f", "next", syscall.O_TRUNC)) // released with the handle
		})
	}
}

// TestCloseReleases: record locks go with each close by their owner, all others
// with the handle.
func TestCloseReleases(t *testing.T) {
	a, b, _ := twoLocked(t, nil)
	a.must(a.write("f", "x", 0))
	h, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	h2, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	record := LockRequest{Owner: "posix:1", Space: locks.Record, Mode: locks.Exclusive, Start: 5, End: 9}
	a.must(a.fs.SetLock(a.ctx, h, record))
	open := record
	open.Owner, open.Start, open.End = "posix:2", 20, 29 // an open file description's
	a.must(a.fs.SetLock(a.ctx, h, open))

	g, err := b.open("f", syscall.O_RDWR)
	b.must(err)
	defer b.fs.Release(g)
	all := LockRequest{Owner: "posix:7", Space: locks.Record, Mode: locks.Shared, End: locks.MaxOffset}
	held, err := b.fs.TestLock(b.ctx, g, all)
	b.must(err)
	if held == nil || held.Start != 5 || held.End != 9 || held.Mode != locks.Exclusive {
		t.Fatalf("in the way: %+v", held)
	}
	a.must(a.fs.FlushLocks(a.ctx, h2, "posix:3")) // not the owner
	all.End = 9
	b.wantKind(b.fs.SetLock(b.ctx, g, all), WouldBlock)
	a.must(a.fs.FlushLocks(a.ctx, h2, "posix:1")) // through another descriptor
	b.must(b.fs.SetLock(b.ctx, g, all))
	all.End = 25
	b.wantKind(b.fs.SetLock(b.ctx, g, all), WouldBlock)
	a.fs.Release(h)
	b.must(b.fs.SetLock(b.ctx, g, all))
	a.fs.Release(h2)
	if n := len(a.fs.fileLocks.nodes); n != 0 {
		t.Errorf("%d nodes are still known as locked", n)
	}
}

// TestLockStaysOnName: after a rename those who lock the file meet all the same.
func TestLockStaysOnName(t *testing.T) {
	a, _, _ := twoLocked(t, nil)
	a.must(a.write("f", "x", 0))
	h, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	defer a.fs.Release(h)
	a.must(a.lockAs(h, "flock:1", false))
	a.must(a.rename("f", "g", 0))
	h2, err := a.open("g", syscall.O_RDWR)
	a.must(err)
	defer a.fs.Release(h2)
	a.wantKind(a.lockAs(h2, "flock:2", false), WouldBlock)
	a.must(a.unlockAs(h, "flock:1"))
	a.must(a.lockAs(h2, "flock:2", false))
	a.must(a.unlink("g")) // the lock stays on the name, too
	h3, err := a.open("g", syscall.O_RDWR|syscall.O_CREAT)
	a.must(err)
	defer a.fs.Release(h3)
	a.wantKind(a.lockAs(h3, "flock:3", false), WouldBlock)
	h4, err := a.open("g", syscall.O_RDWR)
	a.must(err)
	a.must(a.unlink("g"))
	a.must(a.unlockAs(h2, "flock:2"))
	a.must(a.lockAs(h4, "flock:4", false)) // of a file without a name
	a.fs.Release(h4)
}

func TestLockWaitIsInterrupted(t *testing.T) {
	a, b, _ := twoLocked(t, nil)
	a.must(a.write("f", "x", 0))
	h, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	defer a.fs.Release(h)
	a.must(a.lockAs(h, "flock:1", false))
	g, err := b.open("f", syscall.O_RDWR)
	b.must(err)
	defer b.fs.Release(g)
	ctx, cancel := context.WithCancel(b.ctx)
	time.AfterFunc(20*time.Millisecond, cancel)
	b.wantKind(b.fs.SetLock(ctx, g, LockRequest{Owner: "flock:1", Mode: locks.Exclusive, End: locks.MaxOffset, Wait: true}), Interrupted)
	if len(b.fs.fileLocks.nodes) != 0 {
		t.Error("a lock that was not granted is noted")
	}
}

// TestTreeClaims: a directory is not renamed while somebody on another gateway
// holds a lock in it, and nobody is kept from anything else by that.
func TestTreeClaims(t *testing.T) {
	a, b, _ := twoLocked(t, nil)
	a.must(a.mkdir("d"))
	a.must(a.write("d/f", "x", 0))
	a.must(a.mkdir("e"))
	a.must(a.write("e/f", "x", 0))
	claim := locks.Claim{Path: "d/f", Mode: locks.Shared, End: locks.MaxOffset}
	_, err := b.fs.LockPath(b.ctx, locks.Request{Claim: claim, Owner: "token:1"})
	b.must(err)
	a.wantKind(a.rename("d", "d2", 0), Busy)
	a.wantKind(a.fs.RemoveTree(a.ctx, RootID, "d"), Busy)
	a.must(a.rename("e", "e2", 0))
	b.must(b.fs.UnlockPath(b.ctx, "token:1", claim))

	// Its own processes' locks are no obstacle.
	tree := locks.Claim{Path: "d", Mode: locks.Exclusive, Tree: true, End: locks.MaxOffset}
	_, err = a.fs.LockPath(a.ctx, locks.Request{Claim: tree, Owner: "token:1"})
	a.must(err)
	a.must(a.rename("d", "d2", 0))
	a.must(a.fs.UnlockOwner(a.ctx, "token:1"))
	r, err := a.fs.LockReport(a.ctx, true)
	if err != nil || len(r.Held) != 0 {
		t.Errorf("left: %+v, %v", r.Held, err)
	}
}
