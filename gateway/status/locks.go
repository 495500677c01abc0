package status

import (
	"cmp"
	"slices"
	"time"
)

// LockReport is one path on which there is a lock, or somebody waits for one.
type LockReport struct {
	Path    string       `json:"path"`            // relative to the root
	Mode    string       `json:"mode"`            // of the holders: "shared" or "exclusive"; empty without any
	Tree    bool         `json:"tree"`            // with all below it
	Space   string       `json:"space,omitempty"` // "record" for locks of fcntl(2); they and others do not meet
	Holders []LockHolder `json:"holders"`
	Waiters []LockWaiter `json:"waiters"` // in the order in which they will be served
}

// LockHolder is who has a lock. Times are by the clock of its host.
type LockHolder struct {
	Host    string    `json:"host"`
	PID     int       `json:"pid,omitempty"`
	Command string    `json:"command,omitempty"`
	Via     string    `json:"via,omitempty"` // "flock", "fcntl", "webdav", "lock", "socket"
	Since   time.Time `json:"since"`
	Range   string    `json:"range,omitempty"`  // with "record": the bytes, as 0-99 or 100-
	Fence   uint64    `json:"fence"`            // of causeway locks break
	Cached  bool      `json:"cached,omitempty"` // a gateway keeps it, and nobody there uses it
}

// LockWaiter is who waits for one.
type LockWaiter struct {
	Place   int       `json:"place"` // 1: next
	Host    string    `json:"host"`
	PID     int       `json:"pid,omitempty"`
	Command string    `json:"command,omitempty"`
	Mode    string    `json:"mode,omitempty"`
	Since   time.Time `json:"since"`
}

// Contended reports whether somebody waits.
func (l LockReport) Contended() bool { return len(l.Waiters) > 0 }

// since is when the oldest of l began.
func (l LockReport) since() time.Time {
	var oldest time.Time
	for _, h := range l.Holders {
		if oldest.IsZero() || h.Since.Before(oldest) {
			oldest = h.Since
		}
	}
	return oldest
}

// SortLocks orders reports for people: what somebody waits for first, the longest
// queues before others, then what is held longest.
func SortLocks(all []LockReport) {
	for _, l := range all {
		slices.SortStableFunc(l.Waiters, func(a, b LockWaiter) int { return cmp.Compare(a.Place, b.Place) })
	}
	slices.SortStableFunc(all, func(a, b LockReport) int {
		return cmp.Or(
			cmp.Compare(len(b.Waiters), len(a.Waiters)),
			a.since().Compare(b.since()),
			cmp.Compare(a.Path, b.Path),
		)
	})
}
