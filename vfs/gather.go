package vfs

import (
	"context"
	"math/rand/v2"
	"time"
)

// Commits of one file follow each other, so appenders get as far as each one
// takes many of them along. Those that were told of one commit are back in a
// moment with their next record, while others have begun to wait for the next
// commit: if that began at once, the two groups would take turns. So a commit
// waits for those that are expected, as long as they keep coming, and never
// for longer than a part of what it takes itself. Who appends alone expects
// nobody.
const (
	gatherQuiet = 8  // the wait ends when nobody has come for this part of a round trip
	gatherLimit = 2  // and after this part of one
	contended   = 20 // round trips for which a file counts as appended to elsewhere
)

// gather waits before a commit of f: for appenders that are expected, and for
// another gateway that lost against this one, so that it wins in turn.
func (fs *FS) gather(ctx context.Context, f *file, g *flights) {
	f.node.mu.Lock()
	state := f.appending
	if state == nil || state.trip == 0 || !f.onlyAppendsLocked() {
		f.node.mu.Unlock()
		return
	}
	now := fs.now()
	trip, since := state.trip, now.Sub(state.sent)
	yield := now.Sub(state.lostAt) < contended*trip
	f.node.mu.Unlock()
	if yield {
		// The other one has to ask for the version before it can go behind it.
		sleep(ctx, trip+rand.N(trip)-since) //nolint:gosec // jitter
	}
	if since < trip {
		g.gather(ctx, trip)
	}
}

// gatherChecks waits before the version of f is checked for an open: appenders
// that were told of the same commit open the file at the same time.
func (fs *FS) gatherChecks(ctx context.Context, f *file, g *flights) {
	f.node.mu.Lock()
	var trip, since time.Duration
	if f.appending != nil {
		trip, since = f.appending.trip, fs.now().Sub(f.appending.sent)
	}
	f.node.mu.Unlock()
	if since < trip {
		g.gather(ctx, trip)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// gather waits until as many have joined the next run as had to do with the
// last one.
func (g *flights) gather(ctx context.Context, trip time.Duration) {
	g.mu.Lock()
	if g.joined == nil {
		g.joined = make(chan struct{}, 1)
	}
	want := g.left
	g.mu.Unlock()
	limit := time.NewTimer(trip / gatherLimit)
	defer limit.Stop()
	quiet := time.NewTimer(trip / gatherQuiet)
	defer quiet.Stop()
	for {
		g.mu.Lock()
		enough := g.next == nil || g.next.callers >= want
		g.mu.Unlock()
		if enough {
			return
		}
		select {
		case <-g.joined:
			quiet.Reset(trip / gatherQuiet)
		case <-quiet.C:
			return
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
