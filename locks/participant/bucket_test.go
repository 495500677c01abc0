package participant

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/memlock"
)

func (f *fleet) alone() *gateway { return f.add(Options{}) }

func enter(t *testing.T, g *gateway, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := g.Enter(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestSoleCostsNothing(t *testing.T) {
	run(t, 0, memlock.Options{}, func(t *testing.T, f *fleet) {
		a := f.alone()
		enter(t, a, time.Second)
		time.Sleep(time.Millisecond)
		want(t, "sole", a.Sole(), true)
		want(t, "calls of Acquired", a.acquired, 1)
		want(t, "requests", a.requests(), 2)
		last := uint64(0)
		for range 10 {
			for _, path := range []string{"f", "d/e/f"} {
				grant := a.lock(t, "a", whole(path, locks.Exclusive))
				waiting := a.ask("b", whole(path, locks.Shared))
				waits(t, waiting)
				a.unlock(t, "a", whole(path, locks.Exclusive))
				ends(t, waiting, 0, none)
				a.UnlockAll("b")
				if grant.Fence <= last {
					t.Fatalf("fence %d after %d", grant.Fence, last)
				}
				last = grant.Fence
			}
			a.lock(t, "a", bytes("f", locks.Exclusive, 5, 9))
			enter(t, a, 0)
		}
		want(t, "requests", a.requests(), 0)
		a.UnlockAll("a")
		time.Sleep(2 * time.Minute)
		want(t, "sole after idling", a.Sole(), false)
		enter(t, a, 0) // still inside
		time.Sleep(time.Second)
		want(t, "sole at work again", a.Sole(), true)
	})
}

func TestHandOverOfTheBucket(t *testing.T) {
	for _, push := range []bool{false, true} {
		run(t, 0, memlock.Options{Push: push}, func(t *testing.T, f *fleet) {
			published := make(chan struct{})
			var a *gateway
			a = f.add(Options{Publish: func(ctx context.Context) error {
				if a.Sole() {
					t.Error("sole while publishing")
				}
				<-published
				return a.Enter(ctx)
			}})
			enter(t, a, time.Second)
			time.Sleep(time.Millisecond)
			x, y := whole("d/f", locks.Exclusive), whole("d/g", locks.Exclusive)
			fx := a.lock(t, "a", x)
			a.lock(t, "a", bytes("f", locks.Exclusive, 0, 9))
			a.lock(t, "a2", bytes("f", locks.Shared, 20, 29))
			fy := a.lock(t, "a", y)
			a.unlock(t, "a", y)
			second := a.ask("a2", x)
			waits(t, second)

			b := f.alone()
			inside := make(chan error, 1)
			go func() { inside <- b.Enter(context.Background()) }()
			time.Sleep(5 * time.Second)
			waits(t, inside)
			want(t, "sole once asked", a.Sole(), false)
			third := b.ask("b", x)
			waits(t, third)
			published <- struct{}{}
			close(published)
			ends(t, inside, 2*time.Second, none)
			want(t, "sole", []bool{a.Sole(), b.Sole()}, "[false false]")
			waits(t, third)
			time.Sleep(time.Second)
			if err := b.try("b2", bytes("f", locks.Shared, 5, 5)); locks.KindOf(err) != locks.WouldBlock {
				t.Errorf("range of the other: %v", err)
			}
			if err := b.try("b2", bytes("f", locks.Shared, 25, 35)); err != nil {
				t.Errorf("shared range: %v", err)
			}
			a.unlock(t, "a", x)
			ends(t, second, time.Second, none)
			waits(t, third)
			a.unlock(t, "a2", x)
			ends(t, third, 3*time.Second, none)
			if g := b.lock(t, "b", y); g.Fence <= fy.Fence {
				t.Errorf("fence %d after %d", g.Fence, fy.Fence)
			}
			if g := b.lock(t, "b", x); g.Fence <= fx.Fence {
				t.Errorf("fence %d after %d", g.Fence, fx.Fence)
			}
			want(t, "check", a.Check("f"), nil)
		})
	}
}

func TestSoleHolderDies(t *testing.T) {
	run(t, 0, memlock.Options{}, func(t *testing.T, f *fleet) {
		a := f.alone()
		enter(t, a, time.Second)
		time.Sleep(time.Millisecond)
		x := whole("f", locks.Exclusive)
		fa := a.lock(t, "a", x)
		time.Sleep(time.Second)
		a.coord.SetAway(true)
		b := f.alone()
		inside := make(chan error, 1)
		go func() { inside <- b.Enter(context.Background()) }()
		for range 100 {
			time.Sleep(200 * time.Millisecond)
			select {
			case err := <-inside:
				want(t, "enter", err, nil)
				want(t, "sole of the dead", a.Sole(), false)
				want(t, "check of the dead", locks.KindOf(a.Check("f")), locks.Lost)
				if g := b.lock(t, "b", x); g.Fence <= fa.Fence {
					t.Errorf("fence %d after %d", g.Fence, fa.Fence)
				}
				time.Sleep(10 * time.Second)
				b.Sole()
				b.lock(t, "b", x)
				time.Sleep(time.Second)
				want(t, "sole in its place", b.Sole(), true)
				return
			default:
			}
		}
		t.Fatal("did not get in")
	})
}

func TestSleeperIsNotSole(t *testing.T) {
	run(t, 0, memlock.Options{}, func(t *testing.T, f *fleet) {
		a := f.alone()
		enter(t, a, time.Second)
		time.Sleep(time.Millisecond)
		want(t, "sole", a.Sole(), true)
		a.coord.Jump(12 * time.Second)
		want(t, "sole after sleeping", a.Sole(), false)
		enter(t, a, time.Second)
		time.Sleep(time.Second)
		want(t, "sole again", a.Sole(), true)
	})
}

// TestPublishFails makes sure that nobody is let in before everything is there.
func TestPublishFails(t *testing.T) {
	run(t, 0, memlock.Options{Push: true}, func(t *testing.T, f *fleet) {
		fails := 3
		a := f.add(Options{Publish: func(context.Context) error {
			if fails > 0 {
				fails--
				return errors.New("no connection")
			}
			return nil
		}})
		enter(t, a, time.Second)
		b := f.alone()
		enter(t, b, 5*time.Second)
		want(t, "failures left", fails, 0)
		// Both in it: one leaves, and the other is alone again.
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		b.Sole()
		enter(t, b, 0)
		time.Sleep(time.Second)
		want(t, "sole when the other has left", b.Sole(), true)
	})
}
