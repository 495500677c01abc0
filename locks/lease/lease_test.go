package lease_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/locks/lease"
)

const ttl = 15 * time.Second

// backend counts calls and does as it is told.
type backend struct {
	mu            sync.Mutex
	renews, looks int
	err           error
	wanted        []string
	slow          time.Duration
}

func (b *backend) set(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *backend) call(ctx context.Context, n *int) ([]string, error) {
	b.mu.Lock()
	*n++
	slow, err, wanted := b.slow, b.err, b.wanted
	b.wanted = nil
	b.mu.Unlock()
	select {
	case <-time.After(slow):
		return wanted, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (b *backend) Renew(ctx context.Context) ([]string, error) { return b.call(ctx, &b.renews) }
func (b *backend) Look(ctx context.Context) ([]string, error)  { return b.call(ctx, &b.looks) }

// rig is a Keeper in a bubble, with a clock that can jump.
type rig struct {
	backend
	*lease.Keeper
	began time.Time
	mu    sync.Mutex
	jump  time.Duration
}

func (r *rig) clock() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.began) + r.jump
}

func (r *rig) counts() (renews, looks int) {
	synctest.Wait()
	r.backend.mu.Lock()
	defer r.backend.mu.Unlock()
	return r.renews, r.looks
}

func (r *rig) over() bool {
	select {
	case <-r.Done():
		return true
	default:
		return false
	}
}

func bubble(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{began: time.Now()}
		r.Keeper = lease.Keep(lease.Config{TTL: ttl, Clock: r.clock}, &r.backend)
		defer r.Stop()
		f(t, r)
	})
}

func TestIdle(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		time.Sleep(time.Hour)
		synctest.Wait()
		if !r.Valid() || r.over() {
			t.Error("the session is over")
		}
		if renews, looks := r.counts(); renews < 715 || renews > 720 || looks != 0 {
			t.Errorf("%d renewals and %d looks in an hour, want one in 5 s", renews, looks)
		}
	})
}

func TestBusy(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for range 60 * 20 {
			r.Busy()
			time.Sleep(50 * time.Millisecond)
		}
		renews, before := r.counts()
		if n := before + renews; n < 55 || n > 65 || renews < 11 {
			t.Errorf("%d looks and %d renewals in a minute, want one in a second", before, renews)
		}
		time.Sleep(time.Minute)
		if _, looks := r.counts(); looks > before+1 {
			t.Errorf("%d looks while idle", looks-before)
		}
	})
}

func TestUnreachable(t *testing.T) {
	for name, slow := range map[string]time.Duration{"refused": 0, "silent": time.Hour} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				time.Sleep(7 * time.Second) // renewed after 5 s
				r.set(func() { r.err, r.slow = errors.New("away"), slow })
				time.Sleep(9*time.Second + 200*time.Millisecond) // 5 s + 3/4 of 15 s = 16.25 s
				if !r.Valid() || r.over() {
					t.Fatal("over too early")
				}
				time.Sleep(100 * time.Millisecond)
				synctest.Wait()
				if r.Valid() || !r.over() {
					t.Errorf("valid %v, over %v after the certainty ran out", r.Valid(), r.over())
				}
				if renews, _ := r.counts(); renews < 3 {
					t.Errorf("only %d attempts", renews)
				}
			})
		})
	}
}

// TestBackInTime has a coordinator that is away for less than a lease.
func TestBackInTime(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		time.Sleep(4 * time.Second)
		r.set(func() { r.err = errors.New("away") })
		time.Sleep(6 * time.Second)
		r.set(func() { r.err = nil })
		time.Sleep(time.Hour)
		if !r.Valid() || r.over() {
			t.Error("over")
		}
	})
}

func TestEnded(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.set(func() { r.err = lease.ErrEnded })
		time.Sleep(5*time.Second + time.Millisecond)
		synctest.Wait()
		if r.Valid() || !r.over() {
			t.Error("not over at the next renewal")
		}
	})
}

// TestPause has a machine that sleeps longer than the certainty lasts, and a
// coordinator that renews the session all the same.
func TestPause(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		time.Sleep(time.Second)
		r.mu.Lock()
		r.jump = 12 * time.Second
		r.mu.Unlock()
		if r.Valid() {
			t.Error("valid after a pause")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.Valid() || !r.over() {
			t.Error("came back to life")
		}
	})
}

// TestLateAnswer has an answer come when the certainty has run out.
func TestLateAnswer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.set(func() { r.slow = 2 * time.Second })
		time.Sleep(6 * time.Second) // a renewal is under way since 5 s
		r.mu.Lock()
		r.jump = 6 * time.Second
		r.mu.Unlock()
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.Valid() || !r.over() {
			t.Error("came back to life")
		}
	})
}

func TestWanted(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.set(func() { r.wanted = []string{"a", "b", "a"} })
		r.Post("c", "c")
		time.Sleep(6 * time.Second)
		got := ""
		for range 3 {
			got += <-r.Wanted()
		}
		if got != "cab" {
			t.Errorf("got %q", got)
		}
		time.Sleep(time.Minute)
		select {
		case key := <-r.Wanted():
			t.Errorf("%q is wanted again", key)
		default:
		}
	})
}

func TestSighting(t *testing.T) {
	var s lease.Sighting
	if s.Silent(time.Hour) != 0 {
		t.Error("silent before anything was seen")
	}
	s = s.See("1", time.Second).See("1", 5*time.Second)
	if got := s.Silent(11 * time.Second); got != 10*time.Second {
		t.Errorf("silent for %v", got)
	}
	if got := s.See("2", 11*time.Second).Silent(11 * time.Second); got != 0 {
		t.Errorf("silent for %v after a change", got)
	}
}

func TestBoot(t *testing.T) {
	a := lease.Boot()
	time.Sleep(time.Millisecond)
	if d := lease.Boot() - a; d < time.Millisecond || d > time.Minute {
		t.Errorf("the clock went %v in a millisecond", d)
	}
}
