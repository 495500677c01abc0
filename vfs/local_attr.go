package vfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// setAttr notes a value with a local file.
func setAttr(f *os.File, name, value string) error {
	return unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
}

// getAttr reads a value noted with a local file.
func getAttr(file, name string) (string, bool) {
	buf := make([]byte, 4096)
	n, err := unix.Getxattr(file, name, buf)
	if err != nil {
		return "", false
	}
	return string(buf[:n]), true
}

// removeAttr takes a noted value away again.
func removeAttr(f *os.File, name string) { unix.Fremovexattr(int(f.Fd()), name) }
