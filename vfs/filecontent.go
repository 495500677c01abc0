package vfs

import (
	"os"
	"time"
)

// emptyContent gives f new, empty bytes with a generation above all earlier
// ones. n.mu is held.
func (fs *FS) emptyContentLocked(f *file) error {
	gen := f.committed
	if f.content != nil {
		gen = max(gen, f.content.generation())
	}
	c, err := fs.newContent()
	if err != nil {
		return err
	}
	c.gen = gen + 1
	fs.swapContentLocked(f, c)
	return nil
}

// swapContentLocked replaces the content of f.
func (fs *FS) swapContentLocked(f *file, c *content) {
	if old := f.content; old != nil {
		fs.retire(old, "", "", false, time.Time{})
	}
	f.content, f.saved = c, savedState{}
}

// writableLocked makes sure that the local file of f is not the cache's.
func (fs *FS) writableLocked(f *file) error {
	c := f.content
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.cached {
		return nil
	}
	path := fs.state.newStaged()
	if err := fs.cache.take(c.path, path, c.file); err != nil {
		return err
	}
	c.cached = false
	if sameFile(c.file, path) {
		c.path = path
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		c.replaceLocked(file, path)
	}
	return err
}
