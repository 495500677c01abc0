// Package retry is a decorator that repeats requests, where that is right, and
// finds out what became of requests whose answer was lost.
//
// # What is repeated
//
// Throttled, Conflict and BadCredentials mean that nothing was carried out, so
// the request is sent again; BadCredentials only a few times, for a refresh.
// Unavailable and Timeout leave open whether it was carried out. Reads, and
// writes that have the same effect twice, are simply sent again. Everything
// else is an answer.
//
// # Guarded writes
//
// A conditional Put, a Copy with metadata and a condition, and every Complete
// carry a nonce in the metadata key [NonceKey]. After a lost answer the key is
// looked at: if it holds the nonce, the write was carried out and the call
// succeeds; if it contradicts the precondition, the call fails with
// PreconditionFailed or NotExist; else the write is sent again. What such an
// attempt answers is settled by the nonce in the same way, since a refusal may
// be owed to the lost attempt itself. If somebody else's version is there, the
// error has [store.ErrUnsettled] in its chain.
//
// A conditional Copy without metadata of its own cannot carry a nonce, so after
// a lost answer it fails with that error. The nonce of a Complete is given to
// CreateUpload and remembered until Complete or Abort; for an upload begun
// elsewhere there is none. Readers do not see nonces.
//
// # Bounds
//
// A call ends with its context. If that has no deadline, no attempt begins
// later than Config.MaxElapsed after the first. Each attempt has a deadline
// that suits its size. Pauses grow exponentially, with jitter, and all retries
// of an endpoint share a [Budget].
//
// # Outages
//
// A request that the store below refuses because the endpoint is away
// ([store.ErrAway]) was not sent: it costs no budget, and nothing has to be
// settled. The call waits until the endpoint is back, or for its own end, and
// fails with that refusal then.
//
// # Credentials
//
// Refused credentials may have expired, and somebody may be about to renew
// them. Once a Store has had a success, its calls go on trying for the
// RequestTimeout after the first refusal, and for some attempts even later.
//
// # Bodies
//
// A body that breaks is resumed where it broke, from the same version: when that
// is gone, reading fails with PreconditionFailed or NotExist.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/store"
)

const (
	defaultMaxElapsed     = 30 * time.Second
	defaultRequestTimeout = 10 * time.Second
	defaultMinRate        = 256 << 10 // bytes per second
	defaultBaseDelay      = 50 * time.Millisecond
	defaultMaxDelay       = 5 * time.Second
	returnSpread          = 100 * time.Millisecond // callers come back one after the other
	demandEvery           = 5 * time.Second        // who waits for an endpoint says so
	throttledFactor       = 4                      // of the pause, when the server asks for one
	maxRefusals           = 3                      // attempts that end with BadCredentials
	slowFactor            = 6                      // of the timeout, where the server copies or joins
)

// Config bounds retries. The zero value has the defaults.
type Config struct {
	// MaxElapsed is how long after the first attempt of a call the last one
	// may begin, if the context has no deadline. 0 means 30 s.
	MaxElapsed time.Duration
	// RequestTimeout is how long one attempt may take beside the time for its
	// bytes, and how long a body may stand still. 0 means 10 s.
	RequestTimeout time.Duration
	// MinRate is the slowest acceptable transfer, in bytes per second. 0
	// means 256 KiB/s.
	MinRate int64
	// BaseDelay and MaxDelay bound the pauses. 0 means 50 ms and 5 s.
	BaseDelay, MaxDelay time.Duration
	// Budget is shared by the Stores of one endpoint; nil means an own one.
	Budget *Budget
	// OnRetry, if set, is called before each pause. It must not block.
	OnRetry func(op store.Op, key string, err error)
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	if c.MaxElapsed <= 0 {
		c.MaxElapsed = defaultMaxElapsed
	}
	if c.RequestTimeout <= 0 {
		c.RequestTimeout = defaultRequestTimeout
	}
	if c.MinRate <= 0 {
		c.MinRate = defaultMinRate
	}
	if c.BaseDelay <= 0 {
		c.BaseDelay = defaultBaseDelay
	}
	if c.MaxDelay <= 0 {
		c.MaxDelay = defaultMaxDelay
	}
	if c.Budget == nil {
		c.Budget = NewBudget(defaultShare, defaultPerSecond, defaultBurst)
	}
	return c
}

// Store is the decorator.
type Store struct {
	next   store.Store
	health store.Health // nil: nobody knows
	cfg    Config
	nonces nonces

	worked  atomic.Bool  // some attempt has succeeded
	refused atomic.Int64 // when the credentials were first refused since, in ns since 1970; 0: they were not
	counts  counts
}

// Stats counts what happened since the start.
type Stats struct {
	Retries     int64 // attempts after the first of a call
	BudgetWaits int64 // retries that waited because the budget was spent
	AwayWaits   int64 // waits for an endpoint that was away
	Waiting     int64 // such waits at this moment
}

type counts struct{ retries, budgetWaits, awayWaits, waiting atomic.Int64 }

// Stats returns a snapshot.
func (s *Store) Stats() Stats {
	return Stats{Retries: s.counts.retries.Load(), BudgetWaits: s.counts.budgetWaits.Load(),
		AwayWaits: s.counts.awayWaits.Load(), Waiting: s.counts.waiting.Load()}
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Unwrapper = (*Store)(nil)
)

// New decorates next.
func New(next store.Store, cfg Config) *Store {
	health, _ := store.As[store.Health](next)
	return &Store{next: next, health: health, cfg: cfg.withDefaults(), nonces: newNonces()}
}

// Unwrap implements [store.Unwrapper].
func (s *Store) Unwrap() store.Store { return s.next }

// call is one call of a method, over its attempts.
type call struct {
	s        *Store
	op       store.Op
	key      string
	start    time.Time
	attempts int
	refusals int
	lost     bool // an attempt may have been carried out
}

func (s *Store) begin(op store.Op, key string) *call {
	return &call{s: s, op: op, key: key, start: time.Now()}
}

// limits of one attempt: factor times the basic timeout, and the time that the
// bytes need.
func (c *call) timeout(ctx context.Context, factor int, bytes int64) time.Duration {
	base := c.s.cfg.RequestTimeout * time.Duration(factor)
	if _, bounded := ctx.Deadline(); !bounded {
		// The last attempt is not to overrun the whole by much.
		left := c.s.cfg.MaxElapsed - time.Since(c.start)
		base = min(base, max(left, base/4))
	}
	return base + time.Duration(float64(bytes)/float64(c.s.cfg.MinRate)*float64(time.Second))
}

// try makes one attempt under its own deadline.
func (c *call) try(ctx context.Context, factor int, bytes int64, send func(context.Context) error) error {
	attempt, cancel := context.WithTimeout(ctx, c.timeout(ctx, factor, bytes))
	defer cancel()
	err := send(attempt)
	if err == nil {
		c.s.succeeded()
	}
	return err
}

// succeeded takes in that an attempt had success.
func (s *Store) succeeded() {
	s.cfg.Budget.earn()
	s.worked.Store(true)
	s.refused.Store(0)
}

// expired reports whether refused credentials may be about to be renewed: they
// have worked, and have been refused for a short time only.
func (s *Store) expired() bool {
	now := time.Now()
	s.refused.CompareAndSwap(0, now.UnixNano())
	return s.worked.Load() && now.Sub(time.Unix(0, s.refused.Load())) < s.cfg.RequestTimeout
}

// again decides what follows an error: it pauses and reports true if the
// request is to be sent again.
func (c *call) again(ctx context.Context, err error) bool {
	if errors.Is(err, store.ErrAway) {
		return c.awaitReturn(ctx)
	}
	pause := c.s.cfg.BaseDelay
	switch store.KindOf(err) {
	case store.Unavailable, store.Timeout:
		c.lost = true
	case store.Conflict:
	case store.Throttled:
		pause *= throttledFactor
	case store.BadCredentials:
		c.refusals++
		if !c.s.expired() && c.refusals >= maxRefusals {
			return false
		}
		pause = max(pause, time.Second) // what it takes to refresh them
	default:
		return false
	}
	if ctx.Err() != nil {
		return false
	}
	pause = min(pause<<min(c.attempts, 16), c.s.cfg.MaxDelay)
	pause = pause/2 + rand.N(pause/2+1) //nolint:gosec // jitter
	c.attempts++
	return c.wait(ctx, pause, err)
}

// wait pauses at least that long, and until the budget has a retry to spare. It
// reports false, at once, if the call would be over by then.
func (c *call) wait(ctx context.Context, pause time.Duration, err error) bool {
	budget := c.s.cfg.Budget.spend()
	if budget > pause {
		c.s.counts.budgetWaits.Add(1)
		pause = budget
	}
	if time.Now().Add(pause).After(c.end(ctx)) {
		c.s.cfg.Budget.refund()
		return false
	}
	c.s.counts.retries.Add(1)
	if c.s.cfg.OnRetry != nil {
		c.s.cfg.OnRetry(c.op, c.key, err)
	}
	return sleep(ctx, pause)
}

// end is when the call has to be over.
func (c *call) end(ctx context.Context) time.Time {
	if end, bounded := ctx.Deadline(); bounded {
		return end
	}
	return c.start.Add(c.s.cfg.MaxElapsed)
}

// awaitReturn waits until the endpoint is back. It reports false if the call is
// over before.
func (c *call) awaitReturn(ctx context.Context) bool {
	if c.s.health == nil {
		return false
	}
	c.s.counts.awayWaits.Add(1)
	c.s.counts.waiting.Add(1)
	defer c.s.counts.waiting.Add(-1)
	for {
		changed := c.s.health.Changed()
		if _, away := c.s.health.Away(); !away {
			return sleep(ctx, rand.N(returnSpread)) //nolint:gosec // jitter
		}
		left := time.Until(c.end(ctx))
		if left <= 0 {
			return false
		}
		timer := time.NewTimer(min(left, demandEvery))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}

// sleep reports false if ctx ends first.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// over returns what a call that ends with err reports: that it was canceled,
// if that is why there is no further attempt.
func (c *call) over(ctx context.Context, err error) error {
	if !errors.Is(ctx.Err(), context.Canceled) || store.IsKind(err, store.Canceled) {
		return err
	}
	return &store.Error{Op: c.op, Key: c.key, Kind: store.Canceled, Err: errors.Join(ctx.Err(), err)}
}

// repeat sends a request, whose effect is the same twice, until it has an
// answer.
func (s *Store) repeat(ctx context.Context, op store.Op, key string, factor int, bytes int64, send func(context.Context) error) error {
	c := s.begin(op, key)
	for {
		err := c.try(ctx, factor, bytes, send)
		if err == nil {
			return nil
		}
		if !c.again(ctx, err) {
			return c.over(ctx, err)
		}
	}
}
