package pages

import (
	"sync"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
)

// Sample is what happened in the time up to At, as rates a second.
type Sample struct {
	At      int64   `json:"at"` // Unix time in milliseconds
	Commits float64 `json:"commits"`
	Failed  float64 `json:"failed"` // commits that failed
	Reads   float64 `json:"reads"`  // requests to S3: GET and HEAD
	Writes  float64 `json:"writes"` // PUT, COPY, and all of multipart uploads
	Lists   float64 `json:"lists"`
	Deletes float64 `json:"deletes"`
	Errors  float64 `json:"errors"` // requests that failed
}

// groupOf says which of a Sample's fields a kind of request counts for.
func groupOf(kind string) func(*Sample) *float64 {
	switch kind {
	case "GET", "HEAD":
		return func(s *Sample) *float64 { return &s.Reads }
	case "LIST", "LIST-UPLOADS":
		return func(s *Sample) *float64 { return &s.Lists }
	case "DELETE", "DELETE-MANY", "ABORT-UPLOAD":
		return func(s *Sample) *float64 { return &s.Deletes }
	}
	return func(s *Sample) *float64 { return &s.Writes }
}

// between returns the rates from one Report to a later one.
func between(old, now status.Report, at time.Time, elapsed time.Duration) Sample {
	s := Sample{At: at.UnixMilli()}
	secs := elapsed.Seconds()
	if secs <= 0 {
		return s
	}
	rate := func(before, after int64) float64 { return float64(max(after-before, 0)) / secs }
	s.Commits = rate(old.Files.Commits, now.Files.Commits)
	s.Failed = rate(old.Files.CommitErrors, now.Files.CommitErrors)
	before := map[string]status.Request{}
	for _, q := range old.Requests {
		before[q.Kind] = q
	}
	for _, q := range now.Requests {
		*groupOf(q.Kind)(&s) += rate(before[q.Kind].Count, q.Count)
		s.Errors += rate(before[q.Kind].Errors, q.Errors)
	}
	return s
}

// history is a ring of samples.
type history struct {
	mu   sync.Mutex
	ring []Sample
	next int
	full bool
}

func newHistory(size int) *history { return &history{ring: make([]Sample, size)} }

func (h *history) add(s Sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ring[h.next] = s
	h.next = (h.next + 1) % len(h.ring)
	h.full = h.full || h.next == 0
}

// samples returns what there is, oldest first. It is never nil.
func (h *history) samples() []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := []Sample{}
	if h.full {
		all = append(all, h.ring[h.next:]...)
	}
	return append(all, h.ring[:h.next]...)
}

// recently is the mean of the last few samples, for figures that people read.
func (h *history) recently() Sample {
	all := h.samples()
	all = all[max(len(all)-averaged, 0):]
	var sum Sample
	for _, s := range all {
		n := float64(len(all))
		sum.At = s.At
		sum.Commits += s.Commits / n
		sum.Failed += s.Failed / n
		sum.Reads += s.Reads / n
		sum.Writes += s.Writes / n
		sum.Lists += s.Lists / n
		sum.Deletes += s.Deletes / n
		sum.Errors += s.Errors / n
	}
	return sum
}

// averaged is how many samples recently takes.
const averaged = 5
