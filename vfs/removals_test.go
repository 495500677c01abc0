package vfs

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// crowd is two gateways on one store that know of each other, the first one
// through hooks, and believe nothing for longer than a moment.
func crowd(t *testing.T) (*hooked, *world, *world) {
	t.Helper()
	s := mem.New()
	h := &hooked{Store: s}
	short := func(o *Options) { o.Verify, o.DirTTL = 50*time.Millisecond, time.Nanosecond }
	w, other := newWorld(t, h, short), newWorld(t, s, short)
	w.must(w.write("mine", "x", 0))
	other.must(other.write("theirs", "x", 0))
	if !eventually(5*time.Second, func() bool { w.list(""); return w.fs.crowded() }) {
		t.Fatal("the other gateway is not seen")
	}
	return h, w, other
}

// What somebody else had removed already is not removed once more: not what
// is stored there afterwards.
func TestUnlinkOfWhatIsGone(t *testing.T) {
	s, w, other := crowd(t)
	w.must(w.write("f", "old", 0))
	_, err := w.lookup("f")
	w.must(err)
	var once sync.Once
	s.beforeHead = func(key string) {
		if key == "f" {
			once.Do(func() { other.must(other.ops.Delete(other.ctx, "f", store.Always)) })
		}
	}
	w.must(w.unlink("f"))
	other.must(other.write("f", "new", 0))
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if got, _, _ := objectOf(t, other.ops.Store, "f"); got != "new" {
		t.Errorf("the object is %q", got)
	}
}

// A removal that was carried out, and whose answer was lost, is repeated for
// the version that it was about, also if that became known only then.
func TestRepeatedRemovalOfUnknownVersion(t *testing.T) {
	s, w, other := crowd(t)
	s.afterPut = func(key string) error {
		if key == "f" {
			return unavailable(store.OpPut, key)
		}
		return nil
	}
	h, err := w.open("f", syscall.O_WRONLY|syscall.O_CREAT)
	w.must(err)
	defer w.fs.Release(h)
	_, err = w.fs.Write(w.ctx, h, []byte("old"), 0)
	w.must(err)
	if err := w.fs.Flush(w.ctx, h); err == nil {
		t.Fatal("the commit did not fail")
	}
	var once sync.Once
	s.beforeDelete = func(key string) (err error) {
		once.Do(func() {
			w.must(s.Store.Delete(w.ctx, key, store.Always))
			err = unavailable(store.OpDelete, key)
			other.must(other.write("f", "new", 0))
		})
		return err
	}
	w.must(w.unlink("f"))
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if got, _, _ := objectOf(t, s.Store, "f"); got != "new" {
		t.Errorf("the object is %q", got)
	}
}

// Where S3 is asked every time, nobody looks for other gateways: a removal
// spares what one of them has stored meanwhile nevertheless, also in a batch.
func TestRemovalsOfStrictMount(t *testing.T) {
	for _, names := range [][]string{{"f"}, {"f", "g"}} {
		s := &hooked{Store: mem.New()}
		strict := func(o *Options) { o.Strict = true }
		w, other := newWorld(t, s, strict), newWorld(t, s.Store, strict)
		for _, name := range names {
			w.must(w.write(name, "old", 0))
		}
		var once sync.Once
		s.beforeDelete = func(string) error {
			once.Do(func() { other.must(other.write("f", "new", syscall.O_TRUNC)) })
			return nil
		}
		for _, name := range names {
			w.must(w.unlink(name))
		}
		w.must(w.fs.FsyncDir(w.ctx, RootID))
		if got, _, _ := objectOf(t, s, "f"); got != "new" {
			t.Errorf("%d removals: the object is %q", len(names), got)
		}
	}
}
