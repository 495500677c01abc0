// Package breaker is a decorator that notices when an endpoint is away, and
// refuses requests at once until it is back. It belongs below package retry,
// which waits for the return instead of spending retries, and above package
// metrics, which then counts what S3 gets.
//
// # States
//
//	reachable   requests pass
//	away        requests are refused with [store.ErrAway]
//	doubtful    requests pass; the first silence makes it away again
//
// An endpoint becomes away only on evidence of an outage, of which there are
// two kinds:
//
//   - Failures: at least five requests in a row ended Unavailable or Timeout,
//     and the first of them began 3 s ago or earlier.
//   - Silence: for 2 s nothing was answered and no request, or body, has made
//     progress although one is that old, and none of eight HEADs sent then has
//     an answer within another 4 s.
//
// Any answer is a sign of life, also a refusal (Throttled, Denied, NotExist);
// so are bytes of a body that arrive. Hence faults at random, throttling and
// one slow transfer among others never make an endpoint away, nor does one whose
// answers take up to 4 s.
//
// When it becomes away, requests that have stood still for 4 s are ended, so
// that they neither keep connections nor their callers' deadlines.
//
// # The way back
//
// While there is demand (a refused request or a question for Away in the last
// 10 s), a HEAD is sent after 0.25 s, and then at most every 2 s; the first
// answer to anything makes the endpoint reachable. Without demand nothing is
// sent, and what is known grows old: the endpoint is doubtful. The next request
// then passes, with a HEAD beside it, and 2 s of silence or one failure make it
// away again.
//
// # Goroutines
//
// One goroutine watches while requests are under way or demand is there, and
// starts the HEADs. It is started by the first request and ends by itself when
// nothing is left to watch; Close ends and awaits it.
package breaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
)

// ProbeKey is the key that is asked for to find out whether the endpoint
// answers. No object has it.
const ProbeKey = ".causeway/answers"

const (
	failuresInRow = 5
	failuresFor   = 3 * time.Second
	stillAfter    = 2 * time.Second // no progress: worth a look
	probePatience = 4 * time.Second // for the look, before the endpoint is away
	doubtPatience = 2 * time.Second // the same while it is doubtful
	probeLimit    = 10 * time.Second
	maxProbes     = 16 // under way at once
	minBackoff    = 250 * time.Millisecond
	maxBackoff    = 2 * time.Second
	maxLookPause  = 8 * time.Second // between looks that were answered
	demandFor     = 10 * time.Second
	watchEvery    = 250 * time.Millisecond
	lookEvery     = 500 * time.Millisecond // between HEADs of one silence: one may be lost
)

// Config configures a Store. The zero value is usable.
type Config struct {
	Log *slog.Logger // is told when the endpoint goes away and returns [discard]
}

// State is what is believed of an endpoint.
type State uint8

// The states.
const (
	Reachable State = iota
	Away
	Doubtful // was away when it was last asked, and nobody has asked since
)

var stateNames = [...]string{"reachable", "away", "doubtful"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Stats describes a Store.
type Stats struct {
	State   State
	Since   time.Time // of the outage, or the end of the last one; zero if there was none
	Outages int64     // since the start
	Refused int64     // requests that were refused at once
	Probes  int64     // HEADs sent to find out
}

// Store is the decorator.
type Store struct {
	next store.Store
	log  *slog.Logger

	ctx  context.Context // of probes and the watch; ends in Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	closed   bool
	state    State
	since    time.Time // see Stats
	changed  chan struct{}
	flights  map[*flight]struct{}
	lastLife time.Time // last sign of life
	lastMove time.Time // when a request last made progress
	failures int       // in a row
	failing  time.Time // when the first of these began
	demand   time.Time // last refusal or question
	watching bool      // the watch runs
	look     look
	outages  int64
	refused  int64
	probes   int64
}

// look is an examination of an endpoint in silence, or of one that is away.
type look struct {
	under int           // HEADs under way
	since time.Time     // when the first HEAD of this silence was sent; zero: none was
	sent  time.Time     // when the last HEAD was sent
	pause time.Duration // between this look, or HEAD, and the next
	next  time.Time     // when the next one is due
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Unwrapper = (*Store)(nil)
	_ store.Health    = (*Store)(nil)
)

// Wrap decorates next.
func Wrap(next store.Store, cfg Config) *Store {
	s := &Store{next: next, log: cfg.Log, changed: make(chan struct{}), flights: map[*flight]struct{}{}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// Unwrap implements [store.Unwrapper].
func (s *Store) Unwrap() store.Store { return s.next }

// Close ends the watch and waits for it. Requests pass from then on, whatever
// the endpoint does.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	if s.state != Reachable {
		s.turnLocked(Reachable)
	}
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	return nil
}

// Away implements [store.Health].
func (s *Store) Away() (since time.Time, away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != Away {
		return time.Time{}, false
	}
	s.demandLocked()
	return s.since, true
}

// Changed implements [store.Health].
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Stats tells what is believed, without demanding to know better.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{State: s.state, Since: s.since, Outages: s.outages, Refused: s.refused, Probes: s.probes}
}

// awayError says since when the endpoint is away.
type awayError struct{ since time.Time }

func (e *awayError) Error() string {
	return fmt.Sprintf("%v since %s", store.ErrAway, e.since.UTC().Format(time.RFC3339))
}
func (e *awayError) Unwrap() error { return store.ErrAway }

// errStill ends requests that stood still when the endpoint went away.
var errStill = errors.New("no progress, as with all other requests")

// flight is one request, or one Read of a body, under way.
type flight struct {
	began time.Time
	moved time.Time               // last progress
	cut   context.CancelCauseFunc // ends the request
}

// begin lets a request pass, or refuses it.
func (s *Store) begin(op store.Op, key string, cut context.CancelCauseFunc) (*flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == Away {
		s.refused++
		s.demandLocked()
		return nil, &store.Error{Op: op, Key: key, Kind: store.Unavailable, Err: &awayError{s.since}}
	}
	return s.flyLocked(cut), nil
}

func (s *Store) flyLocked(cut context.CancelCauseFunc) *flight {
	now := time.Now()
	f := &flight{began: now, moved: now, cut: cut}
	s.flights[f] = struct{}{}
	s.demand = now
	s.watchLocked()
	return f
}

// moves notes that a request has sent bytes. Those of its beginning prove
// nothing: they are hashed, and the system takes some whoever listens.
func (s *Store) moves(f *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(f.began) >= stillAfter {
		f.moved, s.lastMove = now, now
	}
}

// end takes in how a request ended.
func (s *Store) end(f *flight, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flights, f)
	s.judgeLocked(f.began, err)
}

// judgeLocked is end for a request that began at the moment began. That one
// failed which began before the last sign of life says nothing new.
func (s *Store) judgeLocked(began time.Time, err error) {
	now := time.Now()
	switch kind := store.KindOf(err); {
	case err == nil || answered(kind):
		s.aliveLocked(now)
	case began.Before(s.lastLife):
	case kind == store.Unavailable, kind == store.Timeout && now.Sub(began) >= stillAfter:
		if s.failures == 0 || began.Before(s.failing) {
			s.failing = began
		}
		s.failures++
		if s.state == Doubtful || s.failures >= failuresInRow && now.Sub(s.failing) >= failuresFor {
			s.goneLocked(s.failing)
		}
	}
}

// answered reports whether an error of this kind is an answer of the endpoint.
// Other, and a caller who gave up, prove nothing.
func answered(k store.Kind) bool {
	switch k {
	case store.Unavailable, store.Timeout, store.Canceled, store.Other:
		return false
	}
	return true
}

// aliveLocked takes in a sign of life.
func (s *Store) aliveLocked(now time.Time) {
	s.lastLife, s.failures = now, 0
	if s.state == Reachable {
		return
	}
	s.log.Info("the endpoint answers again", "away", now.Sub(s.since).Round(time.Millisecond))
	s.since = now
	s.turnLocked(Reachable)
}

// goneLocked makes the endpoint away, since the moment given.
func (s *Store) goneLocked(since time.Time) {
	if s.state == Away || s.closed {
		return
	}
	if s.state == Reachable {
		s.since = since
		s.outages++
		s.log.Warn("the endpoint does not answer: requests are refused until it does", "since", since)
	}
	s.turnLocked(Away)
	now := time.Now()
	s.look.pause, s.look.next = minBackoff, now.Add(minBackoff)
	for f := range s.flights {
		if now.Sub(f.moved) >= probePatience {
			f.cut(errStill)
		}
	}
	s.watchLocked()
}

func (s *Store) turnLocked(to State) {
	was := s.state
	s.state = to
	s.failures = 0
	s.look = look{under: s.look.under}
	if (was == Away) != (to == Away) {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

func (s *Store) demandLocked() {
	s.demand = time.Now()
	s.watchLocked()
}
