package access

import (
	"log/slog"
	"sync"
	"time"
)

// complainEvery is how often failed logins are logged, at most.
const complainEvery = 10 * time.Second

// complaints logs failed logins, without what was tried, and not one by one.
type complaints struct {
	now func() time.Time
	log *slog.Logger

	mu    sync.Mutex // guards what is below
	last  time.Time
	since int // failures that were not logged
}

func newComplaints(c Config) *complaints { return &complaints{now: c.Now, log: c.Log} }

func (c *complaints) note(remote, user, via string) {
	now := c.now()
	c.mu.Lock()
	c.since++
	n := c.since
	quiet := now.Sub(c.last) < complainEvery
	if !quiet {
		c.last, c.since = now, 0
	}
	c.mu.Unlock()
	if quiet {
		return
	}
	if user == "" {
		user = "(unknown)"
	}
	c.log.Warn("failed login", "from", remote, "user", user, "via", via, "failures", n)
}
