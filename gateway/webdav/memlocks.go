package webdav

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/vfs"
	"golang.org/x/net/webdav"
)

// MaxMemoryLocks bounds the locks of one MemoryLocks.
const MaxMemoryLocks = 100_000

// MemoryLocks is a LockSystem in memory: of one process, and gone with it.
type MemoryLocks struct {
	now func() time.Time

	mu      sync.Mutex
	byToken map[string]*Lock
	byRoot  map[string]map[string]*Lock // by root and token
	held    map[*[]Scope]struct{}       // changes that were confirmed and go on
	changed chan struct{}               // closed and replaced when one of them ends
	soonest time.Time                   // no lock expires before
}

var _ LockSystem = (*MemoryLocks)(nil)

// NewMemoryLocks returns a LockSystem that nobody else shares. now may be nil.
func NewMemoryLocks(now func() time.Time) *MemoryLocks {
	if now == nil {
		now = time.Now
	}
	return &MemoryLocks{now: now, byToken: map[string]*Lock{}, byRoot: map[string]map[string]*Lock{},
		held: map[*[]Scope]struct{}{}, changed: make(chan struct{})}
}

// newToken is a lock token: a URN of a random UUID (section 6.5, RFC 9562).
func newToken() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Create implements LockSystem.
func (m *MemoryLocks) Create(ctx context.Context, r LockRequest) (Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		m.expireLocked()
		if roots := m.conflictsLocked(r); len(roots) > 0 {
			return Lock{}, &LockedError{Roots: roots}
		}
		if !m.busyLocked(r) {
			break
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		m.mu.Lock()
		if ctx.Err() != nil {
			return Lock{}, &vfs.Error{Op: "lock", Path: r.Root, Kind: vfs.Interrupted, Err: ctx.Err()}
		}
	}
	if len(m.byToken) >= MaxMemoryLocks {
		return Lock{}, &vfs.Error{Op: "lock", Path: r.Root, Kind: vfs.NoLock}
	}
	l := &Lock{Token: newToken(), Root: r.Root, Shared: r.Shared, Infinite: r.Infinite, Owner: r.Owner,
		Principal: r.Principal, Timeout: r.Timeout, Expires: m.now().Add(r.Timeout)}
	m.byToken[l.Token] = l
	m.noteExpiryLocked(l)
	if m.byRoot[l.Root] == nil {
		m.byRoot[l.Root] = map[string]*Lock{}
	}
	m.byRoot[l.Root][l.Token] = l
	return *l, nil
}

// conflictsLocked returns the roots of locks that keep r from being granted.
func (m *MemoryLocks) conflictsLocked(r LockRequest) []string {
	var roots []string
	add := func(l *Lock) {
		if (!l.Shared || !r.Shared) && !slices.Contains(roots, l.Root) {
			roots = append(roots, l.Root)
		}
	}
	for _, l := range m.coveringLocked(r.Root) {
		add(l)
	}
	if r.Infinite {
		for _, l := range m.belowLocked(r.Root) {
			add(l)
		}
	}
	slices.Sort(roots)
	return roots
}

// busyLocked reports whether a change that goes on is one of what r would lock.
func (m *MemoryLocks) busyLocked(r LockRequest) bool {
	for scopes := range m.held {
		for _, s := range *scopes {
			switch {
			case s.Path == r.Root, s.Names && parentOf(s.Path) == r.Root && s.Path != "",
				r.Infinite && under(s.Path, r.Root), s.Tree && under(r.Root, s.Path):
				return true
			}
		}
	}
	return false
}

// Refresh implements LockSystem.
func (m *MemoryLocks) Refresh(_ context.Context, token, principal string, timeout time.Duration) (Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.ownLocked(token, principal)
	if err != nil {
		return Lock{}, err
	}
	l.Timeout, l.Expires = timeout, m.now().Add(timeout)
	m.noteExpiryLocked(l)
	return *l, nil
}

// Unlock implements LockSystem.
func (m *MemoryLocks) Unlock(_ context.Context, token, principal string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := m.ownLocked(token, principal)
	if err == nil {
		m.dropLocked(l)
	}
	return err
}

func (m *MemoryLocks) ownLocked(token, principal string) (*Lock, error) {
	m.expireLocked()
	l := m.byToken[token]
	switch {
	case l == nil:
		return nil, webdav.ErrNoSuchLock
	case l.Principal != principal:
		return nil, webdav.ErrForbidden
	}
	return l, nil
}

// Covering implements LockSystem.
func (m *MemoryLocks) Covering(_ context.Context, path string) ([]Lock, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked()
	var all []Lock
	for _, l := range m.coveringLocked(path) {
		all = append(all, *l)
	}
	return all, nil
}

// coveringLocked returns the locks on path, and then those from above.
func (m *MemoryLocks) coveringLocked(path string) []*Lock {
	all := m.atLocked(path)
	for path != "" {
		path = parentOf(path)
		for _, l := range m.atLocked(path) {
			if l.Infinite {
				all = append(all, l)
			}
		}
	}
	return all
}

func (m *MemoryLocks) atLocked(path string) []*Lock {
	at := m.byRoot[path]
	if len(at) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Values(at), func(a, b *Lock) int { return a.Expires.Compare(b.Expires) })
}

// belowLocked returns the locks strictly below path.
func (m *MemoryLocks) belowLocked(path string) []*Lock {
	var all []*Lock
	for root := range m.byRoot {
		if root != path && under(root, path) {
			all = append(all, m.atLocked(root)...)
		}
	}
	return all
}

// Confirm implements LockSystem.
func (m *MemoryLocks) Confirm(_ context.Context, t Tokens, scopes ...Scope) (func(gone ...string), error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked()
	var roots []string
	for _, s := range scopes {
		groups := [][]*Lock{m.coveringLocked(s.Path)}
		if s.Names && s.Path != "" {
			groups = append(groups, m.coveringLocked(parentOf(s.Path)))
		}
		if s.Tree {
			byRoot := map[string][]*Lock{}
			for _, l := range m.belowLocked(s.Path) {
				byRoot[l.Root] = append(byRoot[l.Root], l)
			}
			groups = slices.AppendSeq(groups, maps.Values(byRoot))
		}
		for _, locks := range groups {
			if !t.oneOf(locks) && !slices.Contains(roots, locks[0].Root) {
				roots = append(roots, locks[0].Root)
			}
		}
	}
	if len(roots) > 0 {
		slices.Sort(roots)
		return nil, &LockedError{Roots: roots}
	}
	held := &scopes
	m.held[held] = struct{}{}
	return func(gone ...string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.held, held)
		for _, path := range gone {
			for _, l := range append(m.atLocked(path), m.belowLocked(path)...) {
				m.dropLocked(l)
			}
		}
		close(m.changed)
		m.changed = make(chan struct{})
	}, nil
}

// oneOf reports whether t has one of the locks, or there are none.
func (t Tokens) oneOf(locks []*Lock) bool {
	for _, l := range locks {
		if l.Principal == t.Principal && slices.Contains(t.Tokens, l.Token) {
			return true
		}
	}
	return len(locks) == 0
}

func (m *MemoryLocks) dropLocked(l *Lock) {
	delete(m.byToken, l.Token)
	delete(m.byRoot[l.Root], l.Token)
	if len(m.byRoot[l.Root]) == 0 {
		delete(m.byRoot, l.Root)
	}
}

// maxUnchecked bounds how long it is believed that no lock expires.
const maxUnchecked = time.Hour

// noteExpiryLocked notes when a lock will expire.
func (m *MemoryLocks) noteExpiryLocked(l *Lock) {
	if l.Expires.Before(m.soonest) {
		m.soonest = l.Expires
	}
}

// expireLocked drops locks that were not refreshed in time.
func (m *MemoryLocks) expireLocked() {
	now := m.now()
	if now.Before(m.soonest) {
		return
	}
	m.soonest = now.Add(maxUnchecked)
	for _, l := range m.byToken {
		if !now.Before(l.Expires) {
			m.dropLocked(l)
		} else if l.Expires.Before(m.soonest) {
			m.soonest = l.Expires
		}
	}
}
