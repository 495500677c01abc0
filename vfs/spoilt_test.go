package vfs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store/mem"
)

// TestNoRoomAtClose has closes find no room for what was written: names show
// what was acknowledged before, and that arrives.
func TestNoRoomAtClose(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, shut: true}
	w := newWorld(t, g, local)
	w.must(w.write("f", "acknowledged", 0))
	var handles []*Handle
	for _, name := range []string{"f", "new"} {
		known, h, err := w.fs.Create(w.ctx, Caller{}, RootID, name, syscall.O_WRONLY|syscall.O_TRUNC, 0o644)
		w.must(err)
		defer w.fs.Forget(known.ID, 1)
		_, err = w.fs.Write(w.ctx, h, []byte("no room for this"), 0)
		w.must(err)
		handles = append(handles, h)
	}
	stuck := func() bool {
		w.fs.spool.mu.Lock()
		defer w.fs.spool.mu.Unlock()
		return w.fs.spool.pause >= time.Second
	}
	if !eventually(20*time.Second, stuck) {
		t.Fatal("the spool is not stuck")
	}
	w.fs.opts.SpoolFiles = 1
	for _, h := range handles {
		w.wantKind(w.fs.Flush(w.ctx, h), NoSpace)
		w.fs.Release(h)
	}
	w.wantRead("f", "acknowledged")
	_, err := w.lookup("new")
	w.wantKind(err, NotExist)
	w.fs.opts.SpoolFiles = 100
	g.set(false)
	w.sync()
	w.wantRead("f", "acknowledged")
	newWorld(t, s, nil).wantRead("f", "acknowledged")
	w.wantNothingLeft()
}

// TestLostUntilThereIsRoom gives up a write while the version before it is on
// its way, and has no room to show that again: opening it is NoSpace, and never
// the older version that S3 has.
func TestLostUntilThereIsRoom(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	w.must(w.write("f", "old", 0))
	w.sync()
	release := g.wait()
	defer release()
	w.must(w.write("f", "acknowledged", syscall.O_TRUNC))
	w.sending("f")
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("x"), 0)
	w.must(err)
	w.fs.noteFull(h.f, true) // as the next write would
	staged := filepath.Join(w.fs.state.dir, "staged")
	w.must(os.Rename(staged, staged+".away")) // no new local file can be made
	w.wantKind(w.fs.Flush(w.ctx, h), NoSpace)
	w.fs.Release(h)
	_, err = w.read("f")
	w.wantKind(err, NoSpace)
	if k, err := w.lookup("f"); err != nil || k.Size != int64(len("acknowledged")) {
		t.Errorf("size %d, %v", k.Size, err)
	}
	w.wantKind(w.chmod("f", 0o600), NoSpace)
	w.must(os.Rename(staged+".away", staged))
	w.wantRead("f", "acknowledged")
	release()
	w.sync()
	w.wantRead("f", "acknowledged")
	newWorld(t, s, nil).wantRead("f", "acknowledged")
}

// TestLostUntilSent is the same, and S3 has it before there is room.
func TestLostUntilSent(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	w.must(w.write("f", "old", 0))
	w.sync()
	release := g.wait()
	defer release()
	w.must(w.write("f", "acknowledged", syscall.O_TRUNC))
	w.sending("f")
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("x"), 0)
	w.must(err)
	w.fs.noteFull(h.f, true)
	staged := filepath.Join(w.fs.state.dir, "staged")
	w.must(os.Rename(staged, staged+".away"))
	w.wantKind(w.fs.Flush(w.ctx, h), NoSpace)
	w.fs.Release(h)
	release()
	w.sync()
	w.must(os.Rename(staged+".away", staged))
	w.wantRead("f", "acknowledged")
}

// TestFsyncEnds bounds how long fsync waits for S3 that takes nothing.
func TestFsyncEnds(t *testing.T) {
	g := &gate{Store: mem.New(), shut: true}
	w := newWorld(t, g, func(o *Options) { o.CommitLocal, o.OpTimeout = true, time.Second })
	h, err := w.openNew("f")
	w.must(err)
	defer w.fs.Release(h)
	_, err = w.fs.Write(w.ctx, h, []byte("text"), 0)
	w.must(err)
	w.wantKind(w.fs.Fsync(w.ctx, h), Timeout)
	g.set(false)
	w.must(w.fs.Fsync(w.ctx, h))
}

// openNew makes a file.
func (w *world) openNew(name string) (*Handle, error) {
	known, h, err := w.fs.Create(w.ctx, Caller{}, RootID, name, syscall.O_WRONLY, 0o644)
	if err == nil {
		w.t.Cleanup(func() { w.fs.Forget(known.ID, 1) })
	}
	return h, err
}
