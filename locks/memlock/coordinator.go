package memlock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
)

// Op is a kind of request, for faults and counts.
type Op string

// The requests.
const (
	OpJoin  Op = "join"
	OpGet   Op = "get"
	OpPut   Op = "put"
	OpList  Op = "list"
	OpEnded Op = "ended"
	OpWant  Op = "want"
	OpRenew Op = "renew"
	OpLook  Op = "look"
	OpLeave Op = "leave"
)

// Outcome is what becomes of a request.
type Outcome uint8

// The outcomes.
const (
	Answered Outcome = iota
	Failed           // it is not carried out
	Lost             // it is carried out, and its answer is lost
)

// Coordinator is one gateway's connection to a Space.
type Coordinator struct {
	space *Space

	mu     sync.Mutex
	fault  func(op Op, key string) Outcome    // guarded by mu; nil: none
	delay  time.Duration                      // guarded by mu
	clock  func() time.Duration               // guarded by mu
	counts map[Op]int                         // guarded by mu
	seen   map[locks.SessionID]lease.Sighting // guarded by mu
}

var _ locks.Coordinator = (*Coordinator)(nil)

// Open connects a gateway.
func (s *Space) Open() *Coordinator {
	began := time.Now()
	return &Coordinator{
		space: s, counts: map[Op]int{}, seen: map[locks.SessionID]lease.Sighting{},
		clock: func() time.Duration { return time.Since(began) },
	}
}

// SetFault decides what becomes of requests from now on. nil: they succeed.
func (c *Coordinator) SetFault(f func(op Op, key string) Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = f
}

// SetAway makes all requests fail, or no longer.
func (c *Coordinator) SetAway(away bool) {
	if !away {
		c.SetFault(nil)
		return
	}
	c.SetFault(func(Op, string) Outcome { return Failed })
}

// SetDelay makes every request take d.
func (c *Coordinator) SetDelay(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// Jump sets this gateway's clock forward, as if it had slept for d.
func (c *Coordinator) Jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.clock
	c.clock = func() time.Duration { return before() + d }
}

// Requests returns how many requests there were.
func (c *Coordinator) Requests() map[Op]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := make(map[Op]int, len(c.counts))
	for op, n := range c.counts {
		counts[op] = n
	}
	return counts
}

// SetClock replaces this gateway's clock.
func (c *Coordinator) SetClock(clock func() time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock = clock
}

func (c *Coordinator) now() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clock()
}

// do carries out a request, with delay and fault.
func (c *Coordinator) do(ctx context.Context, op Op, key string, carryOut func()) error {
	c.mu.Lock()
	c.counts[op]++
	delay, outcome := c.delay, Answered
	if c.fault != nil {
		outcome = c.fault(op, key)
	}
	c.mu.Unlock()
	if err := lease.Pause(ctx, delay/2); err != nil {
		return err
	}
	if outcome != Failed {
		carryOut()
	}
	if err := lease.Pause(ctx, delay-delay/2); err != nil {
		return err
	}
	if outcome != Answered {
		return fmt.Errorf("%s %q: %w", op, key, ErrAway)
	}
	return nil
}

// Get implements [locks.Coordinator].
func (c *Coordinator) Get(ctx context.Context, key string) (state locks.RecordState, err error) {
	if err := locks.CheckKey(key); err != nil {
		return locks.RecordState{}, err
	}
	err = c.do(ctx, OpGet, key, func() { state, _ = c.space.get(key) })
	if err != nil {
		return locks.RecordState{}, err
	}
	return state, nil
}

// Put implements [locks.Coordinator].
func (c *Coordinator) Put(ctx context.Context, key string, data []byte, v locks.Version) (locks.Version, error) {
	if data = slices.Clone(data); data == nil {
		data = []byte{}
	}
	return c.swap(ctx, key, data, v)
}

// Delete implements [locks.Coordinator].
func (c *Coordinator) Delete(ctx context.Context, key string, v locks.Version) error {
	_, err := c.swap(ctx, key, nil, v)
	return err
}

func (c *Coordinator) swap(ctx context.Context, key string, data []byte, v locks.Version) (locks.Version, error) {
	if err := locks.CheckKey(key); err != nil {
		return "", err
	}
	var next locks.Version
	var refusal error
	if err := c.do(ctx, OpPut, key, func() { next, refusal = c.space.swap(key, data, v) }); err != nil {
		return "", err
	}
	return next, refusal
}

// List implements [locks.Coordinator].
func (c *Coordinator) List(ctx context.Context, prefix string) (keys []string, err error) {
	err = c.do(ctx, OpList, prefix, func() { keys = c.space.list(prefix) })
	if err != nil {
		return nil, err
	}
	return keys, nil
}

// Await implements [locks.Coordinator]. It is told of changes, and ignores pace.
func (c *Coordinator) Await(ctx context.Context, key string, v locks.Version, _ func(int) time.Duration) (locks.RecordState, error) {
	for {
		var state locks.RecordState
		var changed <-chan struct{}
		if err := c.do(ctx, OpGet, key, func() { state, changed = c.space.get(key) }); err != nil {
			return state, err
		}
		if state.Version != v {
			return state, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return state, ctx.Err()
		}
	}
}

// Ended implements [locks.Coordinator].
func (c *Coordinator) Ended(ctx context.Context, id locks.SessionID) (ended bool, err error) {
	err = c.do(ctx, OpEnded, string(id), func() { ended = c.observe(id) })
	return ended && err == nil, err
}

// observe ends a session that was silent for TTL.
func (c *Coordinator) observe(id locks.SessionID) bool {
	beat, alive := c.space.beat(id)
	if !alive {
		return true
	}
	now := c.now()
	c.mu.Lock()
	s := c.seen[id].See(fmt.Sprint(beat), now)
	c.seen[id] = s
	c.mu.Unlock()
	return s.Silent(now) >= c.space.opts.TTL && c.space.end(id, beat)
}

// Want implements [locks.Coordinator].
func (c *Coordinator) Want(ctx context.Context, holder locks.SessionID, key string) error {
	return c.do(ctx, OpWant, key, func() { c.space.want(holder, key) })
}

// TTL implements [locks.Coordinator].
func (c *Coordinator) TTL() time.Duration { return c.space.opts.TTL }

// Close implements [locks.Coordinator].
func (c *Coordinator) Close() error { return nil }
