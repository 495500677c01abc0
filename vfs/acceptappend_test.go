package vfs

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/retry"
)

// appendLine appends one record as `echo line >> name` does.
func (w *world) appendLine(name, line string) error {
	k, h, err := w.fs.Create(w.ctx, Caller{}, RootID, name, syscall.O_WRONLY|syscall.O_APPEND|syscall.O_CREAT, 0o644)
	if err != nil {
		return err
	}
	defer w.fs.Forget(k.ID, 1)
	defer w.fs.Release(h)
	if _, err := w.fs.Write(w.ctx, h, []byte(line+"\n"), 0); err != nil {
		return err
	}
	return w.fs.Flush(w.ctx, h)
}

// wantLines compares the lines of an object with those that were appended, in
// the order of each appender.
func wantLines(t *testing.T, s store.Store, key string, want map[string]int) {
	t.Helper()
	text, _, _ := objectOf(t, s, key)
	got := map[string]int{}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		who, number, _ := strings.Cut(line, " ")
		var n int
		if _, err := fmt.Sscan(number, &n); err != nil || n != got[who] {
			t.Errorf("line %q after %d of %s: %v", line, got[who], who, err)
			return
		}
		got[who]++
	}
	for who, n := range want {
		if got[who] != n {
			t.Errorf("%d lines of %s, want %d", got[who], who, n)
		}
	}
}

// TestLocalAppends loses, doubles and tears no record of two gateways that
// commit locally and one that does not, under faults.
func TestLocalAppends(t *testing.T) {
	s := mem.New()
	worlds := map[string]*world{}
	for _, who := range []string{"a", "b", "c"} {
		faulty := fault.Wrap(s, fault.On(fault.Lost(), fault.Ops(store.OpPut), fault.Chance(0.1, 7)),
			fault.On(fault.Fail(store.Unavailable), fault.Ops(store.OpPut, store.OpGet), fault.Chance(0.1, 7)))
		worlds[who] = newWorld(t, retry.New(faulty, retry.Config{BaseDelay: time.Millisecond, MaxDelay: 5 * time.Millisecond}),
			func(o *Options) { o.CommitLocal = who != "c" })
	}
	want := map[string]int{}
	var wg sync.WaitGroup
	for who, w := range worlds {
		want[who] = 60
		wg.Go(func() {
			for i := range 60 {
				if err := w.appendLine("log", fmt.Sprint(who, " ", i)); err != nil {
					t.Errorf("%s: %v", who, err)
				}
				if i%20 == 0 {
					time.Sleep(30 * time.Millisecond) // so that parcels are sent in between
				}
			}
		})
	}
	wg.Wait()
	for _, w := range worlds {
		w.sync()
		if kept, _ := Kept(w.fs.opts.StateDir); len(kept) != 0 {
			t.Errorf("kept %+v", kept)
		}
	}
	wantLines(t, s, "log", want)
	for _, w := range worlds {
		text, _, _ := objectOf(t, s, "log")
		time.Sleep(time.Millisecond)
		w.wantRead("log", text)
	}
}

// TestLocalAppendsOutliveKill sends records once, whatever was carried out of
// them when the gateway was killed, behind what others have appended since.
func TestLocalAppendsOutliveKill(t *testing.T) {
	for _, lost := range []int{0, 1, 1 << 20} {
		t.Run(fmt.Sprint("lost ", lost), func(t *testing.T) {
			s := mem.New()
			g := &gate{Store: s, lost: lost}
			w := newWorld(t, g, local)
			g.set(lost == 0)
			for i := range 5 {
				if err := w.appendLine("log", fmt.Sprint("a ", i)); err != nil {
					t.Fatal(err)
				}
				if i == 2 && lost > 0 {
					eventually(5*time.Second, func() bool { text, _, _ := objectOf(t, s, "log"); return strings.Count(text, "\n") == 3 })
				}
			}
			next := w.kill(s)
			w.fenced = true
			other := newWorld(t, s, nil)
			for i := range 3 {
				other.must(other.appendLine("log", fmt.Sprint("b ", i)))
			}
			next.must(next.appendLine("log", "a 5"))
			next.sync()
			next.must(next.appendLine("log", "a 6"))
			next.sync()
			wantLines(t, s, "log", map[string]int{"a": 7, "b": 3})
			g.mu.Lock()
			g.lost = 0
			g.mu.Unlock()
			g.set(false)
			_ = w.fs.Sync(w.ctx, "") // the killed one was only paused: it sends nothing twice, and keeps what it cannot tell
			text, _, _ := objectOf(t, s, "log")
			lines := strings.Split(text, "\n")
			slices.Sort(lines)
			if c := slices.Compact(slices.Clone(lines)); len(c) != len(lines) {
				t.Errorf("twice:\n%s", text)
			}
		})
	}
}

// TestAppendedFileKeepsAttributes changes attributes of a file that was made by
// an append, while that is on its way, and has the attempt to send them fail:
// there is nothing left to append, but the attributes are still to be sent.
func TestAppendedFileKeepsAttributes(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s}
	w := newWorld(t, g, local)
	release := g.wait()
	defer release()
	w.must(w.appendLine("log", "record"))
	w.sending("log")
	w.must(w.chmod("log", 0o600))
	tries := len(g.sent())
	g.set(true) // for what comes behind the first
	release()
	if !eventually(5*time.Second, func() bool { return len(g.sent()) > tries }) {
		t.Fatal("the attributes are not being sent")
	}
	g.set(false)
	w.sync()
	w.wantMode("log", 0o600)
	newWorld(t, s, nil).wantMode("log", 0o600)
}

// TestAppendedFileKeepsAttributesOverKill has S3 carry out an append and lose
// the answer; attributes that were acknowledged with the same bytes later
// arrive, though a kill comes before.
func TestAppendedFileKeepsAttributesOverKill(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, lost: 1}
	w := newWorld(t, g, local)
	w.must(w.appendLine("log", "record"))
	if !eventually(5*time.Second, func() bool { _, _, ok := objectOf(t, s, "log"); return ok }) {
		t.Fatal("the append is not carried out")
	}
	g.set(true)
	w.must(w.chmod("log", 0o600))
	next := w.kill(s)
	next.sync()
	next.wantMode("log", 0o600)
	newWorld(t, s, nil).wantMode("log", 0o600)
	if text, _, _ := objectOf(t, s, "log"); text != "record\n" {
		t.Errorf("the object is %q", text)
	}
}
