package vfs

import (
	"bytes"
	"context"
	"io"
	"os"
)

// MaxWrite is the largest number of bytes that a front end may give to Write
// at once. A write call of a program that is larger comes as several, each of
// which but the last has this size, less what the pages of memory that it
// begins in leave: see recordOpen.
const MaxWrite = 1 << 20

// openRecord is an append of which more may come: the kernel cuts a large
// write call into several, and no other append gets between them, since it
// holds the inode's lock over all of them. But a commit may begin in between,
// and must leave it out: behind half a record another gateway's might get.
type openRecord struct {
	owner *Handle // nil: none is open
	lo    int64   // where it begins
	gen   uint64  // of the content before it
}

// recordOpen reports whether an append of n bytes may be a part of a larger
// write call. The kernel fills a request up to MaxWrite, counted in whole
// pages from the one in which the data begins.
func recordOpen(n int) bool { return n > MaxWrite-os.Getpagesize() }

// appendedLocked notes an append of n bytes at off, which failed if err says
// so. edited is c.edited before it.
func (c *content) appendedLocked(h *Handle, off int64, n int, edited uint64, err error) {
	if err != nil {
		return
	}
	c.edited, c.appended = edited, true
	if c.record.owner != h { // whoever it was has left write(2), since h is in there
		c.record = openRecord{}
	}
	switch {
	case !recordOpen(n):
		c.record = openRecord{}
	case c.record.owner == nil:
		c.record = openRecord{owner: h, lo: off, gen: c.gen - 1}
	}
}

// endRecord notes that what was written through h so far is complete.
func (h *Handle) endRecord() {
	if !h.appends {
		return
	}
	h.node.mu.Lock()
	c := h.f.content
	h.node.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.owner == h {
		c.record = openRecord{}
	}
}

// tail is what was appended and is not in S3, up to the end of the last
// complete append.
type tail struct {
	lo, hi int64
	gen    uint64      // of the content with these bytes
	bytes  io.ReaderAt // of [lo, hi)
	frozen bool        // the content must be thawed: it is read from there
}

// tail takes a snapshot of the appends since committed. ok is false if there
// were other changes. A small tail is copied; a large one is left where it is,
// and writers wait.
func (c *content) tail(committed uint64) (t tail, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t = tail{lo: c.origin.size, hi: c.size, gen: c.gen}
	if c.record.owner != nil {
		t.hi, t.gen = c.record.lo, c.record.gen
	}
	if c.edited > committed || t.hi < t.lo {
		return t, false, nil
	}
	if t.hi-t.lo > singleCommit {
		c.frozen++
		t.frozen, t.bytes = true, section{c, t.lo}
		return t, true, nil
	}
	p, err := c.bytesAtLocked(t.lo, t.hi)
	t.bytes = bytes.NewReader(p)
	return t, true, err
}

// onlyAppends reports whether nothing but appends happened since gen.
func (c *content) onlyAppends(gen uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.edited <= gen
}

// baseBytes copies the first n bytes, which must be valid; nil if there were
// changes other than appends since gen.
func (c *content) baseBytes(n int64, gen uint64) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.edited > gen {
		return nil, nil
	}
	return c.bytesAtLocked(0, n)
}

// bytesAtLocked copies [lo, hi) of the local file.
func (c *content) bytesAtLocked(lo, hi int64) ([]byte, error) {
	p := make([]byte, hi-lo)
	if n, err := c.file.ReadAt(p, lo); n < len(p) {
		return nil, err
	}
	return p, nil
}

// copyLocked takes the bytes into memory.
func (b *Bytes) copyLocked() error {
	p, err := b.content.bytesAtLocked(b.off, b.off+int64(b.n))
	b.slices = [][]byte{p}
	return err
}

// shift is a change of the history that appends are based on.
type shift struct {
	keep int64  // the offset from which local bytes stay: appends that follow; -1: all that are there
	to   int64  // the offset in the new version at which they go on
	o    origin // the new version
	gen  uint64 // of the content when its bytes up to o.size were as in o
	base []byte // the bytes of o from its beginning on, as far as at hand
}

// shift makes o the version that c derives from, with the local bytes from
// keep on behind to. It reports false, and does nothing, if c has been edited
// in place since s.gen.
func (c *content) shift(ctx context.Context, s shift) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changed = true // what was fetched goes in under the lock from now on
	c.leaveAllLocked()
	for c.frozen > 0 || c.filling > 0 {
		if err := c.waitLocked(ctx); err != nil {
			return false, err
		}
	}
	if c.edited > s.gen {
		return false, nil
	}
	if s.keep < 0 {
		s.keep = c.origin.size
	}
	if err := c.ownLocked(0, c.size); err != nil {
		return false, err
	}
	old, rest := c.size, c.size-s.keep
	if err := c.moveLocked(s.keep, s.to, rest); err != nil {
		return false, err
	}
	if err := c.rewriteLocked(s); err != nil {
		return false, err
	}
	c.size = s.to + rest
	if c.size < old {
		if err := c.file.Truncate(c.size); err != nil {
			return false, err
		}
	}
	if rest > 0 {
		c.valid.add(s.to, c.size)
	}
	if c.record.owner != nil {
		c.record.lo += s.to - s.keep
	}
	c.origin, c.appended = s.o, true
	c.epoch++
	c.parts = map[int]uint64{}
	for k := partOf(s.o.size); s.o.size < c.size && k <= partOf(c.size-1); k++ {
		c.parts[k] = c.gen
	}
	c.notifyLocked()
	return true, nil
}

// rewriteLocked puts the bytes of the new version where they are known, and
// makes all others invalid. Bytes that are the same stay untouched, since a
// reader may be about to take them from the local file.
func (c *content) rewriteLocked(s shift) error {
	same := int64(0)
	if n := min(s.keep, int64(len(s.base)), s.o.size); n > 0 && c.valid.has(0, n) {
		if p, err := c.bytesAtLocked(0, n); err == nil && bytes.Equal(p, s.base[:n]) {
			same = n
		}
	}
	c.valid.cut(same, max(c.size, s.to)+1)
	known := min(int64(len(s.base)), s.to)
	if known <= same {
		return nil
	}
	if _, err := c.file.WriteAt(s.base[same:known], same); err != nil {
		return err
	}
	c.valid.add(same, known)
	return nil
}

// moveLocked moves n bytes of the local file, which may overlap.
func (c *content) moveLocked(from, to, n int64) error {
	if from == to || n == 0 {
		return nil
	}
	buf := make([]byte, min(n, 1<<20))
	for done := int64(0); done < n; {
		k := min(int64(len(buf)), n-done)
		at := done
		if to > from { // from the end, so that nothing is overwritten unread
			at = n - done - k
		}
		if _, err := c.file.ReadAt(buf[:k], from+at); err != nil && err != io.EOF {
			return err
		}
		if _, err := c.file.WriteAt(buf[:k], to+at); err != nil {
			return err
		}
		done += k
	}
	return nil
}
