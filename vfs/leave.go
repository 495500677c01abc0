package vfs

import (
	"context"
	"errors"
)

// keepLocal keeps a version of every file that could not be committed, for
// recover. Temporary files stay where they are: the next run takes them up.
func (fs *FS) keepLocal() error {
	var errs []error
	for _, n := range fs.localNodes() {
		f := n.fileState()
		path, ok := fs.nodes.path(n)
		if f == nil || !f.dirty() || fs.leave(f) {
			continue
		}
		if !ok {
			path, _ = f.lostName()
		}
		if err := fs.keep(f, path, "the filesystem was closed before it was committed"); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// leave prepares a temporary file for the next run, and reports whether f is
// one.
func (fs *FS) leave(f *file) bool {
	if f.isWaiting() {
		return true // the journal has it
	}
	if !f.isStaged() {
		return false
	}
	if err := fs.keepStaged(context.Background(), f); err != nil {
		fs.noteError(err)
		return false
	}
	return true
}
