// Package davlock makes WebDAV's locks the same as all others: a LOCK of a
// client keeps others from flock(2) on the mount, from causeway lock, and from
// a LOCK through another gateway, and these keep clients from LOCK.
//
// What the protocol says of tokens, timeouts and depths is decided by
// webdav.MemoryLocks. Each lock that it grants is granted only together with a
// claim in the table of package locks, on the path that is locked: exclusive or
// shared, and of the tree below for Depth: infinity. The claim goes when the
// lock does: by UNLOCK, with its resource, or because it was not refreshed in
// time. When the claim is lost, the token is worth nothing any more, so that
// a client that uses it is told 412 or 423.
//
// Whether a client's change goes on without a lock is a matter of the clients of
// one endpoint: the others' locks are advisory, as on a local disk.
package davlock

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/gateway/webdav"
	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/vfs"
)

// look is how often locks are looked for that have run out or were lost.
const look = time.Second

// System is a webdav.LockSystem whose locks are locks of all gateways.
type System struct {
	*webdav.MemoryLocks
	ops vfs.Locks
	log *slog.Logger

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu     sync.Mutex
	claims map[string]claim // by token
}

// claim is what a lock has in the table.
type claim struct {
	locks.Claim
	principal string
	lost      <-chan struct{}
}

var _ webdav.LockSystem = (*System)(nil)

// Open returns a System over ops. now and log may be nil. Close must be called.
func Open(ops vfs.Locks, now func() time.Time, log *slog.Logger) *System {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &System{MemoryLocks: webdav.NewMemoryLocks(now), ops: ops, log: log, claims: map[string]claim{}}
	s.life, s.end = context.WithCancel(context.Background())
	s.wg.Go(s.watch)
	return s
}

// Close gives up all locks.
func (s *System) Close() {
	s.end()
	s.wg.Wait()
	for token, c := range s.all() {
		s.drop(s.life, token, c)
	}
}

func owner(token string) locks.Owner { return locks.Owner("webdav:" + token) }

// Create implements webdav.LockSystem. It does not wait: somebody else's lock is
// a conflict, of whatever kind it is.
func (s *System) Create(ctx context.Context, r webdav.LockRequest) (webdav.Lock, error) {
	l, err := s.MemoryLocks.Create(ctx, r)
	if err != nil {
		return l, err
	}
	c := claim{Claim: locks.Claim{Path: r.Root, Mode: locks.Exclusive, Tree: r.Infinite, End: locks.MaxOffset}, principal: r.Principal}
	if r.Shared {
		c.Mode = locks.Shared
	}
	g, err := s.ops.LockPath(ctx, locks.Request{Claim: c.Claim, Owner: owner(l.Token),
		Holder: locks.Holder{Command: r.Principal, Via: "webdav"}})
	if err != nil {
		_ = s.MemoryLocks.Unlock(ctx, l.Token, r.Principal) // made a moment ago
		if vfs.KindOf(err) == vfs.WouldBlock {
			return webdav.Lock{}, &webdav.LockedError{Roots: []string{r.Root}}
		}
		return webdav.Lock{}, err
	}
	c.lost = g.Lost
	s.mu.Lock()
	s.claims[l.Token] = c
	s.mu.Unlock()
	return l, nil
}

// Unlock implements webdav.LockSystem. All that was acknowledged is in S3 when it
// returns nil.
func (s *System) Unlock(ctx context.Context, token, principal string) error {
	if err := s.MemoryLocks.Unlock(ctx, token, principal); err != nil {
		return err
	}
	s.mu.Lock()
	c, ok := s.claims[token]
	s.mu.Unlock()
	if !ok {
		return nil
	}
	return s.drop(ctx, token, c)
}

// Confirm implements webdav.LockSystem.
func (s *System) Confirm(ctx context.Context, t webdav.Tokens, scopes ...webdav.Scope) (func(gone ...string), error) {
	release, err := s.MemoryLocks.Confirm(ctx, t, scopes...)
	if err != nil {
		return nil, err
	}
	return func(gone ...string) {
		release(gone...)
		if len(gone) > 0 {
			s.sweep()
		}
	}, nil
}

func (s *System) drop(ctx context.Context, token string, c claim) error {
	s.mu.Lock()
	_, ours := s.claims[token]
	delete(s.claims, token)
	s.mu.Unlock()
	if !ours {
		return nil
	}
	return s.ops.UnlockPath(ctx, owner(token), c.Claim)
}

func (s *System) all() map[string]claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]claim, len(s.claims))
	for token, c := range s.claims {
		all[token] = c
	}
	return all
}

func (s *System) watch() {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-s.life.Done():
			return
		case <-tick.C:
			s.sweep()
		}
	}
}

// sweep gives up the claims of locks that are gone, and ends locks whose claims
// were lost.
func (s *System) sweep() {
	for token, c := range s.all() {
		select {
		case <-c.lost:
			s.log.Warn("a WebDAV lock was lost", "path", c.Path)
			_ = s.MemoryLocks.Unlock(s.life, token, c.principal) // it may have run out as well
		default:
			if s.lives(token, c) {
				continue
			}
		}
		if err := s.drop(s.life, token, c); err != nil && !errors.Is(err, context.Canceled) {
			s.log.Debug("a WebDAV lock was given up", "path", c.Path, "err", err)
		}
	}
}

// lives reports whether the lock of a token is there still.
func (s *System) lives(token string, c claim) bool {
	covering, err := s.Covering(s.life, c.Path)
	return err != nil || slices.ContainsFunc(covering, func(l webdav.Lock) bool { return l.Token == token })
}
