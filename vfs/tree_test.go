package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
)

func put(t *testing.T, s store.Store, key, data string) {
	t.Helper()
	body := store.Body{Reader: strings.NewReader(data), Size: int64(len(data))}
	if _, err := s.Put(context.Background(), key, body, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestTreeWriters renames a directory in which, and at whose new name, another
// gateway writes all the time, while the renamer dies now and then.
func TestTreeWriters(t *testing.T) {
	cuts := 0
	for k := int64(12); k < 60; k += 6 {
		s := mem.New()
		seedTree(t, s, "d", 10)
		dir := t.TempDir()
		b := newWorld(t, s, fast)
		var stop, begun atomic.Bool
		var wg sync.WaitGroup
		acked := map[string]string{} // by path below d or e
		wg.Go(func() {
			for i := 0; !stop.Load() && i < 300; i++ {
				key, data := fmt.Sprintf("late%d", i%7), fmt.Sprint("write ", i)
				put(t, s, "d/"+key, data)
				acked[key] = data
				if begun.Load() && i%3 == 0 {
					key = fmt.Sprintf("f%02d", i%10)
					put(t, s, "e/"+key, data)
					acked[key] = data
				}
			}
		})
		st, _ := dying(&hooked{Store: s, beforeCopy: func(string, string) { begun.Store(true) }}, k, false)
		abandonWorld(t, st, dir, nil, func(w *world) error { //nolint:errcheck // it may or may not get there
			return w.fs.Rename(w.ctx, RootID, "d", RootID, "e", 0)
		})
		a := newWorld(t, s, func(o *Options) { o.StateDir = dir; fast(o) })
		awaitTrees(t, a, s, nil)
		stop.Store(true)
		wg.Wait()
		if _, err := b.lookup("e"); err != nil {
			t.Fatal(err)
		}
		if !begun.Load() {
			continue // cut before the first copy
		}
		cuts++
		got := contents(t, s, "")
		for key, data := range acked {
			in := got["e/"+key]
			if late, there := got["d/"+key]; there {
				in = late // written after the rename
			}
			if !strings.HasPrefix(in, data+"map[") {
				t.Errorf("cut at %d: %s is %q, want %q", k, key, in, data)
			}
		}
		for i := range 10 {
			if _, twice := got[fmt.Sprintf("d/f%02d", i)]; twice {
				t.Errorf("cut at %d: d/f%02d is still there", k, i)
			}
			if got[fmt.Sprintf("e/f%02d", i)] == "" || got[fmt.Sprintf("e/sub/deep/g%02d", i)] == "" {
				t.Errorf("cut at %d: file %d is lost", k, i)
			}
		}
	}
	if cuts < 4 {
		t.Errorf("only %d renames were cut after the first copy", cuts)
	}
}

// TestTreeFenced stops a renamer that was paused and taken over, before its
// next request.
func TestTreeFenced(t *testing.T) {
	s := mem.New()
	tree := seedTree(t, s, "d", 3)
	copies, paused, goOn := atomic.Int64{}, make(chan struct{}), make(chan struct{})
	h := &hooked{Store: s, beforeCopy: func(string, string) {
		if copies.Add(1) == 2 {
			close(paused)
		}
		if copies.Load() >= 2 {
			<-goOn
		}
	}}
	ca := &clock{}
	a := newWorld(t, h, ca.options)
	result := make(chan error)
	go func() { result <- a.fs.Rename(a.ctx, RootID, "d", RootID, "e", 0) }()
	<-paused
	cb := &clock{}
	b := newWorld(t, s, cb.options)
	awaitTrees(t, b, s, cb)
	want := moved(tree, "d/", "e/")
	if got := contents(t, s, ""); !maps.Equal(got, want) {
		t.Fatalf("taken over: %v, want %v", got, want)
	}
	b.must(b.write("d", "a file now", 0))
	b.must(b.unlink("e/f00"))
	b.must(b.fs.FsyncDir(b.ctx, RootID))
	ca.forward(time.Minute)
	before := copies.Load()
	close(goOn)
	if err := <-result; !errors.Is(err, errFenced) {
		t.Errorf("the paused renamer: %v", err)
	}
	if n := copies.Load() - before; n > 6 {
		t.Errorf("%d copies after it was fenced", n)
	}
	delete(want, "e/f00")
	got := contents(t, s, "e/")
	if !maps.Equal(got, want) {
		t.Errorf("after it went on: %v, want %v", got, want)
	}
}

// cutRename renames d to e and dies at the first request of the kind that the
// condition chooses. It returns the state directory.
func cutRename(t *testing.T, s store.Store, change func(*Options), when ...fault.Condition) string {
	t.Helper()
	dir := t.TempDir()
	var dead atomic.Bool
	die := fault.On(fault.Fail(store.Unavailable), append([]fault.Condition{func(fault.Request) bool { return !dead.Load() }}, when...)...)
	all := fault.On(fault.Fail(store.Unavailable), func(fault.Request) bool { return die.Fired() > 0 })
	st := fault.Wrap(s, die, all)
	err := abandonWorld(t, st, dir, change, func(w *world) error {
		return w.fs.Rename(w.ctx, RootID, "d", RootID, "e", 0)
	})
	if err == nil {
		t.Fatal("the rename was not cut")
	}
	fault.Exercised(t, die)
	return dir
}

// TestTreeOthersAtTarget changes and removes copies before the rename goes on:
// nothing older comes back over them.
func TestTreeOthersAtTarget(t *testing.T) {
	for _, change := range []func(*Options){fast, both(fast, bare)} {
		s := mem.New()
		seedTree(t, s, "d", 5)
		dir := cutRename(t, s, change, fault.Ops(store.OpDelete, store.OpDeleteMany), fault.Key("d/"))
		put(t, s, "e/f01", "changed")
		if err := s.Delete(context.Background(), "e/f02", store.Always); err != nil {
			t.Fatal(err)
		}
		put(t, s, "d/late", "late")
		put(t, s, "d/f03", "newer at the source")
		w := newWorld(t, s, both(change, func(o *Options) { o.StateDir = dir }))
		awaitTrees(t, w, s, nil)
		got := contents(t, s, "")
		for key, want := range map[string]string{"e/f01": "changed", "e/late": "late", "e/f03": "newer at the source", "e/f04": "data4"} {
			if !strings.HasPrefix(got[key], want+"map[") {
				t.Errorf("%s is %q, want %q", key, got[key], want)
			}
		}
		if text, there := got["e/f02"]; there {
			t.Errorf("the removed file is back: %q", text)
		}
		if len(got) != 12 { // 2 markers, 10 files, 1 late, 1 removed
			t.Errorf("bucket: %v", got)
		}
	}
}

// TestTreeClaimedMeanwhile leaves the source alone if somebody has made the
// target of an exclusive rename.
func TestTreeClaimedMeanwhile(t *testing.T) {
	s := mem.New()
	tree := seedTree(t, s, "d", 3)
	dir := t.TempDir()
	st, _ := dying(s, 1<<40, false)
	var dead atomic.Bool
	cut := fault.On(fault.Fail(store.Unavailable), func(r fault.Request) bool {
		if r.Op == store.OpPut && r.Key == "e/" {
			dead.Store(true)
		}
		return dead.Load()
	})
	err := abandonWorld(t, fault.Wrap(st, cut), dir, nil, func(w *world) error {
		return w.fs.Rename(w.ctx, RootID, "d", RootID, "e", RenameNoReplace)
	})
	if err == nil || !dead.Load() {
		t.Fatalf("not cut: %v", err)
	}
	put(t, s, "e/", "")
	w := newWorld(t, s, func(o *Options) { o.StateDir = dir; fast(o) })
	awaitTrees(t, w, s, nil)
	if got := contents(t, s, "d/"); !maps.Equal(got, tree) {
		t.Errorf("source: %v", got)
	}
	if got := contents(t, s, "e/"); len(got) != 1 {
		t.Errorf("target: %v", got)
	}
	w.wantKind(w.rename("d", "e", RenameNoReplace), Exist)
}

// TestTreeUndone takes copies back when the server refuses one for good.
func TestTreeUndone(t *testing.T) {
	s := mem.New()
	tree := seedTree(t, s, "d", 5)
	denied := fault.On(fault.Fail(store.Denied), fault.Ops(store.OpCopy), fault.Nth(7))
	w := newWorld(t, fault.Wrap(s, denied), fast)
	w.wantKind(w.rename("d", "e", 0), Access)
	fault.Exercised(t, denied)
	awaitTrees(t, w, s, nil)
	if got := contents(t, s, ""); !maps.Equal(got, tree) {
		t.Errorf("bucket: %v, want %v", got, tree)
	}
	w.must(w.rename("d", "e", 0))
	if got := contents(t, s, ""); !maps.Equal(got, moved(tree, "d/", "e/")) {
		t.Errorf("renamed: %v", got)
	}
}

// TestTreeBusy refuses an operation on a tree that overlaps another gateway's,
// shows what is under way, and does not make others in the tree wait for ever.
func TestTreeBusy(t *testing.T) {
	s := mem.New()
	seedTree(t, s, "d", 3)
	reached, goOn := make(chan struct{}, 100), make(chan struct{})
	h := &hooked{Store: s, beforeCopy: func(string, string) { reached <- struct{}{}; <-goOn }}
	a := newWorld(t, h, func(o *Options) { o.OpTimeout = time.Second })
	b := newWorld(t, s, nil)
	result := make(chan error)
	go func() { result <- a.fs.Rename(a.ctx, RootID, "d", RootID, "e", 0) }()
	<-reached
	b.wantKind(b.rename("d", "other", 0), Busy)
	b.wantKind(b.fs.RemoveTree(b.ctx, RootID, "d"), Busy)
	b.must(b.mkdir("free"))
	b.must(b.rename("free", "elsewhere", 0))
	st := a.fs.Stats().Trees
	if len(st) != 1 || st[0].Op != treeRename || st[0].Src != "d" || st[0].Dst != "e" || st[0].Phase != phaseCopying || st[0].Total != 8 || st[0].Resumed {
		t.Errorf("progress: %+v", st)
	}
	a.wantKind(a.unlink("d/f00"), Timeout)
	ctx, cancel := context.WithCancel(a.ctx)
	cancel()
	_, err := a.fs.Mkdir(ctx, Caller{}, RootID, "d", 0o755)
	a.wantKind(err, Exist)
	k, err := a.lookup("d")
	a.must(err)
	a.wantKind(a.fs.Unlink(ctx, k.ID, "f01"), Interrupted)
	close(goOn)
	a.must(<-result)
	if st := a.fs.Stats().Trees; len(st) != 0 {
		t.Errorf("progress at the end: %+v", st)
	}
	a.wantRead("e/f00", "data0")
}

// TestTreeNewerRecord leaves a record of a later program alone.
func TestTreeNewerRecord(t *testing.T) {
	s := mem.New()
	text, err := json.Marshal(treeRecord{Version: treeVersion + 1, ID: "x", Op: treeRename, Src: "d", Dst: "e"})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, treesPrefix+"x", string(text))
	w := newWorld(t, s, fast)
	if !eventually(10*time.Second, func() bool { return strings.Contains(w.fs.Stats().LastError, "newer gateway") }) {
		t.Errorf("not reported: %+v", w.fs.Stats())
	}
	if len(contents(t, s, treesPrefix)) != 1 {
		t.Error("it is gone")
	}
}

// TestRemoveTreeOpen removes a tree with open and uncommitted files.
func TestRemoveTreeOpen(t *testing.T) {
	s := mem.New()
	seedTree(t, s, "d", 1500)
	w := newWorld(t, s, nil)
	w.must(w.write("d/sub/.t.tmp", "staged", 0))
	h, err := w.open("d/f07", syscall.O_RDONLY)
	w.must(err)
	w.must(w.write("d/new", "unsaved", 0))
	w.must(w.fs.RemoveTree(w.ctx, RootID, "d"))
	if got, err := w.readHandle(h); err != nil || got != "data7" {
		t.Errorf("open file: %q, %v", got, err)
	}
	w.fs.Release(h)
	w.wantRoot("")
	_, err = w.lookup("d")
	w.wantKind(err, NotExist)
	if got := contents(t, s, ""); len(got) != 0 {
		t.Errorf("left: %d", len(got))
	}
	w.must(w.mkdir("d"))
	if got := w.list("d"); got != "" {
		t.Errorf("made anew: %q", got)
	}
	w.must(w.write("f", "x", 0))
	w.wantKind(w.fs.RemoveTree(w.ctx, RootID, "f"), NotDir)
	w.wantKind(w.fs.RemoveTree(w.ctx, RootID, "nothing"), NotExist)
}

// TestRemoveTreeLate keeps what is written long after a removal was begun.
func TestRemoveTreeLate(t *testing.T) {
	s := mem.New()
	seedTree(t, s, "d", 3)
	dir := t.TempDir()
	cut := fault.On(fault.Fail(store.Unavailable), fault.Ops(store.OpDeleteMany), fault.Key("d/"))
	err := abandonWorld(t, fault.Wrap(s, cut), dir, nil, func(w *world) error { return w.fs.RemoveTree(w.ctx, RootID, "d") })
	if err == nil {
		t.Fatal("not cut")
	}
	now := s.Now
	s.Now = func() time.Time { return now().Add(time.Minute) }
	put(t, s, "d/f01", "made anew")
	w := newWorld(t, s, func(o *Options) { o.StateDir = dir; fast(o) })
	awaitTrees(t, w, s, nil)
	if got := contents(t, s, ""); len(got) != 1 || !strings.HasPrefix(got["d/f01"], "made anew") {
		t.Errorf("bucket: %v", got)
	}
}
