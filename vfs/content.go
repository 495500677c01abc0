package vfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/causewayfs/causeway/store"
)

// origin is the version of an object that a content was made from. Bytes that
// are not valid locally are those of it, up to size.
type origin struct {
	key  string
	etag store.ETag
	size int64 // bytes of the version that still belong to the content
}

// content is the bytes of one file in a sparse local file. It serves readers
// of an object (bytes are fetched as they are asked for and kept) and writers
// (what they write stays until it is committed).
//
// INVARIANT: a byte below size is valid locally, or it is the same byte of
// origin (and below origin.size). A valid byte of the local file is right.
type content struct {
	fetcher fetcher
	path    string // of the local file

	mu sync.Mutex
	// Guarded by mu.
	file     *os.File   // nil while not in use
	old      []*os.File // that it was before
	users    int
	size     int64
	origin   origin
	valid    extents
	gen      uint64         // grows with every change of the bytes
	parts    map[int]uint64 // gen of the last change of each part, see partOf
	frozen   int            // a commit reads the file: writers wait
	changed  bool           // the bytes were changed here: fetched ones are put in under the lock
	filling  int            // fetched pieces that are being put in without the lock
	blocks   []*block       // in the window, with bytes of the origin
	fetches  []*fetch
	wake     chan struct{} // closed and replaced on progress of a fetch, and on thaw
	quick    bool          // the line is quick, see placesLocked
	direct   *os.File      // the local file past the page cache, opened when first needed
	noDirect bool          // there is no such way
	cached   bool          // the local file belongs to the cache and must not be changed
	vacate   func()        // if set, ends the use of a file of the cache
	shared   int64         // so many bytes of the local file must not be changed
	edited   uint64        // gen of the last change that was not an append
	appended bool          // bytes behind the origin may move, see shift
	record   openRecord    // of an append, see appendlog.go
	epoch    uint64        // grows when the origin becomes another history: what was asked for before does not count
}

// newContent makes an empty content on a new local file.
func newContent(f fetcher, path string) (*content, error) {
	file, err := createLocal(path)
	if err != nil {
		return nil, err
	}
	return contentOn(f, file), nil
}

// contentOn makes an empty content on an empty local file.
func contentOn(f fetcher, file *os.File) *content {
	return &content{fetcher: f, path: file.Name(), file: file, users: 1, wake: make(chan struct{})}
}

func createLocal(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// openContent is a content on a whole file of the cache.
func openContent(f fetcher, path string, o origin) (*content, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	c := &content{fetcher: f, path: path, file: file, users: 1, wake: make(chan struct{}), size: o.size, origin: o, cached: true}
	c.valid.add(0, o.size)
	return c, nil
}

// use opens the local file for one more user.
func (c *content) use() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users == 0 {
		file, err := os.OpenFile(c.path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		c.file = file
	}
	c.users++
	return nil
}

// done ends one use. The last one closes the local file and keeps it.
func (c *content) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 {
		c.leaveAllLocked()
		if c.vacate != nil {
			c.vacate()
		}
		c.file.Close()
		c.file = nil
		for _, file := range c.old {
			file.Close()
		}
		c.old = nil
		if c.direct != nil {
			c.direct.Close()
			c.direct = nil
		}
	}
}

// setOrigin makes o the version that c shows; nothing of it is here yet.
func (c *content) setOrigin(o origin) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.origin, c.size = o, o.size
}

// rebase tells that the bytes at gen have become the version o. Bytes that
// were fetched stay valid. It reports whether c is unchanged since.
func (c *content) rebase(o origin, gen uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.size = min(o.size, c.size)
	c.origin = o
	for k, g := range c.parts {
		if g <= gen {
			delete(c.parts, k)
		}
	}
	return c.gen == gen
}

// moved tells that the version has the key and ETag now.
func (c *content) moved(key string, etag store.ETag) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.origin.key, c.origin.etag = key, etag
}

func (c *content) length() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.size
}

// generation returns the number of the last change.
func (c *content) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

// whole reports whether every byte is here.
func (c *content) whole() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.valid.has(0, c.size)
}

// fill writes bytes of the origin that were fetched, except where they have
// been overwritten or cut off since. As long as nobody changed the content,
// nobody else writes where a fetch does, and the disk is written without the
// lock.
func (c *content) fill(p []byte, off int64, epoch uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.notifyLocked()
	if epoch != c.epoch {
		return nil // of a version that is not the origin any more
	}
	end := min(off+int64(len(p)), c.origin.size)
	for at := off; at < end; {
		gap, missing := c.valid.gap(at, end)
		if !missing {
			break
		}
		if err := c.putLocked(p[gap.lo-off:gap.hi-off], gap.lo); err != nil {
			return err
		}
		c.valid.add(gap.lo, gap.hi)
		at = gap.hi
	}
	return nil
}

// putLocked writes fetched bytes to the local file.
func (c *content) putLocked(p []byte, off int64) error {
	file := c.file
	if c.changed {
		_, err := file.WriteAt(p, off)
		return err
	}
	c.filling++
	c.mu.Unlock()
	_, err := file.WriteAt(p, off)
	c.mu.Lock()
	c.filling--
	return err
}

func (c *content) notifyLocked() {
	close(c.wake)
	c.wake = make(chan struct{})
}

// read returns up to n bytes at off; fewer only at the end. ahead is how many
// bytes behind them the reader is likely to ask for next.
func (c *content) read(ctx context.Context, n, off, ahead int64) (*Bytes, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n = min(n, c.size-off)
	if n <= 0 {
		return &Bytes{}, nil
	}
	if err := c.ensureLocked(ctx, off, off+n, ahead, true); err != nil {
		return nil, err
	}
	b := &Bytes{content: c, file: c.file, off: off, n: int(n)}
	if c.inWindowLocked(off, off+n) {
		b.takeLocked()
	} else if c.appended && off+n > c.origin.size {
		return b, b.copyLocked() // may move before the file is read
	}
	return b, nil
}

// ensure makes [lo, hi) valid, with several requests at a time.
func (c *content) ensure(ctx context.Context, lo, hi int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for lo < min(hi, c.size) {
		end := min(lo+sequentialBlock, hi, c.size)
		if err := c.ensureLocked(ctx, lo, end, min(hi, c.size)-end, false); err != nil {
			return err
		}
		lo = end
	}
	return nil
}

// writeAt writes p. It waits while a commit reads the file. For a handle that
// appends, off is ignored and p goes to the end.
func (c *content) writeAt(ctx context.Context, p []byte, off int64, appender *Handle) (at int64, gen uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.thawedLocked(ctx); err != nil {
		return 0, 0, err
	}
	if appender != nil {
		off = c.size
		edited := c.edited
		defer func() { c.appendedLocked(appender, off, len(p), edited, err) }()
	}
	end := off + int64(len(p))
	if err := c.ownLocked(off, c.size); err != nil {
		return 0, 0, err
	}
	if _, err := c.file.WriteAt(p, off); err != nil {
		if in := min(end, c.size); in > off { // os does not say how much of it was written
			c.touchLocked(off, in)
		}
		if end > c.size {
			c.file.Truncate(c.size) // no bytes stay behind the end
		}
		return 0, 0, err
	}
	if off > c.size {
		c.valid.add(c.size, off) // a hole: the local file reads as zeros there
	}
	c.valid.add(off, end)
	c.size = max(c.size, end)
	c.touchLocked(off, end)
	return off, c.gen, nil
}

// truncate sets the size.
func (c *content) truncate(ctx context.Context, size int64) (gen uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.thawedLocked(ctx); err != nil {
		return 0, err
	}
	if err := c.ownLocked(min(size, c.size), size); err != nil {
		return 0, err
	}
	if err := c.file.Truncate(size); err != nil {
		return 0, err
	}
	old := c.size
	if size < old {
		c.valid.cut(size, old)
		c.origin.size = min(c.origin.size, size)
	} else {
		c.valid.add(old, size)
	}
	c.size = size
	c.touchLocked(min(old, size), max(old, size))
	return c.gen, nil
}

// zero makes [off, end) read as zeros and gives the disk space back.
func (c *content) zero(ctx context.Context, off, end int64) (gen uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.thawedLocked(ctx); err != nil {
		return 0, err
	}
	end = min(end, c.size)
	if off >= end {
		return c.gen, nil
	}
	if err := c.ownLocked(off, c.size); err != nil {
		return 0, err
	}
	if err := punch(c.file, off, end-off); err != nil {
		return 0, err
	}
	c.valid.add(off, end)
	c.touchLocked(off, end)
	return c.gen, nil
}

// touchLocked counts a change of [lo, hi).
func (c *content) touchLocked(lo, hi int64) {
	c.gen++
	c.edited = c.gen
	if c.parts == nil {
		c.parts = map[int]uint64{}
	}
	for k := partOf(lo); k <= partOf(max(lo, hi-1)); k++ {
		c.parts[k] = c.gen
	}
}

// freeze keeps writers out until thaw.
func (c *content) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen++
}

func (c *content) thaw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen--
	c.notifyLocked()
}

// thawedLocked waits until the bytes may be changed.
func (c *content) thawedLocked(ctx context.Context) error {
	c.changed = true
	c.leaveAllLocked()
	for c.frozen > 0 || c.filling > 0 {
		if err := c.waitLocked(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *content) waitLocked(ctx context.Context) error {
	wake := c.wake
	c.mu.Unlock()
	defer c.mu.Lock()
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// snapshot copies all bytes into memory, which must all be valid.
func (c *content) snapshot() ([]byte, uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := make([]byte, c.size)
	if _, err := c.file.ReadAt(p, 0); err != nil && c.size > 0 {
		return nil, 0, err
	}
	return p, c.gen, nil
}

// sync makes the local file durable with its name, and returns the generation
// and size of what is durable at least.
func (c *content) sync() (path string, gen uint64, size int64, err error) {
	c.mu.Lock()
	file, path, gen, size := c.file, c.path, c.gen, c.size
	c.mu.Unlock()
	if err := file.Sync(); err != nil {
		return "", 0, 0, err
	}
	return path, gen, size, syncDir(filepath.Dir(path))
}

// seek is lseek(2) with SEEK_DATA and SEEK_HOLE. Bytes that are not here yet
// count as data.
func (c *content) seek(off int64, hole bool) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off < 0 || off >= c.size {
		return 0, syscall.ENXIO
	}
	if !c.valid.has(0, c.size) {
		if hole {
			return c.size, nil
		}
		return off, nil
	}
	return seekFile(c.file, off, hole)
}

// noSpace reports whether err says that the disk is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Parts of a large object. The first 1000 have 8 MiB, so that a small edit
// moves little; the others 64 MiB, so that 10,000 parts reach 570 GiB.
const (
	smallPart  = 8 << 20
	smallParts = 1000
	largePart  = 64 << 20
	smallBytes = smallPart * smallParts
)

// partOf returns the part that has the byte at off, counted from 0.
func partOf(off int64) int {
	if off < smallBytes {
		return int(off / smallPart)
	}
	return smallParts + int((off-smallBytes)/largePart)
}

// partStart returns the offset of a part.
func partStart(k int) int64 {
	if k <= smallParts {
		return int64(k) * smallPart
	}
	return smallBytes + int64(k-smallParts)*largePart
}
