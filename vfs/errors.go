package vfs

import (
	"errors"
	"fmt"
	"io/fs"
)

// Kind classifies the failure of an operation. The set is closed: each front
// end maps it to its protocol's codes in one table.
type Kind uint8

// The kinds, with the errno that Linux gives for each.
const (
	IO           Kind = iota // EIO: S3 failed in a way that nothing else names
	NotExist                 // ENOENT
	Exist                    // EEXIST
	NotDir                   // ENOTDIR
	IsDir                    // EISDIR
	NotEmpty                 // ENOTEMPTY
	Permission               // EPERM: the operation is never allowed on this
	Access                   // EACCES: mode bits, or the credentials for S3
	ReadOnly                 // EROFS
	NameTooLong              // ENAMETOOLONG: component over 255 bytes, or key over 1024
	Invalid                  // EINVAL
	NoAttr                   // ENODATA: no such extended attribute
	AttrTooLarge             // ENOSPC, as ext4 gives it: attributes exceed what an object can hold
	Range                    // ERANGE
	FileTooLarge             // EFBIG
	NoSpace                  // ENOSPC: the state directory's disk is full
	Stale                    // ESTALE: replaced or removed elsewhere since it was opened
	Timeout                  // ETIMEDOUT: S3 did not answer within the deadline
	Interrupted              // EINTR
	Busy                     // EBUSY
	TextBusy                 // ETXTBSY
	Loop                     // ELOOP
	CrossDevice              // EXDEV
	NotSupported             // ENOTSUP
	NoLock                   // ENOLCK
	Deadlock                 // EDEADLK
	BadHandle                // EBADF
	NoDevice                 // ENXIO: lseek for data or a hole behind the end
	WouldBlock               // EAGAIN: a lock that somebody else has

	numKinds
)

var kindNames = [numKinds]string{
	"input/output error", "no such file or directory", "file exists", "not a directory", "is a directory",
	"directory not empty", "operation not permitted", "permission denied", "read-only file system",
	"file name too long", "invalid argument", "no such attribute", "attributes too large", "result out of range",
	"file too large", "no space left on device", "stale file handle", "timed out", "interrupted", "busy",
	"text file busy", "too many levels of symbolic links", "invalid cross-device link", "not supported",
	"no locks available", "resource deadlock avoided", "bad file descriptor", "no such device or address",
	"resource temporarily unavailable",
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

// Error is the error type of every operation of FS.
type Error struct {
	Op   string // the operation, by its system call's name
	Path string // relative to the root; may be empty
	Kind Kind
	Err  error // the cause; may be nil
}

func (e *Error) Error() string {
	s := e.Op
	if e.Path != "" {
		s += " " + e.Path
	}
	s += ": " + e.Kind.String()
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes errors.Is work with the sentinels of package fs.
func (e *Error) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e.Kind == NotExist
	case fs.ErrExist:
		return e.Kind == Exist || e.Kind == NotEmpty
	case fs.ErrPermission:
		return e.Kind == Access || e.Kind == Permission
	}
	return false
}

// KindOf returns the Kind of err; IO for an error of another type.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return IO
}
