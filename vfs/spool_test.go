package vfs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

func local(o *Options) { o.CommitLocal = true }

// gate is a store whose PUTs fail while it is shut, and can wait.
type gate struct {
	store.Store
	mu   sync.Mutex
	shut bool
	lost int           // so many PUTs are carried out, and their answers lost
	hold chan struct{} // PUTs wait for it to be closed; nil: they do not
	puts []string
}

func (g *gate) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	if strings.HasPrefix(key, reserved) {
		return g.Store.Put(ctx, key, b, o)
	}
	g.mu.Lock()
	shut, hold := g.shut, g.hold
	g.puts = append(g.puts, key)
	lost := g.lost > 0 && !shut
	if lost {
		g.lost--
	}
	g.mu.Unlock()
	if shut {
		return store.Info{}, unavailable(store.OpPut, key)
	}
	if hold != nil {
		<-hold
	}
	info, err := g.Store.Put(ctx, key, b, o)
	if lost && err == nil {
		return store.Info{}, unavailable(store.OpPut, key)
	}
	return info, err
}

// sent returns the keys of all PUTs so far.
func (g *gate) sent() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.puts)
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
}

func (w *world) sync() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, 20*time.Second)
	defer cancel()
	w.must(w.fs.Sync(ctx, ""))
}

// TestCommitLocal goes on while S3 is away, shows what was written, and sends
// it afterwards.
func TestCommitLocal(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	w.must(w.mkdir("d"))
	w.must(w.write("d/old", "old", 0))
	w.sync()
	g.set(true)
	big := strings.Repeat("0123456789abcdef", 8<<10)
	w.must(w.write("d/new", "new", 0))
	w.must(w.write("d/old", "newer", syscall.O_TRUNC))
	w.must(w.write("d/big", big, 0))
	w.must(w.write("d/.s.tmp", "saved", 0))
	w.must(w.rename("d/.s.tmp", "d/s", 0))
	w.must(w.rename("d/new", "d/renamed", 0))
	w.must(w.write("d/gone", "gone", 0))
	w.must(w.unlink("d/gone"))
	k, err := w.lookup("d/s")
	w.must(err)
	_, err = w.fs.SetAttr(w.ctx, Caller{}, k.ID, nil, SetAttr{Mode: ptr(uint32(0o600))})
	w.must(err)
	check := func(w *world, where string) {
		t.Helper()
		if got := w.list("d"); got != "big old renamed s" {
			t.Errorf("%s: listed %q", where, got)
		}
		w.wantRead("d/old", "newer")
		w.wantRead("d/renamed", "new")
		w.wantRead("d/s", "saved")
		w.wantRead("d/big", big)
		k, err := w.lookup("d/s")
		if err == nil {
			k, err = w.fs.GetAttr(w.ctx, k.ID, nil)
		}
		if err != nil || k.Mode != 0o600 {
			t.Errorf("%s: attributes %+v, %v", where, k.Attr, err)
		}
	}
	check(w, "while S3 is away")
	if !eventually(5*time.Second, func() bool { return w.fs.Stats().SpoolFiles == 4 }) {
		t.Errorf("stats %+v", w.fs.Stats())
	}
	if st := w.fs.Stats(); st.SpoolBytes == 0 || st.SpoolOldest.IsZero() {
		t.Errorf("stats %+v", st)
	}
	if _, _, ok := objectOf(t, s, "d/s"); ok {
		t.Error("the gate let something through")
	}
	killed := w.kill(g)
	check(killed, "after a kill, while S3 is away")
	g.set(false)
	w.sync()
	check(newWorld(t, s, nil), "from S3")
	// The killed one sends the same once more, which changes nothing.
	killed.sync()
	check(newWorld(t, s, nil), "from S3, after the killed gateway has sent all too")
	if kept, err := Kept(killed.fs.opts.StateDir); err != nil || len(kept) != 0 {
		t.Errorf("kept %+v, %v", kept, err)
	}
}

// TestLocalOrder sends what is written to one path in order, and nothing that
// was replaced before it was begun.
func TestLocalOrder(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, hold: make(chan struct{})}
	w := newWorld(t, g, local)
	for i := range 10 {
		w.must(w.write("f", fmt.Sprint("version ", i), syscall.O_TRUNC))
	}
	w.wantRead("f", "version 9")
	close(g.hold)
	w.sync()
	newWorld(t, s, nil).wantRead("f", "version 9")
	if n := len(g.puts); n > 3 {
		t.Errorf("%d PUTs: %v", n, g.puts)
	}
}

// TestLocalChanges removes, renames and replaces names while a PUT of them is
// on its way.
func TestLocalChanges(t *testing.T) {
	for _, change := range []string{"unlink", "rename", "replace", "again", "rename edited"} {
		t.Run(change, func(t *testing.T) {
			s := mem.New()
			g := &gate{Store: s}
			w := newWorld(t, g, local)
			w.must(w.write("other", "other", 0))
			if change == "rename edited" {
				w.must(w.write("f", "first", 0))
			}
			w.sync()
			g.mu.Lock()
			g.hold = make(chan struct{})
			g.mu.Unlock()
			w.must(w.write("f", "bytes", 0))
			if !eventually(5*time.Second, func() bool { _, sending := w.fs.spool.peek("f"); return sending != nil }) {
				t.Fatal("nothing is sent")
			}
			want := map[string]string{"other": "other"}
			switch change {
			case "unlink":
				w.must(w.unlink("f"))
			case "rename", "rename edited":
				w.must(w.rename("f", "g", 0))
				want["g"] = "bytes"
			case "replace":
				w.must(w.write(".f.tmp", "saved", 0))
				w.must(w.rename(".f.tmp", "f", 0))
				want["f"] = "saved"
			case "again":
				w.must(w.unlink("f"))
				w.must(w.write("f", "anew", 0))
				want["f"] = "anew"
			}
			compare := func(w *world, where string) {
				t.Helper()
				var names []string
				for _, name := range []string{"f", "g", "other"} {
					if text, ok := want[name]; ok {
						names = append(names, name)
						w.wantRead(name, text)
					}
				}
				if got := w.list(""); got != strings.Join(names, " ") {
					t.Errorf("%s: listed %q", where, got)
				}
			}
			compare(w, "at once")
			close(g.hold)
			w.sync()
			compare(w, "later")
			compare(newWorld(t, s, nil), "elsewhere")
			next := w.kill(s)
			next.sync()
			compare(next, "after a kill")
		})
	}
}

// TestLocalLostAnswers recognizes what was carried out although nobody heard
// of it, also after a kill, and overwrites nothing newer.
func TestLocalLostAnswers(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, lost: 1}
	w := newWorld(t, g, local)
	w.must(w.write("f", "one", 0))
	w.sync()
	w.wantRead("f", "one")
	g.mu.Lock()
	g.lost = 1 << 20
	g.mu.Unlock()
	w.must(w.write("f", "two", syscall.O_TRUNC))
	if !eventually(5*time.Second, func() bool { text, _, _ := objectOf(t, s, "f"); return text == "two" }) {
		t.Fatal("not sent")
	}
	w.must(w.write("f", "three", syscall.O_TRUNC))
	next := w.kill(s)
	next.sync()
	next.wantRead("f", "three")
	if kept, _ := Kept(next.fs.opts.StateDir); len(kept) != 0 {
		t.Errorf("kept %+v", kept)
	}
	g.mu.Lock()
	g.lost = 0
	g.mu.Unlock()
}

// TestLocalConflict keeps both versions when somebody else was first.
func TestLocalConflict(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	w.must(w.write("f", "base", 0))
	w.sync()
	g.set(true)
	w.must(w.write("f", "ours", syscall.O_TRUNC))
	w.must(w.write("new", "ours", 0))
	theirs := newWorld(t, s, nil)
	theirs.must(theirs.write("f", "theirs", syscall.O_TRUNC))
	theirs.must(theirs.write("new", "theirs", 0))
	g.set(false)
	if err := w.fs.Sync(w.ctx, ""); KindOf(err) != Stale {
		t.Errorf("sync: %v", err)
	}
	for _, name := range []string{"f", "new"} {
		w.wantRead(name, "theirs")
		newWorld(t, s, nil).wantRead(name, "theirs")
	}
	kept, err := Kept(w.fs.opts.StateDir)
	if err != nil || len(kept) != 2 || bytesOf(t, kept[0]) != "ours" || bytesOf(t, kept[1]) != "ours" {
		t.Errorf("kept %+v, %v", kept, err)
	}
	if st := w.fs.Stats(); st.SpoolFiles != 0 || st.KeptVersions != 2 || st.LastError == "" {
		t.Errorf("stats %+v", st)
	}
}

// TestLocalLimits says that the disk is full when the spool is, and goes on
// when it is not any more.
func TestLocalLimits(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, shut: true}
	w := newWorld(t, g, func(o *Options) { o.CommitLocal, o.SpoolFiles, o.OpTimeout = true, 3, 3*time.Second })
	for i := range 3 {
		w.must(w.write(fmt.Sprint("f", i), "x", 0))
	}
	w.wantKind(w.write("f3", "x", 0), NoSpace)
	g.set(false)
	w.sync()
	w.must(w.write("f3", "y", 0))
	w.sync()
	newWorld(t, s, nil).wantRead("f3", "y")
}

// TestLocalEdit leaves what was accepted as it is while it is edited again.
func TestLocalEdit(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, shut: true}
	w := newWorld(t, g, local)
	big := strings.Repeat("0123456789abcdef", 8<<10)
	w.must(w.write("f", big, 0))
	h, err := w.open("f", syscall.O_RDWR)
	w.must(err)
	_, err = w.fs.Write(w.ctx, h, []byte("edited, not closed"), 0)
	w.must(err)
	killed := w.kill(s)
	killed.wantRead("f", big)
	killed.sync()
	w.must(w.fs.Flush(w.ctx, h))
	w.fs.Release(h)
	w.wantRead("f", "edited, not closed"+big[18:])
	w.wantRead("f", "edited, not closed"+big[18:])
	g.set(false)
	_ = w.fs.Sync(w.ctx, "") // the killed one has sent the first version: a conflict, or ours
	text, _, _ := objectOf(t, s, "f")
	kept, _ := Kept(w.fs.opts.StateDir)
	if text != "edited, not closed"+big[18:] && (len(kept) != 1 || bytesOf(t, kept[0]) != "edited, not closed"+big[18:]) {
		t.Errorf("the edit is neither in S3 nor kept: %.20q, %+v", text, kept)
	}
}
