package powercut

import (
	"fmt"
	"slices"

	raw "github.com/hanwen/go-fuse/v2/fuse"
)

// Kind is a kind of operation that a [Trip] can be about.
type Kind string

// The kinds: all that changes something or makes it durable.
const (
	Create    Kind = "create" // of anything but a directory
	Write     Kind = "write"
	Truncate  Kind = "truncate"
	Allocate  Kind = "allocate" // punching holes too
	Attribute Kind = "attribute"
	Sync      Kind = "sync" // of a file or a directory
	Rename    Kind = "rename"
	Link      Kind = "link"
	Unlink    Kind = "unlink"
	Mkdir     Kind = "mkdir"
	Rmdir     Kind = "rmdir"
)

// Op is one operation as a [Trip] sees it.
type Op struct {
	Kind Kind
	Path string // relative to the mount point
}

// String returns the operation in words.
func (o Op) String() string { return fmt.Sprintf("%s %s", o.Kind, o.Path) }

// Trip does something at one operation.
type Trip struct {
	Match func(Op) bool // which operations count; nil means all
	At    int           // the number of the operation among these; 1 is the first
	After bool          // when it has been carried out, else instead of that
	Do    func(Op)      // called with the filesystem locked: it must not use it or wait for one that does
}

// trips are a filesystem's trip, and what it has seen.
type trips struct {
	trip   Trip
	armed  bool
	seen   int
	frozen bool
	last   []Op // the latest operations, oldest first
}

// traced is how many operations are remembered.
const traced = 40

// Arm sets the trip, with its count at 0, in place of any other.
func (f *FS) Arm(t Trip) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trips.trip, f.trips.armed, f.trips.seen = t, t.Do != nil, 0
}

// Seen returns how many operations have matched the trip since Arm.
func (f *FS) Seen() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trips.seen
}

// Freeze makes every change from now on fail with EIO, until Cut or Thaw.
func (f *FS) Freeze() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trips.frozen = true
}

// Thaw ends what Freeze or a trip began, without a power cut: the process has
// died and the machine has not.
func (f *FS) Thaw() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trips.frozen, f.trips.armed = false, false
}

// Trace returns the latest operations, oldest first.
func (f *FS) Trace() []Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.trips.last)
}

// do carries out one operation, unless the filesystem is frozen, and trips.
// The caller holds f.mu.
func (f *FS) do(kind Kind, path string, apply func() raw.Status) raw.Status {
	t := &f.trips
	if t.frozen {
		return raw.EIO
	}
	op := Op{Kind: kind, Path: path}
	if t.last = append(t.last, op); len(t.last) > traced {
		t.last = t.last[1:]
	}
	hit := false
	if t.armed && (t.trip.Match == nil || t.trip.Match(op)) {
		t.seen++
		hit = t.seen == t.trip.At
	}
	if hit && !t.trip.After {
		t.frozen, t.armed = true, false
		t.trip.Do(op)
		return raw.EIO
	}
	status := apply()
	if hit {
		t.frozen, t.armed = true, false
		t.trip.Do(op)
	}
	return status
}
