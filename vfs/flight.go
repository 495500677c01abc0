package vfs

import (
	"context"
	"sync"
)

// flights lets concurrent callers share runs of one piece of work. A caller
// joins a run that starts after its call, never one that is already under
// way: what it wants done (a commit of what it wrote, a check that nothing
// changed before now) is not covered by that. So however many callers there
// are, each waits for at most two runs.
//
// before, if set, runs before each run, for as long as it likes; who calls
// meanwhile still joins that run.
type flights struct {
	before func(ctx context.Context, g *flights)

	mu      sync.Mutex
	running bool
	next    *flight
	last    int           // callers of the last run
	left    int           // of them and those who waited when it ended
	joined  chan struct{} // capacity 1: somebody joined
}

type flight struct {
	done    chan struct{}
	err     error
	callers int
}

// do waits until a run that began after the call has ended and returns its
// error, or ctx's if that ends first; the run goes on then. start runs a
// function on a goroutine that the owner awaits.
func (g *flights) do(ctx context.Context, start func(func(context.Context)), run func(context.Context) error) error {
	g.mu.Lock()
	f := g.next
	if f == nil {
		f = &flight{done: make(chan struct{})}
		g.next = f
	}
	f.callers++
	if g.joined != nil {
		select {
		case g.joined <- struct{}{}:
		default:
		}
	}
	if !g.running {
		g.running = true
		start(func(ctx context.Context) { g.loop(ctx, run) })
	}
	g.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *flights) loop(ctx context.Context, run func(context.Context) error) {
	for {
		g.mu.Lock()
		if g.next == nil {
			g.running = false
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		if g.before != nil {
			g.before(ctx, g)
		}
		g.mu.Lock()
		f := g.next
		g.next = nil
		g.last = f.callers
		g.mu.Unlock()
		f.err = run(ctx)
		g.mu.Lock()
		g.left = g.last
		if g.next != nil {
			g.left += g.next.callers
		}
		g.mu.Unlock()
		close(f.done)
	}
}
