package vfs

import (
	"context"
	"sync"
	"time"
)

// retries remembers, for threads whose system call was told that a node is
// stale, when that call began. The kernel looks the name up again and tries
// once more, and not a third time; so that the second try succeeds also for a
// name that is replaced all the time, its lookup asks S3, and its open is
// content with a version that was checked after the call began, even if there
// is a newer one by then.
type retries struct {
	mu    sync.Mutex
	began map[uint32]time.Time // by thread
}

const (
	retryLimit = 1024 // entries; a second try comes at once
	retryAge   = time.Second
)

func callerOf(ctx context.Context) uint32 {
	thread, _ := ctx.Value(CallerKey{}).(uint32)
	return thread
}

// pending reports whether the request behind ctx is part of a second try.
func (r *retries) pending(ctx context.Context, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.began) == 0 {
		return false
	}
	began, ok := r.began[callerOf(ctx)]
	return ok && now.Sub(began) < retryAge
}

// begin returns when the system call behind ctx began, and whether this is its
// second try. It forgets the first.
func (r *retries) begin(ctx context.Context, now time.Time) (began time.Time, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.began) == 0 {
		return now, false
	}
	thread := callerOf(ctx)
	began, again = r.began[thread]
	delete(r.began, thread)
	if !again || now.Sub(began) > retryAge {
		return now, false
	}
	return began, true
}

// again notes that the caller will try again.
func (r *retries) again(ctx context.Context, began time.Time) {
	thread := callerOf(ctx)
	if thread == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began == nil || len(r.began) >= retryLimit {
		r.began = map[uint32]time.Time{}
	}
	r.began[thread] = began
}
