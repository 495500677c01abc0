package vfs

import (
	"errors"
	"fmt"
	"strings"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
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
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	fs.signLocked(f)
	return f.staged && f.signed
}

// takeUp shows the temporary files again that an earlier run left.
func (fs *FS) takeUp() {
	for _, l := range fs.state.left {
		if err := fs.takeUpOne(l); err != nil {
			fs.noteError(fmt.Errorf("take up temporary file %s: %w", l.Path, err))
		}
	}
	fs.state.left = nil
}

func (fs *FS) takeUpOne(l leftFile) error {
	dir, name := splitPath(l.Path)
	p := fs.nodes.root
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" {
			continue
		}
		if p = fs.nodes.intern(p, part, TypeDir, false); p == nil {
			return &Error{Op: "open", Path: dir, Kind: NotExist}
		}
		defer fs.nodes.unpin(p)
	}
	n := fs.nodes.intern(p, name, TypeFile, false)
	if n == nil {
		return &Error{Op: "open", Path: l.Path, Kind: NotExist}
	}
	defer fs.nodes.unpin(n)
	c, err := openContent(fs, l.file, origin{size: l.size})
	if err != nil {
		return err
	}
	c.cached, c.gen = false, 1
	e := index.Decode(store.Info{Key: l.Path, Size: l.size, Modified: l.time, Meta: l.Meta})
	e.Name = name
	n.mu.Lock()
	defer n.mu.Unlock()
	f := fs.fileLocked(n, e)
	f.content, f.wholeFrom, f.staged, f.signed, f.since = c, 1, true, true, fs.now()
	fs.markLocal(n, true)
	return nil
}
