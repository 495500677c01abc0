package retry

import (
	"sync"
	"time"
)

const (
	budgetShare = 0.2   // retries that one success earns
	budgetRate  = 20.0  // retries per second that need no success
	budgetMax   = 200.0 // retries that may come at once
)

// Budget limits the retries of all requests to one endpoint, so that they are
// at most a fifth of the traffic, and twenty a second when nothing succeeds: a
// server that is down or overloaded is not kept so by its clients. Requests wait
// for the budget; it does not fail them.
type Budget struct {
	mu     sync.Mutex
	tokens float64   // guarded by mu; negative: promised to waiting requests
	at     time.Time // guarded by mu; when tokens was right
}

// NewBudget returns a full budget.
func NewBudget() *Budget { return &Budget{tokens: budgetMax, at: time.Now()} }

func (b *Budget) earn() { b.add(budgetShare) }

func (b *Budget) refund() { b.add(1) }

func (b *Budget) add(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens = min(b.tokens+n, budgetMax)
}

// spend takes one retry and returns how long it has to wait.
func (b *Budget) spend() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.tokens = min(b.tokens+now.Sub(b.at).Seconds()*budgetRate, budgetMax)
	b.at = now
	b.tokens--
	if b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / budgetRate * float64(time.Second))
}
