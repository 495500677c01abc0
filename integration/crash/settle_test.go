//go:build integration

package crash

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

// orphan puts a writer aside until finish, and another in its place.
func (r *crashRun) orphan(t *testing.T, gw int, w *crashWriter, l leniency) {
	t.Helper()
	r.orphans = append(r.orphans, orphan{w, l})
	r.retired = slices.DeleteFunc(r.retired, func(x *crashWriter) bool { return x == w })
	for i := range r.writers[gw] {
		if r.writers[gw][i] == w {
			next := newCrashWriter(w.name+"+", r.rng.Uint64())
			must(t, mkdir(next.name).do(r.gateways[gw].m.Dir))
			r.writers[gw][i] = next
		}
	}
}

// settle waits until both gateways show the same, and that is allowed; it is
// what the writer goes on from.
func (r *crashRun) settle(t *testing.T, w *crashWriter, l leniency, limit time.Duration) {
	t.Helper()
	if w.inFlight != nil && w.inFlight.from != "" && !l.stateLost {
		r.awaitTrees(t, w)
	}
	deadline := time.Now().Add(limit)
	for {
		found, text := r.look(w, l)
		if text == "" || time.Now().After(deadline) {
			if text != "" {
				r.fail(t, "%s: after %v the gateways do not show what is allowed%s\n  history:\n%s\n  objects: %s%s",
					w.name, limit, text, w.last(mentioned(text)), r.objects(t, w), r.requests(w, mentioned(text)))
			}
			w.goOn(found)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// objects lists what S3 has of a writer's.
func (r *crashRun) objects(t *testing.T, w *crashWriter) string {
	t.Helper()
	var text strings.Builder
	for _, o := range r.gateways[0].env.List(t, w.name+"/") {
		fmt.Fprintf(&text, "%s (%d bytes) ", strings.TrimPrefix(o.Key, w.name+"/"), o.Size)
	}
	return text.String()
}

// requests are those of both gateways that were about some paths of a writer.
func (r *crashRun) requests(w *crashWriter, paths []string) (text string) {
	var about []string
	for _, p := range paths {
		about = append(about, w.name+"/"+p)
	}
	for i, g := range r.gateways {
		text += fmt.Sprintf("\n  requests of gateway %d for these:\n%s", i, g.gate.report(about...))
	}
	return text
}

// look reads a tree through both gateways and says what is wrong.
func (r *crashRun) look(w *crashWriter, l leniency) (found crashTree, text string) {
	var trees [2]crashTree
	for i, g := range r.gateways {
		var err error
		if trees[i], err = readTree(g.m.Path(w.name)); err != nil {
			return w.tree, fmt.Sprintf("\n  gateway %d: %v", i, err)
		}
	}
	owner := 0 // whose temporary files they are
	if slices.Contains(r.writers[1], w) {
		owner = 1
	}
	for p := range trees[owner] {
		if f, there := trees[owner][p], trees[1-owner][p]; temporary(p) && there.content == nil {
			trees[1-owner][p] = f
		}
	}
	for i, tree := range trees {
		if text := w.judge(tree, l); text != "" {
			return trees[owner], fmt.Sprintf("\n  through gateway %d:%s", i, text)
		}
	}
	for p := range trees[owner] { // both are allowed, but are they the same?
		a, b := trees[owner][p], trees[1-owner][p]
		if a.dir != b.dir || string(a.content) != string(b.content) || a.mode != b.mode || len(trees[0]) != len(trees[1]) {
			return trees[owner], fmt.Sprintf("\n  %s: one gateway shows %s %v, the other %s %v", p, a, a.mode, b, b.mode)
		}
	}
	return trees[owner], ""
}

// goOn takes what was found for the state from now on.
func (w *crashWriter) goOn(found crashTree) {
	for p, f := range found {
		if want, ok := w.tree[p]; !ok || want.mtime.IsZero() || !want.mtime.Equal(f.mtime) {
			f.mtime = time.Time{}
			found[p] = f
		}
	}
	w.tree, w.inFlight = found, nil
	for p := range w.gone {
		if _, back := found[p]; back || time.Since(w.gone[p].at) > 10*lastInstants {
			delete(w.gone, p)
		}
	}
}

// keptVersion is a line of `causeway recover --json`.
type keptVersion struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

// kept returns what recover lists of a gateway's state directory.
func (g *crashGateway) kept(t *testing.T) (versions []keptVersion) {
	t.Helper()
	res := g.env.Causeway(t, nil, "recover", "--state-dir", g.m.StateDir, "--json")
	if res.Code != 0 {
		t.Fatalf("recover: exit status %d: %s", res.Code, res.Stderr)
	}
	if err := json.Unmarshal([]byte(res.Stdout), &versions); err != nil {
		t.Fatalf("recover --json: %v in %s", err, res.Stdout)
	}
	return versions
}

// checkKept wants nothing in recover but versions of operations that were
// answered with an error, or not at all.
func (r *crashRun) checkKept(t *testing.T) {
	t.Helper()
	for i, g := range r.gateways {
		for _, v := range g.kept(t) {
			p := strings.Trim(v.Path, "/")
			unanswered := strings.HasPrefix(p, "shared/")
			for _, w := range slices.Concat(r.writers[0], r.writers[1], r.retired) {
				for _, line := range w.history {
					rel, ok := strings.CutPrefix(p, w.name+"/")
					unanswered = unanswered || ok && line.err != nil && strings.Contains(line.text, rel)
				}
			}
			if !unanswered {
				r.fail(t, "gateway %d kept %s (%d bytes: %.120s), although no operation on it failed%s", i, v.Path, v.Size, v.Reason, r.about(p))
			}
		}
	}
}

// about is what happened to a path lately.
func (r *crashRun) about(p string) string {
	name, rel, _ := strings.Cut(p, "/")
	for _, w := range slices.Concat(r.writers[0], r.writers[1], r.retired) {
		if w.name == name {
			return fmt.Sprintf("\n  history:\n%s%s", w.last([]string{rel}), r.requests(w, []string{rel}))
		}
	}
	return ""
}

// awaitTrees waits until no rename of a writer's directory is under way, by
// whichever gateway.
func (r *crashRun) awaitTrees(t *testing.T, w *crashWriter) {
	t.Helper()
	deadline := time.Now().Add(takeOverLimit)
	for {
		env, left := r.gateways[0].env, ""
		for _, o := range env.List(t, ".causeway/trees/") {
			if rec := env.Get(t, o.Key); rec != nil && bytes.Contains(rec.Body, []byte(`"`+w.name+"/")) {
				left = string(rec.Body)
			}
		}
		if left == "" {
			return
		}
		if time.Now().After(deadline) {
			r.fail(t, "after %v nobody has ended %s", takeOverLimit, left)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// finish ends the run: after an orderly end the bucket has what was
// acknowledged.
func (r *crashRun) finish(t *testing.T) {
	t.Helper()
	if t.Failed() {
		return
	}
	for _, o := range r.orphans {
		if harness.Long() { // it takes half a minute, and TestTree… see to it too
			r.awaitTrees(t, o.crashWriter)
			r.settle(t, o.crashWriter, o.l, settleLimit)
			r.retired = append(r.retired, o.crashWriter)
		}
	}
	for _, w := range r.retired {
		r.settle(t, w, leniency{}, settleLimit)
	}
	for _, g := range r.gateways {
		g.m.Stop()
	}
	objects := map[string]bool{}
	for _, o := range r.gateways[0].env.List(t, "") {
		objects[strings.TrimSuffix(o.Key, "/")] = true
	}
	for _, w := range slices.Concat(r.writers[0], r.writers[1], r.retired) {
		for p, f := range w.tree {
			if !f.dir && !temporary(p) && !objects[w.name+"/"+p] {
				r.fail(t, "object %s/%s is not there after an orderly end", w.name, p)
			}
			delete(objects, w.name+"/"+p)
		}
		delete(objects, w.name)
	}
	for _, o := range r.orphans {
		maps.DeleteFunc(objects, func(key string, _ bool) bool { return strings.HasPrefix(key+"/", o.name+"/") })
	}
	for key := range objects {
		if !strings.HasPrefix(key, ".causeway/") && !strings.HasPrefix(key, "shared") {
			r.fail(t, "object %s is there after an orderly end", key)
		}
	}
}
