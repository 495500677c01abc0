package status

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/vfs"
)

// LockCode says how a call about locks ended.
type LockCode string

// The codes. Programs may rely on them.
const (
	LockGranted   LockCode = "granted"     // and still held
	LockWaits     LockCode = "waiting"     // ask again with the id, before the lease runs out
	LockReleased  LockCode = "released"    // and all that was acknowledged before is in S3
	LockHeld      LockCode = "would_block" // by somebody else, and the caller did not want to wait
	LockTimeout   LockCode = "timeout"     // somebody else had it for as long as the caller would wait
	LockDeadlock  LockCode = "deadlock"    // waiting would close a cycle
	LockNoLock    LockCode = "no_lock"     // the coordinator cannot be reached
	LockLost      LockCode = "lost"        // it was held, and is no more: somebody may have it
	LockUnknown   LockCode = "unknown"     // no such id: it was released, or its lease ran out
	LockBadCall   LockCode = "bad_request" // as Error says
	LockNotSynced LockCode = "not_synced"  // released, but something acknowledged is not in S3 yet
	LockCanceled  LockCode = "canceled"    // the gateway ends
	LockFailed    LockCode = "failed"      // anything else, as Error says
)

var lockStatus = map[LockCode]int{
	LockGranted: http.StatusOK, LockWaits: http.StatusAccepted, LockReleased: http.StatusOK, LockHeld: http.StatusConflict,
	LockTimeout: http.StatusConflict, LockDeadlock: http.StatusConflict, LockNoLock: http.StatusServiceUnavailable,
	LockLost: http.StatusGone, LockUnknown: http.StatusNotFound, LockBadCall: http.StatusBadRequest,
	LockNotSynced: http.StatusBadGateway, LockCanceled: http.StatusServiceUnavailable, LockFailed: http.StatusInternalServerError,
}

// lockCodes maps what vfs says of an attempt to lock.
var lockCodes = map[vfs.Kind]LockCode{
	vfs.WouldBlock: LockHeld, vfs.Timeout: LockTimeout, vfs.Deadlock: LockDeadlock, vfs.NoLock: LockNoLock,
	vfs.Stale: LockLost, vfs.Interrupted: LockCanceled, vfs.Invalid: LockBadCall, vfs.NotExist: LockUnknown,
}

// AcquireCall asks for a lock, or with ID set goes on waiting for one. Times
// are in seconds.
type AcquireCall struct {
	ID     string `json:"id,omitempty"`
	Path   string `json:"path"`            // relative to the root
	Shared bool   `json:"shared"`          // else exclusive
	Tree   bool   `json:"tree"`            // of all that is below Path, too
	Owner  string `json:"owner,omitempty"` // of an earlier answer, to re-enter what that one holds

	// Wait is how long to wait in the queue; 0 not at all, absent as long as
	// the client goes on asking.
	Wait *float64 `json:"wait_seconds,omitempty"`
	// Lease is how long the lock, or the place in the queue, is kept without
	// hearing of the client [10, from 1 to 3600].
	Lease float64 `json:"lease_seconds,omitempty"`
	// Poll is how long the answer may take while there is nothing new to tell
	// [10, up to 60, and up to half of Lease].
	Poll float64 `json:"poll_seconds,omitempty"`
	// Seen is the place that the client knows of: another one is answered at once.
	Seen int `json:"seen_place,omitempty"`

	PID     int    `json:"pid,omitempty"` // for people, as Command
	Command string `json:"command,omitempty"`
	Via     string `json:"via,omitempty"` // ["socket"]
}

// ExtendCall renews the lease of a lock.
type ExtendCall struct {
	ID    string  `json:"id"`
	Lease float64 `json:"lease_seconds,omitempty"` // [that of the last call]
	Poll  float64 `json:"poll_seconds,omitempty"`  // [0]: if positive, the answer comes when it has passed, or as soon as the lock is lost
	// Hold makes the lock depend on the connection of this call: the answer comes
	// when the lock is lost or released, and when the client goes away before,
	// it is released.
	Hold bool `json:"hold,omitempty"`
}

// ReleaseCall gives a lock, or a place in the queue, up.
type ReleaseCall struct {
	ID string `json:"id"`
}

// BreakCall takes a lock from whoever has it with exactly this fence.
type BreakCall struct {
	Path  string `json:"path"`
	Space string `json:"space,omitempty"` // "record" for fcntl(2)
	Fence uint64 `json:"fence"`
}

// LockAnswer is the answer to these calls. Its JSON is a contract like that of
// Report.
type LockAnswer struct {
	Code  LockCode `json:"code"`
	Error string   `json:"error,omitempty"` // in words

	ID    string  `json:"id,omitempty"`
	Owner string  `json:"owner,omitempty"` // give it to acquire to re-enter
	Fence uint64  `json:"fence,omitempty"` // larger than that of every earlier grant of the path to another gateway
	Lease float64 `json:"lease_seconds,omitempty"`

	Place   int          `json:"place,omitempty"`   // with "waiting"; 1: next
	Holders []LockHolder `json:"holders,omitempty"` // who is in the way, as far as known
}

// Limits of times in calls.
const (
	defaultLease = 10 * time.Second
	minLease     = time.Second
	maxLease     = time.Hour
	defaultPoll  = 10 * time.Second
	maxPoll      = time.Minute
)

func seconds(s float64, fallback, lo, hi time.Duration) time.Duration {
	if s <= 0 {
		return fallback
	}
	return min(max(time.Duration(min(s, hi.Seconds())*float64(time.Second)), lo), hi)
}

// handle adds the calls to mux.
func (l *LockServer) handle(mux *http.ServeMux) {
	mux.HandleFunc("POST /locks/acquire", lockCall(l.acquire))
	mux.HandleFunc("POST /locks/extend", lockCall(l.extend))
	mux.HandleFunc("POST /locks/release", lockCall(l.release))
	mux.HandleFunc("POST /locks/break", lockCall(l.breakLock))
	mux.HandleFunc("GET /locks", l.list)
}

// maxCall bounds the body of a call, in bytes.
const maxCall = 64 << 10

// lockCall decodes a call and encodes its answer.
func lockCall[C any](do func(ctx context.Context, c C) LockAnswer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// The answer takes as long as the caller wants. A writer that has no
		// deadline to take off, in tests, has none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Time{})
		var c C
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxCall))
		d.DisallowUnknownFields()
		var a LockAnswer
		if err := d.Decode(&c); err != nil {
			a = LockAnswer{Code: LockBadCall, Error: err.Error()}
		} else {
			a = do(r.Context(), c)
		}
		writeAnswer(w, lockStatus[a.Code], a)
	}
}

func writeAnswer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// The client is gone if this fails.
	_ = json.NewEncoder(w).Encode(v)
}

// list answers GET /locks: with all=1 of all gateways, which asks the
// coordinator, else of this one.
func (l *LockServer) list(w http.ResponseWriter, r *http.Request) {
	report, err := l.ops.LockReport(r.Context(), r.URL.Query().Get("all") == "1")
	if err != nil {
		a := failed(err)
		writeAnswer(w, lockStatus[a.Code], a)
		return
	}
	path := strings.Trim(r.URL.Query().Get("path"), "/")
	all := []LockReport{}
	for _, one := range LockReports(report) {
		if path == "" || path == "." || one.Path == path || strings.HasPrefix(one.Path, path+"/") || one.Tree && (one.Path == "" || strings.HasPrefix(path, one.Path+"/")) {
			all = append(all, one)
		}
	}
	writeAnswer(w, http.StatusOK, all)
}

func (l *LockServer) breakLock(ctx context.Context, c BreakCall) LockAnswer {
	path, err := cleanPath(c.Path)
	if err != nil {
		return LockAnswer{Code: LockBadCall, Error: err.Error()}
	}
	space := locks.Whole
	switch c.Space {
	case "":
	case spaceName(locks.Record):
		space = locks.Record
	default:
		return LockAnswer{Code: LockBadCall, Error: fmt.Sprintf("%q is no space", c.Space)}
	}
	if err := l.ops.BreakLock(ctx, path, space, c.Fence); err != nil {
		return failed(err)
	}
	return LockAnswer{Code: LockReleased}
}

// cleanPath checks a path that is relative to the root.
func cleanPath(p string) (string, error) {
	if p == "." || p == "" {
		return "", nil
	}
	if !fs.ValidPath(p) {
		return "", fmt.Errorf("%q is not a path relative to the root of the mount", p)
	}
	return p, nil
}

// failed is the answer for an error of vfs.
func failed(err error) LockAnswer {
	a := LockAnswer{Code: cmp.Or(lockCodes[vfs.KindOf(err)], LockFailed), Error: err.Error()}
	if e, ok := errors.AsType[*locks.Error](err); ok {
		a.Holders = holdersOf(e.Holders)
	}
	return a
}

func newLockID() string { return rand.Text() }
