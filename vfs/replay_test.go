package vfs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// bytesOf reads a kept version.
func bytesOf(t *testing.T, k KeptVersion) string {
	t.Helper()
	r, err := k.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// stuck is a store that carries out no removal and no copy while it is told
// so, as if the gateway were killed before it sent them.
type stuck struct {
	store.Store
	on atomic.Bool
}

func (s *stuck) hooks() *hooked {
	return &hooked{Store: s.Store, beforeDelete: func(key string) error {
		if s.on.Load() {
			return unavailable(store.OpDelete, key)
		}
		return nil
	}}
}

// kill returns the filesystem that a kill of w at this moment and a new start
// give, on the store s.
func (w *world) kill(s store.Store, change ...func(*Options)) *world {
	w.t.Helper()
	dir := w.t.TempDir()
	// What changes while it is copied is no state that ever was.
	for was := ""; ; {
		was = journalBytes(w.fs.opts.StateDir)
		w.must(os.RemoveAll(dir))
		err := copyTree(w.fs.opts.StateDir, dir)
		if err == nil && was == journalBytes(w.fs.opts.StateDir) {
			break
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.t.Fatal(err)
		}
	}
	return newWorld(w.t, s, func(o *Options) {
		o.StateDir = dir
		for _, c := range change {
			c(o)
		}
	})
}

// TestRemovalsOutliveKill carries out after a kill what was acknowledged
// before it.
func TestRemovalsOutliveKill(t *testing.T) {
	s := mem.New()
	held := &stuck{Store: s}
	w := newWorld(t, held.hooks(), nil)
	for _, name := range []string{"removed", "moved", "replaced", "same", "kept"} {
		w.must(w.write(name, name, 0))
	}
	w.must(w.mkdir("empty"))
	time.Sleep(1100 * time.Millisecond) // the resolution of S3's clock
	held.on.Store(true)
	w.must(w.unlink("removed"))
	w.must(w.unlink("replaced"))
	w.must(w.rename("moved", "there", 0))
	w.must(w.fs.Rmdir(w.ctx, RootID, "empty"))
	w.must(w.unlink("same"))
	// Another program stores something else meanwhile.
	if _, err := s.Put(w.ctx, "replaced", store.Body{Reader: strings.NewReader("newer"), Size: 5}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	next := w.kill(s)
	for _, name := range []string{"removed", "moved", "empty"} {
		if _, err := next.lookup(name); KindOf(err) != NotExist {
			t.Errorf("%s is there after a kill: %v", name, err)
		}
	}
	next.must(next.fs.FsyncDir(next.ctx, RootID))
	if got := next.list(""); got != "kept replaced there" {
		t.Errorf("listed %q", got)
	}
	next.wantRead("there", "moved")
	next.wantRead("replaced", "newer")
	third := next.kill(s)
	if got := third.list(""); got != "kept replaced there" {
		t.Errorf("listed %q at the third start", got)
	}
	held.on.Store(false)
}

// TestRewriteAfterRemovalOutlivesKill does not remove equal bytes that were
// stored after a removal.
func TestRewriteAfterRemovalOutlivesKill(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	w.must(w.write("f", "equal", 0))
	w.must(w.unlink("f"))
	w.must(w.write("f", "equal", 0))
	next := w.kill(s)
	next.must(next.fs.FsyncDir(next.ctx, RootID))
	next.wantRead("f", "equal")
}

// TestAttributesOutliveKill sends after a kill what was acknowledged before it.
func TestAttributesOutliveKill(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	w.must(w.write("f", "x", 0))
	w.must(w.mkdir("d"))
	for _, name := range []string{"f", "d"} {
		k, err := w.lookup(name)
		w.must(err)
		_, err = w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: ptr(uint32(0o711))})
		w.must(err)
	}
	next := w.kill(s) // before the changes are due
	for _, name := range []string{"f", "d"} {
		if k, err := next.lookup(name); err != nil || k.Mode != 0o711 {
			t.Errorf("%s after a kill: %+v, %v", name, k.Attr, err)
		}
	}
	if !eventually(5*time.Second, func() bool { return next.fs.Stats().PendingAttr == 0 }) {
		t.Error("attributes are not sent after a kill")
	}
	other := newWorld(t, s, nil)
	for _, name := range []string{"f", "d"} {
		k, err := other.lookup(name)
		if err == nil {
			k, err = other.fs.GetAttr(other.ctx, k.ID, nil)
		}
		if err != nil || k.Mode != 0o711 {
			t.Errorf("%s elsewhere: %+v, %v", name, k.Attr, err)
		}
	}
}

// TestHalfRenameIsFinished removes the old name of a rename whose copy was
// carried out when the gateway was killed, and only then.
func TestHalfRenameIsFinished(t *testing.T) {
	s := mem.New()
	var dir string
	hooks := &hooked{Store: s}
	w := newWorld(t, hooks, nil)
	w.must(w.write("a", "bytes", 0))
	hooks.afterCopy = func(src, dst string) {
		dir = t.TempDir()
		w.must(copyTree(w.fs.opts.StateDir, dir))
	}
	w.must(w.rename("a", "b", 0))
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	if _, err := s.Put(w.ctx, "a", store.Body{Reader: strings.NewReader("bytes"), Size: 5}, store.PutOptions{}); err != nil {
		t.Fatal(err) // as it was at the kill
	}
	next := newWorld(t, s, func(o *Options) { o.StateDir = dir })
	if !eventually(5*time.Second, func() bool { return next.list("") == "b" }) {
		t.Errorf("listed %q", next.list(""))
	}
	next.wantRead("b", "bytes")
}

// TestStateDirIsChecked refuses what this program must not touch.
func TestStateDirIsChecked(t *testing.T) {
	s := mem.New()
	held := &stuck{Store: s}
	w := newWorld(t, held.hooks(), func(o *Options) { o.Bucket = "s3://one" })
	w.must(w.write("f", "x", 0))
	held.on.Store(true)
	w.must(w.unlink("f"))
	dir := t.TempDir()
	w.must(copyTree(w.fs.opts.StateDir, dir))
	var other *OtherBucketError
	if _, err := Open(w.ctx, Options{Store: s, StateDir: dir, Bucket: "s3://two"}); !errors.As(err, &other) || other.Changes != 1 {
		t.Errorf("another bucket: %v", err)
	}
	w.must(os.WriteFile(filepath.Join(dir, "version"), []byte("2\n"), 0o600))
	var newer *NewerStateError
	if _, err := Open(w.ctx, Options{Store: s, StateDir: dir, Bucket: "s3://one"}); !errors.As(err, &newer) || newer.Version != 2 {
		t.Errorf("a newer version: %v", err)
	}
	held.on.Store(false)
}

// TestTemporaryFileGrowsAfterKill outlives a second kill.
func TestTemporaryFileGrowsAfterKill(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	w.must(w.write(".f.tmp", "short", 0))
	next := w.kill(s)
	data := strings.Repeat("0123456789", inlineLimit/5)
	next.must(next.write(".f.tmp", data, 0))
	third := next.kill(s)
	third.wantRead(".f.tmp", data)
	third.must(third.write(".f.tmp", data[:inlineLimit+1], syscall.O_TRUNC))
	fourth := third.kill(s)
	fourth.wantRead(".f.tmp", data[:inlineLimit+1])
}

// TestLargeTemporaryFileOutlivesKill keeps one that is not in the journal
// itself.
func TestLargeTemporaryFileOutlivesKill(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	data := strings.Repeat("0123456789", inlineLimit/5)
	w.must(w.write(".f.tmp", data, 0))
	next := w.kill(s)
	next.wantRead(".f.tmp", data)
	next.must(next.rename(".f.tmp", "f", 0))
	third := next.kill(s)
	if got := third.list(""); got != "f" {
		t.Errorf("listed %q", got)
	}
	third.wantRead("f", data)
	third.must(third.write("f", "short", syscall.O_TRUNC))
}
