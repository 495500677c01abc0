package index

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// fill writes n objects below prefix.
func fill(t testing.TB, s store.Store, prefix string, n int) {
	t.Helper()
	for i := range n {
		key := fmt.Sprintf("%s%06d", prefix, i)
		body := store.Body{Reader: strings.NewReader(key), Size: int64(len(key))}
		if _, err := s.Put(t.Context(), key, body, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// slow makes each request take 15 ms.
func slow(ctx context.Context, _ string) error {
	time.Sleep(15 * time.Millisecond)
	return nil
}

// TestWalk does what `ls -l` and `find` do: attributes one after the other
// come as fast as if they were asked for in parallel, and each costs one
// request.
func TestWalk(t *testing.T) {
	for _, c := range []struct {
		name  string
		skip  int // names left out between those asked for
		most  int // HEAD requests
		atMax time.Duration
	}{
		{"each", 1, 5000, 2500 * time.Millisecond},        // 5 pages, then at least 79 rounds of 64
		{"every other", 2, 5000, 3 * time.Second},         // those between are asked for, too
		{"every tenth", 10, 500, 8000 * time.Millisecond}, // not a walk
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &spy{Store: mem.New(), gate: slow}
				fill(t, s.Store, "d/", 5000)
				l := Open(Options{Store: s, GatewayID: "A"})
				begin := time.Now()
				all, err := l.List(t.Context(), "d")
				if err != nil || len(all) != 5000 {
					t.Fatalf("List gave %d, %v", len(all), err)
				}
				for i := 0; i < len(all); i += c.skip {
					if a, err := l.Lookup(t.Context(), "d/"+all[i].Name); err != nil || a.Attr == nil {
						t.Fatalf("%s: %v %v", all[i].Name, a, err)
					}
				}
				if d := time.Since(begin); d > c.atMax {
					t.Errorf("took %v, want at most %v", d, c.atMax)
				}
				if err := l.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				heads := 0
				for _, r := range s.take(false) {
					if strings.HasPrefix(r, "HEAD") {
						heads++
					}
				}
				if heads > c.most {
					t.Errorf("%d HEAD requests, want at most %d", heads, c.most)
				}
			})
		})
	}
}

// TestWalkDirectories asks for the attributes of directories, too, and again
// when they are old.
func TestWalkDirectories(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spy{Store: mem.New(), gate: slow}
		for i := range 500 {
			for _, key := range []string{fmt.Sprintf("d/%03d/", i), fmt.Sprintf("d/%03d/x", i)} {
				if _, err := s.Store.Put(t.Context(), key, store.Body{}, store.PutOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		l := Open(Options{Store: s, GatewayID: "A"})
		defer func() {
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		for round := range 2 {
			begin := time.Now()
			all, err := l.List(t.Context(), "d")
			if err != nil || len(all) != 500 {
				t.Fatalf("List gave %d, %v", len(all), err)
			}
			for _, e := range all {
				if a, err := l.Stat(t.Context(), "d/"+e.Name); err != nil || !a.Marker {
					t.Fatalf("%s: %v %v", e.Name, a, err)
				}
			}
			if d := time.Since(begin); d > 500*time.Millisecond {
				t.Errorf("round %d took %v", round, d)
			}
			time.Sleep(time.Minute)
		}
	})
}

// TestCanceled: a caller that gives up does not wait, and does not spoil the
// answer for others.
func TestCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &spy{Store: mem.New()}
		fill(t, s.Store, "d/", 3)
		s.gate = func(context.Context, string) error { time.Sleep(10 * time.Second); return nil }
		l := Open(Options{Store: s, GatewayID: "A"})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := make(chan error)
		go func() {
			_, err := l.Lookup(t.Context(), "d/000001")
			got <- err
		}()
		begin := time.Now()
		for _, ask := range []func() error{
			func() error { _, err := l.Lookup(ctx, "d/000001"); return err },
			func() error { _, err := l.List(ctx, "d"); return err },
			func() error { _, err := l.Empty(ctx, "d"); return err },
		} {
			if err := ask(); !store.IsKind(err, store.Timeout) {
				t.Errorf("got %v, want a timeout", err)
			}
		}
		if d := time.Since(begin); d != time.Second {
			t.Errorf("took %v, want 1s", d)
		}
		if err := <-got; err != nil {
			t.Errorf("the other caller got %v", err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := l.List(t.Context(), "other"); !store.IsKind(err, store.Canceled) {
			t.Errorf("List after Close: %v", err)
		}
	})
}
