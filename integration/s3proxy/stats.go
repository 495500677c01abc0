package s3proxy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Count is what is known about the requests of one operation.
type Count struct {
	Requests int   // started
	Failed   int   // answered with 4xx or 5xx, or not at all
	Faults   int   // of which made to fail by SetFaults
	Up, Down int64 // bytes of request and response bodies
}

// Request is one finished request.
type Request struct {
	Op     string
	Key    string // decoded, without the bucket; the prefix of a listing
	If     string // the version that the request demands (If-Match), or * (If-None-Match)
	ETag   string // the version that the server's answer is about
	Status int    // 0 if the client was sent no answer
	Fault  Kind   // 0 if it was let through
	Up     int64  // bytes of the request's body
	Down   int64  // bytes of the response's body
	Begin  time.Time
	Took   time.Duration
}

// Stats is a snapshot of what a proxy has counted since Start or Reset.
type Stats struct {
	Ops    map[string]Count
	Keys   map[string]map[string]int // key, operation: requests started
	Recent []Request                 // the last finished requests, oldest first
}

// recentLimit bounds the requests kept one by one.
const recentLimit = 2000

// Total returns the number of requests of the named operations, or of all.
func (s Stats) Total(ops ...string) int {
	n := 0
	for op, c := range s.Ops {
		if len(ops) == 0 || slices.Contains(ops, op) {
			n += c.Requests
		}
	}
	return n
}

// Bytes returns the sums of all request and response bodies.
func (s Stats) Bytes() (up, down int64) {
	for _, c := range s.Ops {
		up, down = up+c.Up, down+c.Down
	}
	return up, down
}

// Without returns the requests per operation, leaving out those for which
// drop says true.
func (s Stats) Without(drop func(op, key string) bool) map[string]int {
	out := map[string]int{}
	for key, ops := range s.Keys {
		for op, n := range ops {
			if !drop(op, key) {
				out[op] += n
			}
		}
	}
	return out
}

// KeysOf returns, sorted, the keys that a request of op named.
func (s Stats) KeysOf(op string) []string {
	var keys []string
	for key, ops := range s.Keys {
		if ops[op] > 0 {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// String lists the operations with their counts, for failure messages.
func (s Stats) String() string {
	var b strings.Builder
	for _, op := range slices.Sorted(maps.Keys(s.Ops)) {
		c := s.Ops[op]
		fmt.Fprintf(&b, "%s %d (failed %d, up %d, down %d)\n", op, c.Requests, c.Failed, c.Up, c.Down)
	}
	for _, r := range s.Recent[max(0, len(s.Recent)-40):] {
		fmt.Fprintf(&b, "  %s %s %q -> %d %s (%v)\n", r.Begin.Format("05.000"), r.Op, r.Key, r.Status, r.Fault, r.Took.Round(100*time.Microsecond))
	}
	return b.String()
}

// counter collects what Stats shows.
type counter struct {
	mu     sync.Mutex // guards all below
	ops    map[string]*Count
	keys   map[string]map[string]int
	recent []Request // ring of recentLimit, next is the oldest
	next   int
	active map[*Request]struct{}
	last   map[string]time.Time // "op key": end of its last request
}

func newCounter() *counter {
	c := &counter{active: map[*Request]struct{}{}}
	c.reset()
	return c
}

func (c *counter) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops, c.keys = map[string]*Count{}, map[string]map[string]int{}
	c.recent, c.next = nil, 0
	c.last = map[string]time.Time{}
}

func (c *counter) opLocked(op string) *Count {
	if c.ops[op] == nil {
		c.ops[op] = &Count{}
	}
	return c.ops[op]
}

// begin counts a request and returns how often its operation and key have
// been seen, itself included.
func (c *counter) begin(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active[r] = struct{}{}
	c.opLocked(r.Op).Requests++
	if c.keys[r.Key] == nil {
		c.keys[r.Key] = map[string]int{}
	}
	c.keys[r.Key][r.Op]++
}

func (c *counter) end(r *Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.active, r)
	o := c.opLocked(r.Op)
	o.Up += r.Up
	o.Down += r.Down
	if r.Status == 0 || r.Status >= 400 {
		o.Failed++
	}
	if r.Fault != 0 {
		o.Faults++
	}
	c.last[r.Op+" "+r.Key] = time.Now()
	if len(c.recent) < recentLimit {
		c.recent = append(c.recent, *r)
		return
	}
	c.recent[c.next] = *r
	c.next = (c.next + 1) % recentLimit
}

func (c *counter) snapshot() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{Ops: map[string]Count{}, Keys: map[string]map[string]int{}}
	for op, n := range c.ops {
		s.Ops[op] = *n
	}
	for key, ops := range c.keys {
		s.Keys[key] = maps.Clone(ops)
	}
	s.Recent = slices.Concat(c.recent[c.next:], c.recent[:c.next])
	return s
}

// quietSince returns when the last request that counts ended, and whether one
// is under way.
func (c *counter) quietSince(ignore func(op, key string) bool) (last time.Time, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.active {
		if ignore == nil || !ignore(r.Op, r.Key) {
			return last, true
		}
	}
	for id, at := range c.last {
		op, key, _ := strings.Cut(id, " ")
		if at.After(last) && (ignore == nil || !ignore(op, key)) {
			last = at
		}
	}
	return last, false
}
