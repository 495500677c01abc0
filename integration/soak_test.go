//go:build integration

package integration

import (
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// Limits of the soak test's mount, in bytes, and what it may use besides.
const (
	soakCache  = 48 << 20
	soakMemory = 128 << 20
)

var (
	// soakIdle is the most that may be in use when nothing is under way.
	soakIdle = usage{rss: soakMemory * 5 / 4, goroutines: 150, threads: 64, fds: 200, stateBytes: soakCache + 24<<20, stateFiles: 4000}
	// soakBusy is the most that may be in use at any time.
	soakBusy = usage{rss: soakMemory * 3 / 2, goroutines: 2000, threads: 200, fds: 800, stateBytes: 300 << 20, stateFiles: 5000}
	// soakGrowth is how much more may be in use when idle at the end than
	// after the first part; connections to S3
	// come and go, and memory up to the limit is not given back.
	soakGrowth = usage{rss: soakMemory, goroutines: 60, threads: 16, fds: 40, stateBytes: soakCache, stateFiles: 1000}
)

// soakLoads put load on a gateway: one for each front end that it has.
var soakLoads = []struct {
	name  string
	begin func(t *testing.T, env *harness.Env, m *harness.Mount) soakLoad
}{
	{"FUSE", func(t *testing.T, env *harness.Env, m *harness.Mount) soakLoad {
		s := newStorm(t, 17, 10, []*harness.Env{env}, []*harness.Mount{m})
		s.largeOneIn = 40
		return s
	}},
}

// soakLoad is a load that can be put on several times, and knows in the end
// what must be there.
type soakLoad interface {
	run(d time.Duration)
	log()
	verify()
}

var _ soakLoad = (*storm)(nil)

// plus adds each.
func (u usage) plus(v usage) usage {
	return usage{u.rss + v.rss, u.goroutines + v.goroutines, u.threads + v.threads, u.fds + v.fds, u.stateBytes + v.stateBytes, u.stateFiles + v.stateFiles}
}

// TestSoak puts a mixed load on a gateway with a small disk, little memory and
// a small cache for a while, and an hour in the long form. It wants what the
// gateway uses to stay within limits, and what it uses when idle not to grow.
func TestSoak(t *testing.T) {
	parts, load := 5, 7*time.Second
	if harness.Long() {
		parts, load = 20, 3*time.Minute
	}
	env := harness.New(t, harness.Versity)
	addr, err := harness.FreeAddr()
	must(t, err)
	m := env.MountWith(t, harness.MountOptions{StateDir: smallDisk(t, "512m"), Life: time.Duration(parts)*load + 30*time.Minute,
		Flags: []string{"--cache-size", "48MiB", "--memory", "128MiB", "--status", addr}})
	var loads []soakLoad
	for _, l := range soakLoads {
		loads = append(loads, l.begin(t, env, m))
	}
	env.Proxy.SetFaults(41, s3proxy.Fault{Kind: s3proxy.SlowDown, Probability: 0.01}, s3proxy.Fault{Kind: s3proxy.ResetBefore, Probability: 0.01},
		s3proxy.Fault{Kind: s3proxy.ResetAfter, Probability: 0.01}, s3proxy.Fault{Kind: s3proxy.Truncate, Probability: 0.01})
	s := &sampler{t: t, m: m, addr: addr}
	var first usage
	for part := range parts {
		busy := s.during(func() {
			done := make(chan struct{}, len(loads))
			for _, l := range loads {
				go func() {
					l.run(load)
					done <- struct{}{}
				}()
			}
			for range loads {
				<-done
			}
		})
		env.Quiesce(t)
		idle := s.settled(soakIdle)
		t.Logf("part %d: at most %v\nidle: %v", part, busy, idle)
		if over := busy.exceeds(soakBusy); over != "" {
			t.Errorf("part %d, under load: %s", part, over)
		}
		if part == 0 {
			first = idle
		}
		if over := idle.exceeds(soakIdle); over != "" {
			t.Errorf("part %d, idle: %s", part, over)
		}
		if over := idle.exceeds(first.plus(soakGrowth)); over != "" {
			t.Errorf("part %d, idle, has grown: %s", part, over)
		}
	}
	for _, l := range loads {
		l.log()
		l.verify()
	}
}

// settled waits until what is in use is within limits, which takes a while:
// connections and threads stay for some time. It returns what it was last.
func (s *sampler) settled(limit usage) usage {
	u := s.now()
	for range 60 {
		if u.exceeds(limit) == "" {
			break
		}
		time.Sleep(500 * time.Millisecond)
		u = s.now()
	}
	return u
}
