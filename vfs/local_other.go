//go:build !linux

package vfs

import (
	"errors"
	"io"
	"os"
)

// punch makes a range of a local file read as zeros.
func punch(f *os.File, off, length int64) error {
	zeros := make([]byte, min(length, 1<<20))
	for length > 0 {
		n := min(length, int64(len(zeros)))
		if _, err := f.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

// seekFile treats the whole file as data.
func seekFile(f *os.File, off int64, hole bool) (int64, error) {
	if hole {
		return f.Seek(0, io.SeekEnd)
	}
	return off, nil
}

// openDirect tells that there is no way past the page cache.
func openDirect(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// hugePages returns n bytes.
func hugePages(n int) []byte { return make([]byte, n) }
