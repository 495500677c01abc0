package vfs

import (
	"context"
	"sync"
	"syscall"
	"time"
)

// retries remembers, for threads whose system call was told that a node is
// stale, when that call began. The kernel looks the name up again and tries
// once more, and not a third time; so that the second try succeeds also for a
// name that is replaced all the time, its lookup asks S3, and its open is
// content with a version that was checked after the call began, even if there
// is a newer one by then. If the node of that lookup is stale too, the open is
// for whatever has the name.
type retries struct {
	mu    sync.Mutex
	calls map[uint32]secondTry // by thread
}

// secondTry is a system call that is tried again.
type secondTry struct {
	began  time.Time
	knows  bool   // the name has a node with a version that was checked after that
	parent NodeID // of the name that its last lookup was for
	name   string // empty: there was none
}

const (
	retryLimit = 1024 // entries; a second try comes at once
	retryAge   = time.Second
)

func callerOf(ctx context.Context) uint32 {
	thread, _ := ctx.Value(CallerKey{}).(uint32)
	return thread
}

// asksAgain reports whether the request behind ctx is part of a second try, the
// lookup of that name, and has to ask S3.
func (r *retries) asksAgain(ctx context.Context, now time.Time, parent NodeID, name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) == 0 {
		return false
	}
	thread := callerOf(ctx)
	call, ok := r.calls[thread]
	if !ok || now.Sub(call.began) >= retryAge {
		return false
	}
	r.calls[thread] = secondTry{call.began, call.knows, parent, name}
	return !call.knows
}

// begin returns when the system call behind ctx began, and whether this is its
// second try. It forgets the first.
func (r *retries) begin(ctx context.Context, now time.Time) (call secondTry, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) == 0 {
		return secondTry{began: now}, false
	}
	thread := callerOf(ctx)
	call, again = r.calls[thread]
	delete(r.calls, thread)
	if !again || now.Sub(call.began) > retryAge {
		return secondTry{began: now}, false
	}
	return call, true
}

// again notes that the caller will try again; knows is as in secondTry.
func (r *retries) again(ctx context.Context, began time.Time, knows bool) {
	thread := callerOf(ctx)
	if thread == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.calls == nil || len(r.calls) >= retryLimit {
		r.calls = map[uint32]secondTry{}
	}
	r.calls[thread] = secondTry{began: began, knows: knows}
}

// openTries bounds how often an open follows a name that others change.
const openTries = 10

// openName opens what has a name now, as a handle of another node than the
// kernel knows, which nobody else may have open: the kernel keeps one size for
// all handles of a node. Who wants to rewrite it gets a new file if somebody has
// just removed it: it was there during the call, and the last close wins.
func (fs *FS) openName(ctx context.Context, call secondTry, flags int) (h *Handle, err error) {
	for range openTries {
		var known Known
		known, err = fs.Lookup(ctx, call.parent, call.name)
		switch {
		case err == nil:
			h, err = fs.openNode(ctx, known.ID, flags, call.began, true)
		case KindOf(err) == NotExist && flags&syscall.O_TRUNC != 0 && flags&syscall.O_ACCMODE != syscall.O_RDONLY:
			owner := Caller{UID: fs.opts.UID, GID: fs.opts.GID}
			known, h, err = fs.Create(ctx, owner, call.parent, call.name, flags, 0o666&^fs.opts.Umask)
		}
		if known.ID != 0 {
			fs.Forget(known.ID, 1) // the kernel does not know of it
		}
		if err == nil {
			h.elsewhere()
		}
		if err == nil || KindOf(err) != Stale {
			return h, err
		}
	}
	return nil, err
}

// isOpen reports whether a node has open handles.
func (fs *FS) isOpen(id NodeID) bool {
	n := fs.nodes.get(id)
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file != nil && n.file.handles > 0
}
