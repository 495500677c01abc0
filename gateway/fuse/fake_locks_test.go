package fuse

import (
	"context"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/vfs"
)

// fakeLock is a lock that was granted: of one owner at a time, without ranges.
type fakeLock struct {
	vfs.LockRequest
	h *vfs.Handle
}

func (f *fakeFS) inWay(h *vfs.Handle, r vfs.LockRequest) *fakeLock {
	for i, l := range f.locks {
		if f.handles[l.h].node == f.handles[h].node && l.Space == r.Space && l.Owner != r.Owner {
			return &f.locks[i]
		}
	}
	return nil
}

func (f *fakeFS) TestLock(ctx context.Context, h *vfs.Handle, r vfs.LockRequest) (*locks.Held, error) {
	if err := f.enter(ctx, "getlk"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	l := f.inWay(h, r)
	if l == nil {
		return nil, nil
	}
	return &locks.Held{Claim: locks.Claim{Space: l.Space, Mode: l.Mode, Start: l.Start, End: l.End},
		Holder: locks.Holder{Owner: l.Owner, PID: l.PID, Command: l.Command, Via: l.Via}}, nil
}

func (f *fakeFS) SetLock(ctx context.Context, h *vfs.Handle, r vfs.LockRequest) error {
	if err := f.enter(ctx, "lock"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if f.inWay(h, r) != nil {
		if !r.Wait {
			return fail("lock", vfs.WouldBlock)
		}
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return fail("lock", vfs.Interrupted)
	}
	f.locks = append(f.locks, fakeLock{r, h})
	return nil
}

func (f *fakeFS) unlock(match func(fakeLock) bool) {
	var rest []fakeLock
	for _, l := range f.locks {
		if !match(l) {
			rest = append(rest, l)
		}
	}
	f.locks = rest
}

func (f *fakeFS) Unlock(ctx context.Context, h *vfs.Handle, r vfs.LockRequest) error {
	if err := f.enter(ctx, "unlock"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	f.unlock(func(l fakeLock) bool { return l.Owner == r.Owner && l.Space == r.Space })
	return nil
}

func (f *fakeFS) FlushLocks(ctx context.Context, _ *vfs.Handle, owner locks.Owner) error {
	if err := f.enter(ctx, "flushlocks"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	f.unlock(func(l fakeLock) bool { return l.Owner == owner && l.Space == locks.Record })
	return nil
}

func (f *fakeFS) LockPath(context.Context, locks.Request) (locks.Grant, error) {
	return locks.Grant{}, fail("lock", vfs.NoLock)
}

func (f *fakeFS) TestPath(context.Context, locks.Owner, locks.Claim) (*locks.Held, error) {
	return nil, fail("test", vfs.NoLock)
}

func (f *fakeFS) UnlockPath(context.Context, locks.Owner, locks.Claim) error {
	return fail("unlock", vfs.NoLock)
}

func (f *fakeFS) UnlockOwner(context.Context, locks.Owner) error { return fail("unlock", vfs.NoLock) }

func (f *fakeFS) LockReport(context.Context, bool) (locks.Report, error) {
	return locks.Report{}, fail("list locks", vfs.NoLock)
}

func (f *fakeFS) BreakLock(context.Context, string, locks.Space, uint64) error {
	return fail("break", vfs.NoLock)
}
