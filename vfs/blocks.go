package vfs

import (
	"context"
	"os"
	"slices"
	"time"
)

// directAlign is what offsets and lengths of writes past the page cache must
// be multiples of; no disk in use asks for more.
const directAlign = 4096

// fillBlock is fill with the first n bytes of b, for readers in sequence: they
// have the bytes from now on. Then these go to the local file; a disk that is
// quick enough takes them straight from b, and nobody waits for it.
func (c *content) fillBlock(b *block, off int64, n int, epoch uint64) error {
	c.mu.Lock()
	if c.changed {
		c.mu.Unlock()
		return c.fill(b.buf[:n], off, epoch)
	}
	b.lo, b.hi, b.written, b.used = off, off+int64(n), false, false
	b.refs.Add(1)
	c.blocks = append(c.blocks, b)
	c.filling++
	b.window.enter(b, c)
	c.notifyLocked()
	direct := c.directLocked(b)
	if direct != nil {
		c.users++ // keeps the local file open
	}
	file := c.file
	c.mu.Unlock()

	if direct == nil {
		_, err := file.WriteAt(b.buf[:n], off)
		return c.filled(b, err)
	}
	c.fetcher.start(func(context.Context) {
		defer c.done()
		w := b.window
		w.direct <- struct{}{}
		_, err := direct.WriteAt(b.buf[:n], off)
		<-w.direct
		<-w.queue
		if err != nil {
			c.mu.Lock()
			c.noDirect = true // so that the next failure is a reader's
			c.mu.Unlock()
			_, err = file.WriteAt(b.buf[:n], off)
		}
		_ = c.filled(b, err)
	})
	return nil
}

// filled notes that b has been written, or why not.
func (c *content) filled(b *block, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.filling--
	b.written = true
	if err == nil {
		c.valid.add(b.lo, b.hi)
	}
	if b.used || err != nil || c.changed {
		c.leaveLocked(b)
	}
	c.notifyLocked()
	return err
}

// directLocked returns the local file for a write of b past the page cache,
// with a place for it, or nil.
func (c *content) directLocked(b *block) *os.File {
	if c.noDirect || b.lo%directAlign != 0 || b.hi%directAlign != 0 {
		return nil
	}
	select {
	case b.window.queue <- struct{}{}:
	default:
		return nil
	}
	if c.direct == nil {
		file, err := openDirect(c.path)
		if err == nil {
			// Writes that make the file grow would wait for each other.
			err = c.file.Truncate(c.size)
		}
		if err != nil {
			c.noDirect = true
			<-b.window.queue
			return nil
		}
		c.direct = file
	}
	return c.direct
}

// evict takes b, for which nobody came, out of the window as soon as it is in
// the local file.
func (c *content) evict(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Contains(c.blocks, b) {
		return
	}
	b.used = true
	if b.written {
		c.leaveLocked(b)
	}
}

// leaveLocked takes b out of the window if it is there.
func (c *content) leaveLocked(b *block) {
	if i := slices.Index(c.blocks, b); i >= 0 {
		c.blocks = slices.Delete(c.blocks, i, i+1)
		b.release()
	}
}

// leaveAllLocked takes all blocks out of the window that are in the local
// file; the others follow when they are.
func (c *content) leaveAllLocked() {
	for _, b := range slices.Clone(c.blocks) {
		if b.written {
			c.leaveLocked(b)
		}
	}
}

// blockLocked returns the block of the window with the byte at off, or nil.
func (c *content) blockLocked(off int64) *block {
	for _, b := range c.blocks {
		if b.lo <= off && off < b.hi {
			return b
		}
	}
	return nil
}

// inWindowLocked reports whether all of [lo, hi) may be read from the window.
func (c *content) inWindowLocked(lo, hi int64) bool {
	if c.changed {
		return false
	}
	for lo < hi {
		b := c.blockLocked(lo)
		if b == nil {
			return false
		}
		lo = b.hi
	}
	return true
}

// gapLocked returns the first range of [lo, hi) that starts neither in the
// local file nor in the window.
func (c *content) gapLocked(lo, hi int64) (extent, bool) {
	for {
		gap, missing := c.valid.gap(lo, hi)
		if !missing {
			return gap, false
		}
		b := c.blockLocked(gap.lo)
		if b == nil {
			return gap, true
		}
		lo = b.hi
	}
}

// settled is whole, when the writes under way are done.
func (c *content) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.filling > 0 {
		_ = c.waitLocked(context.Background()) // only the local disk is waited for
	}
	return c.valid.has(0, c.size)
}

// A line that brings sequentialBlock bytes within quickFetch is kept busy by
// quickFetches at a time.
const (
	quickFetch   = 25 * time.Millisecond
	quickFetches = 3
)

// placesLocked is how many fetches there may be at a time. With fewer the
// blocks in use are fewer, and still in the caches of the CPU when they are
// answered.
func (c *content) placesLocked() int {
	if c.quick {
		return quickFetches
	}
	return maxFetches
}

// Bytes are what a read found, in memory or in a file. Release must be called
// when they have been used.
type Bytes struct {
	content *content
	file    *os.File
	off     int64
	n       int
	blocks  []*block
	slices  [][]byte
}

// Len returns how many bytes there are.
func (b *Bytes) Len() int { return b.n }

// Slices returns the bytes if they are in memory, else nil. They must not be
// changed.
func (b *Bytes) Slices() [][]byte { return b.slices }

// File returns where the bytes are if they are not in memory. The file is open
// as long as the handle is.
func (b *Bytes) File() (file *os.File, off int64) { return b.file, b.off }

// takeLocked refers to the blocks of the window that have the bytes.
func (b *Bytes) takeLocked() {
	end := b.off + int64(b.n)
	for lo := b.off; lo < end; {
		k := b.content.blockLocked(lo)
		hi := min(k.hi, end)
		k.refs.Add(1)
		b.blocks = append(b.blocks, k)
		b.slices = append(b.slices, k.buf[lo-k.lo:hi-k.lo])
		lo = hi
	}
}

// Release gives the bytes back. A block whose last byte was read leaves the
// window: the kernel has it now.
func (b *Bytes) Release() {
	if len(b.blocks) == 0 {
		return
	}
	c, end := b.content, b.off+int64(b.n)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range b.blocks {
		// It may have left, and then it is not c's to mark.
		if k.hi <= end && slices.Contains(c.blocks, k) {
			k.used = true
			if k.written {
				c.leaveLocked(k)
			}
		}
		k.release()
	}
	b.blocks, b.slices = nil, nil
}

// copyTo copies the bytes to p.
func (b *Bytes) copyTo(p []byte) (n int, err error) {
	if b.n > 0 && b.slices == nil {
		n, err = b.file.ReadAt(p[:b.n], b.off)
		if err != nil && b.content.length() < b.off+int64(b.n) {
			err = nil // cut off by a truncation meanwhile
		}
		return n, err
	}
	for _, s := range b.slices {
		n += copy(p[n:], s)
	}
	return n, nil
}
