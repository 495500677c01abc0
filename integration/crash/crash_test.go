//go:build integration

package crash

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/powercut"
)

// How many times gateways are killed, and how many power cuts there are, in a
// run for every change and in a long one, for each commit mode.
const (
	crashPoints, longCrashPoints = 24, 1000
	powerCuts, longPowerCuts     = 8, 200
	pointsPerBucket              = 25
)

// commitFlag chooses between commit modes. Binaries that do not have it commit
// remotely.
const commitFlag = "--commit"

func TestMain(m *testing.M) { harness.Main(m, nil) }

// eachCommitMode runs a test in each commit mode: the local one in the long form
// only, since calls on directories fail there now and then although nothing is
// wrong (rmdir of one whose files were just removed: not empty), which loses
// nothing and fails the test.
func eachCommitMode(t *testing.T, test func(t *testing.T, mode string)) {
	modes := []string{"remote"}
	help := harness.New(t, harness.Versity).Causeway(t, nil, "mount", "--help")
	if (harness.Long() || os.Getenv("CRASH_LOCAL") != "") && strings.Contains(help.Stdout+help.Stderr, commitFlag+" ") {
		modes = append(modes, "local")
	}
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) { test(t, mode) })
	}
}

// crashSeed is 1, or that of a run which is to be repeated.
func crashSeed(t *testing.T) uint64 {
	text := os.Getenv("CRASH_SEED")
	if text == "" {
		return 1
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return seed
}

// crashServer is the S3 server that the gateways use.
func crashServer() harness.Kind {
	if kind := os.Getenv("CRASH_SERVER"); kind != "" {
		return harness.Kind(kind)
	}
	return harness.Versity
}

// points is how many of n in a long run, and how many of short in another.
func points(short, long int) int {
	if harness.Long() {
		return long
	}
	return short
}

// TestNoCrash kills nothing: what fails here is no matter of crashes.
func TestNoCrash(t *testing.T) {
	eachCommitMode(t, func(t *testing.T, mode string) {
		r := newCrashRun(t, mode, crashSeed(t), false)
		stop := make(chan struct{})
		var all sync.WaitGroup
		for i, g := range r.gateways {
			for _, w := range r.writers[i] {
				all.Go(func() {
					if err := w.run(g.m.Path(w.name), stop, w.randomSteps); err != nil {
						t.Errorf("%v\n%s", err, w.last(nil))
					}
				})
			}
		}
		time.Sleep(2 * time.Second)
		close(stop)
		all.Wait()
		for i, g := range r.gateways {
			for _, w := range r.writers[i] {
				r.checkNow(t, w, g.m.Path(w.name), leniency{})
			}
			r.release(t, g)
		}
		r.checkKept(t)
		for _, w := range slices.Concat(r.writers[0], r.writers[1]) {
			r.settle(t, w, leniency{}, settleLimit)
		}
		r.finish(t)
	})
}

// TestCrashRandom kills gateways at random moments while writers of all kinds
// work through both.
func TestCrashRandom(t *testing.T) {
	eachCommitMode(t, func(t *testing.T, mode string) {
		sequence(t, mode, points(crashPoints*3/10, longCrashPoints*3/10), false, func(r *crashRun, i int) crashPoint {
			return crashPoint{victim: i % 2, wait: r.moment(250), stateLost: mode == "remote" && i%3 == 2, again: r.sometimes(4, 60)}
		})
	})
}

// TestCrashAtRequests kills a gateway at every k-th request of a script, before
// S3 sees it or before the answer arrives.
func TestCrashAtRequests(t *testing.T) {
	eachCommitMode(t, func(t *testing.T, mode string) {
		n := points(crashPoints*35/100, longCrashPoints*35/100)
		total := 0
		sequence(t, mode, n+1, false, func(r *crashRun, i int) crashPoint {
			p := crashPoint{script: true, after: i%2 == 1, stateLost: mode == "remote" && i%4 >= 2}
			if i == 0 { // to its end, to know how many there are
				return p
			}
			if i == 1 {
				total = r.lastRequests
			}
			p.request = spread(i-1, n, total)
			return p
		})
	})
}

// TestCrashAtJournalWrites kills a gateway at every k-th operation on the
// journal, and on the files that it refers to, in a script.
func TestCrashAtJournalWrites(t *testing.T) {
	eachCommitMode(t, func(t *testing.T, mode string) {
		n := points(crashPoints*35/100, longCrashPoints*35/100)
		total := 0
		sequence(t, mode, n+1, true, func(r *crashRun, i int) crashPoint {
			p := crashPoint{script: true, after: i%2 == 1, stateLost: mode == "remote" && i%8 >= 6}
			if i == 0 {
				return p
			}
			if i == 1 {
				total = r.lastStateOps
			}
			p.stateOp = spread(i-1, n, total)
			return p
		})
	})
}

// TestPowerCut cuts the power at random moments and at every k-th operation on
// the state directory: what was not synced there is lost, or some of it.
func TestPowerCut(t *testing.T) {
	eachCommitMode(t, func(t *testing.T, mode string) {
		n := points(powerCuts, longPowerCuts)
		total := 0
		sequence(t, mode, n+1, true, func(r *crashRun, i int) crashPoint {
			p := crashPoint{powerCut: true, cut: powercut.Mode(r.rng.IntN(2)), seed: r.rng.Uint64(), again: r.sometimes(4, 60)}
			switch {
			case i == 0:
				p.script = true
			case i%3 == 0:
				p.victim, p.wait = i/3%2, r.moment(250)
			default:
				if total == 0 {
					total = r.lastStateOps
				}
				p.script, p.after, p.stateOp = true, i%2 == 1, spread(i-1, n, total)
			}
			return p
		})
	})
}

// moment is a random time up to limit milliseconds.
func (r *crashRun) moment(limit int) time.Duration {
	return time.Duration(1+r.rng.IntN(limit)) * time.Millisecond
}

// sometimes is a moment once in n times, and else 0.
func (r *crashRun) sometimes(n, limit int) time.Duration {
	if r.rng.IntN(n) > 0 {
		return 0
	}
	return r.moment(limit)
}

// spread is the number of the operation at which point i of n kills, so that
// all of total operations get their turn, or some of them evenly. If there
// are more points than operations it starts again.
func spread(i, n, total int) int {
	if total == 0 {
		return 1
	}
	if n > total {
		return 1 + i%total
	}
	return 1 + i*total/n
}

// sequence kills n times, at the points that next returns, in a few buckets one
// after the other.
func sequence(t *testing.T, mode string, n int, onDisk bool, next func(r *crashRun, i int) crashPoint) {
	var r *crashRun
	goOn := os.Getenv("CRASH_GO_ON") == "1"
	requests, stateOps := 0, 0
	start, bucket := 0, 0
	for start < n {
		end := min(n, start+pointsPerBucket)
		t.Run(fmt.Sprint("bucket", bucket), func(t *testing.T) {
			r = newCrashRun(t, mode, crashSeed(t)+uint64(bucket)*1000, onDisk)
			r.lastRequests, r.lastStateOps = requests, stateOps
			for i := start; i < end && (goOn || !t.Failed()); i++ {
				r.point(t, i, next(r, i))
				if i == 0 {
					requests, stateOps = r.lastRequests, r.lastStateOps
				}
			}
			r.finish(t)
		})
		start, bucket = end, bucket+1
	}
}
