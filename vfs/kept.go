package vfs

import (
	"context"
	"fmt"
)

// keep stores what f holds where `causeway recover` finds it, because it
// could not be committed. Bytes that were never fetched are fetched first; if
// that fails too, the version is kept with holes and says so.
func (fs *FS) keep(f *file, path, reason string) error {
	n := f.node
	n.mu.Lock()
	c, id, base := f.content, f.keptID, f.entry.ETag
	n.mu.Unlock()
	if c == nil {
		return nil
	}
	if err := c.use(); err != nil {
		return fs.fault("keep", path, err)
	}
	defer c.done()
	ctx, cancel := context.WithTimeout(fs.bg, fs.opts.OpTimeout)
	defer cancel()
	if err := c.ensure(ctx, 0, c.length()); err != nil {
		reason += fmt.Sprintf(" (incomplete: unchanged parts could not be fetched: %v)", err)
	}
	if id == "" {
		id = fs.newKeptID()
		fs.kept.Add(1)
	}
	c.mu.Lock()
	file, size := c.path, c.size
	c.mu.Unlock()
	err := fs.state.keep(KeptVersion{ID: id, Path: path, Size: size, Time: fs.now(), Reason: reason, Base: string(base)}, file)
	n.mu.Lock()
	f.keptID = id
	n.mu.Unlock()
	return fs.fault("keep", path, err)
}

func (fs *FS) newKeptID() string {
	return fmt.Sprintf("%s-%d", fs.now().UTC().Format("20060102T150405"), fs.state.next.Add(1))
}

// unkeep drops a version that could be committed after all.
func (fs *FS) unkeep(id string) {
	fs.kept.Add(-1)
	if err := DropKept(fs.opts.StateDir, id); err != nil {
		fs.noteError(err)
	}
}
