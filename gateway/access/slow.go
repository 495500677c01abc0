package access

import (
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// How failed logins slow an address.
const (
	freeFailures  = 5                // cost nothing
	firstWait     = time.Second      // after the next one; it doubles from there
	longestWait   = time.Minute      //
	forgiveEvery  = 30 * time.Second // one failure is forgotten
	maxAddresses  = 4096             // that are remembered
	maxAtOnce     = 16               // passwords of one address that are looked at together
	busyWait      = time.Second      // for what is over that
	maxRemembered = 30               // failures; so that an address comes back in a quarter of an hour
)

// slowdown counts failed logins by address.
type slowdown struct {
	now func() time.Time

	mu    sync.Mutex // guards what is in addrs
	addrs *lru.Cache[netip.Prefix, *address]
}

type address struct {
	failures int
	pending  int
	as       time.Time // failures are as of then
	until    time.Time // no password is looked at until then
}

func newSlowdown(now func() time.Time) *slowdown {
	addrs, err := lru.New[netip.Prefix, *address](maxAddresses)
	if err != nil {
		panic(err) // the size is a constant
	}
	return &slowdown{now: now, addrs: addrs}
}

// begin asks whether a password from remote may be looked at. If wait is zero it
// may, and done must be called with how that ended.
func (s *slowdown) begin(remote string) (done func(ok bool), wait time.Duration) {
	key, now := source(remote), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a, known := s.addrs.Get(key)
	if !known {
		a = &address{as: now}
		s.addrs.Add(key, a)
	}
	a.forgive(now)
	switch {
	case now.Before(a.until):
		return nil, a.until.Sub(now)
	case a.pending >= maxAtOnce:
		return nil, busyWait
	}
	a.pending++
	return func(ok bool) { s.end(a, ok) }, 0
}

func (s *slowdown) end(a *address, ok bool) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	a.pending--
	if ok {
		return // and nothing is forgiven, or one known password would help to find another
	}
	a.failures = min(a.failures+1, maxRemembered)
	if over := a.failures - freeFailures; over > 0 {
		wait := min(firstWait<<min(over-1, 10), longestWait)
		a.until = now.Add(wait)
	}
}

func (a *address) forgive(now time.Time) {
	if n := int(now.Sub(a.as) / forgiveEvery); n > 0 {
		a.failures = max(a.failures-n, 0)
		a.as = a.as.Add(time.Duration(n) * forgiveEvery)
	}
}

// source returns what failures are counted by: an IPv4 address, the /64 of an
// IPv6 one, which is the least that one customer has, or nothing for what is no
// address.
func source(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := ap.Addr().Unmap()
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
