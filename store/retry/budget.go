package retry

import (
	"sync"
	"time"
)

// The budget of a Store that is not given one.
const (
	defaultShare     = 0.2 // a fifth of the traffic
	defaultPerSecond = 20
	defaultBurst     = 200
)

// Budget limits the retries of all requests to one endpoint, so that a server
// that is down or overloaded is not kept so by its clients. Requests wait for
// the budget; it does not fail them.
type Budget struct {
	share, perSecond, burst float64 // constant

	mu     sync.Mutex
	tokens float64   // guarded by mu; negative: promised to waiting requests
	at     time.Time // guarded by mu; when tokens was right
}

// NewBudget returns a full budget. Every success earns a share of a retry,
// perSecond retries need no success, and at most burst come at once.
func NewBudget(share, perSecond, burst float64) *Budget {
	return &Budget{share: share, perSecond: perSecond, burst: burst, tokens: burst, at: time.Now()}
}

func (b *Budget) earn() { b.add(b.share) }

func (b *Budget) refund() { b.add(1) }

func (b *Budget) add(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+n, b.burst)
}

// spend takes one retry and returns how long it has to wait.
func (b *Budget) spend() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*b.perSecond, b.burst)
	b.at = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.perSecond * float64(time.Second))
}
