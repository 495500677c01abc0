package vfs

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/causewayfs/causeway/locks"
)

// fakeLocks is what the gateways of a test agree through: locks of paths and
// ranges, without a queue. Package participant is the real thing.
type fakeLocks struct {
	mu      sync.Mutex
	held    []fakeHeld
	last    map[string]string // path and space: the gateway that was granted it last
	fence   uint64
	changed chan struct{}
	// releasing is called for a gateway before another one is granted what it had.
	releasing map[string]func(context.Context) error
}

type fakeHeld struct {
	locks.Held
	lost chan struct{}
	gone bool
}

func newFakeLocks() *fakeLocks {
	return &fakeLocks{last: map[string]string{}, releasing: map[string]func(context.Context) error{}, changed: make(chan struct{})}
}

// gateway is one gateway's view; acquired is called as participant calls it.
type fakeGateway struct {
	*fakeLocks
	name     string
	acquired func(context.Context) error
}

var _ locks.Service = (*fakeGateway)(nil)

func (l *fakeLocks) wakeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func fakeMeets(h locks.Held, c locks.Claim) bool {
	if h.Space != c.Space || h.End < c.Start || c.End < h.Start {
		return false
	}
	return h.Path == c.Path || h.Tree && below(h.Path)(c.Path) || c.Tree && below(c.Path)(h.Path)
}

// inWayLocked returns who is in the way of c.
func (g *fakeGateway) inWayLocked(owner locks.Owner, c locks.Claim) *locks.Held {
	for _, h := range g.held {
		mine := h.Holder.Owner == owner && h.Holder.Gateway == g.name
		if !mine && fakeMeets(h.Held, c) && (h.Mode == locks.Exclusive || c.Mode == locks.Exclusive) {
			return &h.Held
		}
	}
	return nil
}

func (g *fakeGateway) Lock(ctx context.Context, r locks.Request) (locks.Grant, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fail := func(k locks.Kind, holders ...locks.Held) (locks.Grant, error) {
		e := &locks.Error{Op: "lock", Path: r.Path, Kind: k}
		for _, h := range holders {
			e.Holders = append(e.Holders, h.Holder)
		}
		return locks.Grant{}, e
	}
	for {
		h := g.inWayLocked(r.Owner, r.Claim)
		if h == nil {
			break
		}
		if !r.Wait {
			return fail(locks.WouldBlock, *h)
		}
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-changed:
			g.mu.Lock()
		case <-ctx.Done():
			g.mu.Lock()
			return fail(locks.Canceled)
		}
	}
	g.removeLocked(r.Owner, r.Claim)
	g.fence++
	h := fakeHeld{Held: locks.Held{Claim: r.Claim, Fence: g.fence, Holder: r.Holder}, lost: make(chan struct{})}
	h.Holder.Owner, h.Holder.Gateway = r.Owner, g.name
	g.held = append(g.held, h)
	if last := g.last[r.Path]; last != "" && last != g.name {
		g.mu.Unlock()
		err := errors.Join(g.releasing[last](ctx), g.acquired(ctx))
		g.mu.Lock()
		if err != nil {
			return fail(locks.NoLock)
		}
	}
	g.last[r.Path] = g.name
	return locks.Grant{Claim: r.Claim, Owner: r.Owner, Fence: g.fence, Lost: h.lost}, nil
}

func (g *fakeGateway) removeLocked(owner locks.Owner, c locks.Claim) (lost bool) {
	g.held = slices.DeleteFunc(g.held, func(h fakeHeld) bool {
		gone := h.Holder.Owner == owner && h.Holder.Gateway == g.name && h.Path == c.Path && h.Space == c.Space && c.Start <= h.Start && h.End <= c.End
		lost = lost || gone && h.gone
		return gone
	})
	g.wakeLocked()
	return lost
}

func (g *fakeGateway) Unlock(owner locks.Owner, c locks.Claim) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.removeLocked(owner, c) {
		return &locks.Error{Op: "unlock", Path: c.Path, Kind: locks.Lost}
	}
	return nil
}

func (g *fakeGateway) UnlockAll(owner locks.Owner) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = slices.DeleteFunc(g.held, func(h fakeHeld) bool { return h.Holder.Owner == owner && h.Holder.Gateway == g.name })
	g.wakeLocked()
}

func (g *fakeGateway) Test(_ context.Context, owner locks.Owner, c locks.Claim) (*locks.Held, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inWayLocked(owner, c), nil
}

// lose takes all locks of a path from its holders.
func (l *fakeLocks) lose(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, h := range l.held {
		if h.Path == path && !h.gone {
			l.held[i].gone = true
			close(h.lost)
		}
	}
}

func (g *fakeGateway) Check(path string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.held {
		if h.gone && h.Path == path && h.Holder.Gateway == g.name {
			return &locks.Error{Op: "check", Path: path, Kind: locks.Lost}
		}
	}
	return nil
}

func (g *fakeGateway) Guard(path string) <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.held {
		if h.Path == path && h.Holder.Gateway == g.name {
			return h.lost
		}
	}
	return nil
}

func (g *fakeGateway) Report(_ context.Context, all bool) (locks.Report, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var r locks.Report
	for _, h := range g.held {
		if all || h.Holder.Gateway == g.name {
			r.Held = append(r.Held, h.Held)
		}
	}
	return r, nil
}

func (g *fakeGateway) Break(_ context.Context, path string, space locks.Space, fence uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.held)
	g.held = slices.DeleteFunc(g.held, func(h fakeHeld) bool { return h.Path == path && h.Space == space && h.Fence == fence })
	if len(g.held) == before {
		return &locks.Error{Op: "break", Path: path, Kind: locks.NotHeld}
	}
	g.wakeLocked()
	return nil
}

func (g *fakeGateway) Sole() bool                  { return false }
func (g *fakeGateway) Enter(context.Context) error { return nil }
func (g *fakeGateway) Close(context.Context) error { return nil }
