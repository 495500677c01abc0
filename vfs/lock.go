package vfs

import (
	"context"
	"errors"

	"github.com/causewayfs/causeway/locks"
)

// LockRequest is what is asked of a lock through an open file.
type LockRequest struct {
	Owner      locks.Owner
	Space      locks.Space
	Mode       locks.Mode
	Start, End uint64 // first and last byte, with locks.Record
	Wait       bool   // until it is granted or the context ends
	PID        int    // for people, as the others
	Command    string
	Via        string
}

// Locks are the operations on locks: those of open files, which are called with
// a handle, and those of paths. All of them meet in one table (package locks).
//
// A lock through a handle is on the name that the file had when the first one
// on it was taken, and stays there when the file is renamed; of a file without
// a name it holds on this gateway only. Kinds of all: NoLock (nobody can say
// who has it), Stale (the lock was lost), Interrupted and Timeout (the context
// ended), Invalid.
type Locks interface {
	// TestLock is F_GETLK: it returns who is in the way of r, or nil. PID is 0
	// if that is a process of another host.
	TestLock(ctx context.Context, h *Handle, r LockRequest) (*locks.Held, error)
	// SetLock is F_SETLK, F_SETLKW and flock(2). When it returns nil, h shows
	// the version that the previous holder left; pages that a front end has of
	// it may be older if Moved says so. Kinds: WouldBlock, without r.Wait;
	// Deadlock.
	SetLock(ctx context.Context, h *Handle, r LockRequest) error
	// Unlock gives up what r.Owner has of the range. What was written through
	// any handle of the file is committed first, and all that was acknowledged
	// here is in S3 when it returns nil. After an error the lock is given up, too.
	Unlock(ctx context.Context, h *Handle, r LockRequest) error
	// FlushLocks gives up all record locks that owner has on the file of h, as
	// each close(2) by a process does (fcntl(2)). Flush must have been called.
	// What is still held through h when it is released is given up then.
	FlushLocks(ctx context.Context, h *Handle, owner locks.Owner) error

	// LockPath takes a claim on a path, which need not exist. Kinds: as
	// SetLock. The lock is the owner's until UnlockPath or UnlockOwner.
	LockPath(ctx context.Context, r locks.Request) (locks.Grant, error)
	// TestPath is TestLock for a path.
	TestPath(ctx context.Context, owner locks.Owner, c locks.Claim) (*locks.Held, error)
	// UnlockPath gives up what owner has of c.Path in c.Space. All that was
	// acknowledged here is in S3 when it returns nil; after an error the lock
	// is given up, too.
	UnlockPath(ctx context.Context, owner locks.Owner, c locks.Claim) error
	// UnlockOwner gives up all that owner has, and ends its waits.
	UnlockOwner(ctx context.Context, owner locks.Owner) error
	// LockReport tells who holds what, and who waits: on this gateway, or with
	// all on all of them.
	LockReport(ctx context.Context, all bool) (locks.Report, error)
	// BreakLock takes a lock from whoever has it with exactly this fence. Kind
	// NotExist: nobody has.
	BreakLock(ctx context.Context, path string, space locks.Space, fence uint64) error
}

var _ Locks = (*FS)(nil)

// lockKinds is the one table from what package locks says to a Kind.
var lockKinds = map[locks.Kind]Kind{
	locks.WouldBlock: WouldBlock,
	locks.Canceled:   Interrupted,
	locks.Deadlock:   Deadlock,
	locks.NoLock:     NoLock,
	locks.Lost:       Stale,
	locks.NotHeld:    NotExist,
	locks.Invalid:    Invalid,
	locks.Other:      NoLock,
}

// lockFault turns an error of the lock service into an *Error.
func lockFault(ctx context.Context, op, path string, err error) error {
	if err == nil {
		return nil
	}
	kind := lockKinds[locks.KindOf(err)]
	if kind == Interrupted && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		kind = Timeout
	}
	return &Error{Op: op, Path: path, Kind: kind, Err: err}
}

var errNoLocks = errors.New("this filesystem was opened without a coordinator")

// lockService returns the service; Kind NoLock if there is none: a lock that
// held in this process only would be one that does not hold.
func (fs *FS) lockService(op, path string) (locks.Service, error) {
	if fs.opts.Locks == nil {
		return nil, &Error{Op: op, Path: path, Kind: NoLock, Err: errNoLocks}
	}
	return fs.opts.Locks, nil
}
