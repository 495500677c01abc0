package fuse

import (
	"context"
	"sync"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// recheck is how often the caller of an interrupted request is looked at
// again: the kernel reports only the first signal of a request.
const recheck = 100 * time.Millisecond

// requestContext is the context of one request. It ends when the caller is
// being killed, and only then: INTERRUPT comes for every signal, also for
// those by which a language runtime preempts its threads or a timer ticks, and
// a close(2) or rename(2) that returns EINTR for these, as no disk filesystem
// does, breaks programs. NFS has the same rule.
//
// A request that does not wait costs nothing but the struct: the goroutine
// that watches for the interrupt starts when somebody asks for Done.
type requestContext struct {
	cancel <-chan struct{}       // closed at INTERRUPT; not ours after finish
	dying  func(pid uint32) bool // whether the caller is being killed
	pid    uint32

	mu    sync.Mutex
	err   error
	done  chan struct{} // closed when err is set; nil until somebody asks
	end   chan struct{} // closed by finish; nil while nothing watches
	over  bool          // finish was called
	after map[*func()]struct{}
}

var _ context.Context = (*requestContext)(nil)

// Deadline tells that there is none: deadlines are the business of vfs.
func (c *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value returns the thread id of the caller for vfs.CallerKey.
func (c *requestContext) Value(key any) any {
	if _, ok := key.(vfs.CallerKey); ok {
		return c.pid
	}
	return nil
}

// Done returns a channel that is closed when the caller is being killed.
func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchLocked()
	return c.done
}

// Err returns context.Canceled if the caller is being killed.
func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc calls f in its own goroutine when the context ends; package
// context uses it to derive contexts without one goroutine for each.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	c.watchLocked()
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	c.after[&f] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.after[&f]
		delete(c.after, &f)
		return waiting
	}
}

// finish ends the watching. It is called when the request is answered; the
// context does not end any more after it.
func (c *requestContext) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.end != nil {
		close(c.end)
	}
}

func (c *requestContext) watchLocked() {
	if c.done != nil {
		return
	}
	c.done = make(chan struct{})
	if !c.over {
		c.end = make(chan struct{})
		go c.watch()
	}
}

func (c *requestContext) watch() {
	select {
	case <-c.end:
		return
	case <-c.cancel:
	}
	for !c.dying(c.pid) {
		select {
		case <-c.end:
			return
		case <-time.After(recheck):
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return // answered meanwhile
	}
	c.err = context.Canceled
	close(c.done)
	for f := range c.after {
		go (*f)()
	}
	c.after = nil
}
