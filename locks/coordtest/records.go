package coordtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/locks"
)

func testAbsent(r *rig) {
	g := r.gateway()
	if v := r.absent(g, "p/none"); v != "" {
		r.Errorf("version %q", v)
	}
	r.must(g.Delete(r.ctx, "p/none", ""))
	r.absent(g, "p/none")
}

func testPutGet(r *rig) {
	a, b := r.gateway(), r.gateway()
	v := r.put(a, "p/k", "one", "")
	if v == "" {
		r.Error("a record that exists has the version of none")
	}
	r.holds(b, "p/k", "one", v)
	w := r.put(b, "p/k", "two", v)
	r.holds(a, "p/k", "two", w)
	w = r.put(a, "p/k", "", w)
	r.holds(b, "p/k", "", w)
	big := strings.Repeat("\x00\n\xffbig", 50_000)
	w = r.put(b, "p/k", big, w)
	r.holds(a, "p/k", big, w)
	nothing, err := a.Put(r.ctx, "p/nil", nil, "")
	r.must(err)
	r.holds(b, "p/nil", "", nothing)
}

func testPutConflict(r *rig) {
	a, b := r.gateway(), r.gateway()
	v := r.put(a, "k", "one", "")
	_, err := b.Put(r.ctx, "k", []byte("other"), "")
	r.conflict("put of a record that exists", err)
	w := r.put(a, "k", "two", v)
	_, err = b.Put(r.ctx, "k", []byte("other"), v)
	r.conflict("put on an old version", err)
	r.holds(b, "k", "two", w)
	_, err = b.Put(r.ctx, "none", []byte("other"), w)
	r.conflict("put on a version of a record that does not exist", err)
	r.absent(a, "none")
}

func testVersions(r *rig) {
	g := r.gateway()
	seen := map[locks.Version]bool{"": true}
	var v locks.Version
	for i := range 6 {
		v = r.put(g, "k", "same", v)
		if seen[v] {
			r.Fatalf("version %q again, at write %d", v, i)
		}
		seen[v] = true
		if i == 3 {
			r.must(g.Delete(r.ctx, "k", v))
			v = r.absent(g, "k")
			if v != "" && seen[v] {
				r.Fatalf("version %q of what was deleted is that of something else", v)
			}
		}
	}
}

func testDelete(r *rig) {
	a, b := r.gateway(), r.gateway()
	v := r.put(a, "k", "one", "")
	r.must(b.Delete(r.ctx, "k", v))
	gone := r.absent(a, "k")
	_, err := a.Put(r.ctx, "k", []byte("two"), v)
	r.conflict("put on the version that was deleted", err)
	r.conflict("delete of the version that was deleted", a.Delete(r.ctx, "k", v))
	w := r.put(a, "k", "two", gone)
	r.holds(b, "k", "two", w)
}

func testDeleteConflict(r *rig) {
	a, b := r.gateway(), r.gateway()
	v := r.put(a, "k", "one", "")
	w := r.put(a, "k", "two", v)
	r.conflict("delete of an old version", b.Delete(r.ctx, "k", v))
	r.conflict("delete of a record as if it did not exist", b.Delete(r.ctx, "k", ""))
	r.holds(b, "k", "two", w)
}

// Keys of 900 bytes, as few and as many segments as possible; keys that could be
// taken for each other; and what servers dislike.
func oddKeys() []string {
	return []string{
		"a", "a/b", "a/b/c", "a/", "/", "/a", "a//b", ".", "..", "a/./b", "a/../b", "~", "a~", "!", "a!/b", "+", "a+b",
		"%", "%2F", "a%2Fb", `\`, `a\b`, ":", "*?\"<>|", " ", "a ", "ä", "日本語", "\U0001f600", "A", "r/a~",
		strings.Repeat("x", 180), strings.Repeat("x", 181), strings.Repeat("x", 360), strings.Repeat("x", 178) + "/y",
		"p/" + strings.Repeat("0123456789abcdef", 4), strings.Repeat("long/", 180), strings.Repeat("ä", 450),
	}
}

func testKeys(r *rig) {
	a, b := r.gateway(), r.gateway()
	keys := oddKeys()
	versions := map[string]locks.Version{}
	for _, k := range keys {
		versions[k] = r.put(a, k, "data of "+k, "")
	}
	for _, k := range keys {
		r.holds(b, k, "data of "+k, versions[k])
	}
	got, err := b.List(r.ctx, "")
	r.must(err)
	slices.Sort(keys)
	if !slices.Equal(got, keys) {
		r.Errorf("listed\n%q, want\n%q", got, keys)
	}
}

func testBadKeys(r *rig) {
	g := r.gateway()
	for _, k := range []string{"", "\xff", strings.Repeat("x", 901)} {
		if _, err := g.Put(r.ctx, k, nil, ""); err == nil || errors.Is(err, locks.ErrConflict) {
			r.Errorf("put of %.20q: %v", k, err)
		}
		if _, err := g.Get(r.ctx, k); err == nil {
			r.Errorf("get of %.20q succeeded", k)
		}
	}
}

func testList(r *rig) {
	a, b := r.gateway(), r.gateway()
	for _, k := range []string{"p/b", "p/a", "p/c", "q/a", "p", "pp/a"} {
		r.put(a, k, "", "")
	}
	r.must(a.Delete(r.ctx, "p/c", r.get(a, "p/c").Version))
	for prefix, want := range map[string][]string{
		"p/": {"p/a", "p/b"}, "p": {"p", "p/a", "p/b", "pp/a"}, "x": nil, "": {"p", "p/a", "p/b", "pp/a", "q/a"},
	} {
		got, err := b.List(r.ctx, prefix)
		r.must(err)
		if !slices.Equal(got, want) {
			r.Errorf("list of %q: %q, want %q", prefix, got, want)
		}
	}
}

func testOneWinner(r *rig) {
	gateways := []Gateway{r.gateway(), r.gateway(), r.gateway()}
	v := r.put(gateways[0], "old", "0", "")
	for _, key := range []string{"new", "old"} {
		base := map[string]locks.Version{"old": v}[key]
		var won atomic.Int64
		var work sync.WaitGroup
		for i := range 12 {
			work.Go(func() {
				data := fmt.Appendf(nil, "writer %d", i)
				_, err := gateways[i%3].Put(r.ctx, key, data, base)
				switch {
				case err == nil:
					won.Add(1)
					if got := r.get(gateways[0], key); !bytes.Equal(got.Data, data) {
						r.Errorf("%q won, and the record holds %q", data, got.Data)
					}
				case !errors.Is(err, locks.ErrConflict):
					r.Errorf("put: %v", err)
				}
			})
		}
		work.Wait()
		if won.Load() != 1 {
			r.Errorf("%d of 12 writers of %q won", won.Load(), key)
		}
	}
}

func testCanceled(r *rig) {
	g := r.gateway()
	ctx, cancel := context.WithCancel(r.ctx)
	cancel()
	_, err := g.Get(ctx, "k")
	_, err2 := g.Put(ctx, "k", nil, "")
	_, err3 := g.List(ctx, "")
	_, err4 := g.Ended(ctx, "someone")
	for i, err := range []error{err, err2, err3, err4, g.Delete(ctx, "k", "v"), g.Want(ctx, "someone", "k")} {
		if err == nil || errors.Is(err, locks.ErrConflict) {
			r.Errorf("call %d: %v", i, err)
		}
	}
}

func testAwaitOld(r *rig) {
	a, b := r.gateway(), r.gateway()
	v := r.put(a, "k", "one", "")
	w := r.put(a, "k", "two", v)
	for _, known := range []locks.Version{"", v} {
		state, err := b.Await(r.ctx, "k", known, often)
		if err != nil || string(state.Data) != "two" || state.Version != w || state.Key != "k" {
			r.Errorf("await: %+v, %v", state, err)
		}
	}
	r.must(a.Delete(r.ctx, "k", w))
	state, err := b.Await(r.ctx, "k", w, often)
	if err != nil || state.Data != nil || state.Version == w {
		r.Errorf("await of what was deleted: %+v, %v", state, err)
	}
}

func testAwaitChange(r *rig) {
	a, b := r.gateway(), r.gateway()
	var v locks.Version
	change := func(data string) {
		next := make(chan error, 1)
		go func() {
			time.Sleep(100 * time.Millisecond)
			var err error
			if data == "" {
				err = a.Delete(r.ctx, "k", v)
			} else {
				_, err = a.Put(r.ctx, "k", []byte(data), v)
			}
			next <- err
		}()
		state, err := b.Await(r.ctx, "k", v, often)
		r.must(<-next)
		if err != nil || string(state.Data) != data || state.Version == v {
			r.Errorf("await of %q: %+v, %v", data, state, err)
		}
		v = state.Version
	}
	for _, data := range []string{"one", "two", "", "three"} {
		change(data)
	}
}

func testAwaitEnd(r *rig) {
	g := r.gateway()
	v := r.put(g, "k", "one", "")
	for key, known := range map[string]locks.Version{"k": v, "none": ""} {
		ctx, cancel := context.WithTimeout(r.ctx, 200*time.Millisecond)
		state, err := g.Await(ctx, key, known, often)
		if !errors.Is(err, context.DeadlineExceeded) || state.Version != known {
			r.Errorf("await: %+v, %v", state, err)
		}
		cancel()
		if _, err := g.Await(ctx, key, known, often); err == nil {
			r.Error("await succeeded without a context")
		}
	}
}
