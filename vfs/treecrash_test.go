package vfs

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
)

// clock is a Now that tests put forward.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time               { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *clock) forward(d time.Duration)      { c.ahead.Add(int64(d)) }
func (c *clock) options(o *Options)           { o.Now, o.treeLook = c.now, 2*time.Millisecond }
func bare(o *Options)                         { o.Capabilities.DeleteIf, o.Capabilities.CopyIf = false, false }
func fast(o *Options)                         { o.treeLook = 2 * time.Millisecond }
func both(f, g func(*Options)) func(*Options) { return func(o *Options) { f(o); g(o) } }

// dying is a store that answers nothing any more from the k-th request on.
// With late the k-th one is still carried out.
func dying(s store.Store, k int64, late bool) (*fault.Store, func() bool) {
	var n atomic.Int64
	last := fault.On(fault.Lost(), func(fault.Request) bool { return late && n.Load() == k })
	dead := fault.On(fault.Fail(store.Unavailable), func(fault.Request) bool { return n.Load() >= k })
	count := fault.On(fault.Fault{}, func(fault.Request) bool { n.Add(1); return false })
	return fault.Wrap(s, count, last, dead), func() bool { return n.Load() >= k }
}

// contents is what the bucket holds outside Causeway's own: keys to bytes and
// metadata.
func contents(t *testing.T, s store.Store, prefix string) map[string]string {
	t.Helper()
	all := map[string]string{}
	opts := store.ListOptions{Prefix: prefix}
	for {
		page, err := s.List(context.Background(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, obj := range page.Objects {
			if prefix == "" && strings.HasPrefix(obj.Key, reserved) {
				continue
			}
			if text, info, ok := objectOf(t, s, obj.Key); ok {
				all[obj.Key] = fmt.Sprint(text, info.Meta)
			}
		}
		if page.Next == "" {
			return all
		}
		opts.Token = page.Next
	}
}

// seedTree stores a tree and returns what it is.
func seedTree(t *testing.T, s store.Store, dir string, files int) map[string]string {
	t.Helper()
	put := func(key, data string, meta store.Metadata) {
		body := store.Body{Reader: strings.NewReader(data), Size: int64(len(data))}
		if _, err := s.Put(context.Background(), key, body, store.PutOptions{Meta: meta}); err != nil {
			t.Fatal(err)
		}
	}
	put(dir+"/", "", store.Metadata{"mode": "16832"})
	put(dir+"/sub/", "", store.Metadata{"mode": "16841"})
	for i := range files {
		put(fmt.Sprintf("%s/f%02d", dir, i), fmt.Sprint("data", i), store.Metadata{"mode": "33188", "uid": fmt.Sprint(i)})
		put(fmt.Sprintf("%s/sub/deep/g%02d", dir, i), strings.Repeat("x", i), nil)
	}
	return contents(t, s, dir+"/")
}

func moved(tree map[string]string, from, to string) map[string]string {
	all := map[string]string{}
	for k, v := range tree {
		all[to+strings.TrimPrefix(k, from)] = v
	}
	return all
}

// abandonWorld opens a filesystem, lets act run into the death of its store,
// and ends it as a crash would. It returns what act returned.
func abandonWorld(t *testing.T, s store.Store, dir string, change func(*Options), act func(w *world) error) error {
	t.Helper()
	opts := Options{Store: s, Capabilities: everything(), StateDir: dir, Umask: 0o22, OpTimeout: 2 * time.Second}
	if change != nil {
		change(&opts)
	}
	fs, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	err = act(&world{t: t, fs: fs, ctx: context.Background()})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	fs.Close(ctx, nil) //nolint:errcheck // its store is dead
	return err
}

// awaitTrees waits until nothing is left to resume, and puts the clock forward
// when the records have been sighted.
func awaitTrees(t *testing.T, w *world, s store.Store, c *clock) {
	t.Helper()
	ok := eventually(20*time.Second, func() bool {
		if c != nil {
			w.fs.trees.mu.Lock()
			sighted := len(w.fs.trees.sighted) > 0
			w.fs.trees.mu.Unlock()
			if sighted {
				c.forward(treeStale + time.Second)
			}
		}
		w.fs.trees.mu.Lock()
		active := len(w.fs.trees.active)
		w.fs.trees.mu.Unlock()
		return active == 0 && len(contents(t, s, treesPrefix)) == 0
	})
	if !ok {
		t.Fatalf("not resumed: %v, stats %+v", contents(t, s, treesPrefix), w.fs.Stats())
	}
	if left := contents(t, s, treePartsPrefix); len(left) != 0 {
		t.Errorf("parts left: %v", left)
	}
}

// treeCrash is a history that is cut at each request.
type treeCrash struct {
	name   string
	change func(*Options)
	act    func(w *world) error
	after  func(tree map[string]string) map[string]string // what there is when it is done
}

func treeCrashes() []treeCrash {
	rename := func(flags RenameFlags) func(w *world) error {
		return func(w *world) error { return w.fs.Rename(w.ctx, RootID, "d", RootID, "e", flags) }
	}
	remove := func(w *world) error { return w.fs.RemoveTree(w.ctx, RootID, "d") }
	toE := func(tree map[string]string) map[string]string { return moved(tree, "d/", "e/") }
	none := func(map[string]string) map[string]string { return map[string]string{} }
	return []treeCrash{
		{"rename", nil, rename(0), toE},
		{"rename without conditions", bare, rename(0), toE},
		{"exclusive rename", nil, rename(RenameNoReplace), toE},
		{"remove", nil, remove, none},
	}
}

// TestTreeCrash lets a gateway die at each request of an operation on a tree,
// before it or after it was carried out. The next run, or another gateway,
// finishes it: there is one whole tree.
func TestTreeCrash(t *testing.T) {
	for _, h := range treeCrashes() {
		for _, late := range []bool{false, true} {
			for _, peer := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/late %v/peer %v", h.name, late, peer), func(t *testing.T) {
					t.Parallel()
					k := int64(1)
					for ; crashOnce(t, h, k, late, peer); k++ {
					}
					if k < 8 {
						t.Errorf("only %d crashes", k)
					}
				})
			}
		}
	}
}

// crashOnce reports whether the operation was cut.
func crashOnce(t *testing.T, h treeCrash, k int64, late, peer bool) bool {
	t.Helper()
	s := mem.New()
	tree := seedTree(t, s, "d", 4)
	dir := t.TempDir()
	st, cut := dying(s, k, late)
	err := abandonWorld(t, st, dir, h.change, h.act)
	change, c := both(fast, func(o *Options) { o.StateDir = dir }), (*clock)(nil)
	if peer {
		c = &clock{}
		change = c.options
	}
	if h.change != nil {
		change = both(change, h.change)
	}
	begun := len(contents(t, s, treesPrefix)) > 0
	w := newWorld(t, s, change)
	awaitTrees(t, w, s, c)
	got, done := contents(t, s, ""), h.after(tree)
	switch {
	case maps.Equal(got, done):
	case err == nil || begun || !maps.Equal(got, tree):
		t.Fatalf("cut at request %d, answer %v, begun %v:\n%v\nwant\n%v", k, err, begun, got, done)
	}
	return cut()
}
