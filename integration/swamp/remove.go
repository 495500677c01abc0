package swamp

import (
	"errors"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// Remove deletes a directory and all below it with that many threads: each
// directory is opened without following links, read, emptied by unlinkat(2)
// and then removed through its parent.
func Remove(dir string, threads int) error {
	parent, err := open(filepath.Dir(dir), unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	r := &remover{slots: make(chan struct{}, threads)}
	err = r.remove(parent, filepath.Base(dir), dir)
	return errors.Join(err, closeFD(parent, filepath.Dir(dir)))
}

// remover deletes subdirectories in parallel as long as slots are free.
type remover struct {
	slots chan struct{}
}

// remove deletes the directory name below parent; path is for messages.
func (r *remover) remove(parent int, name, path string) error {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return pathError("openat", path, err)
	}
	err = errors.Join(r.empty(fd, path), closeFD(fd, path))
	if err != nil {
		return err
	}
	return pathError("rmdir", path, again(func() error { return unix.Unlinkat(parent, name, unix.AT_REMOVEDIR) }))
}

// empty removes all that is in an open directory.
func (r *remover) empty(fd int, path string) error {
	entries, err := readDir(fd, path)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(entries))
	for i, e := range entries {
		at := filepath.Join(path, e.name)
		if e.kind != unix.DT_DIR {
			errs[i] = pathError("unlinkat", at, again(func() error { return unix.Unlinkat(fd, e.name, 0) }))
			continue
		}
		select {
		case r.slots <- struct{}{}:
			wg.Go(func() {
				errs[i] = r.remove(fd, e.name, at)
				<-r.slots
			})
		default:
			errs[i] = r.remove(fd, e.name, at)
		}
	}
	wg.Wait()
	return errors.Join(errs...)
}
