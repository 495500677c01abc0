package participant

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// Options of Open. Coordinator must be set; the rest has defaults.
type Options struct {
	Coordinator locks.Coordinator
	Info        locks.GatewayInfo
	Now         func() time.Time // [time.Now]
	Log         *slog.Logger     // [discard]

	// Acquired is called before Lock returns what another gateway may have held
	// since this one last did, and before Enter first returns in a session and
	// Sole becomes true: others may have decided something alone until then.
	// When it returns nil, nothing older than what was committed by then is
	// served from any cache here. If it fails, the lock is given up again, and
	// Lock fails with NoLock.
	Acquired func(context.Context) error
	// Releasing is called before something is given to another gateway. When it
	// returns nil, all that was acknowledged here is in S3. Nothing is given
	// away until it does.
	Releasing func(context.Context) error
	// Publish is called before the bucket stops being this gateway's alone,
	// with Sole false already. When it returns nil, all that was decided here
	// is in S3. No other gateway does anything before it has. It may call Enter.
	Publish func(context.Context) error
	// Shared keeps this gateway from having the bucket for itself.
	Shared bool
}

// Participant is a gateway among those that agree through a coordinator.
type Participant struct {
	opts  Options
	coord locks.Coordinator

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	acquire chan struct{} // has a token while nobody is in Acquired

	mu       sync.Mutex
	closed   bool
	table    *locks.Table
	calls    map[locks.ID]*call
	holds    map[holdKey]*hold
	guards   map[string]chan struct{} // by path, of those covered by something held
	cur      *session                 // nil before the first one and after one was lost
	past     map[locks.SessionID]bool // sessions of this gateway that are over
	joining  chan struct{}            // closed when an attempt to join ends; nil if there is none
	gen      uint64                   // counts arrivals
	foreign  uint64                   // counts grants of what others may have had
	acquired uint64                   // those that Acquired has been called for
	rtt      time.Duration            // a round trip to the coordinator, smoothed
}

var _ locks.Service = (*Participant)(nil)

// holdKey names what an owner holds of a path.
type holdKey struct {
	owner locks.Owner
	space locks.Space
	path  string
}

// hold is what belongs to that besides the claims in the table.
type hold struct {
	key   holdKey
	s     *session
	fence uint64
	lost  chan struct{} // closed when it is lost
	uses  []*use        // of the records, with Whole
}

// Open returns a participant. It joins when it is first asked for something.
func Open(opts Options) *Participant {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	nothing := func(context.Context) error { return nil }
	for _, hook := range []*func(context.Context) error{&opts.Acquired, &opts.Releasing, &opts.Publish} {
		if *hook == nil {
			*hook = nothing
		}
	}
	p := &Participant{
		opts: opts, coord: opts.Coordinator, table: locks.NewTable(), acquire: make(chan struct{}, 1),
		calls: map[locks.ID]*call{}, holds: map[holdKey]*hold{}, guards: map[string]chan struct{}{}, past: map[locks.SessionID]bool{}, rtt: 20 * time.Millisecond,
	}
	p.acquire <- struct{}{}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// Close gives up everything and ends the session. What was held may go to other
// gateways when it returns; all that was acknowledged should be in S3 before.
func (p *Participant) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil
	}
	p.closed = true
	for _, c := range p.calls {
		p.finish(c, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.Canceled})
	}
	s := p.cur
	p.mu.Unlock()
	var err error
	if s != nil {
		err = s.leave(ctx)
	}
	p.cancel()
	p.wg.Wait()
	return err
}

// Check is that of locks.Service.
func (p *Participant) Check(path string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cur != nil && !p.cur.Valid() && p.coversLocked(path) {
		p.loseLocked(p.cur)
	}
	if p.table.Lost(path) {
		return &locks.Error{Op: "commit", Path: path, Kind: locks.Lost}
	}
	return nil
}

// Guard is that of locks.Service.
func (p *Participant) Guard(path string) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.coversLocked(path) {
		return nil
	}
	if p.guards[path] == nil {
		p.guards[path] = make(chan struct{})
	}
	return p.guards[path]
}

// coversLocked reports whether anything that is held here covers path.
func (p *Participant) coversLocked(path string) bool {
	return len(p.holds) > 0 && p.table.Covered(path)
}

// dropGuards forgets the guards that nothing covers any more.
func (p *Participant) dropGuards() {
	for path := range p.guards {
		if !p.table.Covered(path) {
			delete(p.guards, path)
		}
	}
}

// markLost closes what tells that these claims, which the table has as lost,
// are lost.
func (p *Participant) markLost(lost []locks.Held) {
	for _, l := range lost {
		key := holdKey{l.Holder.Owner, l.Space, l.Path}
		if h := p.holds[key]; h != nil {
			delete(p.holds, key)
			close(h.lost)
			h.drop()
		}
		for path, guard := range p.guards {
			if l.Covers(path) {
				close(guard)
				delete(p.guards, path)
			}
		}
	}
}

// measure takes in how long a request took.
func (p *Participant) measure(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rtt += (d - p.rtt) / 8
}
