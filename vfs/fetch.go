package vfs

import (
	"context"
	"io"
	"time"

	"github.com/causewayfs/causeway/store"
)

// fetcher gets bytes of objects for contents.
type fetcher interface {
	// fetchRange puts the bytes [lo, hi) of the version o into to, in order.
	// Kind Stale: that version is gone.
	fetchRange(ctx context.Context, o origin, lo, hi int64, to sink) error
	// newFile returns a name for a local file.
	newFile() string
	// left tells that a content no longer uses a local file that it shared.
	left(c *content)
	// memory returns the window that readers in sequence are answered from.
	memory() *window
	// start runs fn on its own goroutine, with a context that ends with the
	// filesystem.
	start(fn func(ctx context.Context))
}

// Sizes of fetches, in bytes. A reader at random gets what one round trip may
// carry without waiting noticeably longer; a reader in sequence gets blocks
// large enough that the round trip does not show, several at a time.
const (
	randomBlock     = 128 << 10
	sequentialBlock = 8 << 20
	maxAhead        = 40 << 20
	maxFetches      = 5 // of one content
)

// fetch is one request under way for a content.
type fetch struct {
	lo, hi int64
	of     origin // the version that was asked for
	done   bool
	err    error
}

// ensureLocked makes [lo, hi) valid, and starts to fetch what follows if
// ahead > 0. With window, bytes that are in the window will do.
func (c *content) ensureLocked(ctx context.Context, lo, hi, ahead int64, window bool) error {
	for {
		if ahead > 0 {
			c.aheadLocked(hi, min(hi+ahead, c.size))
		}
		if c.valid.has(lo, hi) || window && c.inWindowLocked(lo, hi) {
			return nil
		}
		gap, missing := c.gapLocked(lo, hi)
		if !missing { // on the way from the window to the local file
			if err := c.waitLocked(ctx); err != nil {
				return err
			}
			continue
		}
		f := c.inFlightLocked(gap.lo)
		if f == nil {
			f = c.fetchLocked(gap, ahead)
		}
		if err := c.waitLocked(ctx); err != nil {
			return err
		}
		moved := f.of.key != c.origin.key || f.of.etag != c.origin.etag // by this gateway: ask again
		if _, still := c.gapLocked(gap.lo, gap.lo+1); still && !moved && f.done && f.err != nil && gap.lo < hi {
			return f.err
		}
	}
}

func (c *content) inFlightLocked(off int64) *fetch {
	for _, f := range c.fetches {
		if f.lo <= off && off < f.hi {
			return f
		}
	}
	return nil
}

// fetchLocked starts to fetch the gap and what of its block is missing.
func (c *content) fetchLocked(gap extent, ahead int64) *fetch {
	block := int64(randomBlock)
	if ahead > 0 {
		block = sequentialBlock
	}
	lo := gap.lo
	if ahead == 0 {
		lo -= lo % block
	}
	hi := min((max(gap.hi, gap.lo+1)+block-1)/block*block, lo+max(block, gap.hi-lo), c.origin.size)
	// A neighbour that is already here or under way is not asked for again.
	for lo < gap.lo && (c.valid.has(lo, lo+1) || c.inFlightLocked(lo) != nil) {
		next, missing := c.valid.gap(lo, gap.lo)
		if f := c.inFlightLocked(lo); f != nil {
			lo = min(f.hi, gap.lo)
		} else if missing {
			lo = next.lo
		} else {
			lo = gap.lo
		}
	}
	for _, f := range c.fetches {
		if f.lo > gap.lo {
			hi = min(hi, f.lo)
		}
	}
	return c.launchLocked(lo, max(hi, gap.lo+1), ahead > 0)
}

// aheadLocked starts fetches of [lo, hi) as far as there are free places.
func (c *content) aheadLocked(lo, hi int64) {
	hi = min(hi, c.origin.size)
	for lo < hi && len(c.fetches) < c.placesLocked() {
		if f := c.inFlightLocked(lo); f != nil {
			lo = f.hi
			continue
		}
		gap, missing := c.gapLocked(lo, hi)
		if !missing {
			return
		}
		if f := c.inFlightLocked(gap.lo); f != nil {
			lo = f.hi
			continue
		}
		end := min(gap.lo-gap.lo%sequentialBlock+sequentialBlock, c.origin.size)
		for _, f := range c.fetches {
			if f.lo > gap.lo {
				end = min(end, f.lo)
			}
		}
		c.launchLocked(gap.lo, end, true)
		lo = end
	}
}

// launchLocked starts one fetch. That of a reader in sequence goes through the
// window.
func (c *content) launchLocked(lo, hi int64, sequential bool) *fetch {
	o, to := c.origin, sink{c: c, epoch: c.epoch}
	f := &fetch{lo: lo, hi: hi, of: o}
	if sequential {
		to.window = c.fetcher.memory()
	}
	c.fetches = append(c.fetches, f)
	c.users++ // keeps the local file open
	c.fetcher.start(func(ctx context.Context) {
		begin := time.Now()
		err := c.fetcher.fetchRange(ctx, o, lo, hi, to)
		c.mu.Lock()
		f.done, f.err = true, err
		if hi-lo == sequentialBlock {
			c.quick = time.Since(begin) < quickFetch
		}
		for i := range c.fetches {
			if c.fetches[i] == f {
				c.fetches = append(c.fetches[:i:i], c.fetches[i+1:]...)
				break
			}
		}
		c.notifyLocked()
		c.mu.Unlock()
		c.done()
	})
	return f
}

// fetchRange implements fetcher.
func (fs *FS) fetchRange(ctx context.Context, o origin, lo, hi int64, to sink) error {
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(hi-lo))
	defer cancel()
	obj, err := fs.store.Get(ctx, o.key, store.GetOptions{Offset: lo, Length: hi - lo, IfMatch: o.etag})
	if err != nil {
		if store.IsKind(err, store.NotExist) || store.IsKind(err, store.PreconditionFailed) {
			return &Error{Op: "read", Path: o.key, Kind: Stale, Err: err}
		}
		return fs.fault("read", o.key, err)
	}
	defer obj.Body.Close()
	return fs.fault("read", o.key, fs.pour(obj.Body, lo, to))
}

// newFile implements fetcher.
func (fs *FS) newFile() string { return fs.state.newStaged() }

// left implements fetcher.
func (fs *FS) left(c *content) { fs.ledger.leave(c, c.path) }

// memory implements fetcher.
func (fs *FS) memory() *window { return fs.window }

// sink is where fetched bytes go: into a content, and if there is a window
// with a free place, through that.
type sink struct {
	c      *content
	window *window
	epoch  uint64 // of c when the bytes were asked for
}

// pour copies a body to a content in pieces.
func (fs *FS) pour(body io.Reader, off int64, to sink) error {
	for {
		n, err := fs.pourPiece(body, off, to)
		off += int64(n)
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil // the body itself reports a cut connection as another error
		default:
			return err
		}
	}
}

// pourPiece is one step of pour. The error is that of io.ReadFull, or why the
// content could not take the bytes.
func (fs *FS) pourPiece(body io.Reader, off int64, to sink) (int, error) {
	if to.window != nil {
		if b := to.window.get(); b != nil {
			defer b.release()
			n, end := io.ReadFull(body, b.buf)
			if n > 0 {
				if err := to.c.fillBlock(b, off, n, to.epoch); err != nil {
					return n, err
				}
			}
			return n, end
		}
	}
	buf := fs.buffers.Get().(*[]byte)
	defer fs.buffers.Put(buf)
	n, end := io.ReadFull(body, *buf)
	if n > 0 {
		if err := to.c.fill((*buf)[:n], off, to.epoch); err != nil {
			return n, err
		}
	}
	return n, end
}

// transferTime is the deadline of a request that moves n bytes: the operation
// timeout and what a line of 1 MiB/s takes.
func (fs *FS) transferTime(n int64) time.Duration {
	return fs.opts.OpTimeout + time.Duration(n>>20)*time.Second
}
