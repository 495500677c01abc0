package vfs

import (
	"context"
	"errors"

	"github.com/causewayfs/causeway/locks"
)

// LockPath implements Locks.
func (fs *FS) LockPath(ctx context.Context, r locks.Request) (locks.Grant, error) {
	s, err := fs.lockService("lock", r.Path)
	if err != nil {
		return locks.Grant{}, err
	}
	g, err := s.Lock(ctx, r)
	return g, lockFault(ctx, "lock", r.Path, err)
}

// TestPath implements Locks.
func (fs *FS) TestPath(ctx context.Context, owner locks.Owner, c locks.Claim) (*locks.Held, error) {
	s, err := fs.lockService("test", c.Path)
	if err != nil {
		return nil, err
	}
	held, err := s.Test(ctx, owner, c)
	return held, lockFault(ctx, "test", c.Path, err)
}

// UnlockPath implements Locks.
func (fs *FS) UnlockPath(ctx context.Context, owner locks.Owner, c locks.Claim) error {
	s, err := fs.lockService("unlock", c.Path)
	if err != nil {
		return err
	}
	err = lockFault(ctx, "unlock", c.Path, s.Unlock(owner, c))
	return errors.Join(err, fs.releasePoint(ctx))
}

// UnlockOwner implements Locks.
func (fs *FS) UnlockOwner(ctx context.Context, owner locks.Owner) error {
	s, err := fs.lockService("unlock", "")
	if err != nil {
		return err
	}
	s.UnlockAll(owner)
	return fs.releasePoint(ctx)
}

// LockReport implements Locks.
func (fs *FS) LockReport(ctx context.Context, all bool) (locks.Report, error) {
	s, err := fs.lockService("list locks", "")
	if err != nil {
		return locks.Report{}, err
	}
	r, err := s.Report(ctx, all)
	return r, lockFault(ctx, "list locks", "", err)
}

// BreakLock implements Locks.
func (fs *FS) BreakLock(ctx context.Context, path string, space locks.Space, fence uint64) error {
	s, err := fs.lockService("break", path)
	if err != nil {
		return err
	}
	return lockFault(ctx, "break", path, s.Break(ctx, path, space, fence))
}
