//go:build integration

package locks

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
	"github.com/causewayfs/causeway/locks/etcdlock/etcdtest"
)

// scenario is one random history.
type scenario struct {
	etcd     bool
	gateways int
	latency  time.Duration
	ops      int // of each gateway
	harm     int // kills and pauses, in turn
}

func (s scenario) String() string {
	kind := map[bool]string{true: "etcd", false: "s3"}[s.etcd]
	return fmt.Sprintf("%s, %d gateways, %v", kind, s.gateways, s.latency)
}

// scenarios of the short form take seconds; those of the long form have 100,000
// operations in all.
func scenarios() []scenario {
	if n := number(os.Getenv("LOCKS_GATEWAYS")); n > 0 {
		return []scenario{{gateways: n, latency: ms(50), ops: 100, harm: 4}, {etcd: true, gateways: n, latency: ms(50), ops: 100, harm: 4}}
	}
	if !harness.Long() {
		return []scenario{{gateways: 2, ops: 100, harm: 4}, {etcd: true, gateways: 2, ops: 100, harm: 4}}
	}
	var all []scenario
	for _, etcd := range []bool{false, true} {
		for _, gateways := range []int{2, 4} {
			for _, latency := range []time.Duration{0, ms(50)} {
				all = append(all, scenario{etcd: etcd, gateways: gateways, latency: latency, ops: 12_500 / gateways, harm: 40})
			}
		}
	}
	return all
}

// number is 0 for what is none.
func number(text string) int {
	n, _ := strconv.Atoi(text)
	return n
}

func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("LOCKS_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRandom(t *testing.T) {
	if !harness.Long() {
		t.Parallel()
	}
	for _, s := range scenarios() {
		t.Run(s.String(), func(t *testing.T) {
			if !harness.Long() {
				t.Parallel() // they mostly wait
			}
			r := &run{t: t, s: s, seed: seed(t)}
			t.Logf("LOCKS_SEED=%d", r.seed)
			r.play()
			r.judge()
		})
	}
}

// run is one random history while it is made.
type run struct {
	t        *testing.T
	s        scenario
	seed     uint64
	settings settings
	envs     []*harness.Env

	mu  sync.Mutex
	all []*process // guarded by mu
}

const (
	shortTTL = 2 * time.Second
	workers  = 6
)

func (r *run) play() {
	r.settings = settings{TTL: shortTTL}
	if r.s.etcd {
		r.settings.Etcd = etcdtest.Start(r.t)
	}
	env := harness.New(r.t, harness.Versity)
	var work sync.WaitGroup
	for node := range r.s.gateways {
		if node > 0 {
			env = env.Peer(r.t)
		}
		env.Proxy.SetLatency(r.s.latency)
		env.Proxy.SetFaults(r.seed+uint64(node),
			s3proxy.Fault{Kind: s3proxy.SlowDown, Probability: 0.01},
			s3proxy.Fault{Kind: s3proxy.ResetAfter, Probability: 0.01},
			s3proxy.Fault{Kind: s3proxy.ResetBefore, Probability: 0.01})
		r.envs = append(r.envs, env)
	}
	for node := range r.s.gateways {
		work.Go(func() { r.node(node) })
	}
	work.Wait()
}

// node has one gateway work, and killed or paused now and then, until it has
// done its operations and come to all of its harm. Only the first two come to
// harm, so that there may be two that do not.
func (r *run) node(node int) {
	rng := rand.New(rand.NewPCG(r.seed, uint64(node)))
	left, harm := r.s.ops, 0
	if node < 2 {
		harm = r.s.harm / 2
	}
	for {
		p := r.begin(node)
		for harm > 0 || p.asked() < left {
			select {
			case <-time.After(shortTTL/4 + time.Duration(rng.Int64N(int64(shortTTL)))):
			case <-p.ended:
				r.t.Errorf("%s has ended by itself", p.life.name)
				return
			}
			if harm == 0 {
				continue
			}
			harm--
			if (harm+node)%2 == 0 {
				p.kill()
				break
			}
			p.catchUp() // it is to stop while it holds something
			p.await(func(e event) bool { return e.Kind == evGranted })
			p.pause(shortTTL + time.Duration(rng.Int64N(int64(shortTTL))))
		}
		if left -= p.asked(); !p.over() {
			p.send(command{Do: "stop"})
			p.await(func(e event) bool { return e.Kind == evDone })
			p.leave()
			return
		}
	}
}

// begin starts a gateway that works.
func (r *run) begin(node int) *process {
	p := start(r.t, r.envs[node], node, r.settings)
	r.mu.Lock()
	r.all = append(r.all, p)
	life := uint64(len(r.all))
	r.mu.Unlock()
	p.send(command{Do: "random", Workers: workers, Seed: r.seed ^ life<<32})
	return p
}

func (r *run) judge() {
	h := history{slack: 2 * shortTTL}
	for _, p := range r.all {
		h.lives = append(h.lives, p.account())
	}
	wrong, counts := h.judge()
	r.t.Logf("%d lives: %v", len(h.lives), counts)
	for i, w := range wrong {
		if i == 10 {
			r.t.Errorf("and %d more", len(wrong)-i)
			break
		}
		r.t.Error(w)
	}
	if counts["granted"] < counts["turns"]/4 {
		r.t.Errorf("only %d of %d requests were granted", counts["granted"], counts["turns"])
	}
	if counts["commit done"] == 0 {
		r.t.Error("nothing was committed")
	}
	if keep := os.Getenv("LOCKS_KEEP"); keep != "" && r.t.Failed() {
		r.keep(keep, h)
	}
}

func (r *run) keep(path string, h history) {
	f, err := os.Create(path) //nolint:gosec // the developer's choice
	if err != nil {
		r.t.Error(err)
		return
	}
	defer f.Close()
	out := json.NewEncoder(f)
	for _, l := range h.lives {
		for _, e := range l.events {
			_ = out.Encode(struct {
				Life string
				event
			}{l.name, e})
		}
	}
}
