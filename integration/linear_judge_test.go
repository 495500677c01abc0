//go:build integration

package integration

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// TestLinearizable does a number of operations under faults, and more of them
// in the long form. CAUSEWAY_LIN_OPS sets how many, CAUSEWAY_LIN_SEED which.
func TestLinearizable(t *testing.T) {
	total, stall := 4_000, 200*time.Millisecond
	if harness.Long() {
		total, stall = 110_000, 2*time.Second
	}
	total = linEnv("CAUSEWAY_LIN_OPS", total)
	seed := linEnv("CAUSEWAY_LIN_SEED", 0)
	w := newLinWorld(t, total)
	for i, env := range w.envs {
		env.Proxy.SetFaults(uint64(seed*10+21+i), stormFaults(stall)...)
	}
	w.clients()
	wantFaults(t, w.envs[:]...)
	w.look()
	w.log()
	for _, what := range []string{"read", "write", "O_EXCL create", "O_EXCL refused", "edit", "edit refused", "unlink", "copy of rename", "rename of nothing"} {
		if w.counts[what] < total/1000 {
			t.Errorf("%s: %d times in %d operations, so this tells little", what, w.counts[what], total)
		}
	}
	if wrong := w.judge(); len(wrong) > 0 {
		t.Errorf("%d pairs of names are not linearizable", len(wrong))
		for _, part := range wrong[:min(len(wrong), 3)] {
			t.Log(w.describe(part))
		}
	}
}

// TestLinearizableFindsFault lets the server ignore conditions after the
// mounts have found that it honours them: exclusive creates have several
// winners then, and edits are lost. The judge must see it.
func TestLinearizableFindsFault(t *testing.T) {
	w := newLinWorld(t, 1500)
	for _, env := range w.envs {
		env.Proxy.IgnoreConditions(env.Server.AccessKey, env.Server.SecretKey, env.Server.Region)
	}
	w.clients()
	w.look()
	if wrong := w.judge(); len(wrong) == 0 {
		t.Error("conditions were ignored, and the history passed for linearizable")
	}
}

// clients runs all clients to their end.
func (w *linWorld) clients() {
	var wg sync.WaitGroup
	for i := range 2 * linClients {
		c := &linClient{linWorld: w, id: i, mount: i % 2, rng: rand.New(rand.NewPCG(uint64(7+linEnv("CAUSEWAY_LIN_SEED", 0)), uint64(i)))}
		wg.Go(c.run)
	}
	wg.Wait()
}

// look reads everything in the end: through both mounts, and from S3.
func (w *linWorld) look() {
	for _, env := range w.envs {
		env.Proxy.SetFaults(1)
	}
	for _, env := range w.envs {
		env.Quiesce(w.t)
	}
	for part := range w.parts {
		c := &linClient{linWorld: w, id: 2 * linClients, part: part}
		for name := range 2 {
			for c.mount = range 2 {
				c.read(name)
			}
			call, val := w.now(), noFile
			if o := w.envs[0].Get(w.t, w.parts[part].names[name]); o != nil {
				var err error
				if val, err = linValue(o.Body); err != nil {
					w.t.Errorf("object %s: %v", o.Key, err)
				}
			}
			c.note(call, linStep{kind: linRead, name: name, val: val})
		}
	}
}

func (w *linWorld) log() {
	var text strings.Builder
	for _, what := range slices.Sorted(maps.Keys(w.counts)) {
		fmt.Fprintf(&text, "  %6d %s\n", w.counts[what], what)
	}
	w.t.Logf("%d operations in %v, the longest call: %s\n%s", w.total, w.now().Round(time.Second), w.dog.longestCall(), &text)
}

// history returns the steps by pair, in the order of their calls.
func (w *linWorld) history() [][]linRecord {
	parts := make([][]linRecord, len(w.parts))
	for _, r := range w.steps {
		if at, ok := w.failed[r.val]; ok && r.kind == linRead && at == r.mount {
			r.dirty = true
		}
		if at, ok := w.failed[r.base]; ok && at == r.mount {
			r.maybe = true // it went on with bytes that a failed close had left
		}
		lost := w.lostIn(r)
		r.linStep.lost = len(lost) > 0
		parts[r.part] = append(parts[r.part], r)
		if r.ret == linForever {
			continue
		}
		for range lost {
			again := r
			again.maybe = true
			switch {
			case r.kind == linWrite:
			case r.kind == linCopy:
				again.kind = linRecopy
			default:
				continue // is sent only once, or has the same effect twice
			}
			parts[r.part] = append(parts[r.part], again)
		}
	}
	for _, steps := range parts {
		slices.SortStableFunc(steps, func(a, b linRecord) int { return cmp.Compare(a.call, b.call) })
	}
	return parts
}

// lostIn returns the requests of a step whose answers were lost.
func (w *linWorld) lostIn(r linRecord) (lost []linLost) {
	name := r.name
	if r.kind == linCopy {
		name = 1 - name
	}
	for _, l := range w.lost[r.mount] {
		if l.key == w.parts[r.part].names[name] && l.begin < r.ret && l.end > r.call &&
			l.op != s3proxy.DeleteObject && l.op != s3proxy.DeleteObjects {
			lost = append(lost, l)
		}
	}
	return lost
}

// judge returns the pairs whose history is not linearizable.
func (w *linWorld) judge() (wrong []int) {
	model := linModel()
	for part, steps := range w.history() {
		var ops []porcupine.Operation
		for _, r := range steps {
			ops = append(ops, porcupine.Operation{ClientId: r.client, Input: r.linStep, Call: int64(r.call), Return: int64(r.ret)})
		}
		switch porcupine.CheckOperationsTimeout(model, ops, 2*time.Minute) {
		case porcupine.Illegal:
			wrong = append(wrong, part)
		case porcupine.Unknown:
			w.t.Errorf("%s: could not be judged in time", w.parts[part].names[0])
		}
	}
	return wrong
}

// describe prints the shortest beginning of a history that is wrong already,
// less what is long over.
func (w *linWorld) describe(part int) string {
	steps := w.history()[part]
	model := linModel()
	n, _ := slices.BinarySearchFunc(steps, 0, func(r linRecord, _ int) int {
		// All that was called before r returned; what had not returned then may
		// as well have returned later.
		var ops []porcupine.Operation
		for _, s := range steps {
			if s.call > r.call {
				break
			}
			ops = append(ops, porcupine.Operation{Input: s.linStep, Call: int64(s.call), Return: int64(s.ret)})
		}
		if porcupine.CheckOperationsTimeout(model, ops, time.Minute) == porcupine.Ok {
			return -1
		}
		return 1
	})
	var text strings.Builder
	fmt.Fprintf(&text, "%v: wrong with step %d of %d:\n", w.parts[part].names, n, len(steps))
	for i, r := range steps[:min(n+1, len(steps))] {
		if i < n-40 && r.ret != linForever {
			continue
		}
		ret := "never"
		if r.ret != linForever {
			ret = fmt.Sprintf("%.6f", r.ret.Seconds())
		}
		fmt.Fprintf(&text, "  %.6f … %s mount %d client %2d: %v maybe=%v lost=%v\n", r.call.Seconds(), ret, r.mount, r.client, r.linStep, r.maybe, r.linStep.lost)
	}
	last := steps[min(n, len(steps)-1)]
	w.describeRequests(&text, part, last.call-5*time.Second, last.ret)
	return text.String()
}

// describeRequests prints what the mounts asked of S3 about a pair.
func (w *linWorld) describeRequests(text *strings.Builder, part int, from, to time.Duration) {
	var requests []linRequest
	for _, name := range w.parts[part].names {
		requests = append(requests, w.requests[name]...)
	}
	slices.SortFunc(requests, func(a, b linRequest) int { return a.Begin.Compare(b.Begin) })
	for _, r := range requests {
		begin := r.Begin.Sub(w.begun)
		if begin > to || begin+r.Took < from {
			continue
		}
		fmt.Fprintf(text, "  %.6f … %.6f mount %d: %s %s if %.9s: %d %.9s %v\n", begin.Seconds(), (begin + r.Took).Seconds(), r.mount, r.Op, r.Key, r.If, r.Status, r.ETag, r.Fault)
	}
}

// linEnv is a number that the environment may change.
func linEnv(name string, n int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return n
}
