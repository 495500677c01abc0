package fuse

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// checkTimeout bounds how long the mount point is looked at: what is mounted
// there may not answer.
const checkTimeout = 5 * time.Second

// checkMountPoint returns the absolute path of dir, without symbolic links,
// if a filesystem can be mounted there, else an error that says what to do.
func checkMountPoint(ctx context.Context, dir string, allowNonEmpty bool) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	type result struct {
		path string
		err  error
	}
	found := make(chan result, 1)
	go func() {
		path, err := lookAt(dir, allowNonEmpty)
		found <- result{path, err}
	}()
	select {
	case r := <-found:
		return r.path, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("mount point %s does not answer: if a dead filesystem is mounted there, remove it with `umount -f -l %s` as root, or `fusermount3 -uz %s`", dir, dir, dir)
	}
}

func lookAt(dir string, allowNonEmpty bool) (string, error) {
	if dir == "" {
		return "", errors.New("no mount point given")
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the mount point %s: %w", dir, err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("mount point %s does not exist: make it with `mkdir -p %s`", dir, dir)
	case errors.Is(err, syscall.ENOTCONN):
		return "", fmt.Errorf("mount point %s is left over from a filesystem that died: remove it with `fusermount3 -u %s`", dir, dir)
	case err != nil:
		return "", fmt.Errorf("look at the mount point: %w", err)
	case !info.IsDir():
		return "", fmt.Errorf("mount point %s is not a directory", dir)
	}
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return "", fmt.Errorf("find the mount point %s: %w", dir, err)
	}
	if isMount(abs, info) {
		return "", fmt.Errorf("something is mounted on %s already: unmount it first (`fusermount3 -u %s`, or `umount %s`), or choose another directory", dir, dir, dir)
	}
	if !allowNonEmpty {
		if err := checkEmpty(abs); err != nil {
			return "", err
		}
	}
	return abs, nil
}

// isMount reports whether dir, which info describes, is the root of a mount.
func isMount(dir string, info fs.FileInfo) bool {
	parent, err := os.Stat(filepath.Dir(dir))
	if err != nil {
		return false
	}
	a, ok1 := info.Sys().(*syscall.Stat_t)
	b, ok2 := parent.Sys().(*syscall.Stat_t)
	return ok1 && ok2 && a.Dev != b.Dev
}

func checkEmpty(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("look into the mount point: %w", err)
	}
	defer f.Close()
	if names, _ := f.Readdirnames(1); len(names) > 0 {
		return fmt.Errorf("mount point %s is not empty (it has %s): choose an empty directory", dir, names[0])
	}
	return nil
}
