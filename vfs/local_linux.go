package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// punch makes a range of a local file read as zeros and frees its blocks.
func punch(f *os.File, off, length int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, length)
}

// seekFile is lseek(2) with SEEK_DATA or SEEK_HOLE.
func seekFile(f *os.File, off int64, hole bool) (int64, error) {
	whence := unix.SEEK_DATA
	if hole {
		whence = unix.SEEK_HOLE
	}
	return unix.Seek(int(f.Fd()), off, whence)
}
