package vfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs/journal"
)

// stepped is a gateway whose PUTs of a log come one by one.
type stepped struct {
	*world
	s     store.Store
	at    chan struct{} // a PUT has come
	steps chan struct{} // it may go on
}

// newStepped makes one that has a PUT of the second record under way, while the
// other gateway appends "o 0".
func newStepped(t *testing.T, size int) *stepped {
	t.Helper()
	s := mem.New()
	g := &stepped{s: s, at: make(chan struct{}, 1000), steps: make(chan struct{}, 1000)}
	h := &hooked{Store: s}
	g.world = newWorld(t, h, local)
	g.must(g.appendLine("log", "a 0"+strings.Repeat(" ", size)))
	g.sync()
	h.beforePut = func(key string) {
		if key == "log" {
			g.at <- struct{}{}
			<-g.steps
		}
	}
	t.Cleanup(g.goOn)
	g.must(g.appendLine("log", "a 1"))
	g.arrives()
	other := newWorld(t, s, nil)
	other.must(other.appendLine("log", "o 0"))
	return g
}

// arrives waits for the next PUT.
func (g *stepped) arrives() {
	g.t.Helper()
	select {
	case <-g.at:
	case <-time.After(20 * time.Second):
		g.t.Fatal("no PUT comes")
	}
}

// land lets the append that is under way find that the other gateway was first,
// and go behind what that has appended.
func (g *stepped) land() {
	g.t.Helper()
	g.steps <- struct{}{}
	g.arrives()
	g.steps <- struct{}{}
}

// goOn holds nothing any more.
func (g *stepped) goOn() {
	for len(g.steps) < cap(g.steps)/2 {
		g.steps <- struct{}{}
	}
}

// wantAll wants n records of this gateway and the other's, everywhere.
func (g *stepped) wantAll(n int) {
	g.t.Helper()
	g.goOn()
	g.sync()
	wantLines(g.t, g.s, "log", map[string]int{"a": n, "o": 1})
	text, _, _ := objectOf(g.t, g.s, "log")
	g.wantBytes("log", text)
	g.must(g.appendLine("log", fmt.Sprint("a ", n)))
	g.sync()
	wantLines(g.t, g.s, "log", map[string]int{"a": n + 1, "o": 1})
}

// TestAppendBehindMovedAppend appends while an append is on its way that was
// made before the one in front of it went behind another gateway's: what is
// before it has grown since.
func TestAppendBehindMovedAppend(t *testing.T) {
	for _, c := range []struct {
		name    string
		waiting int // records that wait while the first is under way
		later   int // records after that
	}{{"on its way", 1, 1}, {"and more behind it", 2, 3}} {
		t.Run(c.name, func(t *testing.T) {
			g := newStepped(t, 0)
			next := 2
			for range c.waiting {
				g.must(g.appendLine("log", fmt.Sprint("a ", next)))
				next++
			}
			g.land()
			g.arrives()
			for range c.later {
				g.must(g.appendLine("log", fmt.Sprint("a ", next)))
				next++
			}
			g.wantAll(next)
		})
	}
}

// TestBasedOnWhatLands tells what waits of what it is based on, at the moment at
// which the file has what became of that.
func TestBasedOnWhatLands(t *testing.T) {
	w := newWorld(t, mem.New(), local)
	p := &parcel{id: 7, intent: intent{Path: "log", Size: 8, Append: &appended{From: 4, Base: 4}}, result: "new", size: 100, rebased: true}
	next := &parcel{after: p, intent: intent{Path: "log", Size: 12,
		Append: &appended{From: 4, Base: 4, Tries: []appendedTry{{Seq: 7, Upto: 4}}}}}
	sp := newSpool(w.fs)
	defer sp.stop()
	sp.slots["log"] = &slot{sending: p, waiting: next}
	sp.unlessDropped(p, func() {})
	if a := next.Append; a.From != 8 || a.Base != 100 || len(a.Tries) != 0 || next.ETag != "new" {
		t.Errorf("what waits is %+v behind %q", a, next.ETag)
	}
}

// TestRecordedAsShown has an append that is about to be recorded, with the bytes
// of before another gateway's appends got in front of it, be made anew.
func TestRecordedAsShown(t *testing.T) {
	g := newStepped(t, 0)
	h, err := g.open("log", syscall.O_WRONLY|syscall.O_APPEND)
	g.must(err)
	_, err = g.fs.Write(g.ctx, h, []byte("a 2\n"), 0)
	g.must(err)
	p, err := g.fs.pack(g.ctx, h.f, "log")
	g.must(err)
	if _, ok := g.fs.spool.recorded(p); !ok {
		t.Error("made anew while nothing has happened")
	}
	g.land()
	if !eventually(20*time.Second, func() bool { return len(g.fs.spool.of("log")) == 0 }) {
		t.Fatal("the append does not arrive")
	}
	if it, ok := g.fs.spool.recorded(p); ok {
		t.Errorf("recorded as %+v", it.Append)
	}
	g.fs.spool.refuse(p)
	g.goOn()
	g.must(g.fs.Flush(g.ctx, h))
	g.fs.Release(h)
	g.wantAll(3)
}

// TestReplayOfMovedAppend takes up appends with the bytes of before another
// gateway's appends got in front of them.
func TestReplayOfMovedAppend(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, local)
	w.fenced = true
	w.must(w.appendLine("log", "a 0"))
	w.must(w.appendLine("log", "o 0"))
	w.sync()
	_, info, _ := objectOf(t, s, "log")
	_, err := w.fs.ledger.record(nil, intent{Op: intentPut, Path: "log", Time: w.fs.now(), ETag: info.ETag, Meta: info.Meta,
		Size: 8, data: []byte("a 0\na 1\n"), Append: &appended{From: 4, Base: 8}})
	w.must(err)
	away := &gate{Store: s, shut: true}
	next := w.kill(away, local)
	next.wantRead("log", "a 0\no 0\na 1\n")
	next.must(next.appendLine("log", "a 2"))
	next.wantRead("log", "a 0\no 0\na 1\na 2\n")
	away.set(false)
	next.sync()
	next.wantRead("log", "a 0\no 0\na 1\na 2\n")
	wantLines(t, s, "log", map[string]int{"a": 3, "o": 1})
}

// TestReplayOfAppendAfterAppend finds in the journal an append whose end was not
// noted before the kill, and one that was made when it had arrived.
func TestReplayOfAppendAfterAppend(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, local)
	w.fenced = true
	w.must(w.appendLine("log", "a 0"))
	w.sync()
	_, before, _ := objectOf(t, s, "log")
	ids, err := w.fs.ledger.record(nil, intent{Op: intentPut, Path: "log", Time: w.fs.now(), ETag: before.ETag, Meta: before.Meta,
		Size: 8, data: []byte("a 0\na 1\n"), Append: &appended{From: 4, Base: 4}})
	w.must(err)
	meta, err := w.fs.encode(index.Entry{Name: "log", Type: TypeFile,
		Attr: withTable(index.Decode(before).Attr, parseAppends(fmt.Sprintf("%s.%x", w.fs.session, ids[0])))})
	w.must(err)
	_, err = s.Put(w.ctx, "log", store.Body{Reader: strings.NewReader("a 0\no 0\na 1\n"), Size: 12}, store.PutOptions{Meta: meta})
	w.must(err)
	_, now, _ := objectOf(t, s, "log")
	_, err = w.fs.ledger.record(nil, intent{Op: intentPut, Path: "log", Time: w.fs.now(), ETag: now.ETag, Meta: now.Meta,
		Size: 16, data: []byte("a 0\no 0\na 1\na 2\n"), Append: &appended{From: 12, Base: 12}})
	w.must(err)
	next := w.kill(s)
	next.sync()
	wantLines(t, s, "log", map[string]int{"a": 3, "o": 1})
	next.wantRead("log", "a 0\no 0\na 1\na 2\n")
}

// TestMovedAppendComesBack gives up a write behind appends in front of which
// another gateway's have got: the file is what was acknowledged.
func TestMovedAppendComesBack(t *testing.T) {
	g := newStepped(t, 0)
	g.must(g.appendLine("log", "a 2"))
	g.land()
	g.arrives()
	h, err := g.open("log", syscall.O_WRONLY|syscall.O_APPEND)
	g.must(err)
	_, err = g.fs.Write(g.ctx, h, []byte("no room"), 0)
	g.must(err)
	g.fs.noteFull(h.f, true)
	g.wantKind(g.fs.Flush(g.ctx, h), NoSpace)
	g.fs.Release(h)
	g.wantRead("log", "a 0\no 0\na 1\na 2\n")
	g.must(g.appendLine("log", "a 3"))
	g.wantAll(4)
}

// TestAppendArrivesOnFullDisk has no room to show that an append went behind
// another gateway's: it is in S3 once nevertheless.
func TestAppendArrivesOnFullDisk(t *testing.T) {
	g := newStepped(t, inlineLimit)
	staged := filepath.Join(g.fs.state.dir, "staged")
	g.must(os.Rename(staged, staged+".away"))
	g.must(os.WriteFile(staged, nil, 0o600)) // no new local file can be made
	g.land()
	gone := eventually(5*time.Second, func() bool { return len(g.fs.spool.of("log")) == 0 })
	g.must(os.Remove(staged))
	g.must(os.Rename(staged+".away", staged))
	if !gone {
		t.Error("the append is sent again")
	}
	g.wantAll(2)
}

// TestEditSparesForeignAppends edits a file in place while an append is on its
// way, which goes behind another gateway's: the edit is of another version, and
// must not replace what the other gateway has appended.
func TestEditSparesForeignAppends(t *testing.T) {
	g := newStepped(t, 0)
	g.must(g.writeAt("log", "A", 0))
	g.land()
	g.goOn()
	if err := g.fs.Sync(g.ctx, ""); err == nil {
		t.Error("the edit was not refused")
	}
	wantLines(t, g.s, "log", map[string]int{"a": 2, "o": 1})
	kept, err := Kept(g.fs.opts.StateDir)
	g.must(err)
	if len(kept) != 1 || bytesOf(t, kept[0]) != "A 0\na 1\n" {
		t.Errorf("kept %+v", kept)
	}
}

// TestAttrOfOldEntry does not take up again what was known of a file before it
// was written here and closed.
func TestAttrOfOldEntry(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.must(w.write("f", "old", 0))
	k, err := w.lookup("f")
	w.must(err)
	n := w.fs.nodes.get(k.ID)
	old, err := w.fs.entryOf(w.ctx, n)
	w.must(err)
	current := func(e index.Entry) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return w.fs.currentLocked(n, e)
	}
	if !current(old) {
		t.Error("what is known is not current")
	}
	w.must(w.write("f", "newer", syscall.O_TRUNC))
	if n.fileState() != nil {
		t.Fatal("the file is still there")
	}
	if current(old) {
		t.Error("what was known before counts as current")
	}
	w.must(w.chmod("f", 0o600))
	w.sync()
	w.wantMode("f", 0o600)
}

// TestFailedRenameKeepsIntent renames a temporary file when the journal is full:
// that fails, and when the temporary file is removed then, it is gone for good.
func TestFailedRenameKeepsIntent(t *testing.T) {
	s := mem.New()
	w := newWorld(t, &gate{Store: s, shut: true}, local)
	w.fenced = true
	w.must(w.write("f.tmp", "text", 0))
	j := w.fs.ledger.j
	full, _, err := journal.Open(t.TempDir(), journal.Options{MaxBytes: 1})
	w.must(err)
	defer full.Close()
	for err == nil {
		_, err = full.Append(nil, make([]byte, 32<<10))
	}
	w.fs.ledger.j = full
	err = w.rename("f.tmp", "f", 0)
	w.fs.ledger.j = j
	w.wantKind(err, NoSpace)
	w.wantRead("f.tmp", "text")
	w.must(w.unlink("f.tmp"))
	next := w.kill(s)
	if got := next.list(""); got != "" {
		t.Errorf("listed %q after a kill", got)
	}
}
