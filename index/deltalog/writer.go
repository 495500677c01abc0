package deltalog

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index/format"
	"github.com/causewayfs/causeway/store"
)

// Prefix is where segments are.
const Prefix = ".causeway/index/log/"

// Options configures a Writer. Zero fields take the defaults in brackets.
type Options struct {
	Store   store.Store // required
	Gateway string      // required; names this run of the gateway, and is used once
	// Interval is how long facts wait for others, asked before each segment
	// [100 ms].
	Interval func() time.Duration
	// MaxWaiting bounds how many facts are kept while S3 does not take them
	// [100,000].
	MaxWaiting int
	Now        func() time.Time // [time.Now]
	Log        *slog.Logger     // [discard]
}

// A segment that cannot be stored is tried again after a pause.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 10 * time.Second
)

// maxSegment is how many facts go into one segment.
const maxSegment = 10_000

// Writer writes the segments of one gateway.
type Writer struct {
	opt    Options
	ctx    context.Context // of requests; ends in Close
	cancel context.CancelFunc
	kick   chan struct{} // capacity 1: something waits, or is in a hurry
	done   chan struct{} // closed when run has ended

	mu      sync.Mutex
	waiting []format.Told // guarded by mu
	told    uint64        // how many facts were told, ever; guarded by mu
	sent    uint64        // how many of them are stored, or dropped; guarded by mu
	hurry   uint64        // facts up to this one are to be sent at once; guarded by mu
	changed chan struct{} // closed and replaced when sent or failure changes; guarded by mu
	failure error         // of the last try to store a segment; guarded by mu
	closed  bool          // guarded by mu

	segments uint64 // stored so far; guarded by mu

	next  uint64 // number of the next segment; run's own
	tried int    // facts in the last try to store it, which may have succeeded; run's own
}

// ErrClosed is what Flush returns when the Writer was closed first.
var ErrClosed = errors.New("the log is closed")

// NewWriter starts a Writer. Close must be called.
func NewWriter(opt Options) *Writer {
	if opt.Interval == nil {
		opt.Interval = func() time.Duration { return 100 * time.Millisecond }
	}
	opt.MaxWaiting = cmp.Or(opt.MaxWaiting, 100_000)
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	w := &Writer{
		opt: opt, kick: make(chan struct{}, 1), done: make(chan struct{}),
		changed: make(chan struct{}), next: 1,
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	go w.run()
	return w
}

// Tell adds facts, which are true from now on.
func (w *Writer) Tell(facts ...format.Told) {
	w.mu.Lock()
	w.waiting = append(w.waiting, facts...)
	w.told += uint64(len(facts))
	w.mu.Unlock()
	w.wake()
}

func (w *Writer) wake() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// Flush returns when all that was told before is stored. It costs nothing if
// nothing waits. Errors: that of S3, when it has refused the last try; ErrClosed;
// that of ctx. The facts are kept and sent later in any case.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	need := w.told
	w.hurry = max(w.hurry, need)
	w.failure = nil
	for w.sent < need && !w.closed && w.failure == nil {
		changed := w.changed
		w.mu.Unlock()
		w.wake()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		w.mu.Lock()
	}
	defer w.mu.Unlock()
	switch {
	case w.sent >= need:
		return nil
	case w.failure != nil:
		return fmt.Errorf("write the log of changes: %w", w.failure)
	}
	return ErrClosed
}

// Waiting is how many facts are not stored.
func (w *Writer) Waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting)
}

// Segments is how many were stored.
func (w *Writer) Segments() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.segments
}

// Close stores what waits, until ctx ends, and ends the Writer.
func (w *Writer) Close(ctx context.Context) error {
	err := w.Flush(ctx)
	w.mu.Lock()
	w.closed = true
	w.signalLocked()
	w.mu.Unlock()
	w.cancel()
	<-w.done
	return err
}

func (w *Writer) signalLocked() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// run stores segments until Close.
func (w *Writer) run() {
	defer close(w.done)
	pause := time.Duration(0)
	for {
		if !w.await(pause) {
			return
		}
		for {
			records, dropped := w.take()
			if len(records) == 0 {
				pause = 0
				break
			}
			if dropped {
				w.next += 2 // a gap, whether or not the last try was stored
			}
			err := w.put(records)
			w.settle(len(records), err)
			if err != nil {
				if w.ctx.Err() != nil {
					return
				}
				w.opt.Log.Warn("write the log of changes", "error", err)
				pause = min(max(2*pause, retryFirst), retryMost)
				break
			}
		}
	}
}

// await returns true when a segment is to be written, and false at the end.
// After a failure, pause must have passed, unless somebody waits.
func (w *Writer) await(pause time.Duration) bool {
	var due <-chan time.Time
	for {
		w.mu.Lock()
		waits, hurry := len(w.waiting) > 0, w.hurry > w.sent
		w.mu.Unlock()
		if waits && hurry && pause == 0 {
			return true
		}
		if waits && due == nil {
			t := time.NewTimer(max(pause, w.opt.Interval()))
			defer t.Stop()
			due = t.C
		}
		select {
		case <-w.kick:
			w.mu.Lock()
			hurry := w.hurry > w.sent && w.failure == nil
			w.mu.Unlock()
			if hurry {
				pause = 0
			}
		case <-due:
			return true
		case <-w.ctx.Done():
			return false
		}
	}
}

// take returns the facts of the next segment, which stay in waiting, and
// whether some before them were dropped.
func (w *Writer) take() (records []format.Told, dropped bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if over := len(w.waiting) - w.opt.MaxWaiting; over > 0 {
		w.waiting = append([]format.Told(nil), w.waiting[over:]...)
		w.sent += uint64(over)
		w.signalLocked()
		dropped = true
	}
	n := min(len(w.waiting), maxSegment)
	if w.tried > 0 && !dropped {
		n = w.tried // whoever has read that segment does not read it again
	}
	return w.waiting[:n:n], dropped
}

// settle notes what became of a segment of n facts.
func (w *Writer) settle(n int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
	if err == nil {
		w.waiting = w.waiting[n:]
		if len(w.waiting) == 0 {
			w.waiting = nil // give the memory back
		}
		w.sent += uint64(n)
		w.segments++
	}
	w.signalLocked()
}

// put stores a segment. The same number may be stored again after a failure, with
// the same facts.
func (w *Writer) put(records []format.Told) error {
	b := format.AppendSegment(nil, format.Header{
		Gateway: w.opt.Gateway, Number: w.next, Time: w.opt.Now().UTC().Round(0),
	}, records)
	_, err := w.opt.Store.Put(w.ctx, key(w.opt.Gateway, w.next), store.Body{Reader: bytes.NewReader(b), Size: int64(len(b))}, store.PutOptions{})
	w.tried = len(records)
	if err == nil {
		w.next++
		w.tried = 0
	}
	return err
}

func key(gateway string, number uint64) string {
	return fmt.Sprintf("%s%s/%016x", Prefix, gateway, number)
}
