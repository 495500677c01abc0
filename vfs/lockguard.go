package vfs

import (
	"context"
	"errors"
)

// errLockLost is why a commit was given up.
var errLockLost = errors.New("a lock on it was lost: somebody else may have it now")

// checkLock is Stale if a lock on path was lost here, and its owner has not
// noticed yet.
func (fs *FS) checkLock(op, path string) error {
	if fs.opts.Locks == nil {
		return nil
	}
	return lockFault(fs.bg, op, path, fs.opts.Locks.Check(path))
}

// guard returns what is closed when a lock on path is lost; nil if there is none
// here. It is Stale if one was lost already.
func (fs *FS) guard(path string) (lost <-chan struct{}, err error) {
	if fs.opts.Locks == nil {
		return nil, nil
	}
	lost = fs.opts.Locks.Guard(path)
	return lost, fs.checkLock("commit", path)
}

// underLock runs a commit of path, which may come to an end before S3 has
// answered if a lock on path is lost meanwhile. Then, or if it was lost before,
// it is Stale, and whether S3 carried it out is not known.
func (fs *FS) underLock(ctx context.Context, path string, commit func(ctx context.Context) error) error {
	lost, err := fs.guard(path)
	if err != nil {
		return err
	}
	return unlessLost(ctx, path, lost, commit)
}

// unlessLost runs a commit of path until lost, which may be nil, is closed.
func unlessLost(ctx context.Context, path string, lost <-chan struct{}, commit func(ctx context.Context) error) error {
	if lost == nil {
		return commit(ctx)
	}
	select {
	case <-lost:
		return &Error{Op: "commit", Path: path, Kind: Stale, Err: errLockLost}
	default:
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-lost:
			cancel(errLockLost)
		case <-ctx.Done():
		}
	}()
	err := commit(ctx)
	if err != nil && context.Cause(ctx) == errLockLost {
		return &Error{Op: "commit", Path: path, Kind: Stale, Err: errors.Join(errLockLost, err)}
	}
	return err
}
