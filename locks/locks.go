package locks

import (
	"context"
	"math"
	"time"
)

// Mode is how a claim shares its path.
type Mode uint8

// The modes.
const (
	Shared    Mode = iota // any number of owners, if none is exclusive
	Exclusive             // one owner
)

// Space separates locks that never conflict.
type Space uint8

// The spaces.
const (
	// Whole locks are those of flock(2), of WebDAV's LOCK, of causeway lock and
	// of the control socket.
	Whole Space = iota
	// Record locks are those of fcntl(2): of ranges of bytes of a file.
	Record
)

// MaxOffset is the last byte of a range that has no end.
const MaxOffset = math.MaxUint64

// Claim is what is wanted of a path.
type Claim struct {
	Path  string // relative to the root, without leading or trailing slash; the root is ""
	Space Space
	Mode  Mode
	Tree  bool // with Whole: of everything below, too
	// Start and End are the first and last byte, with Record; otherwise 0 and
	// MaxOffset.
	Start, End uint64
}

// Owner identifies who holds claims on this gateway. Equal owners re-enter.
// Front ends make them unique with a prefix: "flock:", "posix:", "token:".
type Owner string

// Holder describes an owner to people.
type Holder struct {
	Owner   Owner     `json:"owner"`
	Gateway string    `json:"gateway"` // its session
	Host    string    `json:"host"`
	PID     int       `json:"pid,omitempty"`
	Command string    `json:"command,omitempty"`
	Via     string    `json:"via,omitempty"` // "flock", "fcntl", "webdav", "lock", "socket"
	Since   time.Time `json:"since"`         // by that host's clock; for people only
}

// Position is the place of a waiter, told while it waits.
type Position struct {
	Place   int      // 1: next
	Holders []Holder // who it waits for, as far as known
}

// Request asks for a claim.
type Request struct {
	Claim
	Owner  Owner
	Holder Holder // PID, Command and Via; the rest is filled in
	// Wait makes Lock wait in the queue until ctx ends. Without it a claim
	// that is not free is WouldBlock.
	Wait bool
	// Notify, if set, is told the place in the queue when it is known and when
	// it changes, from any goroutine, one call at a time. It must not block.
	Notify func(Position)
}

// Grant is a claim that was granted.
type Grant struct {
	Claim
	Owner Owner
	// Fence is larger than that of every earlier grant of this path to another
	// gateway, and not smaller than that of any earlier one to this gateway.
	Fence uint64
	// Lost is closed when the lock is lost: the session could not be renewed,
	// or somebody broke the lock. It is not closed by Unlock.
	Lost <-chan struct{}
}

// Held is one lock of a report.
type Held struct {
	Claim
	Fence  uint64
	Holder Holder
	Cached bool // a gateway keeps it, and nobody there holds it
}

// Waiting is one waiter of a report.
type Waiting struct {
	Claim
	Place  int // 1: next
	Holder Holder
}

// Report is who holds and waits for what.
type Report struct {
	Held    []Held
	Waiting []Waiting
}

// Service grants locks. All methods may be called concurrently and return soon
// after ctx ends. Errors are *Error.
type Service interface {
	// Lock takes a claim, or changes the mode of one that the owner has (which
	// is not atomic if it has to wait, as flock(2) says), or with Record merges
	// and splits ranges as fcntl(2) does.
	//
	// Kinds: WouldBlock; Canceled (ctx ended, and nothing is held that was not
	// held before); Deadlock (waiting would close a cycle, which Error.Cycle
	// names); NoLock (the coordinator cannot be reached, or the session was
	// lost while waiting); Lost (the owner has a claim on this path that was
	// lost and not yet released).
	//
	// When it returns nil, everything that was committed before the previous
	// holder on another gateway let go is visible here (Options.Acquired of
	// package participant).
	Lock(ctx context.Context, r Request) (Grant, error)

	// Unlock gives up what owner has of c.Path in c.Space; with Record, of the
	// range. Nothing held is success. Kinds: Lost (it had been lost; it is
	// given up now).
	Unlock(owner Owner, c Claim) error

	// UnlockAll gives up all that owner holds, and ends its waits.
	UnlockAll(owner Owner)

	// Test tells who is in the way of c for owner, as F_GETLK does; nil if
	// nobody is. Kinds: NoLock.
	Test(ctx context.Context, owner Owner, c Claim) (*Held, error)

	// Check tells whether a commit to path may go on. It is nil unless a claim
	// that covers path was lost here and not yet released; then Lost. It sends
	// no request. A commit that is under way when a lock on its path is lost
	// must be given up: Guard's channel is closed then, nil if no lock here
	// covers path.
	Check(path string) error
	Guard(path string) <-chan struct{}

	// Report tells what this gateway knows: its own locks, and who waits for
	// them. With all, what the coordinator has for all gateways.
	Report(ctx context.Context, all bool) (Report, error)

	// Break takes path from whoever holds it with exactly this fence, alive or
	// not. Kinds: NotHeld (nobody does; a successor has another fence).
	Break(ctx context.Context, path string, space Space, fence uint64) error

	// Sole reports whether this gateway has the bucket for itself: no other one
	// does anything exclusive before this one has given that up. It sends no
	// request, and is false as soon as the lease could have run out.
	Sole() bool

	// Enter must have returned nil before the first change and before anything
	// exclusive is decided: no other gateway is sole then. It is free once it
	// has succeeded, until the session is lost. Kinds: NoLock, Canceled.
	Enter(ctx context.Context) error

	// Close gives up everything, and ends the session.
	Close(ctx context.Context) error
}
