package webdav

import (
	"context"
	"strings"
	"time"

	"golang.org/x/net/webdav"
)

// Lock is a write lock that somebody holds (section 14.1).
type Lock struct {
	Token     string // urn:uuid:…, of this lock alone, for ever
	Root      string // path of the resource that was locked
	Shared    bool
	Infinite  bool   // of what is below Root, too; else of Root and of what names it has
	Owner     string // XML that the client sent to tell people whose it is; may be empty
	Principal string // Config.User of who took it
	Timeout   time.Duration
	Expires   time.Time
}

// LockRequest asks for a Lock. Its fields are those of Lock.
type LockRequest struct {
	Root             string
	Shared, Infinite bool
	Owner, Principal string
	Timeout          time.Duration
}

// Scope is what a change touches. Locks on Path and those from above that
// cover it are always concerned.
type Scope struct {
	Path string
	// Names says that Path appears or vanishes: then a lock on the directory
	// that it is in is concerned, also one that is not Infinite (section 7.4).
	Names bool
	// Tree says that all below Path is changed: then locks there are, too.
	Tree bool
}

// Tokens are what a client has shown that it knows, and who it is. Only the
// principal who took a lock may use it (section 6.4).
type Tokens struct {
	Principal string
	Tokens    []string
}

// LockSystem grants write locks. It has what webdav.LockSystem of
// golang.org/x/net lacks: shared locks, roots, names that go, contexts. Paths
// have no slashes at their ends; the root is "". A lock that was not refreshed
// in its Timeout is gone; none of the methods tells of such a one.
//
// Errors other than those named mean that nobody can say who holds what; nothing
// has changed then. An *Error of vfs says what the client is told.
type LockSystem interface {
	// Create grants a lock. Until it returns, changes that were confirmed
	// before and go on are awaited. Errors: *LockedError, somebody has a lock
	// that conflicts (section 6.2), at the roots that it names.
	Create(ctx context.Context, r LockRequest) (Lock, error)

	// Refresh makes the Timeout of a lock begin anew, with another length.
	// Errors: webdav.ErrNoSuchLock; webdav.ErrForbidden, it is somebody else's.
	Refresh(ctx context.Context, token, principal string, timeout time.Duration) (Lock, error)

	// Unlock ends a lock. Errors: as Refresh.
	Unlock(ctx context.Context, token, principal string) error

	// Covering returns the locks that cover path, those on it first.
	Covering(ctx context.Context, path string) ([]Lock, error)

	// Confirm says that a change may be made: for every path concerned on which
	// there are locks, t has one of these. Exactly one of release and err is not
	// nil. Until release is called no lock that covers the change is granted
	// here; what other gateways grant is not held up. The locks on and below the
	// paths given to release end: they name nothing any more. Errors:
	// *LockedError with the roots of locks of which t has none.
	Confirm(ctx context.Context, t Tokens, scopes ...Scope) (release func(gone ...string), err error)
}

// LockedError says whose locks are in the way, by their roots.
type LockedError struct{ Roots []string }

func (e *LockedError) Error() string { return "locked at /" + strings.Join(e.Roots, ", /") }

// Is makes it webdav.ErrLocked.
func (e *LockedError) Is(target error) bool { return target == webdav.ErrLocked }

// tokenSubmitted is the condition of an answer 423 (section 16).
func tokenSubmitted(roots []string) string { return rooted("lock-token-submitted", roots) }

// noConflict is that of an answer to LOCK.
func noConflict(roots []string) string { return rooted("no-conflicting-lock", roots) }

func rooted(condition string, roots []string) string {
	s := "<D:" + condition + ">"
	for _, root := range roots {
		s += "<D:href>" + escape(href(root, false)) + "</D:href>"
	}
	return s + "</D:" + condition + ">"
}
