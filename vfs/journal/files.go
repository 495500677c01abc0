package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// files is what the journal needs of the operating system, so that tests can
// cut its power. Names are paths.
type files interface {
	MkdirAll(dir string) error
	// ReadDir returns the names in dir.
	ReadDir(dir string) ([]string, error)
	// Create makes a file that must not exist.
	Create(name string) (file, error)
	Open(name string, write bool) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
}

// file is an open file.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Allocate extends an empty file to size bytes that read as zeros, such
	// that writing them needs no more space where the file system can promise
	// that.
	Allocate(size int64) error
	Truncate(size int64) error
	// Sync makes data durable, and what is needed to read it.
	Sync() error
	// SyncAll makes data and attributes durable.
	SyncAll() error
}

var (
	_ files = osFiles{}
	_ file  = osFile{}
)

// osFiles are the files of the operating system.
type osFiles struct{}

func (osFiles) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }

func (osFiles) ReadDir(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (osFiles) Create(name string) (file, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Open(name string, write bool) (file, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFiles) Rename(from, to string) error { return os.Rename(from, to) }
func (osFiles) Remove(name string) error     { return os.Remove(name) }

func (osFiles) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// osFile is a file of the operating system.
type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f osFile) Allocate(size int64) error {
	err := allocate(f.File, size)
	if errors.Is(err, errors.ErrUnsupported) {
		return writeZeros(f, size)
	}
	return err
}

func (f osFile) Sync() error    { return datasync(f.File) }
func (f osFile) SyncAll() error { return f.File.Sync() }

// writeZeros reserves space where nothing else does.
func writeZeros(w io.WriterAt, size int64) error {
	zeros := make([]byte, min(size, 1<<20))
	for off := int64(0); off < size; {
		n := min(size-off, int64(len(zeros)))
		if _, err := w.WriteAt(zeros[:n], off); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// noSpace tells whether an error means that there was no room.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// readAll returns the bytes of a file.
func readAll(f file) ([]byte, error) {
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	p := make([]byte, size)
	n, err := f.ReadAt(p, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return p[:n], nil
}

// readName returns the bytes of the file with this name.
func readName(fsys files, name string) ([]byte, error) {
	f, err := fsys.Open(name, false)
	if err != nil {
		return nil, err
	}
	p, err := readAll(f)
	return p, errors.Join(err, f.Close())
}

// readHead returns the bytes of a file that a header takes, or what there is.
func readHead(fsys files, name string) ([]byte, error) {
	f, err := fsys.Open(name, false)
	if err != nil {
		return nil, err
	}
	p := make([]byte, headerSize)
	n, err := f.ReadAt(p, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return p[:n], errors.Join(err, f.Close())
}

// writeName makes a file with these bytes, durably but for its name.
func writeName(fsys files, name string, p []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(p, 0)
	if err == nil {
		err = f.SyncAll()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(name))
	}
	return nil
}

// parent is the directory that has the entry of dir.
func parent(dir string) string { return filepath.Dir(filepath.Clean(dir)) }
