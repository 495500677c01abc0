// Package fault is a decorator for tests that makes requests fail on purpose:
// before they are carried out, after (so that only the answer is lost), in the
// middle of a body, or by standing still.
//
//	lost := fault.On(fault.Lost(), fault.Ops(store.OpPut), fault.Nth(3))
//	st := fault.Wrap(mem.New(), lost)
//	...
//	fault.Exercised(t, lost)
//
// A Rule applies when all its conditions hold; the first Rule that applies
// decides. Conditions are asked in order, and those that count (Nth, Every,
// Chance) count only requests that passed the conditions before them.
package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Moment is when a fault strikes.
type Moment uint8

// The moments.
const (
	Before Moment = iota // the request is not carried out
	After                // it is carried out, whatever comes of it; the answer is lost
	Torn                 // a Get's body breaks after Bytes; other requests fail Before
	Stall                // it stands still for Delay, or until its context ends, and goes on then
)

// Forever is a Delay that only the context ends.
const Forever = time.Duration(1<<63 - 1)

// Fault is what happens to a request.
type Fault struct {
	Moment Moment
	Kind   store.Kind // of the error
	// Delay passes before the error, or before a stalled request goes on. If
	// the context ends first, the error is the context's.
	Delay time.Duration
	Bytes int64 // of a torn body that arrive
}

// Fail is not carried out.
func Fail(kind store.Kind) Fault { return Fault{Moment: Before, Kind: kind} }

// Lost is carried out, but the answer gets lost.
func Lost() Fault { return Fault{Moment: After, Kind: store.Unavailable} }

// Tear breaks the body of a Get after some bytes.
func Tear(bytes int64) Fault { return Fault{Moment: Torn, Kind: store.Unavailable, Bytes: bytes} }

// Hang stands still before the request is carried out.
func Hang(d time.Duration) Fault { return Fault{Moment: Stall, Delay: d} }

// ErrInjected is the cause of every injected error.
var ErrInjected = errors.New("injected")

// Request is what conditions look at.
type Request struct {
	Op  store.Op
	Key string // the first key of several; a List's prefix
}

// Condition chooses requests.
type Condition func(Request) bool

// Ops chooses kinds of requests.
func Ops(ops ...store.Op) Condition {
	return func(r Request) bool { return slices.Contains(ops, r.Op) }
}

// Key chooses requests whose key begins with prefix.
func Key(prefix string) Condition {
	return func(r Request) bool { return strings.HasPrefix(r.Key, prefix) }
}

// Nth chooses the k-th request, counted from 1.
func Nth(k int64) Condition {
	var n atomic.Int64
	return func(Request) bool { return n.Add(1) == k }
}

// First chooses the first k requests.
func First(k int64) Condition {
	var n atomic.Int64
	return func(Request) bool { return n.Add(1) <= k }
}

// Every chooses each k-th request.
func Every(k int64) Condition {
	var n atomic.Int64
	return func(Request) bool { return n.Add(1)%k == 0 }
}

// Chance chooses requests at random, by a seed.
func Chance(p float64, seed uint64) Condition {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // reproducible on purpose
	return func(Request) bool {
		mu.Lock()
		defer mu.Unlock()
		return rng.Float64() < p
	}
}

// Rule is a Fault and its conditions.
type Rule struct {
	fault Fault
	when  []Condition
	fired atomic.Int64
	off   atomic.Bool
}

// On makes a rule.
func On(f Fault, when ...Condition) *Rule { return &Rule{fault: f, when: when} }

// Fired returns how many requests the rule has struck.
func (r *Rule) Fired() int64 { return r.fired.Load() }

// Stop ends the rule.
func (r *Rule) Stop() { r.off.Store(true) }

func (r *Rule) applies(req Request) bool {
	if r.off.Load() {
		return false
	}
	for _, c := range r.when {
		if !c(req) {
			return false
		}
	}
	r.fired.Add(1)
	return true
}

// Exercised fails a test in which one of the rules has never fired.
func Exercised(t testing.TB, rules ...*Rule) {
	t.Helper()
	for i, r := range rules {
		if r.Fired() == 0 {
			t.Errorf("fault rule %d (%+v) never fired", i, r.fault)
		}
	}
}

// Store is the decorator.
type Store struct {
	next  store.Store
	rules []*Rule
}

// Wrap decorates next.
func Wrap(next store.Store, rules ...*Rule) *Store { return &Store{next: next, rules: rules} }

// Unwrap implements [store.Unwrapper].
func (s *Store) Unwrap() store.Store { return s.next }

// strike carries a request out, with the fault that applies to it.
func (s *Store) strike(ctx context.Context, op store.Op, key string, carryOut func() error) (Fault, error) {
	if ctx.Err() != nil {
		return Fault{}, carryOut() // which is over before it begins
	}
	i := slices.IndexFunc(s.rules, func(r *Rule) bool { return r.applies(Request{op, key}) })
	if i < 0 {
		return Fault{}, carryOut()
	}
	f := s.rules[i].fault
	switch {
	case f.Moment == After:
		_ = carryOut()
	case f.Moment == Torn && op == store.OpGet:
		return f, carryOut()
	}
	if err := pause(ctx, op, key, f.Delay); err != nil {
		return f, err
	}
	if f.Moment == Stall {
		return f, carryOut()
	}
	return f, injected(op, key, f)
}

func injected(op store.Op, key string, f Fault) error {
	return &store.Error{Op: op, Key: key, Kind: f.Kind, Err: fmt.Errorf("%w at moment %d", ErrInjected, f.Moment)}
}

// pause waits for d or the end of the context.
func pause(ctx context.Context, op store.Op, key string, d time.Duration) error {
	if d == 0 {
		return nil
	}
	var passed <-chan time.Time
	if d != Forever {
		timer := time.NewTimer(d)
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		kind := store.Canceled
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			kind = store.Timeout
		}
		return &store.Error{Op: op, Key: key, Kind: kind, Err: ctx.Err()}
	}
}
