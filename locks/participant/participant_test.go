package participant

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/memlock"
)

// fleet is some gateways on one coordinator.
type fleet struct {
	t     *testing.T
	space *memlock.Space
	all   []*gateway
}

type gateway struct {
	*Participant
	coord *memlock.Coordinator

	mu       sync.Mutex
	acquired int
	released int
	counted  int // requests
}

// run runs a test in a time of its own, with n gateways.
func run(t *testing.T, n int, opts memlock.Options, test func(t *testing.T, f *fleet)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := &fleet{t: t, space: memlock.NewSpace(opts)}
		for range n {
			f.add(Options{Shared: true})
		}
		defer f.close()
		test(t, f)
	})
}

func (f *fleet) close() {
	for _, g := range f.all {
		g.coord.SetAway(false)
		if err := g.Close(context.Background()); err != nil {
			f.t.Errorf("close: %v", err)
		}
	}
}

func (f *fleet) add(opts Options) *gateway {
	return f.addWith(opts, func(c *memlock.Coordinator) locks.Coordinator { return c })
}

func (f *fleet) addWith(opts Options, wrap func(*memlock.Coordinator) locks.Coordinator) *gateway {
	g := &gateway{coord: f.space.Open()}
	opts.Coordinator = wrap(g.coord)
	opts.Info = locks.GatewayInfo{Host: fmt.Sprint("host", len(f.all)), PID: 100 + len(f.all)}
	opts.Acquired = func(context.Context) error { g.mu.Lock(); g.acquired++; g.mu.Unlock(); return nil }
	opts.Releasing = func(context.Context) error { g.mu.Lock(); g.released++; g.mu.Unlock(); return nil }
	g.Participant = Open(opts)
	f.all = append(f.all, g)
	return g
}

// requests returns how many requests there were since the last call, without
// those that keep the session.
func (g *gateway) requests() int {
	n := 0
	for op, count := range g.coord.Requests() {
		if op != memlock.OpRenew && op != memlock.OpLook && op != memlock.OpJoin {
			n += count
		}
	}
	n, g.counted = n-g.counted, n
	return n
}

func whole(path string, mode locks.Mode) locks.Claim {
	return locks.Claim{Path: path, Mode: mode, End: locks.MaxOffset}
}

func tree(path string, mode locks.Mode) locks.Claim {
	c := whole(path, mode)
	c.Tree = true
	return c
}

func bytes(path string, mode locks.Mode, from, to uint64) locks.Claim {
	return locks.Claim{Path: path, Mode: mode, Space: locks.Record, Start: from, End: to}
}

func (g *gateway) lock(t *testing.T, owner locks.Owner, c locks.Claim) locks.Grant {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	grant, err := g.Lock(ctx, locks.Request{Claim: c, Owner: owner, Wait: true})
	if err != nil {
		t.Fatalf("%s: %v", owner, err)
	}
	return grant
}

func (g *gateway) try(owner locks.Owner, c locks.Claim) error {
	_, err := g.Lock(context.Background(), locks.Request{Claim: c, Owner: owner})
	return err
}

func (g *gateway) unlock(t *testing.T, owner locks.Owner, c locks.Claim) {
	t.Helper()
	if err := g.Unlock(owner, c); err != nil {
		t.Fatalf("unlock by %s: %v", owner, err)
	}
}

// ask locks in the background; the result is in the channel.
func (g *gateway) ask(owner locks.Owner, c locks.Claim) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := g.Lock(context.Background(), locks.Request{Claim: c, Owner: owner, Wait: true})
		done <- err
	}()
	return done
}

func waits(t *testing.T, done <-chan error) {
	t.Helper()
	synctest.Wait()
	select {
	case err := <-done:
		t.Fatalf("did not wait: %v", err)
	default:
	}
}

func ends(t *testing.T, done <-chan error, within time.Duration, kind locks.Kind) {
	t.Helper()
	select {
	case err := <-done:
		if err == nil && kind == none || err != nil && locks.KindOf(err) == kind {
			return
		}
		t.Fatalf("ended with %v, want %v", err, kind)
	case <-time.After(max(within, time.Millisecond)):
		t.Fatalf("did not end within %v", within)
	}
}

const none = locks.Kind(255)

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestOneGatewayCostsNothing(t *testing.T) {
	run(t, 1, memlock.Options{}, func(t *testing.T, f *fleet) {
		g := f.all[0]
		x := whole("a/b/f", locks.Exclusive)
		first := g.lock(t, "o1", x)
		want(t, "requests of the first lock", g.requests(), 10) // the bucket, root, a, a/b, f: read and written
		g.unlock(t, "o1", x)
		last := first.Fence
		for i := range 100 {
			owner := locks.Owner(fmt.Sprint("o", i))
			next := g.lock(t, owner, x)
			if next.Fence <= last {
				t.Fatalf("fence %d after %d", next.Fence, last)
			}
			last = next.Fence
			waiting := g.ask("next", x)
			waits(t, waiting)
			g.unlock(t, owner, x)
			begun := time.Now()
			ends(t, waiting, time.Millisecond, none)
			want(t, "time of a local hand-off", time.Since(begun), time.Duration(0))
			g.unlock(t, "next", x)
		}
		time.Sleep(time.Minute)
		want(t, "requests of 200 more", g.requests(), 0)
		g.lock(t, "o1", whole("a/b/g", locks.Shared))
		want(t, "requests of another in the directory", g.requests(), 2)
		want(t, "calls of Acquired", g.acquired, 3) // as the gateway goes to work, too
	})
}

func TestHandOver(t *testing.T) {
	for _, push := range []bool{false, true} {
		run(t, 2, memlock.Options{Push: push}, func(t *testing.T, f *fleet) {
			a, b := f.all[0], f.all[1]
			a.coord.SetDelay(5 * time.Millisecond)
			b.coord.SetDelay(5 * time.Millisecond)
			x := whole("d/f", locks.Exclusive)
			fa := a.lock(t, "a", x)
			got := b.ask("b", x)
			waits(t, got)
			time.Sleep(10 * time.Second)
			waits(t, got)
			a.unlock(t, "a", x)
			begun := time.Now()
			ends(t, got, 150*time.Millisecond, none)
			t.Logf("push %v: hand-over in %v", push, time.Since(begun))
			want(t, "calls of Releasing", a.released, 1)
			// Kept by nobody: the first one wants it back.
			fb := b.lock(t, "b", x)
			if fb.Fence <= fa.Fence {
				t.Errorf("fence %d after %d", fb.Fence, fa.Fence)
			}
			b.unlock(t, "b", x)
			time.Sleep(time.Second)
			b.requests()
			b.lock(t, "b2", x)
			b.unlock(t, "b2", x)
			time.Sleep(time.Minute)
			b.requests()
			b.lock(t, "b3", x)
			b.unlock(t, "b3", x)
			b.lock(t, "b4", x)
			b.unlock(t, "b4", x)
			time.Sleep(time.Minute)
			// Cached again: taken and given back without a request from now on.
			if n := b.requests(); n > 2 {
				t.Errorf("%d requests", n)
			}
			b.lock(t, "b5", x)
			b.unlock(t, "b5", x)
			want(t, "requests when cached", b.requests(), 0)
			again := a.ask("a", x)
			ends(t, again, 6*time.Second, none)
		})
	}
}

// TestOrder lets 32 waiters on two gateways queue 100 ms apart.
func TestOrder(t *testing.T) {
	for _, first := range []int{0, 1} {
		for _, push := range []bool{false, true} {
			run(t, 2, memlock.Options{Push: push}, func(t *testing.T, f *fleet) {
				x := whole("d/f", locks.Exclusive)
				for _, g := range f.all {
					g.coord.SetDelay(15 * time.Millisecond)
				}
				f.all[first].lock(t, "holder", x)
				served := make(chan int, 32)
				for i := range 32 {
					time.Sleep(100 * time.Millisecond)
					g := f.all[i%2]
					if i%5 == 4 {
						g = f.all[(i+1)%2]
					}
					go func() {
						owner := locks.Owner(fmt.Sprint("w", i))
						g.lock(t, owner, x)
						served <- i
						time.Sleep(5 * time.Millisecond)
						g.unlock(t, owner, x)
					}()
				}
				time.Sleep(time.Second)
				f.all[first].unlock(t, "holder", x)
				for i := range 32 {
					want(t, "served", <-served, i)
				}
				time.Sleep(time.Second)
			})
		}
	}
}

func TestCancel(t *testing.T) {
	run(t, 2, memlock.Options{}, func(t *testing.T, f *fleet) {
		a, b := f.all[0], f.all[1]
		x := whole("f", locks.Exclusive)
		a.lock(t, "a", x)
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := b.Lock(ctx, locks.Request{Claim: x, Owner: "b", Wait: true})
		if locks.KindOf(err) != locks.Canceled || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		waiting := b.ask("b2", x)
		time.Sleep(time.Second)
		b.UnlockAll("b2")
		ends(t, waiting, 0, locks.Canceled)
		a.unlock(t, "a", x)
		time.Sleep(2 * time.Second)
		a.lock(t, "a", x)
	})
}

func TestTryAndTest(t *testing.T) {
	run(t, 2, memlock.Options{}, func(t *testing.T, f *fleet) {
		a, b := f.all[0], f.all[1]
		x := whole("f", locks.Exclusive)
		a.lock(t, "a", x)
		err := b.try("b", x)
		var e *locks.Error
		if !errors.As(err, &e) || e.Kind != locks.WouldBlock || len(e.Holders) != 1 || e.Holders[0].Owner != "a" || e.Holders[0].Host != "host0" {
			t.Fatalf("got %+v", err)
		}
		h, err := b.Test(t.Context(), "b", x)
		if err != nil || h == nil || h.Holder.Owner != "a" {
			t.Fatalf("test: %+v, %v", h, err)
		}
		a.unlock(t, "a", x)
		time.Sleep(20 * time.Second)
		// Cached at neither; then cached at the first, and free nevertheless.
		a.lock(t, "a", x)
		time.Sleep(20 * time.Second)
		a.unlock(t, "a", x)
		time.Sleep(20 * time.Second)
		a.lock(t, "a", x)
		a.unlock(t, "a", x)
		if h, err := b.Test(t.Context(), "b", x); h != nil || err != nil {
			t.Fatalf("test: %+v, %v", h, err)
		}
		time.Sleep(6 * time.Second)
		a.lock(t, "a", x)
		a.unlock(t, "a", x)
		if err := b.try("b", x); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTrees(t *testing.T) {
	run(t, 2, memlock.Options{Push: true}, func(t *testing.T, f *fleet) {
		a, b := f.all[0], f.all[1]
		a.lock(t, "a", tree("d", locks.Exclusive))
		inside := b.ask("b", whole("d/e/f", locks.Exclusive))
		waits(t, inside)
		b.lock(t, "b", whole("e/f", locks.Exclusive))
		a.lock(t, "a", whole("d/e/f", locks.Exclusive)) // re-entry
		a.unlock(t, "a", whole("d/e/f", locks.Exclusive))
		a.lock(t, "a", whole("d/e/f", locks.Exclusive))
		a.unlock(t, "a", tree("d", locks.Exclusive))
		time.Sleep(time.Second)
		waits(t, inside)
		b.lock(t, "b", whole("d/e/g", locks.Exclusive))
		a.unlock(t, "a", whole("d/e/f", locks.Exclusive))
		ends(t, inside, time.Second, none)
		again := a.ask("a", tree("d/e", locks.Shared))
		waits(t, again)
		b.UnlockAll("b")
		ends(t, again, time.Second, none)
	})
}

func TestRanges(t *testing.T) {
	run(t, 2, memlock.Options{Push: true}, func(t *testing.T, f *fleet) {
		a, b := f.all[0], f.all[1]
		a.lock(t, "a", bytes("f", locks.Exclusive, 0, 9))
		a.lock(t, "a", bytes("f", locks.Exclusive, 100, 109))
		a.requests()
		a.lock(t, "a2", bytes("f", locks.Exclusive, 50, 59))
		want(t, "requests for more of it", a.requests(), 0)
		b.lock(t, "b", bytes("f", locks.Exclusive, 10, 19)) // although the other gateway has all
		b.lock(t, "b", bytes("f", locks.Exclusive, 110, 200))
		blocked := b.ask("b", bytes("f", locks.Shared, 55, 70))
		waits(t, blocked)
		if err := a.try("a", bytes("f", locks.Shared, 15, 15)); locks.KindOf(err) != locks.WouldBlock {
			t.Fatalf("got %v", err)
		}
		a.unlock(t, "a2", bytes("f", locks.Exclusive, 55, 59))
		ends(t, blocked, time.Second, none)
		if err := b.try("b", bytes("f", locks.Shared, 54, 54)); locks.KindOf(err) != locks.WouldBlock {
			t.Fatalf("got %v", err)
		}
		a.lock(t, "a", whole("f", locks.Exclusive)) // the spaces do not meet
		b.unlock(t, "b", bytes("f", locks.Shared, 0, locks.MaxOffset))
		a.unlock(t, "a2", bytes("f", locks.Shared, 0, locks.MaxOffset))
		a.lock(t, "a", bytes("f", locks.Exclusive, 0, locks.MaxOffset-60))
	})
}

func TestUpgradeOverGateways(t *testing.T) {
	run(t, 2, memlock.Options{Push: true}, func(t *testing.T, f *fleet) {
		a, b := f.all[0], f.all[1]
		s, x := whole("f", locks.Shared), whole("f", locks.Exclusive)
		a.lock(t, "a", s)
		b.lock(t, "b", s)
		up := a.ask("a", x) // gives way
		waits(t, up)
		time.Sleep(time.Second)
		b.lock(t, "b", x) // and is passed, since it waits for this one
		waits(t, up)
		b.unlock(t, "b", x)
		ends(t, up, time.Second, none)
		b.ask("b", s)
		time.Sleep(time.Second)
		a.lock(t, "a", s)
		time.Sleep(time.Second)
		b.unlock(t, "b", s)
		a.lock(t, "a", x)
	})
}

func TestDeadlockOverGateways(t *testing.T) {
	for _, push := range []bool{false, true} {
		run(t, 2, memlock.Options{Push: push}, func(t *testing.T, f *fleet) {
			a, b := f.all[0], f.all[1]
			for _, g := range f.all {
				g.coord.SetDelay(15 * time.Millisecond)
			}
			p, q := whole("p", locks.Exclusive), whole("q", locks.Exclusive)
			a.lock(t, "a", p)
			b.lock(t, "b", q)
			one := a.ask("a", q)
			time.Sleep(200 * time.Millisecond)
			begun := time.Now()
			two := b.ask("b", p)
			var e *locks.Error
			select {
			case err := <-two:
				if !errors.As(err, &e) || e.Kind != locks.Deadlock || len(e.Cycle) != 2 || e.Cycle[0].Waiter.Owner != "b" || e.Cycle[1].Waiter.Owner != "a" || e.Cycle[1].Path != "q" {
					t.Fatalf("got %+v", err)
				}
			case err := <-one:
				t.Fatalf("the older one ended: %v", err)
			case <-time.After(time.Second):
				t.Fatal("not found")
			}
			t.Logf("push %v: %v after %v", push, e, time.Since(begun))
			time.Sleep(time.Second)
			waits(t, one)
			b.unlock(t, "b", q)
			ends(t, one, time.Second, none)
		})
	}
}

func TestCrash(t *testing.T) {
	run(t, 3, memlock.Options{TTL: 15 * time.Second}, func(t *testing.T, f *fleet) {
		a, b, c := f.all[0], f.all[1], f.all[2]
		x := whole("f", locks.Exclusive)
		grant := a.lock(t, "a", x)
		guard := a.Guard("f")
		second, third := b.ask("b", x), c.ask("c", x)
		time.Sleep(3 * time.Second)
		a.coord.SetAway(true)
		b.coord.SetAway(true)
		time.Sleep(7 * time.Second)
		want(t, "check while the session may be alive", a.Check("f"), nil)
		ends(t, third, 20*time.Second, none)
		ends(t, second, 0, locks.NoLock)
		select {
		case <-grant.Lost:
		default:
			t.Error("not lost")
		}
		<-guard
		want(t, "check", locks.KindOf(a.Check("f")), locks.Lost)
		want(t, "lock of a lost one", locks.KindOf(a.try("a", x)), locks.NoLock)
		want(t, "unlock", locks.KindOf(a.Unlock("a", x)), locks.Lost)
		want(t, "check after unlock", a.Check("f"), nil)
		a.coord.SetAway(false)
		b.coord.SetAway(false)
		again := a.ask("a", x)
		waits(t, again)
		c.unlock(t, "c", x)
		ends(t, again, 20*time.Second, none) // the dead one was next
	})
}

func TestOutOfReach(t *testing.T) {
	run(t, 1, memlock.Options{}, func(t *testing.T, f *fleet) {
		g := f.all[0]
		g.coord.SetAway(true)
		begun := time.Now()
		want(t, "lock", locks.KindOf(g.try("a", whole("f", locks.Exclusive))), locks.NoLock)
		g.coord.SetAway(false)
		g.lock(t, "a", whole("f", locks.Exclusive))
		g.coord.SetAway(true)
		want(t, "another lock", locks.KindOf(g.try("a", whole("g", locks.Exclusive))), locks.NoLock)
		if d := time.Since(begun); d > 5*time.Second {
			t.Errorf("took %v", d)
		}
		want(t, "held", g.Check("f"), nil)
		g.coord.SetAway(false)
		g.lock(t, "a", whole("g", locks.Exclusive))
	})
}

func TestBreak(t *testing.T) {
	run(t, 3, memlock.Options{}, func(t *testing.T, f *fleet) {
		a, b, c := f.all[0], f.all[1], f.all[2]
		x := whole("d/f", locks.Exclusive)
		grant := a.lock(t, "a", x)
		next := b.ask("b", x)
		time.Sleep(2 * time.Second)
		r, err := c.Report(t.Context(), true)
		if err != nil || len(r.Held) != 1 || r.Held[0].Fence != grant.Fence || r.Held[0].Holder.Host != "host0" || len(r.Waiting) != 1 || r.Waiting[0].Holder.Owner != "b" {
			t.Fatalf("report %+v, %v", r, err)
		}
		for _, other := range []uint64{5000, 1000, 1} {
			want(t, "break with another fence", locks.KindOf(c.Break(t.Context(), "d/f", locks.Whole, grant.Fence+other)), locks.NotHeld)
		}
		want(t, "check after that", a.Check("d/f"), nil)
		if err := c.Break(t.Context(), "d/f", locks.Whole, grant.Fence); err != nil {
			t.Fatal(err)
		}
		<-grant.Lost
		want(t, "check", locks.KindOf(a.Check("d/f")), locks.Lost)
		ends(t, next, time.Second, none)
		want(t, "break again", locks.KindOf(c.Break(t.Context(), "d/f", locks.Whole, grant.Fence)), locks.NotHeld)
		want(t, "the successor", b.Check("d/f"), nil)
		want(t, "unlock", locks.KindOf(a.Unlock("a", x)), locks.Lost)
	})
}

func TestPlaces(t *testing.T) {
	run(t, 2, memlock.Options{Push: true}, func(t *testing.T, f *fleet) {
		a, b := f.all[0], f.all[1]
		x := whole("f", locks.Exclusive)
		a.lock(t, "a", x)
		b.ask("b", x)
		time.Sleep(time.Second)
		var mu sync.Mutex
		places := []string{}
		done := make(chan error, 1)
		go func() {
			_, err := a.Lock(context.Background(), locks.Request{Claim: x, Owner: "a2", Wait: true, Notify: func(p locks.Position) {
				mu.Lock()
				defer mu.Unlock()
				text := fmt.Sprint(p.Place)
				for _, h := range p.Holders {
					text += " " + string(h.Owner)
				}
				places = append(places, text)
			}})
			done <- err
		}()
		time.Sleep(time.Second)
		a.unlock(t, "a", x)
		time.Sleep(time.Second)
		b.unlock(t, "b", x)
		ends(t, done, time.Second, none)
		mu.Lock()
		defer mu.Unlock()
		if len(places) < 2 || places[len(places)-1] != "1 b" {
			t.Errorf("places %q", places)
		}
	})
}

// TestTryInTurn lets gateways that do not wait take a lock in turn: it is free
// as soon as Unlock has returned, though another gateway keeps it.
func TestTryInTurn(t *testing.T) {
	for _, c := range []locks.Claim{whole("f", locks.Exclusive), bytes("f", locks.Exclusive, 3, 5)} {
		for _, push := range []bool{false, true} {
			run(t, 2, memlock.Options{Push: push}, func(t *testing.T, f *fleet) {
				for _, g := range f.all {
					g.coord.SetDelay(15 * time.Millisecond)
				}
				slow := 0
				for i := range 20 {
					g := f.all[i%2]
					begun := time.Now()
					if err := g.try("o", c); err != nil {
						t.Fatalf("%d: %v", i, err)
					}
					if time.Since(begun) > 200*time.Millisecond {
						slow++
					}
					g.unlock(t, "o", c)
				}
				if slow > 1 { // until the first one notices that it is not alone
					t.Errorf("%d of 20 were slow", slow)
				}
			})
		}
	}
}
