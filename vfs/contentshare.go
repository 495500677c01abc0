package vfs

import (
	"io"
	"os"
)

// share keeps the first size bytes of the local file as they are, because an
// intent names it: a change of them copies the file first. It reports false if
// the content has been changed since gen; otherwise it has called reserve.
func (c *content) share(path string, gen uint64, size int64, reserve func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen != gen || c.path != path {
		return false
	}
	c.shared = max(c.shared, size)
	reserve()
	return true
}

// unshare tells that no intent names the local file path any more, unless named
// says that another one does by now. It reports whether c still uses it.
func (c *content) unshare(path string, named func() bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.path != path {
		return false
	}
	if !named() {
		c.shared = 0
	}
	return true
}

// ownLocked makes sure that bytes from off on may be changed: if an intent
// needs them, c leaves the local file to that and goes on with a copy. Only the
// first keep bytes are needed.
func (c *content) ownLocked(off, keep int64) error {
	if off >= c.shared {
		return nil
	}
	path := c.fetcher.newFile()
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, io.NewSectionReader(c.file, 0, min(keep, c.size))); err != nil {
		file.Close()
		os.Remove(path)
		return err
	}
	c.shared = 0
	c.fetcher.left(c)
	c.replaceLocked(file, path)
	return nil
}

// replaceLocked goes on with another local file, which has the same bytes.
// Readers may still be at the old one.
func (c *content) replaceLocked(file *os.File, path string) {
	c.old = append(c.old, c.file)
	c.file, c.path = file, path
	if c.direct != nil {
		c.old = append(c.old, c.direct)
		c.direct = nil
	}
}
