//go:build integration

package crash

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/powercut"
)

// How long it may take until both gateways show the same; and until one of them
// has taken over the rename of a directory from a gateway that will not come
// back, because its state directory is gone.
const (
	settleLimit   = 15 * time.Second
	takeOverLimit = 90 * time.Second
)

// orphan is a writer whose directory was being renamed by a gateway that will
// not come back. It writes no more.
type orphan struct {
	*crashWriter
	l leniency
}

// crashPoint says when to kill which gateway, and what else is lost.
type crashPoint struct {
	victim    int           // the gateway
	script    bool          // one writer runs the script there, else several do what they like
	wait      time.Duration // kill after this time; 0: at the script's end, or
	request   int           // at this request to S3
	stateOp   int           // at this operation on the state directory
	after     bool          // after it, not before
	stateLost bool          // the state directory is deleted
	powerCut  bool          // or loses what was not synced
	cut       powercut.Mode
	seed      uint64        // of the cut
	again     time.Duration // kill once more, this long after it is mounted again; 0: do not
}

// String returns the point as a failure reports it.
func (p crashPoint) String() string {
	text := fmt.Sprintf("gateway %d", p.victim)
	switch {
	case p.request > 0:
		text += fmt.Sprintf(" at request %d (after it: %v)", p.request, p.after)
	case p.stateOp > 0:
		text += fmt.Sprintf(" at operation %d on the state directory (after it: %v)", p.stateOp, p.after)
	case p.wait > 0:
		text += fmt.Sprintf(" after %v", p.wait)
	default:
		text += " at the end of the script"
	}
	if p.stateLost {
		text += ", state directory deleted"
	}
	if p.powerCut {
		text += fmt.Sprintf(", power cut (%v, seed %d)", p.cut, p.seed)
	}
	if p.again > 0 {
		text += fmt.Sprintf(", and again %v after it was back", p.again)
	}
	return text
}

// crashRun is a bucket with two gateways and writers, through many kills.
type crashRun struct {
	mode     string
	seed     uint64
	rng      *rand.Rand
	gateways [2]*crashGateway
	writers  [2][]*crashWriter // that do what they like
	retired  []*crashWriter    // that ran the script
	orphans  []orphan
	log      *sharedLog
	bad      atomic.Bool // this point has failed

	lastRequests, lastStateOps int // of the latest script that ran to its end
}

func newCrashRun(t *testing.T, mode string, seed uint64, onDisk bool) *crashRun {
	t.Helper()
	r := &crashRun{mode: mode, seed: seed, rng: rand.New(rand.NewPCG(seed, 2))}
	env := harness.New(t, crashServer())
	flags := []string{"--dir-ttl", "200ms", "--lock-ttl", "3s"} // what the dead held goes to others soon
	if mode != "remote" {
		flags = append(flags, commitFlag, mode)
	}
	for i := range r.gateways {
		r.gateways[i] = newCrashGateway(t, env, onDisk, flags)
		if i == 0 { // before the other gateway is there
			r.log = newSharedLog(t, r.gateways[0].m.Path("shared"))
			r.release(t, r.gateways[0])
		}
		for j := range 2 {
			w := newCrashWriter(fmt.Sprintf("w%d%d", i, j), seed*10+uint64(i*2+j))
			must(t, mkdir(w.name).do(r.gateways[i].m.Dir))
			r.writers[i] = append(r.writers[i], w)
		}
		env = env.Peer(t)
	}
	return r
}

// fail reports what is wrong.
func (r *crashRun) fail(t *testing.T, format string, args ...any) {
	t.Helper()
	r.bad.Store(true)
	t.Errorf(format, args...)
}

// release waits until S3 has all that a gateway acknowledged.
func (r *crashRun) release(t *testing.T, g *crashGateway) {
	t.Helper()
	if r.mode == "remote" {
		return
	}
	if res := g.env.Causeway(t, nil, "sync", g.m.Dir); res.Code != 0 {
		r.fail(t, "causeway sync: exit status %d: %s%s", res.Code, res.Stdout, res.Stderr)
	}
}

// point kills once, mounts again and compares.
func (r *crashRun) point(t *testing.T, number int, p crashPoint) {
	t.Helper()
	begun := time.Now()
	r.bad.Store(false)
	victim := r.gateways[p.victim]
	var scripted *crashWriter
	if p.script {
		scripted = newCrashWriter(fmt.Sprint("s", number), r.seed+uint64(number))
		must(t, mkdir(scripted.name).do(victim.m.Dir))
		r.retired = append(r.retired, scripted)
	}
	r.work(t, p, scripted)
	killed := *victim.killedAt.Load()
	r.ruin(t, p)
	if p.stateLost {
		victim.loseState(t)
		for _, w := range r.retired { // these are of the first gateway, as are scripts
			maps.DeleteFunc(w.tree, func(p string, _ crashFile) bool { return w != scripted && temporary(p) })
		}
	}
	trace := victim.trace()
	why := *victim.why.Load()
	if to := os.Getenv("CRASH_KEEP"); to != "" && !p.stateLost {
		must(t, os.RemoveAll(to))
		must(t, os.CopyFS(to, os.DirFS(victim.m.StateDir+"/journal")))
	}
	victim.restart(t)
	if p.again > 0 {
		time.Sleep(p.again)
		victim.kill("while it recovers")
		victim.bury(t)
		r.ruin(t, p)
		victim.restart(t)
	}
	r.check(t, p, scripted, killed)
	took := time.Since(begun).Round(time.Millisecond)
	if !r.bad.Load() {
		t.Logf("point %d: killed %v (%s): nothing lost, %v", number, p, why, took)
	}
	if r.bad.Load() {
		r.fail(t, "point %d, seed %d, commit %s: killed %v (%s)\n%s", number, r.seed, r.mode, p, why, trace)
	}
}

// ruin does to the state directory of a gateway that is dead what the point
// asks for.
func (r *crashRun) ruin(t *testing.T, p crashPoint) {
	t.Helper()
	disk := r.gateways[p.victim].disk
	switch {
	case p.powerCut:
		r.gateways[p.victim].cutPower(t, p.cut, p.seed)
	case disk != nil:
		disk.Thaw()
	}
}

// work lets the writers run until the gateway is killed and buried.
func (r *crashRun) work(t *testing.T, p crashPoint, scripted *crashWriter) {
	t.Helper()
	victim := r.gateways[p.victim]
	victim.gate.arm(p.request, p.after, victim.kill)
	if victim.disk != nil {
		victim.disk.Arm(powercut.Trip{Match: stateOp, At: p.stateOp, After: p.after, Do: func(op powercut.Op) { victim.kill(op.String()) }})
	}
	stop, done := make(chan struct{}), make(chan struct{})
	var all, script sync.WaitGroup
	run := func(group *sync.WaitGroup, gw int, w *crashWriter, next func() []step) {
		g := r.gateways[gw]
		group.Go(func() {
			if err := w.run(g.m.Path(w.name), stop, next); err != nil && g.killedAt.Load() == nil {
				r.fail(t, "%v, although nothing is wrong\n  history:\n%s", err, w.last(nil))
			}
		})
	}
	for gw, writers := range r.writers {
		for i, w := range writers {
			if scripted == nil || gw != p.victim && i == 0 {
				run(&all, gw, w, w.randomSteps)
			}
		}
		if scripted == nil && (appendsCommute || r.mode == "remote") {
			all.Go(func() { r.log.run(r.gateways[gw], gw, stop) })
		}
	}
	if scripted != nil {
		once := false
		run(&script, p.victim, scripted, func() []step {
			if once {
				return nil
			}
			once = true
			return scripted.script()
		})
	}
	go func() {
		script.Wait()
		close(done)
	}()
	r.await(p, victim, done)
	victim.bury(t)
	close(stop)
	script.Wait()
	all.Wait()
}

// await returns when the gateway is killed, and kills it if nothing else did.
func (r *crashRun) await(p crashPoint, victim *crashGateway, done <-chan struct{}) {
	if !p.script {
		time.Sleep(p.wait)
		victim.kill("at a random time")
		return
	}
	<-done
	if victim.killedAt.Load() == nil && p.request > 0 {
		time.Sleep(150 * time.Millisecond) // for what is sent after the fact
	}
	if p.request == 0 && p.stateOp == 0 {
		time.Sleep(300 * time.Millisecond)
		r.lastRequests = victim.gate.count()
		if victim.disk != nil {
			r.lastStateOps = victim.disk.Seen()
		}
	}
	victim.kill("at the end of the script")
}

// check compares what both gateways show with what was acknowledged.
func (r *crashRun) check(t *testing.T, p crashPoint, scripted *crashWriter, killed time.Time) {
	t.Helper()
	l := leniency{stateLost: p.stateLost, killed: killed}
	own := slices.Clone(r.writers[p.victim])
	if scripted != nil {
		own = append(own, scripted)
	}
	for _, w := range own { // at once, while the journal is replayed
		r.checkNow(t, w, r.gateways[p.victim].m.Path(w.name), l)
	}
	for _, g := range r.gateways {
		r.release(t, g)
	}
	r.checkKept(t)
	for i, writers := range [][]*crashWriter{own, r.writers[1-p.victim]} {
		lw := l
		if i == 1 {
			lw = leniency{}
		}
		for _, w := range writers {
			if lw.stateLost && w.inFlight != nil && w.inFlight.from != "" {
				r.orphan(t, p.victim, w, lw)
			} else {
				r.settle(t, w, lw, settleLimit)
			}
		}
	}
	r.log.check(t, r)
}

// outcomes are the trees that are allowed now.
func (w *crashWriter) outcomes() map[string]crashTree {
	all := map[string]crashTree{"as acknowledged": w.tree}
	if s := w.inFlight; s != nil {
		done := maps.Clone(w.tree)
		s.done(done)
		all["with "+s.text+" done"] = done
		if s.half != nil {
			half := maps.Clone(w.tree)
			s.half(half)
			all["with "+s.text+" half done"] = half
		}
	}
	return all
}

// judge says how a tree differs from all that is allowed: "" if it does not
// differ from one of them.
func (w *crashWriter) judge(found crashTree, l leniency) string {
	l.gone = w.gone
	text := ""
	outcomes := w.outcomes()
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		diffs := differences(outcomes[name], found, l)
		if len(diffs) == 0 {
			return ""
		}
		text += fmt.Sprintf("\n  %s:\n    %s", name, strings.Join(diffs, "\n    "))
	}
	return text
}

// checkNow looks at a tree through the gateway that was killed, right after it
// is back.
func (r *crashRun) checkNow(t *testing.T, w *crashWriter, dir string, l leniency) {
	t.Helper()
	text, err := "", error(nil)
	for range 20 {
		var found crashTree
		if found, err = readTree(dir); err == nil {
			if text = w.judgeAtOnce(found, l); text == "" {
				return
			}
			if s := w.inFlight; s == nil || s.from == "" && path.Dir(s.renamed[0]) == path.Dir(s.renamed[1]) {
				break
			}
		}
		time.Sleep(10 * time.Millisecond) // a file may go from what is not yet read to what is
	}
	if err != nil {
		text = "\n  " + err.Error()
	}
	r.fail(t, "%s, at once after the mount: differs from all that is allowed%s\n  history:\n%s", w.name, text, w.last(mentioned(text)))
}

// judgeAtOnce is judge while the rename of a directory may be under way.
func (w *crashWriter) judgeAtOnce(found crashTree, l leniency) string {
	text := w.judge(found, l)
	if s := w.inFlight; text != "" && s != nil && s.from != "" {
		l.gone = w.gone
		if len(mixture(w.tree, found, s.from, s.to, l)) == 0 {
			return ""
		}
	}
	return text
}

// mentioned are the paths that lines of differences begin with.
func mentioned(text string) (paths []string) {
	for line := range strings.Lines(text) {
		if p, ok := strings.CutPrefix(line, "    "); ok {
			p, _, _ = strings.Cut(strings.TrimSpace(p), " ")
			paths = append(paths, strings.TrimSuffix(p, ":"))
		}
	}
	return paths
}
