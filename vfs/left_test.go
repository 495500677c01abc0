package vfs

import (
	"io"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store/mem"
)

// TestLeftInTheJournal lists what a killed gateway did not send, and takes some
// of it away.
func TestLeftInTheJournal(t *testing.T) {
	s := mem.New()
	g := &gate{Store: s, shut: true}
	w := newWorld(t, g, local)
	large := string(make([]byte, inlineLimit+1))
	w.must(w.write("small", "text", 0))
	w.must(w.write("large", large, 0))
	w.must(w.write("x.tmp", "temporary", 0))
	if n, err := Unsent(w.fs.opts.StateDir); err != nil || n != 0 {
		t.Errorf("of a gateway that runs: %d, %v", n, err)
	}
	if st := w.fs.Stats(); st.JournalIntents != 3 || st.JournalBytes == 0 {
		t.Errorf("stats: %d intents, %d bytes", st.JournalIntents, st.JournalBytes)
	}
	dir := t.TempDir()
	w.must(copyTree(w.fs.opts.StateDir, dir))
	if n, err := Unsent(dir); err != nil || n != 2 {
		t.Errorf("unsent: %d, %v, want 2", n, err)
	}
	kept, err := Kept(dir)
	w.must(err)
	want := map[string]string{"small": "text", "large": large, "x.tmp": "temporary"}
	if len(kept) != len(want) {
		t.Fatalf("kept %+v", kept)
	}
	for _, k := range kept {
		r, err := k.Open()
		w.must(err)
		text, err := io.ReadAll(r)
		if err != nil || r.Close() != nil || string(text) != want[k.Path] || k.Size != int64(len(text)) || k.Reason == "" || time.Since(k.Time) > time.Hour {
			t.Errorf("%s: %d bytes, %+v, %v", k.Path, len(text), k, err)
		}
		if k.Path == "small" {
			w.must(DropKept(dir, k.ID))
			if DropKept(dir, k.ID) == nil {
				t.Error("dropped twice")
			}
		}
	}
	if n, err := Unsent(dir); err != nil || n != 1 {
		t.Errorf("unsent without the one that was dropped: %d, %v, want 1", n, err)
	}
	next := newWorld(t, s, func(o *Options) { o.StateDir = dir })
	next.sync()
	next.wantRead("large", large)
	if _, _, ok := objectOf(t, s, "small"); ok {
		t.Error("what was dropped was sent")
	}
	g.mu.Lock()
	g.shut = false
	g.mu.Unlock()
}
