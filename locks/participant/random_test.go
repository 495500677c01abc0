package participant

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/memlock"
)

// late is a coordinator some of whose writes are carried out long after they
// have failed.
type late struct {
	*memlock.Coordinator
	p  float64
	wg sync.WaitGroup

	mu  sync.Mutex
	rng *rand.Rand
	n   int
}

func (l *late) Put(ctx context.Context, key string, data []byte, v locks.Version) (locks.Version, error) {
	l.mu.Lock()
	isLate, delay := l.rng.Float64() < l.p, time.Duration(l.rng.IntN(3000))*time.Millisecond
	if isLate {
		l.n++
	}
	l.mu.Unlock()
	if !isLate {
		return l.Coordinator.Put(ctx, key, data, v)
	}
	l.wg.Go(func() {
		time.Sleep(delay)
		_, _ = l.Coordinator.Put(context.Background(), key, data, v)
	})
	return "", errors.New("answer is late")
}

// judge knows who has been granted what, by what it was told only.
type judge struct {
	t      *testing.T
	mu     sync.Mutex
	active map[*granted]bool
	fences map[string]map[*gateway][2]uint64 // by space and path: the largest of shared and exclusive grants
	count  map[string]int
}

type granted struct {
	g     *gateway
	owner locks.Owner
	locks.Claim
}

func excludes(a, b locks.Claim) bool {
	if a.Space != b.Space || a.Mode == locks.Shared && b.Mode == locks.Shared {
		return false
	}
	if a.Path == b.Path {
		return a.Start <= b.End && b.Start <= a.End
	}
	return a.Tree && a.Covers(b.Path) || b.Tree && b.Covers(a.Path)
}

// grant is told that h was granted. Whoever excludes it and has not let go must
// know that it has lost what it had.
func (j *judge) grant(h *granted, fence uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count["granted"]++
	for o := range j.active {
		if !(o.g == h.g && o.owner == h.owner) && excludes(o.Claim, h.Claim) && o.g.Check(o.Path) == nil {
			j.t.Errorf("%v: %v granted to %s while %s has %v", time.Now(), h.Claim, h.owner, o.owner, o.Claim)
		}
	}
	j.active[h] = true
	key := fmt.Sprint(h.Space, h.Path)
	if j.fences[key] == nil {
		j.fences[key] = map[*gateway][2]uint64{}
	}
	for g, f := range j.fences[key] {
		highest := f[1]
		if h.Mode == locks.Exclusive {
			highest = max(f[0], f[1])
		}
		if h.Space == locks.Whole && (fence < highest || fence == highest && g != h.g) {
			j.t.Errorf("%v: fence %d of %v after %d", time.Now(), fence, h.Claim, highest)
		}
	}
	f := j.fences[key][h.g]
	f[h.Mode] = max(f[h.Mode], fence)
	j.fences[key][h.g] = f
}

func (j *judge) done(h *granted) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.active, h)
}

func (j *judge) note(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count[what]++
}

// play is one random run.
type play struct {
	f     *fleet
	begin func() *gateway // a new one

	mu    sync.Mutex
	alive []*gateway

	j     *judge
	lates []*late
	seed  uint64
	ops   int
}

// worker locks and unlocks at random.
func (p *play) worker(i int, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(p.seed, uint64(i)))
	owner := locks.Owner(fmt.Sprint("w", i))
	for range p.ops {
		select {
		case <-stop:
			return
		default:
		}
		if err := p.turn(rng, p.gateway(i), owner); locks.KindOf(err) == locks.NoLock {
			time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
		}
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
	}
}

func (p *play) gateway(i int) *gateway {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.alive[i%len(p.alive)]
}

// crash replaces a gateway. What it had is its own as long as it is certain of
// that; then somebody else may have it.
func (p *play) crash(i int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive[i].coord.SetAway(true)
	p.alive[i] = p.begin()
}

func (p *play) turn(rng *rand.Rand, g *gateway, owner locks.Owner) error {
	c := claimAtRandom(rng)
	wait := time.Minute
	if rng.IntN(5) == 0 {
		wait = time.Duration(rng.IntN(3000)) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	grant, err := g.Lock(ctx, locks.Request{Claim: c, Owner: owner, Wait: rng.IntN(8) != 0})
	if err != nil {
		p.j.note(locks.KindOf(err).String())
		if wait == time.Minute && ctx.Err() != nil {
			p.j.note("starved")
			p.j.t.Errorf("%v: %s waited a minute for %v", time.Now(), owner, c)
		}
		return err
	}
	h := &granted{g: g, owner: owner, Claim: c}
	p.j.grant(h, grant.Fence)
	select {
	case <-time.After(time.Duration(rng.IntN(150)) * time.Millisecond):
	case <-grant.Lost:
		p.j.note("lost")
	}
	p.j.done(h)
	_ = g.Unlock(owner, c)
	return nil
}

func claimAtRandom(rng *rand.Rand) locks.Claim {
	mode := locks.Mode(rng.IntN(2))
	switch rng.IntN(8) {
	case 0:
		return tree([]string{"d", "d/e"}[rng.IntN(2)], mode)
	case 1, 2:
		from := rng.Uint64N(20)
		return bytes("f", mode, from, from+rng.Uint64N(10))
	case 3, 4:
		return whole("d/e/f", mode)
	}
	return whole([]string{"f", "d/g"}[rng.IntN(2)], mode)
}

// trouble makes the gateways fail in turn: they are away, or some of
// their requests fail, or they die. Away for longer than the lease is also what
// a process that is stopped sees when it goes on.
func (p *play) trouble(rng *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(2000+rng.IntN(8000)) * time.Millisecond):
		}
		i := rng.IntN(len(p.alive))
		g := p.gateway(i)
		switch rng.IntN(3) {
		case 1:
			p.j.note("crashed")
			p.crash(i)
		case 0:
			p.j.note("away")
			g.coord.SetAway(true)
			time.Sleep(time.Duration(rng.IntN(40)) * time.Second)
			g.coord.SetAway(false)
		case 2:
			p.j.note("failing")
			var mu sync.Mutex
			g.coord.SetFault(func(memlock.Op, string) memlock.Outcome {
				mu.Lock()
				defer mu.Unlock()
				if rng.IntN(4) > 0 {
					return memlock.Answered
				}
				return memlock.Outcome(1 + rng.IntN(2))
			})
			time.Sleep(5 * time.Second)
			g.coord.SetFault(nil)
		}
	}
}

func (p *play) run(t *testing.T, workers int, troubled bool) {
	stop, calm := make(chan struct{}), make(chan struct{})
	var wg, bad sync.WaitGroup
	if troubled {
		bad.Go(func() { p.trouble(rand.New(rand.NewPCG(p.seed, 99)), calm) })
	}
	for i := range workers {
		wg.Go(func() { p.worker(i, stop) })
	}
	wg.Wait()
	close(calm)
	bad.Wait()
	// Nothing is left behind: everybody can have everything.
	time.Sleep(time.Minute)
	for i, g := range p.alive {
		owner := locks.Owner(fmt.Sprint("last", i))
		g.lock(t, owner, tree("", locks.Exclusive))
		g.lock(t, owner, bytes("f", locks.Exclusive, 0, locks.MaxOffset))
		g.UnlockAll(owner)
		if err := g.table.Check(); err != nil {
			t.Error(err)
		}
		if len(g.holds)+len(g.calls)+len(g.guards) > 0 {
			t.Errorf("left: %d held, %d waiting, %d guards", len(g.holds), len(g.calls), len(g.guards))
		}
	}
	close(stop)
}

// seeds is how many runs there are of a kind.
func seeds() int {
	if os.Getenv("CAUSEWAY_LONG") != "" {
		return 100
	}
	return 1
}

func TestRandom(t *testing.T) {
	for _, c := range []struct {
		name          string
		gateways      int
		ops           int
		delay         time.Duration
		push, trouble bool
		late          float64
		shared        bool
	}{
		{"two calm", 2, 150, 0, true, false, 0, true},
		{"four calm and far", 4, 100, 50 * time.Millisecond, false, false, 0, true},
		{"two in trouble", 2, 150, 15 * time.Millisecond, false, true, 0.02, true},
		{"two alone in turn", 2, 150, 5 * time.Millisecond, false, true, 0.02, false},
		{"four in trouble", 4, 100, 15 * time.Millisecond, true, true, 0.05, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(seeds()) {
				synctest.Test(t, func(t *testing.T) {
					f := &fleet{t: t, space: memlock.NewSpace(memlock.Options{Push: c.push})}
					j := &judge{t: t, active: map[*granted]bool{}, fences: map[string]map[*gateway][2]uint64{}, count: map[string]int{}}
					p := &play{f: f, j: j, seed: seed, ops: c.ops}
					p.begin = func() *gateway {
						l := &late{p: c.late, rng: rand.New(rand.NewPCG(seed, uint64(1000+len(p.lates))))}
						p.lates = append(p.lates, l)
						return f.addWith(Options{Shared: c.shared}, func(m *memlock.Coordinator) locks.Coordinator {
							m.SetDelay(c.delay)
							l.Coordinator = m
							return l
						})
					}
					for range c.gateways {
						p.alive = append(p.alive, p.begin())
					}
					defer func() {
						f.close()
						for _, l := range p.lates {
							l.wg.Wait()
						}
					}()
					p.run(t, 8, c.trouble)
					t.Logf("%v %v", seed, j.count)
					if j.count["granted"] < 8*c.ops/2 {
						t.Errorf("granted %d", j.count["granted"])
					}
				})
			}
		})
	}
}
