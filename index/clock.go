package index

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// tick is a moment on this index's time line: nanoseconds of the monotonic
// clock, made unique, so that of two events one is always the earlier. 0 is
// never.
type tick int64

// epoch is the tick of Open. It is large, so that never is long ago.
const epoch = tick(24 * time.Hour)

// clock makes ticks.
type clock struct {
	now   func() time.Time
	start time.Time
	last  atomic.Int64
}

// tick returns the present, later than any tick returned before.
func (c *clock) tick() tick {
	for {
		last := c.last.Load()
		next := max(last+1, int64(c.at(c.now())))
		if c.last.CompareAndSwap(last, next) {
			return tick(next)
		}
	}
}

// at converts a time of this clock.
func (c *clock) at(t time.Time) tick { return tick(t.Sub(c.start)) + epoch }

// time is the inverse of at.
func (c *clock) time(t tick) time.Time { return c.start.Add(time.Duration(t - epoch)) }

func (t tick) add(d time.Duration) tick { return t + tick(d) }

// inflight knows which requests are under way, by the ticks at which they
// began, so that what guards a name against their answers can be dropped when
// the last of them has ended.
type inflight struct {
	mu      sync.Mutex // a leaf: taken with a directory's mutex held
	clock   *clock
	open    []tick    // guarded by mu; ascending
	retired []retired // guarded by mu; ascending by barrier
}

// retired is a guard that is to go when no request from before barrier is
// left.
type retired struct {
	dir, name string
	barrier   tick
}

// begin registers a request. The answer tells of a moment not before the tick.
func (f *inflight) begin() tick {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.clock.tick()
	f.open = append(f.open, t)
	return t
}

// end forgets the request that began at t, whose answer has been taken in, and
// returns the guards that nobody needs any more.
func (f *inflight) end(t tick) []retired {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i, found := slices.BinarySearch(f.open, t); found {
		f.open = slices.Delete(f.open, i, i+1)
	}
	n := 0
	for n < len(f.retired) && (len(f.open) == 0 || f.retired[n].barrier < f.open[0]) {
		n++
	}
	if n == 0 {
		return nil
	}
	gone := slices.Clone(f.retired[:n])
	f.retired = slices.Delete(f.retired, 0, n)
	return gone
}

// retire makes a barrier of the present for the name and reports whether it
// must be kept; end tells when no longer.
func (f *inflight) retire(dir, name string) (barrier tick, needed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	barrier = f.clock.tick()
	if len(f.open) == 0 {
		return barrier, false
	}
	f.retired = append(f.retired, retired{dir, name, barrier})
	return barrier, true
}
