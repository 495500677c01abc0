package coordtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
)

func testLive(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.alive(s)
	for range 8 {
		r.wait(a.TTL() / 4)
		if r.ended(b, s.ID()) && s.Valid() {
			r.Fatal("ended while it is valid")
		}
		r.alive(s)
	}
	if other := r.join(a); other.ID() == s.ID() || s.ID() == "" {
		r.Errorf("sessions are named %q and %q", s.ID(), other.ID())
	}
	r.must(s.Leave(r.ctx))
	r.dead(s)
	if !r.ended(b, s.ID()) || !r.ended(a, s.ID()) {
		r.Error("a session that has left lives")
	}
	r.must(s.Leave(r.ctx))
}

func testUnknown(r *rig) {
	g := r.gateway()
	if !r.ended(g, "NEVERWAS") {
		r.Error("a session that never was lives")
	}
}

func testCost(r *rig) {
	g := r.gateway()
	s := r.join(g)
	if !r.setup.Bubble {
		r.wait(g.TTL() / 6) // it may still connect
	}
	g.Faults.Set(nil)
	begun := time.Now()
	r.wait(2 * g.TTL())
	most := int(3 * time.Since(begun) / g.TTL())
	if n := g.Faults.Count(); n > most || r.setup.Bubble && n < 5 {
		r.Errorf("%d requests in %d thirds of TTL", n, most)
	}
	r.alive(s)
}

// testSilent has an observer that asks all the time.
func testSilent(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.wait(a.TTL() / 2)
	if r.ended(b, s.ID()) && s.Valid() {
		r.Error("ended while it is valid")
	}
	away(a)
	silent := time.Now()
	var invalid time.Time
	for time.Since(silent) < 4*a.TTL() {
		valid := s.Valid()
		if !valid && invalid.IsZero() {
			invalid = time.Now()
		}
		if r.ended(b, s.ID()) {
			if valid {
				r.Error("valid in the moment before it was ended")
			}
			break
		}
		r.wait(a.TTL() / 60)
	}
	if !r.ended(b, s.ID()) {
		r.Fatal("not ended")
	}
	r.dead(s)
	if took := time.Since(silent); r.setup.Bubble && (took < a.TTL()/2 || took > a.TTL()*3/2) {
		r.Errorf("ended after %v of silence, TTL is %v", took, a.TTL())
	}
	if ahead := time.Since(invalid); r.setup.Bubble && ahead < a.TTL()/5 {
		r.Errorf("the owner stopped acting only %v before", ahead)
	}
}

// end makes b end the session of a, which is away.
func (r *rig) end(a, b Gateway, s locks.Session) {
	r.Helper()
	away(a)
	for begun := time.Now(); !r.ended(b, s.ID()); r.wait(a.TTL() / 20) {
		if time.Since(begun) > 4*a.TTL() {
			r.Fatal("not ended")
		}
	}
}

func testNoReturn(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.end(a, b, s)
	a.Faults.Set(nil)
	r.wait(a.TTL())
	r.dead(s)
	if !r.ended(a, s.ID()) || !r.ended(b, s.ID()) {
		r.Error("it came back")
	}
	if s = r.join(a); r.ended(b, s.ID()) && s.Valid() {
		r.Error("the next session has ended")
	}
}

func testShortOutage(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	for range 4 {
		r.wait(a.TTL() * 2 / 5)
		away(a)
		r.wait(a.TTL() / 4)
		a.Faults.Set(nil)
		if r.ended(b, s.ID()) && s.Valid() {
			r.Error("ended while it is valid")
		}
	}
	r.wait(a.TTL() / 10)
	r.alive(s)
}

func testLeaveLost(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.end(a, b, s)
	ctx, cancel := context.WithTimeout(r.ctx, 200*time.Millisecond)
	defer cancel()
	if err := s.Leave(ctx); err == nil {
		r.Error("left, though nobody answers")
	}
	if !r.ended(b, s.ID()) {
		r.Error("it lives")
	}
	a.Faults.Set(nil)
	r.must(s.Leave(r.ctx))
}

func testPause(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.wait(a.TTL() / 10)
	a.Clock.Jump(a.TTL())
	if s.Valid() {
		r.Error("valid after a pause of TTL")
	}
	r.wait(a.TTL())
	r.dead(s)
	if r.join(b); s.Valid() {
		r.Error("valid again")
	}
}

// testEndedByOthers has an observer whose clock runs ahead, and so ends a
// session that its owner believes in; the owner learns of it.
func testEndedByOthers(r *rig) {
	if r.setup.Told {
		return // the server has the clock
	}
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.ended(b, s.ID())
	b.Clock.Jump(b.TTL())
	if !r.ended(b, s.ID()) {
		r.Fatal("not ended after TTL by the observer's clock")
	}
	r.wait(a.TTL() / 2)
	r.dead(s)
}

func testManySessions(r *rig) {
	a, b := r.gateway(), r.gateway()
	first, second, third := r.join(a), r.join(a), r.join(b)
	r.must(second.Leave(r.ctx))
	r.wait(a.TTL())
	r.alive(first)
	r.alive(third)
	if !r.ended(b, second.ID()) {
		r.Error("the one that left lives")
	}
	for _, s := range []locks.Session{first, third} {
		if r.ended(b, s.ID()) && s.Valid() {
			r.Error("one that stayed has ended")
		}
	}
}

// wanted waits for a wish.
func (r *rig) wanted(s locks.Session, key string, within time.Duration) {
	r.Helper()
	begun := time.Now()
	for {
		select {
		case got := <-s.Wanted():
			if got == key {
				if took := time.Since(begun); r.setup.Bubble && took > within {
					r.Errorf("told after %v, want %v at most", took, within)
				}
				return
			}
		case <-s.Done():
			if r.setup.Bubble {
				r.Error("over")
			}
			return
		case <-time.After(10 * time.Minute):
			r.Fatalf("nobody tells that %q is wanted", key)
		}
	}
}

func testWantIdle(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.wait(a.TTL() / 2)
	r.must(b.Want(r.ctx, s.ID(), "p/k"))
	r.wanted(s, "p/k", a.TTL()/3)
	var keys []string
	for _, k := range []string{"p/1", "p/2", "p/3"} {
		keys = append(keys, k)
		r.must(b.Want(r.ctx, s.ID(), k))
	}
	for len(keys) > 0 && !over(s) {
		select {
		case k := <-s.Wanted():
			keys = slices.DeleteFunc(keys, func(key string) bool { return key == k })
		case <-s.Done():
		}
	}
	r.alive(s)
}

func testWantBusy(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	for range 3 {
		r.wait(a.TTL() / 7)
		s.Busy()
		r.must(b.Want(r.ctx, s.ID(), "p/k"))
		r.wanted(s, "p/k", min(time.Second, a.TTL()/3))
	}
	r.alive(s)
}

// testWantAgain has several gateways repeat their wishes.
func testWantAgain(r *rig) {
	a := r.gateway()
	s := r.join(a)
	for range 3 {
		var work sync.WaitGroup
		for range 4 {
			b := r.gateway()
			work.Go(func() { r.must(b.Want(r.ctx, s.ID(), "p/k")) })
		}
		work.Wait()
		r.wanted(s, "p/k", a.TTL()/3)
		r.wait(a.TTL() / 6)
		s.Busy()
	}
	r.alive(s)
}

func testWantSilent(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	away(a)
	begun := time.Now()
	for !r.ended(b, s.ID()) {
		r.must(b.Want(r.ctx, s.ID(), "p/k"))
		r.wait(a.TTL() / 20)
		if time.Since(begun) > 4*a.TTL() {
			r.Fatal("wishes keep it alive")
		}
	}
	r.dead(s)
}

func testWantEnded(r *rig) {
	a, b := r.gateway(), r.gateway()
	s := r.join(a)
	r.must(s.Leave(r.ctx))
	r.must(b.Want(r.ctx, s.ID(), "p/k"))
	if !r.ended(b, s.ID()) {
		r.Error("a wish brought it back")
	}
}
