// Package coordtest is the contract of [locks.Coordinator] as tests. Every
// implementation runs it, in a bubble of testing/synctest where its server is
// in memory, and on real servers.
//
// What depends on time is checked to the instant in a bubble. On a real server
// a slow machine may lose a session; only what must never be is an error there.
package coordtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// Fault is what becomes of one request.
type Fault uint8

// The faults.
const (
	None      Fault = iota
	Refused         // no connection: it is not carried out
	Throttled       // the server says that it is too busy: it is not carried out
	Lost            // it is carried out, and its answer is lost
)

func (f Fault) String() string { return [...]string{"none", "refused", "throttled", "lost"}[f] }

// Injector decides what becomes of the requests of one gateway, and counts them.
type Injector struct {
	mu     sync.Mutex
	count  int
	decide func(n int) Fault
}

// Next is called for each request.
func (i *Injector) Next() Fault {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.count++
	if i.decide == nil {
		return None
	}
	return i.decide(i.count)
}

// Set begins to count anew; decide is told the number of a request from 1.
func (i *Injector) Set(decide func(n int) Fault) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.count, i.decide = 0, decide
}

// Count returns the number of requests since Set.
func (i *Injector) Count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.count
}

// Gateway is one gateway's Coordinator, and what tests do to it.
type Gateway struct {
	locks.Coordinator
	Faults *Injector
	Clock  *Clock
}

// Clock is a gateway's clock. It can be set forward, as if the machine had
// slept.
type Clock struct {
	mu    sync.Mutex
	began time.Time
	jump  time.Duration
}

// NewClock returns a clock.
func NewClock() *Clock { return &Clock{began: time.Now()} }

// Now is the time.
func (c *Clock) Now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Since(c.began) + c.jump
}

// Jump sets the clock forward.
func (c *Clock) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.jump += d
}

// Setup says how an implementation is tested.
type Setup struct {
	// Bubble runs each test in a bubble of testing/synctest.
	Bubble bool
	// Told says that wishes and changes are told at once.
	Told bool
	// Space returns a function that connects one more gateway to the same new
	// and empty space.
	Space func(t *testing.T) func(t *testing.T) Gateway
}

// rig is what a test has.
type rig struct {
	*testing.T
	setup Setup
	open  func(t *testing.T) Gateway
	ctx   context.Context
}

// contract is all tests.
var contract = []struct {
	name string
	test func(*rig)
}{
	{"an absent record has no version", testAbsent},
	{"put and get", testPutGet},
	{"put on another version is refused", testPutConflict},
	{"each version is a new one", testVersions},
	{"delete", testDelete},
	{"delete of another version is refused", testDeleteConflict},
	{"keys of all kinds", testKeys},
	{"keys that are refused", testBadKeys},
	{"list", testList},
	{"one of many writers wins", testOneWinner},
	{"a call ends with its context", testCanceled},
	{"await returns what has changed already", testAwaitOld},
	{"await returns what changes", testAwaitChange},
	{"await ends with its context", testAwaitEnd},
	{"a session lives and leaves", testLive},
	{"a session that is not known has ended", testUnknown},
	{"an idle session costs a request per third of TTL", testCost},
	{"a silent session ends after TTL, and its owner knows before", testSilent},
	{"a session that was ended stays so", testNoReturn},
	{"a session outlives short outages", testShortOutage},
	{"a session that is lost can be left", testLeaveLost},
	{"a pause makes a session invalid at once", testPause},
	{"a session that others ended is over", testEndedByOthers},
	{"sessions do not disturb each other", testManySessions},
	{"a wish reaches an idle session", testWantIdle},
	{"a wish reaches a busy session soon", testWantBusy},
	{"a wish may be repeated", testWantAgain},
	{"a wish does not renew a session", testWantSilent},
	{"a wish to a session that has ended is nothing", testWantEnded},
	{"every k-th request fails, writers", testFaultyWriters},
	{"every k-th request fails, one call", testFaultyCall},
	{"every third request fails, sessions", testFaultySession},
	{"nobody answers", testAway},
}

// atOnce is how many tests run at a time on a real server: they mostly wait.
const atOnce = 12

// Run runs the contract.
func Run(t *testing.T, setup Setup) {
	var work sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for _, c := range contract {
		run := func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			c.test(&rig{T: t, setup: setup, open: setup.Space(t), ctx: ctx})
		}
		if setup.Bubble {
			t.Run(c.name, func(t *testing.T) { synctest.Test(t, run) })
			continue
		}
		turns <- struct{}{}
		work.Go(func() {
			t.Run(c.name, run)
			<-turns
		})
	}
	work.Wait()
}

// gateway connects one more gateway.
func (r *rig) gateway() Gateway {
	r.Helper()
	g := r.open(r.T)
	r.Cleanup(func() {
		if err := g.Close(); err != nil {
			r.Errorf("close: %v", err)
		}
	})
	return g
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) conflict(what string, err error) {
	r.Helper()
	if !errors.Is(err, locks.ErrConflict) {
		r.Errorf("%s: got %v, want a conflict", what, err)
	}
}

func (r *rig) put(g Gateway, key, data string, v locks.Version) locks.Version {
	r.Helper()
	next, err := g.Put(r.ctx, key, []byte(data), v)
	if err != nil {
		r.Fatalf("put %q: %v", key, err)
	}
	return next
}

func (r *rig) get(g Gateway, key string) locks.RecordState {
	r.Helper()
	state, err := g.Get(r.ctx, key)
	if err != nil {
		r.Fatalf("get %q: %v", key, err)
	}
	return state
}

// holds checks what a record is.
func (r *rig) holds(g Gateway, key, data string, v locks.Version) {
	r.Helper()
	state := r.get(g, key)
	if state.Key != key || state.Data == nil || string(state.Data) != data || state.Version != v {
		r.Errorf("record %q is %+v, want %q with version %q", key, state, data, v)
	}
}

func (r *rig) absent(g Gateway, key string) locks.Version {
	r.Helper()
	state := r.get(g, key)
	if state.Key != key || state.Data != nil {
		r.Errorf("record %q is %+v, want none", key, state)
	}
	return state.Version
}

// join begins a session that is left when the test ends.
func (r *rig) join(g Gateway) locks.Session {
	r.Helper()
	s, err := g.Join(r.ctx, locks.GatewayInfo{Host: "host", PID: 7, Mount: "/mnt"})
	r.must(err)
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = s.Leave(ctx) // it may have left, or nobody answers
	})
	return s
}

// ended asks whether a session has ended.
func (r *rig) ended(g Gateway, id locks.SessionID) bool {
	r.Helper()
	ended, err := g.Ended(r.ctx, id)
	if err != nil {
		r.Fatalf("ended: %v", err)
	}
	return ended
}

func over(s locks.Session) bool {
	select {
	case <-s.Done():
		return true
	default:
		return false
	}
}

// alive checks that a session lives, as far as that is sure.
func (r *rig) alive(s locks.Session) {
	r.Helper()
	if r.setup.Bubble && (!s.Valid() || over(s)) {
		r.Errorf("valid %v, over %v; want it alive", s.Valid(), over(s))
	}
}

func (r *rig) dead(s locks.Session) {
	r.Helper()
	if s.Valid() {
		r.Error("the session is valid")
	}
	select {
	case <-s.Done():
	case <-time.After(time.Minute):
		r.Error("the session is not over")
	}
}

// wait lets time pass.
func (r *rig) wait(d time.Duration) {
	time.Sleep(d)
	if r.setup.Bubble {
		synctest.Wait()
	}
}

// away makes a gateway's requests fail.
func away(g Gateway) { g.Faults.Set(func(int) Fault { return Refused }) }

func often(int) time.Duration { return 10 * time.Millisecond }
