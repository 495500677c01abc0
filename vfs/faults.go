package vfs

import (
	"context"
	"errors"
	"os"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// fault turns an error of the store, of the local disk or of a context into
// an *Error. It returns nil for nil, and an *Error as it is.
func (fs *FS) fault(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	return &Error{Op: op, Path: path, Kind: kindOfFault(err), Err: err}
}

func kindOfFault(err error) Kind {
	switch {
	case noSpace(err), errors.Is(err, journal.ErrFull):
		return NoSpace
	case errors.Is(err, context.DeadlineExceeded):
		return Timeout
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, os.ErrClosed):
		return BadHandle
	}
	var se *store.Error
	if !errors.As(err, &se) {
		return IO
	}
	switch se.Kind {
	case store.NotExist:
		return NotExist
	case store.Timeout:
		return Timeout
	case store.Canceled:
		return Interrupted
	case store.Denied, store.BadCredentials:
		return Access
	case store.TooLarge:
		return FileTooLarge
	case store.Invalid:
		return Invalid
	case store.Unsupported:
		return NotSupported
	case store.NoSpace:
		return NoSpace
	default:
		return IO
	}
}
