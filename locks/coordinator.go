package locks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// SessionID names one session of a gateway. It is never used again.
type SessionID string

// Version identifies one state of a record; "" is that of a record which does
// not exist. Equal versions mean that nobody has changed it in between.
type Version string

// RecordState is a record as it was read.
type RecordState struct {
	Key     string
	Data    []byte // nil if it does not exist
	Version Version
}

// ErrConflict is what Put and Delete return if the record has another version:
// read it again and decide anew.
var ErrConflict = errors.New("record was changed by somebody else")

// MaxKeyBytes is the length of the longest key of a record.
const MaxKeyBytes = 900

// SpecialInKeys are the characters that count three times in the length of a
// key, because servers want them escaped; control characters do, too.
const SpecialInKeys = `%+~!\:*?"<>|`

// CheckKey says why key cannot be that of a record, or nil: it has 1 to
// MaxKeyBytes bytes of UTF-8.
func CheckKey(key string) error {
	n := len(key)
	for _, r := range key {
		if r < ' ' || r == 0x7f || strings.ContainsRune(SpecialInKeys, r) {
			n += 2
		}
	}
	switch {
	case n == 0:
		return errors.New("key of a record is empty")
	case n > MaxKeyBytes:
		return fmt.Errorf("key of a record has %d bytes, at most %d are possible", n, MaxKeyBytes)
	case !utf8.ValidString(key):
		return fmt.Errorf("key %q of a record is not UTF-8", key)
	}
	return nil
}

// Coordinator is what the gateways of a bucket agree through: small records
// that are changed by compare-and-swap, and sessions that end when a gateway
// does not renew them. Records are linearizable: a Get that begins after a Put
// has returned sees it. Keys are what [CheckKey] allows.
//
// Errors other than ErrConflict mean that the coordinator cannot be reached or
// did not answer, and that the call may or may not have been carried out;
// except that a Put or Delete settles what became of an earlier attempt of its
// own whose answer was lost, so that it never reports ErrConflict about itself.
type Coordinator interface {
	// Join begins a session, which is renewed until Leave, or until it is lost.
	// info is kept with it for people.
	Join(ctx context.Context, info GatewayInfo) (Session, error)

	// Get reads a record. One that does not exist is no error.
	Get(ctx context.Context, key string) (RecordState, error)
	// Put replaces the record if it has version v still.
	Put(ctx context.Context, key string, data []byte, v Version) (Version, error)
	// Delete removes the record if it has version v still. Where a server
	// cannot delete on a condition, it may leave a record that says that it was
	// deleted; Get then reports it as absent, with the version to put it anew.
	Delete(ctx context.Context, key string, v Version) error
	// List returns the keys that begin with prefix, sorted.
	List(ctx context.Context, prefix string) ([]string, error)

	// Await returns the record when it has another version than v, or what it
	// is known of it when ctx ends (with the error of ctx), or another error as
	// soon as the coordinator does not answer. An implementation that can only
	// ask waits for pace(n) before it asks for the n+1st time; one that is told
	// of changes ignores pace.
	Await(ctx context.Context, key string, v Version, pace func(asked int) time.Duration) (RecordState, error)

	// Ended reports whether a session has ended. It is false while the session
	// may be alive, and true only if it never acts again: it has left, or it
	// has not been renewed for TTL by the caller's own monotonic clock, and was
	// ended for good by this call. Call it again and again while waiting.
	Ended(ctx context.Context, id SessionID) (bool, error)

	// Want tells the holder of a record that somebody waits for it: key comes
	// out of its Session.Wanted, soon if it is busy, and otherwise at its next
	// renewal. It is a hint; nothing but time depends on it.
	Want(ctx context.Context, holder SessionID, key string) error

	// TTL is how long a session lives without being renewed.
	TTL() time.Duration
	// Close ends what runs in the background. Sessions must have left.
	Close() error
}

// GatewayInfo describes a gateway to people.
type GatewayInfo struct {
	Host  string
	PID   int
	Mount string
}

// Session is a gateway's lease on all that it holds.
type Session interface {
	ID() SessionID
	// Valid reports whether the session is certain to be alive: it was renewed
	// by a request that began less than TTL ago, less a margin, by a clock that
	// goes on while the machine sleeps. It sends nothing. Nobody is granted
	// what the session holds while Valid is true anywhere.
	Valid() bool
	// Done is closed when the session is over: it could not be renewed in time,
	// it was ended by somebody else, or it has left. It may be closed a moment
	// later than Valid becomes false.
	Done() <-chan struct{}
	// Wanted yields keys of records that somebody waits for.
	Wanted() <-chan string
	// Busy says that locks are in use, so that wishes of others should be
	// noticed within a second instead of at the next renewal. Cheap.
	Busy()
	// Leave ends the session. What it held may be given to others at once.
	Leave(ctx context.Context) error
}
