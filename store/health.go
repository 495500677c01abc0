package store

import (
	"errors"
	"time"
)

// ErrAway is in the chain of an [Unavailable] with which a request was refused
// before it was sent, because the endpoint does not answer. Nothing was carried
// out.
var ErrAway = errors.New("the endpoint is away")

// Health tells whether an endpoint answers at all. It is an optional power of a
// Store, found with [As].
type Health interface {
	// Away reports whether the endpoint is away, and since when: the
	// beginning of the first request that it left without an answer. Asking
	// counts as demand: while somebody does, the endpoint is tried again.
	Away() (since time.Time, away bool)

	// Changed is closed when what Away reports changes. Take it before asking
	// Away, so that no change is missed.
	Changed() <-chan struct{}
}
