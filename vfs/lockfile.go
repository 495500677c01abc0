package vfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// fileLocks knows which locks are held through which handles.
type fileLocks struct {
	mu    sync.Mutex
	nodes map[*node]*nodeLocks
}

// nodeLocks are the locks on one node. It exists while somebody holds one or
// asks for one.
type nodeLocks struct {
	path   string // of the claims
	asking int
	held   map[lockUse]struct{}
}

// lockUse says that owner may hold something in space through h.
type lockUse struct {
	h     *Handle
	owner locks.Owner
	space locks.Space
}

// enter notes that a lock is asked for, and returns the path of the claim.
func (l *fileLocks) enter(n *node, pathNow func() string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.nodes[n]
	if nl == nil {
		nl = &nodeLocks{path: pathNow(), held: map[lockUse]struct{}{}}
		if l.nodes == nil {
			l.nodes = map[*node]*nodeLocks{}
		}
		l.nodes[n] = nl
	}
	nl.asking++
	return nl.path
}

// leave notes that the request is over; with got, that it was granted.
func (l *fileLocks) leave(u lockUse, got bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.nodes[u.h.node]
	nl.asking--
	if got {
		nl.held[u] = struct{}{}
		u.h.locked.Store(true)
	}
	l.reapLocked(u.h.node, nl)
}

func (l *fileLocks) reapLocked(n *node, nl *nodeLocks) {
	if nl.asking == 0 && len(nl.held) == 0 {
		delete(l.nodes, n)
	}
}

// find returns the path at which something may be held on n that matches.
func (l *fileLocks) find(n *node, match func(lockUse) bool) (path string, found []lockUse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.nodes[n]
	if nl == nil {
		return "", nil
	}
	for u := range nl.held {
		if match(u) {
			found = append(found, u)
		}
	}
	return nl.path, found
}

// drop notes that nothing is held by uses of n any more.
func (l *fileLocks) drop(n *node, uses []lockUse) {
	l.mu.Lock()
	defer l.mu.Unlock()
	nl := l.nodes[n]
	if nl == nil {
		return
	}
	for _, u := range uses {
		delete(nl.held, u)
	}
	l.reapLocked(n, nl)
}

// lockPath is the path of claims on n. A file that lost its name to somebody
// elsewhere is asked about under that name, so that its handles meet those of
// the file that has the name now. One that was removed here has a path of its
// own that nobody else comes to.
func (fs *FS) lockPath(n *node) string {
	if path, ok := fs.nodes.path(n); ok {
		return path
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.file; f != nil && !f.removed && f.was != "" {
		return f.was
	}
	return fmt.Sprintf("%s/unnamed/%s/%d", reserved, fs.opts.GatewayID, n.id)
}

func (r *LockRequest) claim(path string) locks.Claim {
	c := locks.Claim{Path: path, Space: r.Space, Mode: r.Mode, End: locks.MaxOffset}
	if r.Space == locks.Record {
		c.Start, c.End = r.Start, r.End
	}
	return c
}

// TestLock implements Locks.
func (fs *FS) TestLock(ctx context.Context, h *Handle, r LockRequest) (*locks.Held, error) {
	path := fs.fileLocks.enter(h.node, func() string { return fs.lockPath(h.node) })
	defer fs.fileLocks.leave(lockUse{h, r.Owner, r.Space}, false)
	held, err := fs.TestPath(ctx, r.Owner, r.claim(path))
	if held != nil && !fs.holdsHere(ctx, held) {
		held.Holder.PID = 0
	}
	return held, err
}

// holdsHere reports whether this gateway has granted held.
func (fs *FS) holdsHere(ctx context.Context, held *locks.Held) bool {
	r, err := fs.LockReport(ctx, false)
	return err == nil && slices.ContainsFunc(r.Held, func(own locks.Held) bool {
		return own.Path == held.Path && own.Holder.Owner == held.Holder.Owner && own.Holder.Gateway == held.Holder.Gateway
	})
}

// SetLock implements Locks.
func (fs *FS) SetLock(ctx context.Context, h *Handle, r LockRequest) (err error) {
	u := lockUse{h, r.Owner, r.Space}
	path := fs.fileLocks.enter(h.node, func() string { return fs.lockPath(h.node) })
	defer func() { fs.fileLocks.leave(u, err == nil) }()
	c := r.claim(path)
	req := locks.Request{Claim: c, Owner: r.Owner, Wait: r.Wait,
		Holder: locks.Holder{PID: r.PID, Command: r.Command, Via: r.Via}}
	if err := fs.lockPatiently(ctx, req); err != nil {
		return err
	}
	if err := fs.renew(ctx, h.f, path); err != nil {
		// Whoever has the lock must see what was written before it.
		if s, e := fs.lockService("lock", path); e == nil {
			_ = s.Unlock(r.Owner, c) // the other error is the one to tell
		}
		return fs.fault("lock", path, err)
	}
	return nil
}

// lingering is how long somebody who does not wait is not told that a file is
// locked by a process that has closed it: the kernel tells of the last close a
// moment after it has happened.
const lingering = 20 * time.Millisecond

func (fs *FS) lockPatiently(ctx context.Context, r locks.Request) error {
	s, err := fs.lockService("lock", r.Path)
	if err != nil {
		return err
	}
	for pause := time.Millisecond; ; pause *= 2 {
		_, err := s.Lock(ctx, r)
		if err == nil || locks.KindOf(err) != locks.WouldBlock || pause > lingering || !fs.heldByHandle(r.Claim, err) {
			return lockFault(ctx, "lock", r.Path, err)
		}
		select {
		case <-ctx.Done():
			return lockFault(ctx, "lock", r.Path, err)
		case <-time.After(pause):
		}
	}
}

// heldByHandle reports whether who is in the way of c holds it through a handle
// of this gateway that stays locked until its release.
func (fs *FS) heldByHandle(c locks.Claim, err error) bool {
	e, ok := errors.AsType[*locks.Error](err)
	if !ok {
		return false
	}
	fs.fileLocks.mu.Lock()
	defer fs.fileLocks.mu.Unlock()
	for _, nl := range fs.fileLocks.nodes {
		if nl.path != c.Path {
			continue
		}
		for u := range nl.held {
			for _, holder := range e.Holders {
				if u.space == c.Space && u.owner == holder.Owner {
					return true
				}
			}
		}
	}
	return false
}

// Unlock implements Locks.
func (fs *FS) Unlock(ctx context.Context, h *Handle, r LockRequest) error {
	whole := r.Space == locks.Whole || r.Start == 0 && r.End == locks.MaxOffset
	path, uses := fs.fileLocks.find(h.node, func(u lockUse) bool { return u.owner == r.Owner && u.space == r.Space })
	if len(uses) == 0 {
		return nil
	}
	err := fs.unlockFile(ctx, h.f, r.Owner, r.claim(path))
	if whole {
		fs.fileLocks.drop(h.node, uses)
	}
	return err
}

// FlushLocks implements Locks.
func (fs *FS) FlushLocks(ctx context.Context, h *Handle, owner locks.Owner) error {
	path, uses := fs.fileLocks.find(h.node, func(u lockUse) bool { return u.owner == owner && u.space == locks.Record })
	if len(uses) == 0 {
		return nil
	}
	err := fs.unlockFile(ctx, h.f, owner, locks.Claim{Path: path, Space: locks.Record, End: locks.MaxOffset})
	fs.fileLocks.drop(h.node, uses)
	return err
}

// unlockFile commits what was written under a lock on f, and gives it up.
// Whoever has it next on this gateway need not wait for what is on its way to
// S3; participant lets others wait.
func (fs *FS) unlockFile(ctx context.Context, f *file, owner locks.Owner, c locks.Claim) error {
	err := fs.commitLocked(ctx, f)
	s, noLocks := fs.lockService("unlock", c.Path)
	if noLocks != nil {
		return noLocks
	}
	err = errors.Join(err, lockFault(ctx, "unlock", c.Path, s.Unlock(owner, c)))
	if err == nil {
		err = fs.releasePoint(ctx)
	}
	return err
}

// commitLocked commits what was written to f: the next holder must see it.
func (fs *FS) commitLocked(ctx context.Context, f *file) error {
	f.node.mu.Lock()
	pending := f.dirtyLocked() && !f.staged
	path, alone := f.was, f.revived
	f.node.mu.Unlock()
	if pending {
		if err := fs.commit(ctx, f); err != nil {
			return err
		}
	}
	if alone { // other handles of the name here ask S3
		return fs.fault("unlock", path, fs.quiet(ctx, path))
	}
	return nil
}

// releasePoint returns when all that was acknowledged here is in S3. It is free
// when nothing waits, and while this gateway is alone: Publish sends all of it
// before anybody else can look.
func (fs *FS) releasePoint(ctx context.Context) error {
	if fs.alone() && !fs.opts.CommitLocal {
		return nil
	}
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	return fs.Sync(ctx, "")
}

// dropLocks gives up what is held through h, which is being released.
func (fs *FS) dropLocks(h *Handle) {
	if !h.locked.Load() {
		return
	}
	path, uses := fs.fileLocks.find(h.node, func(u lockUse) bool { return u.h == h })
	for _, u := range uses {
		if s, err := fs.lockService("close", path); err == nil {
			if err := s.Unlock(u.owner, locks.Claim{Path: path, Space: u.space, End: locks.MaxOffset}); err != nil {
				fs.log.Warn("a lock was lost before its file was closed", "path", path, "err", err)
			}
		}
	}
	fs.fileLocks.drop(h.node, uses)
}
