package s3proxy

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// Kind is a way to fail a request.
type Kind int

// The kinds of faults. In brackets: whether the server carries the request out.
const (
	SlowDown    Kind = iota + 1 // 503 SlowDown (no)
	ResetBefore                 // connection reset (no)
	ResetAfter                  // connection reset (yes)
	Truncate                    // the answer breaks off halfway (yes)
	StallBefore                 // no answer for Fault.Stall, then a reset (no)
	StallAfter                  // half an answer, nothing for Fault.Stall, then a reset (yes)
)

var kindNames = [...]string{"", "slow-down", "reset-before", "reset-after", "truncate", "stall-before", "stall-after"}

// String returns the kind's name, and nothing for no fault.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("kind(%d)", int(k))
	}
	return kindNames[k]
}

// Fault fails some of the requests that it matches.
type Fault struct {
	Kind Kind
	Ops  []string // operations it is for; none means all
	Key  string   // keys it is for contain this text

	// Which of the matching requests fail: from number From on (1 is the
	// first, and 0 means it), at most Count of them (0: no limit), each with
	// this Probability (0 means 1).
	From        int
	Count       int
	Probability float64

	// Stall is how long the stalling kinds hang; 0 means until the client
	// gives up or the proxy is closed.
	Stall time.Duration
}

func (f *Fault) matches(op, key string) bool {
	return (len(f.Ops) == 0 || slices.Contains(f.Ops, op)) && strings.Contains(key, f.Key)
}

// faultPlan decides which requests fail. Chance depends on the seed and on
// how often the same operation and key came before, so that concurrency does
// not change which ones fail.
type faultPlan struct {
	mu     sync.Mutex // guards all below
	seed   uint64
	faults []Fault
	seen   []int          // matching requests so far, per fault
	made   []int          // failed so far, per fault
	times  map[string]int // "op key": requests so far
}

func (p *faultPlan) set(seed uint64, faults []Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seed, p.faults = seed, slices.Clone(faults)
	p.seen, p.made = make([]int, len(faults)), make([]int, len(faults))
	p.times = map[string]int{}
}

// next returns the fault for a request, or nil.
func (p *faultPlan) next(op, key string) *Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.faults) == 0 {
		return nil
	}
	id := op + " " + key
	p.times[id]++
	for i := range p.faults {
		f := &p.faults[i]
		if !f.matches(op, key) {
			continue
		}
		p.seen[i]++
		if p.seen[i] < f.From || f.Count > 0 && p.made[i] >= f.Count {
			continue
		}
		if f.Probability > 0 && chance(p.seed, i, id, p.times[id]) >= f.Probability {
			continue
		}
		p.made[i]++
		chosen := *f
		return &chosen
	}
	return nil
}

// chance is a number in [0, 1) that depends on its arguments alone.
func chance(seed uint64, fault int, id string, times int) float64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d/%d/%d/%s", seed, fault, times, id)
	x := h.Sum64() // FNV's high bits hardly change with the last byte: mix them
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x>>11) / math.Exp2(53)
}
