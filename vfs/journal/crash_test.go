package journal

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

const dir = "/j"

// history is what a program did with a journal, and what it may find later.
type history struct {
	t      *testing.T
	j      *Journal
	acked  map[ID]string // live for sure, but for maybe and flight
	maybe  map[ID]bool   // ended by Done, which a crash may forget
	flight []step        // appended and not synced, in order
	last   ID            // the highest that was given out
}

// step is an Append.
type step struct {
	done []ID
	add  map[ID]string
}

func (s step) apply(live map[ID]string) {
	for _, id := range s.done {
		delete(live, id)
	}
	maps.Copy(live, s.add)
}

func testOptions(d *disk) Options {
	salt := uint64(0x0123456789abcdef)
	return Options{
		SegmentSize: minSegmentSize, files: d, passive: true,
		salt: func() uint64 { salt = salt*6364136223846793005 + uint64(len(d.names)) + 1; return salt },
	}
}

func open(t *testing.T, d *disk) (*Journal, []Entry) {
	t.Helper()
	j, entries, err := Open(dir, testOptions(d))
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return j, entries
}

func (h *history) append(done []ID, add ...string) []ID {
	h.t.Helper()
	bodies := make([][]byte, len(add))
	for i := range add {
		bodies[i] = []byte(add[i])
	}
	ids, err := h.j.Append(done, bodies...)
	if err != nil {
		h.t.Fatalf("Append: %v", err)
	}
	s := step{done: done, add: map[ID]string{}}
	for i, id := range ids {
		s.add[id] = add[i]
		h.last = max(h.last, id)
	}
	h.flight = append(h.flight, s)
	return ids
}

func (h *history) sync() {
	h.t.Helper()
	if err := h.j.Sync(); err != nil {
		h.t.Fatalf("Sync: %v", err)
	}
	for _, s := range h.flight {
		s.apply(h.acked)
	}
	for id := range h.maybe {
		delete(h.acked, id)
	}
	h.flight = nil
	clear(h.maybe)
}

func (h *history) done(ids ...ID) {
	for _, id := range ids {
		h.maybe[id] = true
	}
	h.j.Done(ids...)
}

// allows returns why live intents are not what a crash may leave, or "".
func (h *history) allows(entries []Entry) string {
	got := map[ID]string{}
	for _, e := range entries {
		got[e.ID] = string(e.Body)
	}
	want := maps.Clone(h.acked)
	for k := 0; ; k++ {
		if h.same(want, got) {
			return ""
		}
		if k == len(h.flight) {
			return fmt.Sprintf("got %d live, want %d acknowledged (and %d appends in flight, %d done)\ngot  %s\nwant %s",
				len(got), len(h.acked), len(h.flight), len(h.maybe), show(got), show(h.acked))
		}
		h.flight[k].apply(want)
	}
}

func (h *history) same(want, got map[ID]string) bool {
	for id, body := range got {
		if w, ok := want[id]; !ok || w != body {
			return false
		}
	}
	for id := range want {
		if _, ok := got[id]; !ok && !h.maybe[id] {
			return false
		}
	}
	return true
}

func show(live map[ID]string) string {
	var b strings.Builder
	for id, body := range live {
		fmt.Fprintf(&b, "%x:%.8q(%d) ", id, body, len(body))
	}
	return b.String()
}

// check opens a disk after a power cut, once more after power cuts of that, and
// then uses it. It runs in the middle of calls, so it does not end the test.
func (h *history) check(d *disk, deep bool) {
	h.t.Helper()
	if h.t.Failed() {
		return
	}
	if deep {
		d.step = func(op, name string) error {
			d.cuts(true, func(d *disk) { h.check(d, false) })
			return nil
		}
	}
	j, entries, err := Open(dir, testOptions(d))
	if err != nil {
		h.t.Errorf("Open: %v", err)
		return
	}
	d.step = nil
	if why := h.allows(entries); why != "" {
		h.t.Error(why)
	}
	if lost := j.Damage(); len(lost) > 0 {
		h.t.Errorf("a power cut is taken for damage: %v", lost)
	}
	ids, err := j.Append(nil, []byte("after"))
	if err == nil {
		err = j.Sync()
	}
	if err != nil {
		h.t.Errorf("append after a power cut: %v", err)
		return
	}
	if ids[0] <= h.last {
		h.t.Errorf("ID %d after %d was given out", ids[0], h.last)
	}
	_, more, err := Open(dir, testOptions(d))
	if err != nil || len(more) != len(entries)+1 || more[len(more)-1].ID != ids[0] {
		h.t.Errorf("%d live after one was added to %d, %v", len(more), len(entries), err)
	}
}

// script is a history with segment switches, cleaning and a record larger than
// a segment. tick is called after each call.
func script(h *history, tick func()) {
	do := func(f func()) { f(); tick() }
	var first, second, big []ID
	do(func() { first = h.append(nil, "a", "bb", "") })
	do(h.sync)
	do(func() { second = h.append(first[:1], "c") })
	do(func() { h.append(nil, "in flight too") })
	do(h.sync)
	do(func() { h.done(second...) })
	do(func() { big = h.append(nil, strings.Repeat("big", 250)) })
	do(h.sync)
	var filled [][]ID
	for i := range 24 {
		do(func() { filled = append(filled, h.append(nil, strings.Repeat(string(rune('A'+i)), 180))) })
		if i%2 == 1 {
			do(h.sync)
		}
	}
	for i, ids := range filled {
		if i%6 != 0 {
			do(func() { h.append(ids) })
		}
	}
	do(func() { h.clean() })
	do(func() { h.append(big, "replaces big") })
	do(func() { h.clean() })
	do(h.sync)
	do(func() { h.done(first[1]) })
	for id := range maps.Clone(h.acked) {
		do(func() { h.append([]ID{id}) })
	}
	do(func() { h.clean() })
	do(h.sync)
}

func (h *history) clean() {
	h.t.Helper()
	if err := h.j.clean(); err != nil {
		h.t.Fatalf("clean: %v", err)
	}
}

func TestPowerCutAtEveryStep(t *testing.T) {
	d := newDisk()
	h := &history{t: t, acked: map[ID]string{}, maybe: map[ID]bool{}}
	steps, states := 0, 0
	cut := func(coarse bool) {
		if t.Failed() {
			return
		}
		d.cuts(coarse, func(d *disk) {
			states++
			h.check(d, coarse)
		})
	}
	d.step = func(op, name string) error {
		steps++
		cut(false)
		cut(true)
		return nil
	}
	h.j, _ = open(t, d)
	script(h, func() {})
	d.step = nil
	st := h.j.Stats()
	t.Logf("%d steps, %d states; %+v", steps, states, st)
	if st.Segments != 1 || st.Cleaned < 6 || st.Live != 0 {
		t.Errorf("after all ended: %+v, want one segment", st)
	}
}

// TestKillAfterEveryCall opens after each call, as after kill -9.
func TestKillAfterEveryCall(t *testing.T) {
	d := newDisk()
	h := &history{t: t, acked: map[ID]string{}, maybe: map[ID]bool{}}
	h.j, _ = open(t, d)
	script(h, func() { h.check(after(d.names, nil, nil), false) })
}

// TestKillThenPowerCut has what a killed program left unsynced be durable once
// an Open has shown it.
func TestKillThenPowerCut(t *testing.T) {
	d := newDisk()
	h := &history{t: t, acked: map[ID]string{}, maybe: map[ID]bool{}}
	h.j, _ = open(t, d)
	h.append(nil, "synced")
	h.sync()
	h.append(nil, "only written")
	f := h.j.segs[0]
	if _, err := f.file.WriteAt(h.j.pending, h.j.pendingOff); err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	h.j, entries = open(t, d)
	if len(entries) != 2 {
		t.Fatalf("%d live after a kill, want 2", len(entries))
	}
	h.append(nil, "later")
	h.sync()
	d.cuts(false, func(d *disk) { h.check(d, true) })
}
