package coordtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
)

var faults = []Fault{Refused, Throttled, Lost}

// every makes each k-th request fail.
func every(k int, f Fault) func(int) Fault {
	return func(n int) Fault {
		if n%k == 0 {
			return f
		}
		return None
	}
}

// testFaultyWriters has gateways add words to one record, each once, while
// answers get lost. What a call reports is what the record shows.
func testFaultyWriters(r *rig) {
	most := 5
	if !r.setup.Bubble {
		most = 3
	}
	for _, f := range faults {
		for k := 3; k <= most; k++ {
			key := fmt.Sprintf("words of %s %d", f, k)
			var work sync.WaitGroup
			words := 0
			for range 3 {
				g := r.gateway()
				g.Faults.Set(every(k, f))
				mine := words
				words += 4
				work.Go(func() {
					for w := range 4 {
						r.addWord(g, key, fmt.Sprintf("<%d>", mine+w))
					}
				})
			}
			work.Wait()
			text := string(r.get(r.gateway(), key).Data)
			for w := range words {
				if n := strings.Count(text, fmt.Sprintf("<%d>", w)); n != 1 {
					r.Errorf("%s: word %d is there %d times", key, w, n)
				}
			}
		}
	}
}

// addWord adds a word by compare-and-swap, as a caller has to do it.
func (r *rig) addWord(g Gateway, key, word string) {
	for unknown := false; ; {
		state, err := g.Get(r.ctx, key)
		if err != nil {
			continue
		}
		if strings.Contains(string(state.Data), word) {
			if !unknown {
				r.Errorf("%q is there, and no call that could have added it left that open", word)
			}
			return
		}
		_, err = g.Put(r.ctx, key, append(state.Data, word...), state.Version)
		switch {
		case err == nil:
			return
		case errors.Is(err, locks.ErrConflict):
		case r.ctx.Err() != nil:
			r.Error("never answered")
			return
		default:
			unknown = true
		}
	}
}

// testFaultyCall has each request of a call fail in turn, with nobody else at
// work: there is no conflict then.
func testFaultyCall(r *rig) {
	g := r.gateway()
	for _, f := range faults {
		for k := 1; k <= 4; k++ {
			key := fmt.Sprintf("call %s %d", f, k)
			g.Faults.Set(func(n int) Fault { return map[bool]Fault{n == k: f}[true] })
			v, err := g.Put(r.ctx, key, []byte("one"), "")
			if errors.Is(err, locks.ErrConflict) {
				r.Errorf("%s: put reports a conflict with itself", key)
			}
			g.Faults.Set(nil)
			state := r.get(g, key)
			if err == nil && state.Version != v {
				r.Errorf("%s: put reported version %q, and it is %q", key, v, state.Version)
			}
			if state.Data == nil {
				v = r.put(g, key, "one", state.Version)
			} else {
				v = state.Version
			}
			g.Faults.Set(func(n int) Fault { return map[bool]Fault{n == k: f}[true] })
			err = g.Delete(r.ctx, key, v)
			if errors.Is(err, locks.ErrConflict) {
				r.Errorf("%s: delete reports a conflict with itself", key)
			}
			g.Faults.Set(nil)
			if err == nil {
				r.absent(g, key)
			}
		}
	}
}

// testFaultySession has every third request fail.
func testFaultySession(r *rig) {
	b := r.gateway()
	ttl := b.TTL()
	sessions := map[Fault]locks.Session{}
	for _, f := range faults {
		a := r.gateway()
		sessions[f] = r.join(a)
		a.Faults.Set(every(3, f))
	}
	for range 6 {
		r.wait(ttl / 3)
		for f, s := range sessions {
			r.must(b.Want(r.ctx, s.ID(), "p/k"))
			if r.ended(b, s.ID()) && s.Valid() {
				r.Errorf("%s: ended while it is valid", f)
			}
		}
	}
	for _, s := range sessions {
		r.alive(s)
		r.wanted(s, "p/k", ttl*2/3)
	}
}

// testAway has nobody answer: every call says so, within its deadline, and none
// takes that for an answer.
func testAway(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(b)
	v := r.put(a, "k", "one", "")
	away(a)
	calls := map[string]func(ctx context.Context) error{
		"get":    func(ctx context.Context) error { _, err := a.Get(ctx, "k"); return err },
		"put":    func(ctx context.Context) error { _, err := a.Put(ctx, "k", nil, v); return err },
		"delete": func(ctx context.Context) error { return a.Delete(ctx, "k", v) },
		"list":   func(ctx context.Context) error { _, err := a.List(ctx, ""); return err },
		"join":   func(ctx context.Context) error { _, err := a.Join(ctx, locks.GatewayInfo{}); return err },
		"await":  func(ctx context.Context) error { _, err := a.Await(ctx, "k", v, often); return err },
		"want":   func(ctx context.Context) error { return a.Want(ctx, s.ID(), "k") },
		"ended": func(ctx context.Context) error {
			ended, err := a.Ended(ctx, s.ID())
			if ended {
				r.Error("no answer was taken for the end of a session")
			}
			return err
		},
	}
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(r.ctx, 300*time.Millisecond)
		if err := call(ctx); err == nil || errors.Is(err, locks.ErrConflict) {
			r.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	a.Faults.Set(nil)
	r.holds(a, "k", "one", v)
}
