package locks

import (
	"errors"
	"fmt"
	"strings"
)

// Kind says what became of a call. The set is closed.
type Kind uint8

// The kinds.
const (
	Other      Kind = iota
	WouldBlock      // somebody else has it, and the caller does not wait: EAGAIN
	Canceled        // the caller gave up: EINTR, or its own deadline
	Deadlock        // waiting would close a cycle: EDEADLK
	NoLock          // nobody can say who has it: ENOLCK
	Lost            // it was held here and is no more: ESTALE
	NotHeld         // nobody holds it, or with another fence
	Invalid         // the claim makes no sense: EINVAL
)

var kindNames = [...]string{
	Other:      "lock failed",
	WouldBlock: "held by somebody else",
	Canceled:   "gave up waiting",
	Deadlock:   "deadlock",
	NoLock:     "no coordinator",
	Lost:       "lock was lost",
	NotHeld:    "not held",
	Invalid:    "not a claim",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Error is the error of this package.
type Error struct {
	Op   string
	Path string
	Kind Kind
	// Holders are in the way, with WouldBlock, as far as known.
	Holders []Holder
	// Cycle names, with Deadlock, who waits for whom, beginning with the caller.
	Cycle []Edge
	Err   error // cause, may be nil
}

// Edge is one step of a cycle: Waiter waits for Path, which the next one holds.
type Edge struct {
	Waiter Holder
	Path   string
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q: %s", e.Op, e.Path, e.Kind)
	for i, c := range e.Cycle {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s (%s, pid %d) waits for %q", c.Waiter.Owner, c.Waiter.Host, c.Waiter.PID, c.Path)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the Kind of an *Error in err's chain, or Other.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Other
}
