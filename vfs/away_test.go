package vfs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/retry"
)

// remote is a store behind a line that tests cut. While it hangs, requests get
// no answer; while it is away, that is known, and they are refused.
type remote struct {
	store.Store
	sent atomic.Int64 // requests that reached the store, or were to hang

	mu      sync.Mutex
	hangs   func(op store.Op, key string) bool // guarded by mu; nil: none
	since   time.Time                          // guarded by mu; zero: not away
	changed chan struct{}                      // guarded by mu
	freed   chan struct{}                      // guarded by mu; closed when nothing hangs any more
}

func newRemote() *remote {
	return &remote{Store: mem.New(), changed: make(chan struct{}), freed: make(chan struct{})}
}

// hang leaves requests without an answer that match says true for.
func (r *remote) hang(match func(op store.Op, key string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hangs = match
}

// leave makes the store known to be away since some time ago.
func (r *remote) leave(ago time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Now().Add(-ago)
	close(r.changed)
	r.changed = make(chan struct{})
}

// comeBack ends all that is wrong.
func (r *remote) comeBack() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.hangs = time.Time{}, nil
	close(r.changed)
	close(r.freed)
	r.changed, r.freed = make(chan struct{}), make(chan struct{})
}

// Away implements store.Health.
func (r *remote) Away() (time.Time, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since, !r.since.IsZero()
}

// Changed implements store.Health.
func (r *remote) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *remote) pass(ctx context.Context, op store.Op, key string) error {
	r.mu.Lock()
	since, changed, freed := r.since, r.changed, r.freed
	hangs := r.hangs != nil && r.hangs(op, key)
	r.mu.Unlock()
	if !since.IsZero() {
		return &store.Error{Op: op, Key: key, Kind: store.Unavailable, Err: store.ErrAway}
	}
	r.sent.Add(1)
	if !hangs {
		return nil
	}
	select {
	case <-changed:
		return &store.Error{Op: op, Key: key, Kind: store.Unavailable, Err: errors.New("cut")}
	case <-freed:
		return nil
	case <-ctx.Done():
		return &store.Error{Op: op, Key: key, Kind: store.Timeout, Err: ctx.Err()}
	}
}

func (r *remote) Get(ctx context.Context, key string, o store.GetOptions) (*store.Object, error) {
	if err := r.pass(ctx, store.OpGet, key); err != nil {
		return nil, err
	}
	return r.Store.Get(ctx, key, o)
}

func (r *remote) Head(ctx context.Context, key string) (store.Info, error) {
	if err := r.pass(ctx, store.OpHead, key); err != nil {
		return store.Info{}, err
	}
	return r.Store.Head(ctx, key)
}

func (r *remote) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	if err := r.pass(ctx, store.OpList, o.Prefix); err != nil {
		return store.Page{}, err
	}
	return r.Store.List(ctx, o)
}

func (r *remote) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	if err := r.pass(ctx, store.OpPut, key); err != nil {
		return store.Info{}, err
	}
	return r.Store.Put(ctx, key, b, o)
}

func (r *remote) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (store.Info, error) {
	if err := r.pass(ctx, store.OpCopy, dst); err != nil {
		return store.Info{}, err
	}
	return r.Store.Copy(ctx, src, dst, o)
}

func (r *remote) Delete(ctx context.Context, key string, cond store.Precondition) error {
	if err := r.pass(ctx, store.OpDelete, key); err != nil {
		return err
	}
	return r.Store.Delete(ctx, key, cond)
}

func (r *remote) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	if err := r.pass(ctx, store.OpDeleteMany, ""); err != nil {
		return nil, err
	}
	return r.Store.DeleteMany(ctx, keys)
}

// farWorld is a filesystem on a remote store, with all names and files of it
// known and their age beyond any TTL.
func farWorld(t *testing.T) (*world, *remote) {
	r := newRemote()
	w := newWorld(t, r, func(o *Options) {
		o.Store = retry.New(r, retry.Config{})
		o.DirTTL, o.Verify, o.OpTimeout = time.Millisecond, time.Millisecond, 2*time.Second
	})
	w.must(w.mkdir("d"))
	w.must(w.write("d/f", "cached", 0))
	_, err := w.fs.Symlink(w.ctx, Caller{}, w.id("d"), "l", "f")
	w.must(err)
	w.wantRead("d/f", "cached")
	w.list("d")
	_, err = w.fs.Readlink(w.ctx, w.id("d/l"))
	w.must(err)
	time.Sleep(300 * time.Millisecond) // all knowledge is older than its TTL and the grace now
	t.Cleanup(r.comeBack)
	return w, r
}

// putObject stores an object as another tool does.
func putObject(t *testing.T, s store.Store, key, data string) {
	t.Helper()
	_, err := s.Put(t.Context(), key, store.Body{Reader: strings.NewReader(data), Size: int64(len(data))}, store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) id(path string) NodeID {
	w.t.Helper()
	known, err := w.lookup(path)
	w.must(err)
	return known.ID
}

// wantCached asks for all that farWorld has read.
func (w *world) wantCached() {
	w.t.Helper()
	known, err := w.lookup("d/f")
	w.must(err)
	if known.EntryTTL != 0 || known.AttrTTL != 0 {
		w.t.Errorf("an answer from memory is to be kept for %v and %v", known.EntryTTL, known.AttrTTL)
	}
	known, err = w.fs.GetAttr(w.ctx, known.ID, nil)
	w.must(err)
	if known.Size != 6 || known.AttrTTL != 0 {
		w.t.Errorf("attributes %+v", known)
	}
	w.wantRead("d/f", "cached")
	if got := w.list("d"); got != "f l" {
		w.t.Errorf("names %q", got)
	}
	if target, err := w.fs.Readlink(w.ctx, w.id("d/l")); err != nil || target != "f" {
		w.t.Errorf("link %q, %v", target, err)
	}
}

// TestAwayCached answers what is here, without a request, and asks again when
// S3 is back.
func TestAwayCached(t *testing.T) {
	w, r := farWorld(t)
	r.leave(time.Hour)
	sent := r.sent.Load()
	w.wantCached()
	if n := r.sent.Load(); n != sent {
		t.Errorf("%d requests", n-sent)
	}
	if n := w.fs.Stats().Recalled; n == 0 {
		t.Error("no answer is counted as given from memory")
	}
	r.comeBack()
	putObject(t, r.Store, "d/f", "changed while away")
	w.wantRead("d/f", "changed while away")
	putObject(t, r.Store, "d/new", "x")
	if got := w.list("d"); got != "f l new" {
		t.Errorf("names after the return: %q", got)
	}
}

// TestAwayUnknown fails at once what is not here, and denies nothing.
func TestAwayUnknown(t *testing.T) {
	w, r := farWorld(t)
	putObject(t, r.Store, "d/never", "seen")
	putObject(t, r.Store, "other/f", "x")
	h, err := w.open("d/f", syscall.O_RDONLY)
	w.must(err)
	r.leave(time.Hour)
	for _, path := range []string{"d/never", "d/absent", "other"} {
		_, err := w.lookup(path)
		w.wantKind(err, IO)
		if err != nil && !strings.Contains(err.Error(), "away since") {
			t.Errorf("%v does not say why", err)
		}
	}
	w.wantKind(w.mkdir("e"), IO)
	w.wantKind(w.rmdir("d"), IO)
	w.wantKind(w.rename("d/f", "d/g", 0), IO)
	w.wantRead("d/f", "cached")
	r.comeBack()
	w.wantRead("d/never", "seen")
	_, err = w.lookup("d/absent")
	w.wantKind(err, NotExist)
	w.must(w.mkdir("e"))
	w.fs.Release(h)
}

// TestAwayStale does not open bytes of which a listing has said that they are
// no longer current.
func TestAwayStale(t *testing.T) {
	w, r := farWorld(t)
	putObject(t, r.Store, "d/f", "newer")
	if got := w.list("d"); got != "f l" {
		t.Errorf("names %q", got)
	}
	r.leave(time.Hour)
	_, err := w.read("d/f")
	w.wantKind(err, IO)
	r.comeBack()
	w.wantRead("d/f", "newer")
}

// TestAwayMeanwhile has operations wait for S3 when it goes away: they are
// answered from what is here all the same.
func TestAwayMeanwhile(t *testing.T) {
	w, r := farWorld(t)
	id, hanging := w.id("d/f"), r.sent.Load()
	r.hang(func(store.Op, string) bool { return true })
	var work sync.WaitGroup
	work.Go(func() {
		if _, err := w.fs.GetAttr(w.ctx, id, nil); err != nil {
			t.Error(err)
		}
	})
	work.Go(func() {
		h, err := w.fs.Open(w.ctx, id, syscall.O_RDONLY)
		if err != nil {
			t.Error(err)
			return
		}
		if data, err := w.readHandle(h); err != nil || data != "cached" {
			t.Errorf("read %q, %v", data, err)
		}
		w.fs.Release(h)
	})
	work.Go(func() {
		for r.sent.Load() < hanging+3 {
			time.Sleep(time.Millisecond)
		}
		r.leave(0)
	})
	if got := w.list("d"); got != "f l" {
		t.Errorf("names %q", got)
	}
	work.Wait()
}

// TestSlowIsNotAway has S3 take its time, which is no reason for old answers.
func TestSlowIsNotAway(t *testing.T) {
	w, r := farWorld(t)
	putObject(t, r.Store, "d/f", "newer")
	r.hang(func(store.Op, string) bool { return true })
	time.AfterFunc(50*time.Millisecond, r.comeBack)
	w.wantRead("d/f", "newer")
	if n := w.fs.Stats().Recalled; n != 0 {
		t.Errorf("%d answers from memory", n)
	}
}

// TestHangingNeighbours has requests of some callers hang for ever while others
// ask for what needs none: the one never waits for the other.
func TestHangingNeighbours(t *testing.T) {
	w, r := farWorld(t)
	w.fs.opts.OpTimeout = time.Minute
	putObject(t, r.Store, "d/never", "seen")
	d := w.id("d")
	r.hang(func(op store.Op, key string) bool { return true })
	ctx, cancel := context.WithCancel(w.ctx)
	var work sync.WaitGroup
	began := r.sent.Load()
	for i := range 20 {
		work.Go(func() { _, _ = w.fs.Lookup(ctx, d, fmt.Sprint("absent", i)) })
		work.Go(func() { _, _ = w.fs.Lookup(ctx, d, "never") })
		work.Go(func() {
			dh, err := w.fs.OpenDir(ctx, d)
			if err == nil {
				_ = w.fs.ReadDir(ctx, dh, 0, func(DirEntry) bool { return true })
			}
		})
		work.Go(func() {
			_, h, err := w.fs.Create(ctx, Caller{}, d, fmt.Sprint("made", i), syscall.O_WRONLY, 0o644)
			if err == nil {
				_ = w.fs.Flush(ctx, h)
				w.fs.Release(h)
			}
		})
	}
	for r.sent.Load() < began+3 {
		time.Sleep(time.Millisecond)
	}
	for range 100 {
		if _, err := w.lookup("d/f"); err != nil {
			t.Error(err)
		}
		if _, err := w.lookup("d/l"); err != nil {
			t.Error(err)
		}
	}
	if target, err := w.fs.Readlink(w.ctx, w.id("d/l")); err != nil || target != "f" {
		t.Errorf("link %q, %v", target, err)
	}
	cancel()
	r.comeBack()
	work.Wait()
}

// TestAwayCommit has closes fail by their deadline, with the bytes kept, and
// those that wait when S3 comes back succeed.
func TestAwayCommit(t *testing.T) {
	w, r := farWorld(t)
	r.leave(0)
	h, err := w.open("d/f", syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("late"), 0)
	w.must(err)
	done := make(chan error)
	go func() { done <- w.fs.Flush(w.ctx, h) }()
	time.Sleep(50 * time.Millisecond)
	r.comeBack()
	w.must(<-done)
	r.leave(0)
	_, err = w.fs.Write(w.ctx, h, []byte("lost?"), 0)
	w.must(err)
	w.wantKind(w.fs.Flush(w.ctx, h), IO)
	kept, err := Kept(w.fs.opts.StateDir)
	if err != nil || len(kept) != 1 || readFile(t, kept[0].File) != "lost?" || !strings.Contains(kept[0].Reason, "away") {
		t.Errorf("kept %+v, %v", kept, err)
	}
	r.comeBack()
	w.must(w.fs.Fsync(w.ctx, h))
	w.fs.Release(h)
	w.wantRead("d/f", "lost?")
	if kept, _ := Kept(w.fs.opts.StateDir); len(kept) != 0 {
		t.Errorf("still kept: %+v", kept)
	}
}

// TestAwayLocalMeanwhile makes a new file although S3 goes away while it is asked
// for the name.
func TestAwayLocalMeanwhile(t *testing.T) {
	r := newRemote()
	w := newWorld(t, r, func(o *Options) {
		o.Store, o.CommitLocal = retry.New(r, retry.Config{}), true
		o.DirTTL, o.Verify, o.OpTimeout = time.Millisecond, time.Millisecond, 2*time.Second
	})
	t.Cleanup(r.comeBack)
	w.must(w.mkdir("d"))
	w.must(w.write("d/f", "before", 0))
	w.sync()
	w.list("d")
	time.Sleep(300 * time.Millisecond) // what is known is older than its TTL and the grace now
	sent := r.sent.Load()
	r.hang(func(store.Op, string) bool { return true })
	var work sync.WaitGroup
	work.Go(func() {
		eventually(5*time.Second, func() bool { return r.sent.Load() > sent })
		r.leave(time.Hour)
	})
	_, err := w.lookup("d/new")
	work.Wait()
	w.wantKind(err, NotExist)
	if r.sent.Load() == sent {
		t.Error("S3 was not asked, so this tells nothing")
	}
}

// TestAwayLocal goes on with CommitLocal: files can be made, in directories
// that are known.
func TestAwayLocal(t *testing.T) {
	r := newRemote()
	w := newWorld(t, r, func(o *Options) {
		o.Store, o.CommitLocal = retry.New(r, retry.Config{}), true
		o.DirTTL, o.Verify, o.OpTimeout = time.Millisecond, time.Millisecond, 2*time.Second
	})
	t.Cleanup(r.comeBack)
	w.must(w.mkdir("d"))
	w.must(w.mkdir("unknown"))
	w.must(w.write("d/f", "before", 0))
	w.list("d")
	putObject(t, r.Store, "other/f", "x")
	time.Sleep(300 * time.Millisecond)
	r.leave(time.Hour)
	_, err := w.lookup("d/new")
	w.wantKind(err, NotExist)
	w.must(w.write("d/new", "made", 0))
	w.must(w.write("d/f", "changed", syscall.O_TRUNC))
	w.wantRead("d/new", "made")
	w.wantRead("d/f", "changed")
	r.comeBack()
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	for { // it is sent by itself
		if info, err := r.Store.Head(ctx, "d/new"); err == nil && info.Size == 4 {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("not sent: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestAwayUnlink removes a file of which the version is known although S3 cannot
// be asked, and goes on when it is back: not what somebody else has stored
// meanwhile.
func TestAwayUnlink(t *testing.T) {
	w, r := farWorld(t)
	other := newWorld(t, r.Store, nil)
	other.must(other.write("theirs", "x", 0))
	if !eventually(5*time.Second, func() bool { w.list(""); return w.fs.crowded() }) {
		t.Fatal("the other gateway is not seen")
	}
	w.must(w.write("d/g", "mine", 0))
	w.wantRead("d/g", "mine")
	w.list("d")
	time.Sleep(300 * time.Millisecond) // older than its TTL and the grace
	r.leave(time.Hour)
	w.must(w.unlink("d/f"))
	w.must(w.unlink("d/g"))
	putObject(t, r.Store, "d/g", "theirs, later")
	r.comeBack()
	w.sync()
	if _, err := r.Store.Head(t.Context(), "d/f"); !store.IsKind(err, store.NotExist) {
		t.Errorf("the removed file: %v", err)
	}
	if _, err := r.Store.Head(t.Context(), "d/g"); err != nil {
		t.Errorf("what somebody else has stored since: %v", err)
	}
}
