package vfs

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs/journal"
)

// writeAt writes at an offset of a file that exists.
func (w *world) writeAt(path, data string, off int64) error {
	h, err := w.open(path, syscall.O_RDWR)
	if err != nil {
		return err
	}
	defer w.fs.Release(h)
	if _, err := w.fs.Write(w.ctx, h, []byte(data), off); err != nil {
		return err
	}
	return w.fs.Flush(w.ctx, h)
}

// chmod changes the mode of a name.
func (w *world) chmod(path string, mode uint32) error {
	k, err := w.lookup(path)
	if err != nil {
		return err
	}
	_, err = w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: &mode})
	return err
}

// wantMode checks what stat(2) says.
func (w *world) wantMode(path string, mode uint32) {
	w.t.Helper()
	k, err := w.lookup(path)
	if err == nil {
		k, err = w.fs.GetAttr(w.ctx, k.ID, nil)
	}
	if err != nil || k.Mode != mode {
		w.t.Errorf("mode of %s is %o, %v; want %o", path, k.Mode, err, mode)
	}
}

// hold lets PUTs wait until the function returned is called.
func (g *gate) wait() (release func()) {
	c := make(chan struct{})
	g.mu.Lock()
	defer g.mu.Unlock()
	g.hold = c
	return sync.OnceFunc(func() {
		g.mu.Lock()
		g.hold = nil
		g.mu.Unlock()
		close(c)
	})
}

// sending waits until a parcel of a path is being sent.
func (w *world) sending(path string) {
	w.t.Helper()
	if !eventually(5*time.Second, func() bool { _, s := w.fs.spool.peek(path); return s != nil }) {
		w.t.Fatalf("%s is not being sent", path)
	}
}

// bytesWhere describes a long text in an error.
func bytesWhere(s string) string {
	if len(s) <= 40 {
		return s
	}
	return s[:20] + "..." + s[len(s)-20:]
}

func (w *world) wantBytes(path, want string) {
	w.t.Helper()
	if got, err := w.read(path); err != nil || got != want {
		w.t.Errorf("read %s: %d bytes %q, %v; want %d bytes %q", path, len(got), bytesWhere(got), err, len(want), bytesWhere(want))
	}
}

// TestGrownFileOutlivesKill: two versions of a file are in the journal,
// the later one in the same local file with more bytes.
func TestGrownFileOutlivesKill(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	release := g.wait()
	defer release()
	big := strings.Repeat("0123456789abcdef", 8<<10)
	w.must(w.write("f", big, 0))
	w.sending("f")
	w.must(w.writeAt("f", "more", int64(len(big))))
	w.wantBytes("f", big+"more")
	away := &gate{Store: s, shut: true}
	next := w.kill(away)
	next.wantBytes("f", big+"more")
	release()
	w.sync()
	newWorld(t, s, nil).wantBytes("f", big+"more")
	away.set(false)
	next.sync()
	next.wantNothingLeft()
}

// TestNewFileWhileRemovalIsSent: a file is made anew while the removal of
// the one before waits for a PUT that is on its way.
func TestNewFileWhileRemovalIsSent(t *testing.T) {
	for _, change := range []string{"unlink", "rename"} {
		t.Run(change, func(t *testing.T) {
			s := mem.New()
			g := &gate{Store: s}
			w := newWorld(t, g, local)
			release := g.wait()
			defer release()
			w.must(w.write("f", "first", 0))
			if !eventually(5*time.Second, func() bool { g.mu.Lock(); defer g.mu.Unlock(); return slices.Contains(g.puts, "f") }) {
				t.Fatal("f is not being sent")
			}
			if change == "unlink" {
				w.must(w.unlink("f"))
			} else {
				w.must(w.rename("f", "g", 0))
			}
			busy := func() bool {
				w.fs.deleter.mu.Lock()
				defer w.fs.deleter.mu.Unlock()
				return len(w.fs.deleter.sending) == 1
			}
			if !eventually(5*time.Second, busy) {
				t.Fatal("the removal is not begun")
			}
			w.must(w.write("f", "second", 0))
			release()
			if err := w.fs.Sync(w.ctx, ""); err != nil {
				t.Errorf("sync: %v", err)
			}
			w.wantRead("f", "second")
			newWorld(t, s, nil).wantRead("f", "second")
			if kept, _ := Kept(w.fs.opts.StateDir); len(kept) != 0 {
				t.Errorf("kept %+v", kept)
			}
		})
	}
}

// TestConflictKeepsTheLaterVersion: a parcel waits behind one that turns
// out to be a conflict.
func TestConflictKeepsTheLaterVersion(t *testing.T) {
	for name, size := range map[string]int{"inline": 10, "own file": inlineLimit + 10} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			g := &gate{Store: s}
			w := newWorld(t, g, local)
			w.must(w.write("f", strings.Repeat("0", size), 0))
			w.sync()
			release := g.wait()
			defer release()
			w.must(w.writeAt("f", "one", 0))
			w.sending("f")
			w.must(w.writeAt("f", "two", 3))
			want := "onetwo" + strings.Repeat("0", size-6)
			theirs := newWorld(t, s, nil)
			theirs.must(theirs.write("f", "theirs", syscall.O_TRUNC))
			release()
			done := make(chan error, 1)
			go func() { done <- w.fs.Sync(w.ctx, "") }()
			select {
			case err := <-done:
				if KindOf(err) != Stale {
					t.Errorf("sync: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Errorf("sync hangs: %+v", w.fs.Stats())
			}
			w.wantRead("f", "theirs")
			kept, err := Kept(w.fs.opts.StateDir)
			found := false
			for _, k := range kept {
				found = found || bytesOf(t, k) == want
			}
			if !found {
				t.Errorf("the last version that was acknowledged is not kept: %+v, %v", kept, err)
			}
		})
	}
}

// TestFullDiskSparesWhatWaits: a write that finds the disk full does not
// take away what was acknowledged before.
func TestFullDiskSparesWhatWaits(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, shut: true}
	w := newWorld(t, g, local)
	big := strings.Repeat("0123456789abcdef", 8<<10)
	w.must(w.write("f", big, 0))
	w.must(w.write("g", "short", 0))
	for _, name := range []string{"f", "g"} {
		h, err := w.open(name, syscall.O_RDWR)
		w.must(err)
		_, err = w.fs.Write(w.ctx, h, []byte("x"), 0)
		w.must(err)
		w.fs.noteFull(h.f, true) // as the next write would
		w.wantKind(w.fs.Flush(w.ctx, h), NoSpace)
		w.fs.Release(h)
	}
	next := w.kill(s)
	next.sync()
	next.wantBytes("f", big)
	next.wantBytes("g", "short")
	g.set(false)
	_ = w.fs.Sync(w.ctx, "")
	newWorld(t, s, nil).wantBytes("f", big)
	newWorld(t, s, nil).wantBytes("g", "short")
}

// TestChmodDuringRename: attributes that change while a copy is on its
// way are not lost.
func TestChmodDuringRename(t *testing.T) {
	s := mem.New()
	hooks := &hooked{Store: s}
	w := newWorld(t, hooks, nil)
	w.must(w.write("a", "x", 0))
	k, err := w.lookup("a")
	w.must(err)
	once := sync.Once{}
	hooks.beforeCopy = func(src, dst string) {
		if src == "a" && dst == "b" {
			once.Do(func() {
				_, err := w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: ptr(uint32(0o600))})
				w.must(err)
			})
		}
	}
	w.must(w.rename("a", "b", 0))
	w.wantMode("b", 0o600)
	w.kill(s).wantMode("b", 0o600)
	w.sync()
	w.wantMode("b", 0o600)
	newWorld(t, s, nil).wantMode("b", 0o600)
}

// TestChmodOutlivesCommitAndKill: attributes that change while a PUT is on its way
// outlive a kill.
func TestChmodOutlivesCommitAndKill(t *testing.T) {
	for _, mode := range []string{"new", "replaced", "edited"} {
		t.Run(mode, func(t *testing.T) {
			s := mem.New()
			hooks := &hooked{Store: s}
			w := newWorld(t, hooks, nil)
			w.must(w.write("other", "x", 0))
			if mode != "new" {
				w.must(w.write("f", "before", 0))
			}
			once := sync.Once{}
			hooks.beforePut = func(key string) {
				if key == "f" {
					once.Do(func() { w.must(w.chmod("f", 0o600)) })
				}
			}
			flags := 0
			if mode == "replaced" {
				flags = syscall.O_TRUNC
			}
			w.must(w.write("f", "after", flags))
			next := w.kill(s)
			next.wantMode("f", 0o600)
			next.sync()
			newWorld(t, s, nil).wantMode("f", 0o600)
		})
	}
}

// TestLeftParcelsAndRemoteCommits: what an earlier run accepted locally
// does not come in the way of what a run without local commits stores.
func TestLeftParcelsAndRemoteCommits(t *testing.T) {
	s := mem.New()
	away := &gate{Store: s, shut: true}
	first := newWorld(t, away, local)
	first.must(first.write("f", "older", 0))
	first.must(first.write("r", "older", 0))
	dir := t.TempDir()
	first.must(copyTree(first.fs.opts.StateDir, dir))
	first.must(first.unlink("f")) // has nothing to do any more
	first.must(first.unlink("r"))
	away.set(false)
	first.sync()
	g := &gate{Store: s}
	release := g.wait()
	defer release()
	w := newWorld(t, g, func(o *Options) { o.StateDir = dir })
	w.sending("f")
	g.mu.Lock()
	g.hold = nil // later ones do not wait
	g.mu.Unlock()
	h, err := w.open("f", syscall.O_RDWR|syscall.O_TRUNC)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("newer"), 0)
	w.must(err)
	closed := make(chan error, 1)
	go func() { closed <- w.fs.Flush(w.ctx, h) }()
	time.Sleep(100 * time.Millisecond)
	release()
	w.must(<-closed)
	_ = w.fs.Sync(w.ctx, "")
	if _, err := w.fs.Write(w.ctx, h, []byte("n"), 5); err != nil {
		t.Errorf("write: %v", err)
	}
	if err := w.fs.Flush(w.ctx, h); err != nil {
		t.Errorf("second close: %v", err)
	}
	w.fs.Release(h)
	w.wantRead("f", "newern")
	newWorld(t, s, nil).wantRead("f", "newern")
	if kept, _ := Kept(dir); len(kept) != 0 {
		t.Errorf("kept %+v", kept)
	}
}

// TestLatePutIsRemoved: a PUT that arrives long after its file was
// removed does not bring it back, also where others share the bucket.
func TestLatePutIsRemoved(t *testing.T) {
	for _, change := range []string{"unlink", "rename"} {
		t.Run(change, func(t *testing.T) {
			s := mem.New()
			other := newWorld(t, s, nil)
			other.must(other.write("other", "x", 0))
			g := &gate{Store: s}
			w := newWorld(t, g, func(o *Options) { o.CommitLocal = true; o.Verify, o.DirTTL = 50*time.Millisecond, 50*time.Millisecond })
			w.must(w.write("seen", "x", 0))
			w.sync()
			w.list("")
			if !eventually(5*time.Second, func() bool { w.list(""); return w.fs.crowded() }) {
				t.Fatal("the other gateway is not seen")
			}
			release := g.wait()
			defer release()
			w.must(w.write("f", "bytes", 0))
			w.sending("f")
			if change == "unlink" {
				w.must(w.unlink("f"))
			} else {
				w.must(w.rename("f", "g", 0))
			}
			time.Sleep(clockSlack + 1200*time.Millisecond)
			release()
			w.sync()
			if _, _, ok := objectOf(t, s, "f"); ok {
				t.Error("f is there again")
			}
		})
	}
}

// TestRenameSparesForeignVersion: the rename of an edited file that was
// sent in vain does not remove what somebody else stored under the old name.
func TestRenameSparesForeignVersion(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	w.must(w.write("f", "base", 0))
	w.sync()
	g.set(true)
	w.must(w.writeAt("f", "edit", 0))
	if !eventually(5*time.Second, func() bool { w.fs.spool.mu.Lock(); defer w.fs.spool.mu.Unlock(); return w.fs.spool.pause > 0 }) {
		t.Fatal("not tried")
	}
	_, err := s.Put(w.ctx, "f", store.Body{Reader: strings.NewReader("theirs"), Size: 6}, store.PutOptions{})
	w.must(err)
	w.must(w.rename("f", "g", 0))
	g.set(false)
	_ = w.fs.Sync(w.ctx, "")
	if text, _, _ := objectOf(t, s, "g"); text != "edit" {
		t.Errorf("g holds %q", text)
	}
	if text, _, _ := objectOf(t, s, "f"); text != "theirs" {
		t.Errorf("f holds %q: somebody else's version is lost", text)
	}
}

// TestPausedRemoval: a gateway that was stopped after it acknowledged a
// removal removes nothing that somebody stored meanwhile.
func TestPausedRemoval(t *testing.T) {
	s := mem.New()
	held := &stuck{Store: s}
	h := held.hooks()
	var clock struct {
		sync.Mutex
		stopped time.Time
		skip    time.Duration
	}
	now := func() time.Time {
		clock.Lock()
		defer clock.Unlock()
		if !clock.stopped.IsZero() {
			return clock.stopped
		}
		return time.Now()
	}
	w := newWorld(t, h, func(o *Options) { o.Now = now })
	w.must(w.write("f", "old", 0))
	w.sync()
	clock.Lock()
	clock.stopped = time.Now() // nothing becomes due
	clock.Unlock()
	w.must(w.unlink("f"))
	other := newWorld(t, s, nil)
	other.must(other.write("f", "newer", syscall.O_TRUNC))
	clock.Lock()
	clock.stopped = time.Time{}
	clock.Unlock()
	s.Now = func() time.Time { return time.Now() }
	clock.Lock()
	clock.stopped = time.Now().Add(time.Minute)
	clock.Unlock()
	w.fs.deleter.wake()
	if !eventually(5*time.Second, func() bool { return w.fs.deleter.pending() == 0 }) {
		t.Fatal("the removal is not sent")
	}
	if text, _, _ := objectOf(t, s, "f"); text != "newer" {
		t.Errorf("f holds %q: what another gateway stored is lost", text)
	}
	clock.Lock()
	clock.stopped = time.Time{}
	clock.Unlock()
}

// TestStaleAttributes: attributes of a state directory that lay idle do
// not replace those that another gateway has set since.
func TestStaleAttributes(t *testing.T) {
	s := mem.New()
	skew := time.Duration(0)
	s.Now = func() time.Time { return time.Now().Add(skew) }
	w := newWorld(t, s, nil)
	w.must(w.write("f", "x", 0))
	w.must(w.chmod("f", 0o600))
	dir := t.TempDir()
	w.must(copyTree(w.fs.opts.StateDir, dir))
	w.sync()
	skew = time.Hour
	other := newWorld(t, s, nil)
	other.must(other.chmod("f", 0o644))
	other.sync()
	stale := newWorld(t, s, func(o *Options) { o.StateDir = dir })
	stale.sync()
	newWorld(t, s, nil).wantMode("f", 0o644)
}

// TestSharedUntilHeld: a local file that an intent is about to name stays
// as it is although the intent before it has ended meanwhile.
func TestSharedUntilHeld(t *testing.T) {
	g := &gate{Store: mem.New(), shut: true}
	defer g.set(false)
	w := newWorld(t, g, local)
	big := strings.Repeat("0123456789abcdef", 8<<10)
	w.must(w.write("f", big, 0))
	h, err := w.open("f", syscall.O_RDWR)
	w.must(err)
	defer w.fs.Release(h)
	_, err = w.fs.Write(w.ctx, h, []byte("more"), int64(len(big)))
	w.must(err)
	first := h.f.intentsNow().put
	p, err := w.fs.pack(w.ctx, h.f, "f")
	w.must(err)
	w.fs.ledger.giveBack([]journal.ID{first}) // S3 took the first version
	ids, err := w.fs.ledger.record([]journal.ID{first}, p.intent)
	w.must(err)
	w.fs.accepted(p, ids[0])
	_, err = w.fs.Write(w.ctx, h, []byte("changed"), 0)
	w.must(err)
	text, err := os.ReadFile(filepath.Join(w.fs.opts.StateDir, "staged", p.File))
	if err != nil || string(text) != big+"more" {
		t.Errorf("the file of an intent was changed: %q, %v", bytesWhere(string(text)), err)
	}
}

// wantNothingLeft checks that a filesystem at rest holds nothing.
func (w *world) wantNothingLeft() {
	w.t.Helper()
	staged := func() []string {
		entries, _ := os.ReadDir(filepath.Join(w.fs.opts.StateDir, "staged"))
		var names []string
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Size() > 0 { // else one kept ready
				names = append(names, e.Name())
			}
		}
		return names
	}
	if !eventually(2*time.Second, func() bool {
		st := w.fs.Stats()
		return st.JournalIntents == 0 && st.SpoolFiles == 0 && st.SpoolBytes == 0 && len(staged()) == 0
	}) {
		st := w.fs.Stats()
		w.t.Errorf("left: %d intents, %d files and %d bytes in the spool, staged/ %v", st.JournalIntents, st.SpoolFiles, st.SpoolBytes, staged())
	}
}

// TestNothingIsLeft: at rest no local file and no intent is left.
func TestNothingIsLeft(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 8<<10)
	for _, mode := range []string{"remote", "local"} {
		t.Run(mode, func(t *testing.T) {
			s := mem.New()
			g := &gate{Store: s}
			w := newWorld(t, g, func(o *Options) { o.CommitLocal = mode == "local" })
			w.must(w.write("f", big, 0))
			w.must(w.writeAt("f", "edit", 0))
			w.must(w.writeAt("f", "more", int64(len(big))))
			w.must(w.write("f", big+"anew", syscall.O_TRUNC))
			w.must(w.write(".t.tmp", big, 0))
			w.must(w.write(".t.tmp", big+big, syscall.O_TRUNC))
			w.must(w.writeAt(".t.tmp", "edit", 0))
			w.must(w.rename(".t.tmp", ".u.tmp", 0))
			w.must(w.rename(".u.tmp", "g", 0))
			w.must(w.chmod("g", 0o600))
			w.must(w.rename("g", "h", 0))
			w.must(w.write(".x.tmp", big, 0))
			w.must(w.unlink(".x.tmp"))
			w.must(w.write("y", big, 0))
			w.must(w.unlink("y"))
			w.must(w.write("y", big, 0))
			w.must(w.write("h", big, 0))
			w.must(w.write(".z.tmp", big, 0))
			w.must(w.write(".zz.tmp", big, 0))
			w.must(w.rename(".z.tmp", ".zz.tmp", 0))
			next := w.kill(s)
			w.must(w.rename(".zz.tmp", "h", 0))
			w.sync()
			w.wantNothingLeft()
			next.must(next.rename(".zz.tmp", "h", 0))
			_ = next.fs.Sync(next.ctx, "")
			next.wantNothingLeft()
		})
	}
}
