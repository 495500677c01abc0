//go:build integration

package integration

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// callLimit is how long any system call may take: two deadlines of 30 s, since
// an open may be tried twice by the kernel, and a margin for a busy machine. A
// call that reaches it hangs.
const callLimit = 100 * time.Second

// watchdog finds system calls that do not return. They cannot be interrupted,
// so it ends the mounts, with all their stacks in the log.
type watchdog struct {
	t      *testing.T
	mounts []*harness.Mount
	stop   chan struct{}
	done   sync.WaitGroup

	next    atomic.Int64
	mu      sync.Mutex
	longest time.Duration     // guarded by mu: of the calls that ended
	slowest string            // guarded by mu: that call
	calls   map[int64]watched // guarded by mu
	hung    bool              // guarded by mu
}

// watched is a system call under way.
type watched struct {
	name  string
	begun time.Time
}

// newWatchdog watches until the test ends.
func newWatchdog(t *testing.T, mounts ...*harness.Mount) *watchdog {
	w := &watchdog{t: t, mounts: mounts, stop: make(chan struct{}), calls: map[int64]watched{}}
	w.done.Go(w.run)
	t.Cleanup(func() {
		close(w.stop)
		w.done.Wait()
	})
	return w
}

func (w *watchdog) run() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case now := <-tick.C:
			w.look(now)
		}
	}
}

func (w *watchdog) look(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.calls {
		if !w.hung && now.Sub(c.begun) > callLimit {
			w.hung = true
			w.t.Errorf("%s has not returned after %v", c.name, callLimit)
			for _, m := range w.mounts {
				unix.Kill(m.PID(), unix.SIGQUIT)
			}
		}
	}
}

// call does one system call.
func (w *watchdog) call(name string, do func() error) error {
	id, begun := w.next.Add(1), time.Now()
	w.mu.Lock()
	w.calls[id] = watched{name, begun}
	w.mu.Unlock()
	err := do()
	took := time.Since(begun)
	w.mu.Lock()
	delete(w.calls, id)
	if took > w.longest {
		w.longest, w.slowest = took, name
	}
	w.mu.Unlock()
	return err
}

// longestCall tells of the system call that took longest.
func (w *watchdog) longestCall() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return fmt.Sprintf("%s, %v", w.slowest, w.longest.Round(time.Millisecond))
}

// failed says whether an error is one that S3's failures cause.
func failed(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ETIMEDOUT)
}

// stormFaults fail a fifth of all requests in every way there is; the stalling
// ones for as long as stall.
func stormFaults(stall time.Duration) []s3proxy.Fault {
	return []s3proxy.Fault{
		{Kind: s3proxy.SlowDown, Probability: 0.06},
		{Kind: s3proxy.ResetBefore, Probability: 0.05},
		{Kind: s3proxy.ResetAfter, Probability: 0.05},
		{Kind: s3proxy.Truncate, Probability: 0.04},
		{Kind: s3proxy.StallBefore, Probability: 0.005, Stall: stall},
		{Kind: s3proxy.StallAfter, Probability: 0.005, Stall: stall},
	}
}

// wantFaults wants about a fifth of the requests to have been made to fail, so
// that a run without faults cannot pass for one with them.
func wantFaults(t *testing.T, envs ...*harness.Env) {
	t.Helper()
	for _, env := range envs {
		requests, faults := 0, 0
		for _, c := range env.Proxy.Stats().Ops {
			requests, faults = requests+c.Requests, faults+c.Faults
		}
		t.Logf("%d requests, %d of them made to fail", requests, faults)
		if faults*8 < requests {
			t.Errorf("%d of %d requests failed, want a fifth", faults, requests)
		}
	}
}
