package vfs

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// treePatience is how long an operation on a tree waits for locks in it.
// Gateways keep locks that nobody wants, and give them up within that.
const treePatience = 5 * time.Second

// claimTrees keeps other gateways' locks out of directories while an operation
// on their trees goes on. Nothing outside is kept waiting by it.
//
// Locks that are held through this gateway are no obstacle, as on a local disk:
// who locks a directory may well be the one that renames what is in it. Kinds:
// Busy, somebody on another gateway holds a lock in, on or over a directory.
func (fs *FS) claimTrees(ctx context.Context, op string, dirs ...string) (release func(), err error) {
	s := fs.opts.Locks
	if s == nil {
		return func() {}, nil
	}
	owner := locks.Owner("tree:" + rand.Text())
	release = func() { s.UnlockAll(owner) }
	dirs = slices.Compact(slices.Sorted(slices.Values(dirs)))
	for _, dir := range dirs {
		if err := fs.claimTree(ctx, s, owner, op, dir); err != nil {
			release()
			return nil, err
		}
	}
	return release, nil
}

func (fs *FS) claimTree(ctx context.Context, s locks.Service, owner locks.Owner, op, dir string) error {
	r := locks.Request{Claim: locks.Claim{Path: dir, Mode: locks.Exclusive, Tree: true, End: locks.MaxOffset},
		Owner: owner, Holder: locks.Holder{Via: op}}
	_, err := s.Lock(ctx, r)
	if locks.KindOf(err) == locks.WouldBlock {
		if fs.heldHere(ctx, s, dir) {
			return nil
		}
		waiting, cancel := context.WithTimeout(ctx, treePatience)
		defer cancel()
		r.Wait = true
		if _, err = s.Lock(waiting, r); locks.KindOf(err) == locks.Canceled && ctx.Err() == nil {
			return &Error{Op: op, Path: dir, Kind: Busy, Err: errors.Join(errors.New("somebody on another gateway holds a lock there"), err)}
		}
	}
	return lockFault(ctx, op, dir, err)
}

// heldHere reports whether this gateway holds a lock in, on or over dir.
func (fs *FS) heldHere(ctx context.Context, s locks.Service, dir string) bool {
	r, err := s.Report(ctx, false)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(r.Held, func(h locks.Held) bool {
		return !h.Cached && h.Space == locks.Whole && (below(dir)(h.Path) || h.Tree && below(h.Path)(dir))
	})
}
