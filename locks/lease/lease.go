// Package lease keeps a session of a coordinator alive, and knows for how long
// it is certain to be. The coordinators share it; they differ in how a renewal
// is carried out.
//
// # Who may act when
//
// A session has a time to live, TTL. Its owner renews it every third of TTL and
// is certain of it for TTL less a [Margin], counted from the moment at which the
// last renewal that succeeded was begun. Others may end a session only when TTL
// has passed after a renewal was carried out, which is later than it was begun.
// So the owner stops acting a Margin, a quarter of TTL, before anybody else can
// begin. The Margin is for clocks that run at different speeds, and for what the
// owner had under way.
//
// A session whose certainty has once run out is over, even if the coordinator
// would renew it still: what it held was unguarded for a moment.
//
// # Clock
//
// Clock counts on while the machine sleeps ([Boot]), so that a session does not
// seem alive on a machine that wakes up. Timers, which do not, only decide when
// to look.
package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// ErrEnded is what Renew and Look return if the session is over for good.
var ErrEnded = errors.New("session was ended")

// Look is how soon after a call of Busy wishes of others are noticed.
const Look = time.Second

// Margin returns how long before the end of ttl the owner stops acting.
func Margin(ttl time.Duration) time.Duration { return ttl / 4 }

// Every returns how often a session is renewed.
func Every(ttl time.Duration) time.Duration { return ttl / 3 }

// Backend carries out what a Keeper decides. Both return the keys of records
// that others wait for. An error other than [ErrEnded] means that it may or may
// not have been carried out; the Keeper calls again.
type Backend interface {
	// Renew renews the session.
	Renew(ctx context.Context) (wanted []string, err error)
	// Look only asks what is wanted.
	Look(ctx context.Context) (wanted []string, err error)
}

// Config says how a Keeper works.
type Config struct {
	TTL   time.Duration
	Clock func() time.Duration // nil: Boot
	Log   *slog.Logger         // nil: silent
	// Begun is when the request that began the session was sent, by Clock.
	Begun time.Duration
}

// Keeper keeps one session alive, from Keep to Stop.
type Keeper struct {
	cfg     Config
	backend Backend
	cancel  context.CancelFunc
	work    sync.WaitGroup

	busy   chan struct{} // has a token if Busy was called since the last look
	done   chan struct{} // closed when over is set
	wanted chan string
	posted chan struct{} // has a token if pending has grown

	mu      sync.Mutex
	until   time.Duration // guarded by mu; certain to be alive until then
	over    bool          // guarded by mu
	pending []string      // guarded by mu; keys to be yielded by wanted, each once
}

// Keep begins to keep a session that was just begun.
func Keep(cfg Config, b Backend) *Keeper {
	if cfg.Clock == nil {
		cfg.Clock = Boot
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	k := &Keeper{
		cfg: cfg, backend: b, cancel: cancel,
		busy: make(chan struct{}, 1), done: make(chan struct{}),
		wanted: make(chan string), posted: make(chan struct{}, 1),
		until: cfg.Begun + cfg.TTL - Margin(cfg.TTL),
	}
	k.work.Go(func() { k.keep(ctx) })
	k.work.Go(k.deliver)
	return k
}

// Valid reports whether the session is certain to be alive.
func (k *Keeper) Valid() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.over && k.cfg.Clock() < k.until
}

// Done is closed when the session is over.
func (k *Keeper) Done() <-chan struct{} { return k.done }

// Wanted yields keys of records that somebody waits for.
func (k *Keeper) Wanted() <-chan string { return k.wanted }

// Busy makes the Keeper look within a second what others want.
func (k *Keeper) Busy() {
	select {
	case k.busy <- struct{}{}:
	default:
	}
}

// End makes the session over.
func (k *Keeper) End() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.over {
		k.over = true
		close(k.done)
	}
}

// Stop makes the session over, and awaits what runs. It may be called again.
func (k *Keeper) Stop() {
	k.End()
	k.cancel()
	k.work.Wait()
}

// Post takes in that somebody wants the records of keys.
func (k *Keeper) Post(keys ...string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, key := range keys {
		if !contains(k.pending, key) {
			k.pending = append(k.pending, key)
		}
	}
	if len(k.pending) > 0 {
		select {
		case k.posted <- struct{}{}:
		default:
		}
	}
}

func contains(keys []string, key string) bool {
	for _, k := range keys {
		if k == key {
			return true
		}
	}
	return false
}

// deliver hands out what was posted, until the session is over.
func (k *Keeper) deliver() {
	for {
		key, ok := k.first()
		if !ok {
			select {
			case <-k.posted:
				continue
			case <-k.done:
				return
			}
		}
		select {
		case k.wanted <- key:
		case <-k.done:
			return
		}
	}
}

func (k *Keeper) first() (string, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.pending) == 0 {
		return "", false
	}
	key := k.pending[0]
	k.pending = k.pending[1:]
	return key, true
}
