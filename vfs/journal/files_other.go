//go:build !linux

package journal

import (
	"errors"
	"os"
)

// allocate says that nothing reserves blocks but writing them.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// datasync is the sync that there is.
func datasync(f *os.File) error { return f.Sync() }
