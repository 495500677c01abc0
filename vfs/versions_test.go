package vfs

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store/mem"
)

// A check that an open began goes on when its caller has left. Whoever has the
// file open keeps the version that he has.
func TestCheckOutlivesItsOpen(t *testing.T) {
	s := mem.New()
	late := &hooked{Store: s}
	a, b := newWorld(t, late, func(o *Options) { o.Strict = true }), newWorld(t, s, nil)
	b.must(b.write("f", "first version", 0))
	h, err := a.open("f", syscall.O_RDONLY)
	a.must(err)
	defer a.fs.Release(h)
	b.must(b.write("f", "second", syscall.O_TRUNC))

	asked, answer := make(chan bool), make(chan bool)
	late.beforeGet = func(string) {
		asked <- true
		<-answer
	}
	ctx, cancel := context.WithCancel(a.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if h, err := a.fs.Open(ctx, h.Node(), syscall.O_RDONLY); err == nil {
			t.Error("an open whose caller has left succeeded")
			a.fs.Release(h)
		}
	})
	<-asked
	cancel()
	wg.Wait()
	answer <- true
	a.wantNoCheck(h.f)
	if got, err := a.readHandle(h); err != nil || got != "first version" {
		t.Errorf("the handle reads %q, %v", got, err)
	}
	if k, err := a.fs.GetAttr(a.ctx, h.Node(), h); err != nil || k.Size != int64(len("first version")) {
		t.Errorf("the handle has size %d, %v", k.Size, err)
	}
}

// wantNoCheck waits until no check of f is under way.
func (w *world) wantNoCheck(f *file) {
	w.t.Helper()
	if !eventually(5*time.Second, func() bool {
		f.checks.mu.Lock()
		defer f.checks.mu.Unlock()
		return !f.checks.running
	}) {
		w.t.Fatal("the check does not end")
	}
}

// If nobody has the file open, a check that goes on leaves nothing behind.
func TestCheckOutlivesItsFile(t *testing.T) {
	s := mem.New()
	late := &hooked{Store: s}
	a, b := newWorld(t, late, func(o *Options) { o.Strict = true }), newWorld(t, s, nil)
	b.must(b.write("f", strings.Repeat("x", 2*firstRead), 0))
	id := a.id("f")
	asked, answer := make(chan bool), make(chan bool)
	late.beforeGet = func(string) {
		asked <- true
		<-answer
	}
	ctx, cancel := context.WithCancel(a.ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := a.fs.Open(ctx, id, syscall.O_RDONLY); err == nil {
			t.Error("an open whose caller has left succeeded")
		}
	})
	<-asked
	f := a.fs.nodes.get(id).fileState()
	cancel()
	wg.Wait()
	answer <- true
	a.wantNoCheck(f)
	if a.fs.nodes.get(id).fileState() != nil {
		t.Error("the file is not settled")
	}
	a.wantNothingLeft()
}

// A listing that is older than what a handle reads does not tell the kernel
// another size than the handle has: it keeps one for both.
func TestOldAnswerAboutOpenFile(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	a.must(a.write("f", strings.Repeat("x", 100), 0))
	d, err := a.fs.OpenDir(a.ctx, RootID)
	a.must(err)
	a.must(a.fs.ReadDirPlus(a.ctx, d, 0, func(e DirEntry) bool { return e.Name != "." })) // takes the snapshot
	a.must(a.write("f", "short", syscall.O_TRUNC))
	list := func() (size int64) {
		a.must(a.fs.ReadDirPlus(a.ctx, d, dots, func(e DirEntry) bool {
			if e.Name == "f" && e.Known != nil {
				size = e.Known.Size
			}
			return true
		}))
		return size
	}
	h, err := a.open("f", syscall.O_RDONLY)
	a.must(err)
	if got := list(); got != int64(len("short")) {
		t.Errorf("a file that is open is listed with %d bytes", got)
	}
	got, err := a.readHandle(h)
	if a.must(err); got != "short" {
		t.Errorf("read %q", got)
	}
	a.fs.Release(h)

	// Nobody has it open: the kernel is told nothing of the older version.
	if got := list(); got != 0 {
		t.Errorf("listed with %d bytes", got)
	}
	h, err = a.open("f", syscall.O_RDONLY)
	a.must(err)
	defer a.fs.Release(h)
	if !a.fs.KeepCache(h) {
		t.Error("the kernel drops the pages of the version that is open")
	}
}

// A change of attributes of a version whose bytes nobody has read here does not
// make the kernel's older pages that version's.
func TestPagesAfterChmodOfNewVersion(t *testing.T) {
	a := newWorld(t, mem.New(), func(o *Options) { o.DirTTL = time.Nanosecond })
	b := newWorld(t, a.ops.Store, nil)
	b.must(b.write("f", "old", 0))
	a.wantRead("f", "old")
	b.must(b.write("f", "new", syscall.O_TRUNC))
	n := a.fs.nodes.find("f")
	if n == nil {
		t.Fatal("the node is gone")
	}
	_, err := a.fs.SetAttr(a.ctx, Caller{}, n.id, nil, SetAttr{Mode: ptr(uint32(0o600))})
	a.must(err)
	a.must(a.fs.flushAttr(a.ctx, n))
	h, err := a.fs.Open(a.ctx, n.id, syscall.O_RDONLY)
	a.must(err)
	defer a.fs.Release(h)
	if a.fs.KeepCache(h) {
		t.Error("the kernel keeps the pages of the older version")
	}
	if got, err := a.readHandle(h); err != nil || got != "new" {
		t.Errorf("read %q, %v", got, err)
	}
}

// Two nodes have the same version from the cache, since the name was removed
// and made again elsewhere. An edit through one does not show in the other,
// whose handles keep their version.
func TestEditSparesOtherNodeOfCachedVersion(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("f", "original", 0))
	old, err := a.open("f", syscall.O_RDONLY)
	a.must(err)
	defer a.fs.Release(old)
	if !old.f.content.cached {
		t.Fatal("it is not from the cache")
	}
	a.fs.supersede(old.node)
	edit, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	defer a.fs.Release(edit)
	if edit.node == old.node || !edit.f.content.cached {
		t.Fatal("it is not another node on the cache")
	}
	_, err = a.fs.Write(a.ctx, edit, []byte("CHANGED, and longer"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, edit))
	if got, err := a.readHandle(old); err != nil || got != "original" {
		t.Errorf("the handle of the old node reads %q, %v", got, err)
	}
	b.wantRead("f", "CHANGED, and longer")
}
