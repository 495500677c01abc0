package vfs

import (
	"context"
	"maps"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
)

// TestTreeResumeSkipsCopied goes on where the last part says, and not from the
// beginning.
func TestTreeResumeSkipsCopied(t *testing.T) {
	s := mem.New()
	tree := seedTree(t, s, "d", 1250)
	dir := cutRename(t, s, nil, fault.Ops(store.OpCopy), fault.Nth(2200))
	w := newWorld(t, s, func(o *Options) { o.StateDir = dir; fast(o) })
	awaitTrees(t, w, s, nil)
	if got := contents(t, s, ""); !maps.Equal(got, moved(tree, "d/", "e/")) {
		t.Errorf("%d objects of %d", len(got), len(tree))
	}
	w.ops.mu.Lock()
	copies := w.ops.ops[store.OpCopy]
	w.ops.mu.Unlock()
	if copies > 502 { // of 2500, 2000 are in parts; some of the others are found to be there
		t.Errorf("%d copies were made again", copies)
	}
}

// TestTreeRequests counts what the rename of a directory costs, besides one
// copy and one deletion of each file, without records.
func TestTreeRequests(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"conditions": {nil, "COPY 20, DELETE 20, DELETE-MANY 1, HEAD 3, LIST 5, PUT 2"},
		"none":       {bare, "COPY 20, DELETE-MANY 1, HEAD 3, LIST 5, PUT 2"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			seedTree(t, s, "d", 10)
			w := newWorld(t, s, c.change)
			w.list("")
			w.ops.reset()
			w.must(w.rename("d", "e", 0))
			w.wantOps("rename", c.want)
			if left := contents(t, s, reserved+"/tree"); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestTreeLaterStands replaces what somebody has put at the target by what was
// stored later at the source, and nothing else.
func TestTreeLaterStands(t *testing.T) {
	s := mem.New()
	at := time.Now()
	s.Now = func() time.Time { at = at.Add(time.Second); return at }
	seedTree(t, s, "d", 3)
	h := &hooked{Store: s}
	var once sync.Once
	h.beforePut = func(key string) {
		if strings.HasPrefix(key, treesPrefix) {
			once.Do(func() {
				put(t, s, "e/f00", "theirs")
				put(t, s, "e/f01", "theirs")
				put(t, s, "d/f01", "later")
			})
		}
	}
	w := newWorld(t, h, nil)
	w.must(w.rename("d", "e", 0))
	got := contents(t, s, "")
	for key, want := range map[string]string{"e/f00": "theirs", "e/f01": "later", "e/f02": "data2"} {
		if !strings.HasPrefix(got[key], want+"map[") {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if len(got) != 8 {
		t.Errorf("bucket: %v", got)
	}
}

// TestTreeNoticed takes over what a gateway has left that came and died while
// this one was there.
func TestTreeNoticed(t *testing.T) {
	s := mem.New()
	tree := seedTree(t, s, "d", 3)
	c := &clock{}
	b := newWorld(t, s, c.options)
	b.list("")
	cutRename(t, s, nil, fault.Ops(store.OpCopy), fault.Nth(3))
	done := eventually(20*time.Second, func() bool {
		c.forward(2 * time.Second)
		b.list("") // only a gateway that is used looks who is there
		return len(contents(t, s, treesPrefix)) == 0
	})
	if !done {
		t.Fatalf("not taken over: %+v", b.fs.Stats())
	}
	if got := contents(t, s, ""); !maps.Equal(got, moved(tree, "d/", "e/")) {
		t.Errorf("bucket: %v", got)
	}
}

// TestTreeFollowsOpen resumes a rename while files below it are open and
// written: they go along.
func TestTreeFollowsOpen(t *testing.T) {
	s := mem.New()
	seedTree(t, s, "d", 3)
	dir := cutRename(t, s, nil, fault.Ops(store.OpDelete, store.OpDeleteMany), fault.Key("d/"))
	goOn := make(chan struct{})
	h := &hooked{Store: s, beforeDelete: func(string) error { <-goOn; return nil }}
	w := newWorld(t, h, func(o *Options) { o.StateDir = dir; fast(o) })
	reader, err := w.open("d/f01", syscall.O_RDONLY)
	w.must(err)
	writer, err := w.open("d/f02", syscall.O_RDWR)
	w.must(err)
	_, err = w.fs.Write(w.ctx, writer, []byte("DATA"), 0)
	w.must(err)
	close(goOn)
	awaitTrees(t, w, s, nil)
	if got, err := w.readHandle(reader); err != nil || got != "data1" {
		t.Errorf("reader: %q, %v", got, err)
	}
	if p, ok := w.fs.nodes.path(writer.node); !ok || p != "e/f02" {
		t.Errorf("the writer's file is %q, %v", p, ok)
	}
	w.must(w.fs.Flush(w.ctx, writer))
	w.fs.Release(reader)
	w.fs.Release(writer)
	w.wantRead("e/f02", "DATA2")
	if got := contents(t, s, "d/"); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

// TestTreeSourceRemoved takes a copy back whose source somebody removed while
// others were copied.
func TestTreeSourceRemoved(t *testing.T) {
	for name, change := range map[string]func(*Options){"conditions": fast, "none": bare} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			tree := seedTree(t, s, "d", 5)
			h := &hooked{Store: s, afterCopy: func(src, _ string) {
				if src == "d/f01" {
					if err := s.Delete(context.Background(), src, store.Always); err != nil {
						t.Error(err)
					}
				}
			}}
			w := newWorld(t, h, change)
			w.must(w.rename("d", "e", 0))
			delete(tree, "d/f01")
			if got := contents(t, s, ""); !maps.Equal(got, moved(tree, "d/", "e/")) {
				t.Errorf("bucket: %v", got)
			}
		})
	}
}

// TestTreeStagedFollows finds a temporary file where the directory was renamed
// to, after the gateway was killed.
func TestTreeStagedFollows(t *testing.T) {
	s := mem.New()
	seedTree(t, s, "d", 2)
	w := newWorld(t, s, nil)
	w.must(w.write("d/sub/.t.tmp", "staged", 0))
	w.must(w.rename("d", "e", 0))
	dir := t.TempDir()
	w.must(copyTree(w.fs.opts.StateDir, dir))
	next := newWorld(t, s, func(o *Options) { o.StateDir = dir })
	next.wantRead("e/sub/.t.tmp", "staged")
	next.wantRoot("e")
	next.must(next.rename("e/sub/.t.tmp", "e/sub/final", 0))
	next.wantRead("e/sub/final", "staged")
}

// TestTreeSpool sends what waits below a directory before it is renamed, and
// before it is removed.
func TestTreeSpool(t *testing.T) {
	s := mem.New()
	seedTree(t, s, "d", 2)
	w := newWorld(t, s, func(o *Options) { o.CommitLocal = true })
	w.must(w.write("d/new", "new", 0))
	w.must(w.write("d/f00", "again", syscall.O_TRUNC))
	w.must(w.rename("d", "e", 0))
	got := contents(t, s, "")
	if len(got) != 7 || !strings.HasPrefix(got["e/new"], "new") || !strings.HasPrefix(got["e/f00"], "again") {
		t.Errorf("bucket: %v", got)
	}
	w.must(w.write("e/last", "last", 0))
	w.must(w.fs.RemoveTree(w.ctx, RootID, "e"))
	if got := contents(t, s, ""); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}
