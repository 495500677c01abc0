package davlock

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	xwebdav "golang.org/x/net/webdav"

	"github.com/causewayfs/causeway/gateway/webdav"
	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/memlock"
	"github.com/causewayfs/causeway/locks/participant"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs"
)

// world is a System over a filesystem whose locks others share.
type world struct {
	*System
	fs    *vfs.FS
	other locks.Service // another gateway

	mu  sync.Mutex
	now time.Time
}

func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func newWorld(t *testing.T) *world {
	t.Helper()
	space := memlock.NewSpace(memlock.Options{TTL: 15 * time.Second, Push: true})
	open := func() *participant.Participant {
		p := participant.Open(participant.Options{Coordinator: space.Open()})
		t.Cleanup(func() {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		return p
	}
	w := &world{other: open(), now: time.Unix(1e9, 0)}
	var err error
	w.fs, err = vfs.Open(t.Context(), vfs.Options{Store: mem.New(), StateDir: t.TempDir(), Locks: open()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.fs.Close(context.Background(), nil); err != nil {
			t.Error(err)
		}
	})
	w.System = Open(w.fs, w.clock, nil)
	t.Cleanup(w.System.Close)
	return w
}

// tryPath asks for a path as another program does, here and elsewhere.
func (w *world) tryPath(t *testing.T, path string) (here, elsewhere locks.Kind) {
	t.Helper()
	try := func(lock func() error, unlock func() error) locks.Kind {
		err := lock()
		if err == nil {
			if err := unlock(); err != nil {
				t.Error(err)
			}
			return locks.NotHeld
		}
		return locks.KindOf(err)
	}
	r := locks.Request{Claim: locks.Claim{Path: path, Mode: locks.Exclusive, End: locks.MaxOffset}, Owner: "token:x"}
	here = try(func() error { _, err := w.fs.LockPath(t.Context(), r); return err },
		func() error { return w.fs.UnlockPath(t.Context(), r.Owner, r.Claim) })
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	r.Wait = true
	elsewhere = try(func() error { _, err := w.other.Lock(ctx, r); return err },
		func() error { return w.other.Unlock(r.Owner, r.Claim) })
	return here, elsewhere
}

func (w *world) wantFree(t *testing.T, path string, free bool) {
	t.Helper()
	here, elsewhere := w.tryPath(t, path)
	if (here == locks.NotHeld) != free || (elsewhere == locks.NotHeld) != free {
		t.Errorf("%s: here %v, elsewhere %v; want free %v", path, here, elsewhere, free)
	}
}

func TestLocksAreTheSame(t *testing.T) {
	w := newWorld(t)
	l, err := w.Create(t.Context(), webdav.LockRequest{Root: "d", Infinite: true, Principal: "p", Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	w.wantFree(t, "d/f", false)
	w.wantFree(t, "e", true)
	r, err := w.fs.LockReport(t.Context(), false)
	if err != nil || len(r.Held) == 0 || r.Held[0].Holder.Via != "webdav" {
		t.Errorf("report %+v, %v", r, err)
	}
	if err := w.Unlock(t.Context(), l.Token, "q"); !errors.Is(err, xwebdav.ErrForbidden) {
		t.Errorf("unlock by somebody else: %v", err)
	}
	if err := w.Unlock(t.Context(), l.Token, "p"); err != nil {
		t.Error(err)
	}
	w.wantFree(t, "d/f", true)

	// A program's lock is a conflict, and leaves nothing behind.
	claim := locks.Claim{Path: "d/f", Mode: locks.Shared, End: locks.MaxOffset}
	if _, err := w.fs.LockPath(t.Context(), locks.Request{Claim: claim, Owner: "token:y"}); err != nil {
		t.Fatal(err)
	}
	locked := new(webdav.LockedError)
	if _, err := w.Create(t.Context(), webdav.LockRequest{Root: "d", Infinite: true, Timeout: time.Minute}); !errors.As(err, &locked) {
		t.Errorf("over a program's lock: %v", err)
	}
	if _, err := w.Create(t.Context(), webdav.LockRequest{Root: "d/f", Shared: true, Timeout: time.Minute}); err != nil {
		t.Errorf("shared with a program: %v", err)
	}
	if all, _ := w.Covering(t.Context(), "d/f"); len(all) != 1 {
		t.Errorf("covering: %+v", all)
	}
}

// TestLocksEnd: a lock that is not refreshed, or whose resource goes, goes in
// the table, too.
func TestLocksEnd(t *testing.T) {
	w := newWorld(t)
	create := func(root string) webdav.Lock {
		t.Helper()
		l, err := w.Create(t.Context(), webdav.LockRequest{Root: root, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := create("f")
	w.advance(40 * time.Second)
	if _, err := w.Refresh(t.Context(), l.Token, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	w.advance(40 * time.Second)
	w.sweep()
	w.wantFree(t, "f", false)
	w.advance(30 * time.Second)
	w.sweep()
	w.wantFree(t, "f", true)

	l = create("g")
	release, err := w.Confirm(t.Context(), webdav.Tokens{Tokens: []string{l.Token}}, webdav.Scope{Path: "g", Names: true})
	if err != nil {
		t.Fatal(err)
	}
	release("g")
	w.wantFree(t, "g", true)

	// One that is broken is no lock any more.
	l = create("h")
	r, err := w.fs.LockReport(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Held {
		if h.Path == "h" {
			if err := w.fs.BreakLock(t.Context(), "h", locks.Whole, h.Fence); err != nil {
				t.Error(err)
			}
		}
	}
	w.sweep()
	if _, err := w.Refresh(t.Context(), l.Token, "", time.Minute); !errors.Is(err, xwebdav.ErrNoSuchLock) {
		t.Errorf("refresh of a lock that was broken: %v", err)
	}
}
