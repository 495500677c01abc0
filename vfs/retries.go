package vfs

import (
	"context"
	"sync"
	"time"
)

// retries remembers, for threads whose open was told to look again, when that
// open began: a version that was checked after that moment is good enough for
// the second try, even if S3 has a newer one again. Without this, an open of a
// name that is replaced all the time might not succeed, since the kernel tries
// only twice.
type retries struct {
	mu    sync.Mutex
	began map[retry]time.Time
}

type retry struct {
	thread uint32
	path   string
}

// retryLimit bounds the table; the kernel's second try comes at once.
const retryLimit = 1024

// begin returns when the system call behind ctx began, as far as is known.
func (r *retries) begin(ctx context.Context, path string, now time.Time) time.Time {
	thread, _ := ctx.Value(CallerKey{}).(uint32)
	r.mu.Lock()
	defer r.mu.Unlock()
	began, again := r.began[retry{thread, path}]
	delete(r.began, retry{thread, path})
	if !again || thread == 0 || now.Sub(began) > time.Minute {
		return now
	}
	return began
}

// again notes that the caller will look again.
func (r *retries) again(ctx context.Context, path string, began time.Time) {
	thread, ok := ctx.Value(CallerKey{}).(uint32)
	if !ok || thread == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.began == nil || len(r.began) >= retryLimit {
		r.began = map[retry]time.Time{}
	}
	r.began[retry{thread, path}] = began
}
