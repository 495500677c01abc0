package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// Kind classifies the outcome of a request. The set is closed: front ends and
// retry rules switch over it.
type Kind uint8

// The kinds. "Not carried out" is knowledge, not a guess.
const (
	// Other is a failure of which nothing is known; not retried.
	Other Kind = iota
	// NotExist: there is no such key (or upload). Certain.
	NotExist
	// NotModified: the version is the one that the caller has.
	NotModified
	// PreconditionFailed: the key's state is not the demanded one. Not
	// carried out, unless an earlier attempt of the same request was.
	PreconditionFailed
	// Conflict: another conditional write of the key was under way. Not
	// carried out; send it again.
	Conflict
	// OutOfRange: the range begins behind the end of the object.
	OutOfRange
	// Throttled: the server asks to be asked less often (503 SlowDown, 429).
	// Not carried out; send it again, later.
	Throttled
	// Unavailable: no answer, half of one, or a 5xx. May have been carried out.
	Unavailable
	// Timeout: no answer in time. May have been carried out.
	Timeout
	// Canceled: the caller gave up. May have been carried out.
	Canceled
	// Denied: the credentials do not allow it.
	Denied
	// BadCredentials: the credentials are unknown, wrong or expired. Not
	// carried out; may succeed once they are refreshed.
	BadCredentials
	// NoBucket: there is no such bucket.
	NoBucket
	// TooLarge: the object or part exceeds a limit of the server.
	TooLarge
	// Invalid: the server will never accept this request (a key it cannot
	// hold, metadata over 2 KiB, a malformed argument).
	Invalid
	// Unsupported: the server does not have this operation or header.
	Unsupported
	// NoSpace: the server's disk or quota is full.
	NoSpace

	numKinds
)

var kindNames = [numKinds]string{
	"other error", "does not exist", "not modified", "precondition failed", "conflicting write",
	"out of range", "throttled", "unavailable", "timed out", "canceled", "access denied",
	"bad credentials", "no such bucket", "too large", "invalid request", "not supported", "no space",
}

func (k Kind) String() string {
	if k < numKinds {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Kinds returns every Kind, for tests of totality.
func Kinds() []Kind {
	all := make([]Kind, numKinds)
	for i := range all {
		all[i] = Kind(i)
	}
	return all
}

// ErrUnsettled is in the chain of a PreconditionFailed or NotExist that came
// after an attempt whose answer was lost, when the key holds what another writer
// stored: the lost attempt may have been carried out before that.
var ErrUnsettled = errors.New("an earlier attempt may have been carried out")

// Error is the error type of every Store method.
type Error struct {
	Op   Op     // the request
	Key  string // what it was about; may be empty
	Kind Kind
	Err  error // the cause; may be nil
}

func (e *Error) Error() string {
	s := string(e.Op)
	if e.Key != "" {
		s += " " + e.Key
	}
	s += ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is(err, fs.ErrNotExist) and fs.ErrPermission work.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Kind == NotExist
	case fs.ErrPermission:
		return e.Kind == Denied || e.Kind == BadCredentials
	}
	return false
}

// KindOf returns the Kind of err; Other for an error of another type, and for
// nil.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Other
}

// IsKind reports whether err has the Kind k.
func IsKind(err error, k Kind) bool {
	return err != nil && KindOf(err) == k
}

// Op names a kind of request, by the field's names. Metrics, faults and
// errors use it.
type Op string

// The requests.
const (
	OpGet          Op = "GET"
	OpHead         Op = "HEAD"
	OpPut          Op = "PUT"
	OpList         Op = "LIST"
	OpCopy         Op = "COPY"
	OpDelete       Op = "DELETE"
	OpDeleteMany   Op = "DELETE-MANY"
	OpCreateUpload Op = "CREATE-UPLOAD"
	OpUploadPart   Op = "UPLOAD-PART"
	OpCopyPart     Op = "COPY-PART"
	OpComplete     Op = "COMPLETE-UPLOAD"
	OpAbort        Op = "ABORT-UPLOAD"
	OpListUploads  Op = "LIST-UPLOADS"
)

// Ops lists every Op in a fixed order.
func Ops() []Op {
	return []Op{OpGet, OpHead, OpPut, OpList, OpCopy, OpDelete, OpDeleteMany, OpCreateUpload,
		OpUploadPart, OpCopyPart, OpComplete, OpAbort, OpListUploads}
}
