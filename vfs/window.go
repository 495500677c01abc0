package vfs

import (
	"container/list"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of the window.
const (
	blockSize    = 512 << 10
	windowBytes  = 64 << 20 // at most; and a quarter of Options.Memory
	directQueue  = 48       // blocks on their way past the page cache
	directWrites = 6        // of them at a time
	abandoned    = time.Second
)

// window is the memory that readers in sequence are answered from while what
// was fetched for them goes to the local files. Without, every byte would be
// copied into the kernel and out of it again before it is answered, and a
// reader would wait for the disk where the kernel throttles writers.
//
// A block is in the window from its arrival until it is in the local file and
// a reader has had its last byte, or until others need the place of one that
// nobody came for. So the few blocks that are in use stay in the caches of the
// CPU. The window is of a fixed size for all files together; who finds it full
// goes through the local file.
type window struct {
	now   func() time.Time
	limit int // blocks

	// queue has a place for each block on its way past the page cache, and
	// direct for each that is being written. Where the disk does not keep up
	// the queue is full, and other blocks are written as everything else.
	queue, direct chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	free  []*block   // the last one given back is used first
	made  int        // blocks, free or not
	arena []byte     // what the next ones are cut from
	order *list.List // *block that contents have, oldest first
}

// block is one piece of an object in memory. Its bytes do not change while
// somebody else may refer to it.
type block struct {
	buf    []byte // of blockSize bytes
	window *window
	refs   atomic.Int32

	// Guarded by content.mu of the owner.
	lo, hi  int64 // where the bytes belong
	written bool  // they are in the local file
	used    bool  // a reader has had the last one

	// Guarded by window.mu.
	owner *content // nil unless it is in the window
	since time.Time
	place *list.Element
}

func newWindow(limit int64, now func() time.Time) *window {
	return &window{now: now, limit: int(min(limit, windowBytes) / blockSize), order: list.New(),
		queue: make(chan struct{}, directQueue), direct: make(chan struct{}, directWrites)}
}

// get returns a block with one reference, or nil if the window is full. No
// lock is held.
func (w *window) get() *block {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.free) == 0 && w.made >= w.limit {
		w.reclaimLocked()
	}
	if n := len(w.free); n > 0 {
		b := w.free[n-1]
		w.free = w.free[:n-1]
		b.refs.Store(1)
		return b
	}
	if w.made >= w.limit {
		return nil
	}
	if w.arena == nil {
		w.arena = hugePages(w.limit * blockSize)
	}
	b := &block{buf: w.arena[:blockSize:blockSize], window: w}
	w.arena = w.arena[blockSize:]
	w.made++
	b.refs.Store(1)
	return b
}

// reclaimLocked takes back the oldest block if nobody came for it.
func (w *window) reclaimLocked() {
	oldest := w.order.Front()
	if oldest == nil {
		return
	}
	b := oldest.Value.(*block)
	if w.now().Sub(b.since) < abandoned {
		return
	}
	b.since = w.now() // so that the next one is tried if this one must stay
	w.order.MoveToBack(oldest)
	owner := b.owner
	w.mu.Unlock()
	owner.evict(b)
	w.mu.Lock()
}

// enter notes that c has b. c.mu is held.
func (w *window) enter(b *block, c *content) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.owner, b.since = c, w.now()
	b.place = w.order.PushBack(b)
}

// release ends one reference; with the last one the block is free.
func (b *block) release() {
	if b.refs.Add(-1) > 0 {
		return
	}
	w := b.window
	w.mu.Lock()
	defer w.mu.Unlock()
	if b.place != nil {
		w.order.Remove(b.place)
	}
	b.owner, b.place = nil, nil
	w.free = append(w.free, b)
}
