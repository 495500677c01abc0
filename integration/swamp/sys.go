package swamp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// again repeats a system call that a signal interrupted: the Go runtime sends
// its threads signals all the time.
func again(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// open is open(2).
func open(path string, flags int, mode uint32) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Open(path, flags|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, pathError("open", path, err)
}

// closeFD is close(2); its error counts, since it may be the first to tell
// that data could not be kept. It is never repeated.
func closeFD(fd int, path string) error { return pathError("close", path, unix.Close(fd)) }

// writeAll writes b in one call if the file takes it in one.
func writeAll(fd int, path string, b []byte) error {
	for len(b) > 0 {
		var n int
		err := again(func() (err error) {
			n, err = unix.Write(fd, b)
			return err
		})
		if err != nil {
			return pathError("write", path, err)
		}
		b = b[n:]
	}
	return nil
}

// writeFile opens path with flags, writes b through a duplicate of the
// descriptor, and closes both.
func writeFile(path string, flags int, b []byte) error {
	fd, err := open(path, unix.O_WRONLY|flags, 0o666)
	if err != nil {
		return err
	}
	return errors.Join(writeDup(fd, path, b), closeFD(fd, path))
}

// writeDup writes b through a duplicate of fd, which it closes.
func writeDup(fd int, path string, b []byte) error {
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return pathError("dup", path, err)
	}
	return errors.Join(writeAll(dup, path, b), closeFD(dup, path))
}

// saveFile replaces path in one step: a temporary name beside it, renamed.
func saveFile(path string, b []byte) error {
	tmp := filepath.Join(filepath.Dir(path), "."+uuid()+".tmp")
	if err := writeFile(tmp, unix.O_CREAT|unix.O_TRUNC, b); err != nil {
		return err
	}
	return pathError("rename", path, again(func() error { return unix.Rename(tmp, path) }))
}

// mkdir is mkdir(2).
func mkdir(path string) error {
	return pathError("mkdir", path, again(func() error { return unix.Mkdir(path, 0o777) }))
}

// unlink is lstat(2) and unlink(2). It returns fs.ErrNotExist if there is
// nothing.
func unlink(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return err
	}
	return pathError("unlink", path, again(func() error { return unix.Unlink(path) }))
}

// RealPath resolves a path as realpath(3) does: one readlink(2) for every
// directory on the way, all of which answer EINVAL or ENOENT where nothing is
// a link. It returns how many it called.
func RealPath(path string) (calls int, err error) {
	buf := make([]byte, unix.PathMax)
	at := "/"
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		at = filepath.Join(at, name)
		calls++
		err := again(func() error {
			_, err := unix.Readlink(at, buf)
			return err
		})
		switch {
		case err == nil:
			return calls, fmt.Errorf("%s is a symbolic link", at)
		case errors.Is(err, unix.ENOENT):
			return calls, nil
		case !errors.Is(err, unix.EINVAL):
			return calls, pathError("readlink", at, err)
		}
	}
	return calls, nil
}

// entry is a directory entry as getdents64(2) gives it.
type entry struct {
	name string
	kind byte // DT_…
}

// readDir reads all entries but . and .. of an open directory, with nothing
// but getdents64(2).
func readDir(fd int, path string) ([]entry, error) {
	var all []entry
	buf := make([]byte, 32<<10)
	for {
		var n int
		err := again(func() (err error) {
			n, err = unix.Getdents(fd, buf)
			return err
		})
		if err != nil {
			return nil, pathError("getdents", path, err)
		}
		if n == 0 {
			return all, nil
		}
		for b := buf[:n]; len(b) > 0; {
			// struct linux_dirent64: u64 ino, s64 off, u16 reclen, u8 type, name
			size := int(binary.NativeEndian.Uint16(b[16:]))
			name, _, _ := strings.Cut(string(b[19:size]), "\x00")
			if name != "." && name != ".." {
				all = append(all, entry{name, b[18]})
			}
			b = b[size:]
		}
	}
}

// listDir opens, reads and closes a directory.
func listDir(path string) ([]entry, error) {
	fd, err := open(path, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	entries, err := readDir(fd, path)
	return entries, errors.Join(err, closeFD(fd, path))
}
