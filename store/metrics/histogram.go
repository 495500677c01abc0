package metrics

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// subBits is how many bits below the highest one choose a bucket: four buckets
// for each doubling, so that a quantile is off by an eighth at most.
const subBits = 2

// A histogram counts durations in buckets of microseconds whose width grows
// with the duration.
type histogram struct {
	buckets [(64 + 1) << subBits]atomic.Uint64
	sum     atomic.Int64 // nanoseconds
	max     atomic.Int64 // nanoseconds
}

// bucket returns the index for a duration.
func bucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 1<<subBits {
		return int(us) //nolint:gosec // below 4
	}
	high := bits.Len64(us) - 1
	sub := us >> (high - subBits) & (1<<subBits - 1)
	return (high-subBits+1)<<subBits + int(sub) //nolint:gosec // below 4
}

// upper returns the upper end of a bucket.
func upper(i int) time.Duration {
	i++
	if i < 1<<subBits {
		return time.Duration(i) * time.Microsecond
	}
	high := i>>subBits + subBits - 1
	sub := i & (1<<subBits - 1)
	return time.Duration((1<<subBits+sub)<<(high-subBits)) * time.Microsecond
}

func (h *histogram) observe(d time.Duration) {
	h.buckets[bucket(d)].Add(1)
	h.sum.Add(int64(d))
	for {
		old := h.max.Load()
		if int64(d) <= old || h.max.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// counts is a copy of a histogram, whose parts may be some requests apart.
type counts struct {
	buckets []uint64
	total   uint64
	sum     time.Duration
	max     time.Duration
}

func (h *histogram) counts() counts {
	c := counts{buckets: make([]uint64, len(h.buckets)), sum: time.Duration(h.sum.Load()), max: time.Duration(h.max.Load())}
	for i := range h.buckets {
		c.buckets[i] = h.buckets[i].Load()
		c.total += c.buckets[i]
	}
	return c
}

// quantile returns the duration that a share q of all stayed below.
func (c counts) quantile(q float64) time.Duration {
	rank := uint64(q * float64(c.total))
	seen := uint64(0)
	for i, n := range c.buckets {
		seen += n
		if seen > rank || n > 0 && seen == c.total {
			return min(upper(i), c.max)
		}
	}
	return 0
}

func (c counts) mean() time.Duration {
	if c.total == 0 {
		return 0
	}
	return c.sum / time.Duration(c.total) //nolint:gosec // no counter gets that far
}
