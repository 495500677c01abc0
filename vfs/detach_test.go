package vfs

import (
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// stat looks a path up and asks for its attributes, as the kernel does.
func (w *world) stat(path string) error {
	k, err := w.lookup(path)
	if err == nil {
		_, err = w.fs.GetAttr(w.ctx, k.ID, nil)
	}
	return err
}

// A directory goes elsewhere while a new file in it is open here.
func TestDirRemovedElsewhereLosesOpenFile(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, func(o *Options) { o.DirTTL, o.Verify = 10*time.Millisecond, 10*time.Millisecond })
	b := newWorld(t, s, func(o *Options) { o.DirTTL, o.Verify = 10*time.Millisecond, 10*time.Millisecond })
	a.must(a.mkdir("d"))
	h, err := a.open("d/x", syscall.O_RDWR|syscall.O_CREAT)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("precious"), 0)
	a.must(err)
	b.must(b.rmdir("d"))
	b.must(b.fs.FsyncDir(b.ctx, RootID))
	t.Log("vanished:", eventually(3*time.Second, func() bool { return a.stat("d") != nil }))
	err = a.fs.Flush(a.ctx, h)
	a.fs.Release(h)
	data, _, ok := objectOf(t, s, "d/x")
	kept, _ := Kept(a.fs.opts.StateDir)
	if err == nil && !ok && len(kept) == 0 {
		t.Errorf("close returned nil, S3 has %q, %v, kept %+v", data, ok, kept)
	}
}

// The same for a temporary file that was closed: it must still be somewhere.
func TestDirRemovedElsewhereLosesStagedFile(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, func(o *Options) {
		o.DirTTL, o.Verify = 10*time.Millisecond, 10*time.Millisecond
		o.StagedTTL = time.Millisecond
	})
	b := newWorld(t, s, func(o *Options) { o.DirTTL, o.Verify = 10*time.Millisecond, 10*time.Millisecond })
	a.must(a.mkdir("d"))
	a.must(a.write("d/.x.tmp", "precious", 0))
	b.must(b.rmdir("d"))
	b.must(b.fs.FsyncDir(b.ctx, RootID))
	t.Log("vanished:", eventually(500*time.Millisecond, func() bool { return a.stat("d") != nil }))
	time.Sleep(5 * time.Millisecond)
	a.fs.uploadOldStaged()
	_, _, ok := objectOf(t, s, "d/.x.tmp")
	kept, _ := Kept(a.fs.opts.StateDir)
	if _, err := a.fs.Lookup(a.ctx, RootID, "d"); !ok && len(kept) == 0 && err != nil {
		t.Errorf("an acknowledged temporary file is neither in S3, nor kept, nor reachable: %v; stats %+v", err, a.fs.Stats())
	}
}

// What is kept of a file that lost its name must say what it was.
func TestKeptWithoutPath(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, func(o *Options) { o.DirTTL, o.Verify = 10*time.Millisecond, 10*time.Millisecond })
	b := newWorld(t, s, nil)
	a.must(a.write("f", "original", 0))
	h, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	b.must(b.write("f", "theirs", syscall.O_TRUNC))
	a.wantRead("f", "theirs") // the name gets a new node
	_, err = a.fs.Write(a.ctx, h, []byte("MINE"), 0)
	a.must(err)
	a.wantKind(a.fs.Flush(a.ctx, h), Stale)
	a.fs.Release(h)
	kept, _ := Kept(a.fs.opts.StateDir)
	if len(kept) != 1 || kept[0].Path != "f" {
		t.Errorf("kept %+v", kept)
	}
}

// Attributes of a file whose directory is gone must not keep a processor busy.
func TestAttrOfLostFileSpins(t *testing.T) {
	s := &hooked{Store: mem.New()}
	var calls atomic.Int64
	a := newWorld(t, s, func(o *Options) {
		o.DirTTL, o.Verify = 10*time.Millisecond, 10*time.Millisecond
		o.Now = func() time.Time { calls.Add(1); return time.Now() }
	})
	a.must(a.mkdir("d"))
	a.must(a.write("d/x", "x", 0))
	k, err := a.lookup("d/x")
	a.must(err)
	mode := uint32(0o600)
	_, err = a.fs.SetAttr(a.ctx, Caller{}, k.ID, nil, SetAttr{Mode: &mode})
	a.must(err)
	a.must(s.Store.Delete(a.ctx, "d/x", store.Always)) // another tool
	a.must(s.Store.Delete(a.ctx, "d/", store.Always))
	time.Sleep(20 * time.Millisecond)
	t.Log("gone:", eventually(60*time.Millisecond, func() bool { return a.stat("d") != nil }))
	time.Sleep(200 * time.Millisecond)
	calls.Store(0)
	time.Sleep(300 * time.Millisecond)
	if n := calls.Load(); n > 1000 || a.fs.Stats().PendingAttr != 0 {
		t.Errorf("%d looks at the clock in 300 ms; %d attributes pending", n, a.fs.Stats().PendingAttr)
	}
}
