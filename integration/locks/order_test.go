//go:build integration

package locks

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/locks/etcdlock/etcdtest"
)

const directTTL = 15 * time.Second

// pair starts two gateways that have been in the bucket for a moment.
func pair(t *testing.T, latency time.Duration, etcd bool) (env *harness.Env, a, b *process) {
	t.Helper()
	s := settings{TTL: directTTL}
	if etcd {
		s.Etcd = etcdtest.Start(t)
	}
	env = harness.New(t, harness.Versity)
	env.Proxy.SetLatency(latency)
	a, b = start(t, env, 0, s), start(t, env, 1, s)
	for i, p := range []*process{a, b} {
		p.lock(1_000_000, "first", fmt.Sprintf("own/%d", i))
		p.granted(1_000_000)
		p.unlock(1_000_000, "first", fmt.Sprintf("own/%d", i))
	}
	return env, a, b
}

func (p *process) lock(op int, owner, path string) {
	p.send(command{Do: "lock", Op: op, Owner: owner, Path: path})
}

// granted waits until an operation is granted, or fails the test.
func (p *process) granted(op int) event {
	p.t.Helper()
	e := p.await(func(e event) bool { return e.Op == op && (e.Kind == evGranted || e.Kind == evFailed) })
	if e.Kind == evFailed {
		p.t.Fatalf("%s: %s", p.life.name, e.Text)
	}
	return e
}

func (p *process) unlock(op int, owner, path string) time.Duration {
	p.t.Helper()
	p.send(command{Do: "unlock", Op: op, Owner: owner, Path: path})
	at := p.await(func(e event) bool { return e.Op == op && e.Kind == evReleasing }).At
	if e := p.await(func(e event) bool { return e.Op == op && e.Kind == evReleased }); e.Error != "" {
		p.t.Fatalf("%s: unlock: %s", p.life.name, e.Error)
	}
	return at
}

// TestOrder has waiters come to two gateways, in an order that does not
// alternate strictly. They are served in it, whoever holds the lock first.
func TestOrder(t *testing.T) {
	if !harness.Long() {
		t.Parallel()
	}
	waiters, apart := 16, ms(100)
	if harness.Long() {
		waiters = 32
	}
	for _, etcd := range []bool{false, true} {
		t.Run(fmt.Sprintf("etcd=%v", etcd), func(t *testing.T) {
			t.Parallel()
			_, a, b := pair(t, ms(15), etcd)
			gateways := []*process{a, b}
			a.lock(1, "holder", "queue")
			a.granted(1)
			place := make([]*process, waiters)
			for i := range waiters {
				place[i] = gateways[(i*i/3+i)%2]
				place[i].lock(100+i, fmt.Sprintf("w%d", i), "queue")
				time.Sleep(apart)
			}
			a.unlock(1, "holder", "queue")
			var got []int
			for i, p := range place {
				e := p.await(func(e event) bool { return e.Kind == evGranted || e.Kind == evFailed })
				if e.Kind == evFailed {
					t.Fatalf("waiter %d failed: %s", e.Op-100, e.Text)
				}
				got = append(got, e.Op-100)
				if e.Op != 100+i {
					t.Fatalf("served %v, and not in the order in which they came", got)
				}
				p.unlock(100+i, fmt.Sprintf("w%d", i), "queue")
			}
		})
	}
}

// TestHandOff measures how long a lock is under way from one gateway that lets
// go to another one that waits.
func TestHandOff(t *testing.T) {
	if !harness.Long() {
		t.Parallel()
	}
	rounds := 10
	if harness.Long() {
		rounds = 100
	}
	for _, c := range []struct {
		etcd bool
		most time.Duration
	}{{false, ms(150)}, {true, ms(20)}} {
		t.Run(fmt.Sprintf("etcd=%v", c.etcd), func(t *testing.T) {
			if !harness.Long() {
				t.Parallel() // with others at work, it only shows that it works
			}
			_, a, b := pair(t, ms(15), c.etcd)
			a.lock(1, "w", "f")
			a.granted(1)
			var took []time.Duration
			for i := range rounds {
				from, to := a, b
				if i%2 == 1 {
					from, to = b, a
				}
				to.lock(i+2, "w", "f")
				time.Sleep(ms(300)) // it waits
				let := from.unlock(i+1, "w", "f")
				took = append(took, to.granted(i+2).At-let)
			}
			slices.Sort(took)
			t.Logf("hand-off: median %v, most %v", took[len(took)/2], took[len(took)-1])
			if took[len(took)/2] > c.most {
				t.Logf("slower than %v, which this machine may be the reason for", c.most)
			}
		})
	}
}

// TestCost counts what locks cost while nobody else wants them.
func TestCost(t *testing.T) {
	t.Parallel()
	env, a, _ := pair(t, 0, false)
	a.lock(1, "w", "f")
	a.granted(1)
	a.unlock(1, "w", "f")
	time.Sleep(2 * time.Second) // what it does behind that
	env.Proxy.Reset()
	begun := time.Now()
	for i := range 200 {
		a.lock(10+i, "w", "f")
		a.granted(10 + i)
		a.unlock(10+i, "w", "f")
	}
	// Both sessions are renewed, and look once in a second while they are busy.
	seconds := int(time.Since(begun)/time.Second) + 1
	if n := total(env); n > 2*2*seconds {
		t.Errorf("200 rounds with a lock that is cached cost %d requests in %d s:\n%s", n, seconds, env.Proxy.Stats())
	}
	a.lock(2, "w", "f")
	a.granted(2)
	time.Sleep(2 * time.Second)
	env.Proxy.Reset()
	time.Sleep(directTTL / 3)
	if n := total(env); n > 2*2 {
		t.Errorf("an idle lock cost %d requests in a third of the lease, of two gateways:\n%s", n, env.Proxy.Stats())
	}
}

func total(env *harness.Env) int {
	n := 0
	for _, s := range env.Proxy.Stats().Ops {
		n += s.Requests
	}
	return n
}
