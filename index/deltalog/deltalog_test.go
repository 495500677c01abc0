package deltalog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/index/format"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// wire is a store whose Puts can be made to fail, before or after they are
// carried out.
type wire struct {
	store.Store
	puts   atomic.Int64
	before atomic.Bool
	after  atomic.Bool
}

var errWire = &store.Error{Op: store.OpPut, Kind: store.Unavailable}

func (w *wire) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	w.puts.Add(1)
	if w.before.Load() {
		return store.Info{}, errWire
	}
	info, err := w.Store.Put(ctx, key, body, opts)
	if err == nil && w.after.Load() {
		return store.Info{}, errWire
	}
	return info, err
}

// never is an interval that only Flush ends.
func never() time.Duration { return time.Hour }

func newWriter(t *testing.T, s store.Store, gateway string, opt Options) *Writer {
	t.Helper()
	opt.Store, opt.Gateway = s, gateway
	if opt.Interval == nil {
		opt.Interval = never
	}
	w := NewWriter(opt)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = w.Close(ctx) // what is left does not matter
	})
	return w
}

func told(paths ...string) []format.Told {
	var all []format.Told
	for _, p := range paths {
		all = append(all, format.Told{Path: p, Fact: format.Fact{Kind: format.Object, ETag: "x"}})
	}
	return all
}

func flush(t *testing.T, w *Writer) {
	t.Helper()
	if err := w.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// poll returns the paths of the news, with "!GATEWAY" for what is missing.
func poll(t *testing.T, f *Follower) []string {
	t.Helper()
	news, err := f.Poll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range news.Segments {
		for _, r := range s.Records {
			got = append(got, r.Path)
		}
	}
	for _, g := range news.Missing {
		got = append(got, "!"+g)
	}
	return got
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestFollow(t *testing.T) {
	s := &wire{Store: mem.New()}
	a, b := newWriter(t, s, "a", Options{}), newWriter(t, s, "b", Options{})
	f := NewFollower(s, "own", nil)
	own := newWriter(t, s, "own", Options{})
	want(t, "nothing", poll(t, f))
	a.Tell(told("1", "2")...)
	a.Tell(told("3")...)
	b.Tell(told("4")...)
	own.Tell(told("5")...)
	flush(t, b)
	want(t, "only what was flushed", poll(t, f), "4")
	flush(t, a)
	flush(t, own)
	want(t, "in order", poll(t, f), "1", "2", "3")
	want(t, "once", poll(t, f))
	flush(t, a)
	if n := s.puts.Load(); n != 3 {
		t.Errorf("%d segments, want 3: one for each flush that had something", n)
	}
	want(t, "from a position", poll(t, NewFollower(s, "own", Position{"a": 1})), "4")
	want(t, "all of it", poll(t, NewFollower(s, "", nil)), "1", "2", "3", "4", "5")
}

func TestInterval(t *testing.T) {
	s := &wire{Store: mem.New()}
	w := newWriter(t, s, "a", Options{Interval: func() time.Duration { return time.Millisecond }})
	f := NewFollower(s, "", nil)
	w.Tell(told("1")...)
	for deadline := time.Now().Add(10 * time.Second); w.Waiting() > 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	want(t, "without a flush", poll(t, f), "1")
}

// TestFailures sees each fact once and in order, whatever fails, and Flush
// tells.
func TestFailures(t *testing.T) {
	for name, fail := range map[string]func(*wire) *atomic.Bool{
		"before": func(w *wire) *atomic.Bool { return &w.before },
		"after":  func(w *wire) *atomic.Bool { return &w.after },
	} {
		t.Run(name, func(t *testing.T) {
			s := &wire{Store: mem.New()}
			w := newWriter(t, s, "a", Options{})
			f := NewFollower(s, "", nil)
			w.Tell(told("1")...)
			flush(t, w)
			fail(s).Store(true)
			w.Tell(told("2")...)
			if err := w.Flush(t.Context()); !store.IsKind(err, store.Unavailable) {
				t.Errorf("got %v, want the error of S3", err)
			}
			got := poll(t, f)
			w.Tell(told("3")...) // must not go into the segment that may be there
			if err := w.Flush(t.Context()); !store.IsKind(err, store.Unavailable) {
				t.Errorf("got %v, want the error of S3", err)
			}
			got = append(got, poll(t, f)...)
			fail(s).Store(false)
			flush(t, w)
			want(t, "in all", append(got, poll(t, f)...), "1", "2", "3")
		})
	}
}

// TestDropped keeps a bounded number, and readers notice.
func TestDropped(t *testing.T) {
	for _, stored := range []bool{false, true} {
		s := &wire{Store: mem.New()}
		w := newWriter(t, s, "a", Options{MaxWaiting: 2})
		f := NewFollower(s, "", nil)
		w.Tell(told("0")...)
		flush(t, w)
		want(t, "before", poll(t, f), "0")
		s.before.Store(!stored)
		s.after.Store(stored)
		w.Tell(told("1")...)
		if w.Flush(t.Context()) == nil {
			t.Error("a failure was not told")
		}
		if stored {
			want(t, "stored, not known", poll(t, f), "1")
		}
		w.Tell(told("2", "3")...)
		s.before.Store(false)
		s.after.Store(false)
		flush(t, w)
		want(t, fmt.Sprintf("stored %v", stored), poll(t, f), "2", "3", "!a")
		w.Tell(told("4")...)
		flush(t, w)
		want(t, "afterwards", poll(t, f), "4")
	}
}

func TestMissing(t *testing.T) {
	s := mem.New()
	w := newWriter(t, s, "a", Options{})
	f := NewFollower(s, "", nil)
	for i := range 3 {
		w.Tell(told(fmt.Sprint(i))...)
		flush(t, w)
	}
	if err := s.Delete(t.Context(), key("a", 2), store.Always); err != nil {
		t.Fatal(err)
	}
	want(t, "one in the middle", poll(t, f), "0", "2", "!a")
	w.Tell(told("3")...)
	flush(t, w)
	b := []byte("something else")
	if _, err := s.Put(t.Context(), key("a", 4), store.Body{Reader: bytes.NewReader(b), Size: int64(len(b))}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	want(t, "not a segment", poll(t, f), "!a")
	want(t, "position is behind it", poll(t, f))
}

func TestNewer(t *testing.T) {
	s := mem.New()
	w := newWriter(t, s, "a", Options{})
	f := NewFollower(s, "", nil)
	w.Tell(told("1")...)
	flush(t, w)
	b := format.AppendSegment(nil, format.Header{Version: 99, Gateway: "a", Number: 2}, told("2"))
	if _, err := s.Put(t.Context(), key("a", 2), store.Body{Reader: bytes.NewReader(b), Size: int64(len(b))}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	newer := new(format.NewerError)
	if _, err := f.Poll(t.Context()); !errors.As(err, &newer) {
		t.Errorf("got %v, want a NewerError", err)
	}
}

func TestClose(t *testing.T) {
	s := &wire{Store: mem.New()}
	w := NewWriter(Options{Store: s, Gateway: "a", Interval: never})
	w.Tell(told("1")...)
	if err := w.Close(t.Context()); err != nil {
		t.Error(err)
	}
	want(t, "what waited", poll(t, NewFollower(s, "", nil)), "1")
	w.Tell(told("2")...)
	if err := w.Flush(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}
