package vfs

import (
	"os"
	"unsafe"

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

// openDirect opens a local file for writes past the page cache.
func openDirect(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
}

// hugePages returns n bytes for disks to read from. They take memory only when
// they are touched, and then in pages of 2 MiB where the kernel has some.
func hugePages(n int) []byte {
	const page = 2 << 20
	p := make([]byte, n+page)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) & (page - 1)
	p = p[skip : skip+n]
	_ = unix.Madvise(p, unix.MADV_HUGEPAGE) // works without
	return p
}
