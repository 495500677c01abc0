package lease

import "time"

// Sighting is when a state of somebody else's session was seen first. The zero
// value has seen nothing.
type Sighting struct {
	state string
	since time.Duration
	seen  bool
}

// See takes in a state, which is another one after every renewal.
func (s Sighting) See(state string, now time.Duration) Sighting {
	if s.seen && s.state == state {
		return s
	}
	return Sighting{state: state, since: now, seen: true}
}

// Silent returns for how long the state has been the same.
func (s Sighting) Silent(now time.Duration) time.Duration {
	if !s.seen {
		return 0
	}
	return now - s.since
}
