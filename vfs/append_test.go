package vfs

import (
	"errors"
	"fmt"
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

const appendFlags = syscall.O_WRONLY | syscall.O_APPEND

// add appends one record as a program does that opens the file for each.
func (w *world) add(path, record string) error {
	h, err := w.open(path, appendFlags|syscall.O_CREAT)
	if err != nil {
		return err
	}
	defer w.fs.Release(h)
	if _, err := w.fs.Write(w.ctx, h, []byte(record), 0); err != nil {
		return err
	}
	return w.fs.Flush(w.ctx, h)
}

func (w *world) wantObject(key, want string) {
	w.t.Helper()
	if got, _, _ := objectOf(w.t, w.ops.Store, key); got != want {
		w.t.Fatalf("object %s: %d bytes %.80q, want %d bytes %.80q", key, len(got), got, len(want), want)
	}
}

// TestAppendRequests counts what an append costs: with nobody else there, one
// PUT.
func TestAppendRequests(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, nil)
	a.list("")
	a.ops.reset()
	a.must(a.add("log", "one\n"))
	a.wantOps("first append", "PUT 1")
	if !eventually(5*time.Second, func() bool {
		a.list("")
		a.ops.reset()
		a.must(a.add("log", "two\n"))
		return a.ops.String() == "PUT 1"
	}) {
		t.Errorf("append of a lone gateway: %s", a.ops)
	}
	h, err := a.open("log", appendFlags)
	a.must(err)
	a.ops.reset()
	for range 3 {
		_, err = a.fs.Write(a.ctx, h, []byte("three\n"), 0)
		a.must(err)
		a.must(a.fs.Fsync(a.ctx, h))
	}
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	a.wantOps("three writes with fsync", "PUT 3")

	b := newWorld(t, s, nil)
	b.must(b.add("log", "four\n"))
	b.ops.reset()
	b.must(b.add("log", "five\n"))
	if got := b.ops.String(); got != "GET 1, PUT 1" {
		t.Errorf("append beside another gateway: %s", got)
	}
	got, err := a.read("log")
	if err != nil || !strings.HasSuffix(got, "three\nthree\nthree\nfour\nfive\n") {
		t.Errorf("other gateway reads %q, %v", got, err)
	}
}

// TestAppendConflict has another gateway append between an open and its close,
// and looks at what both show after it.
func TestAppendConflict(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("log", "base\n", 0))
	h, err := a.open("log", syscall.O_RDWR|syscall.O_APPEND)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("a1\n"), 0)
	a.must(err)
	b.must(b.add("log", "b1\n"))
	b.must(b.add("log", "b22\n"))
	a.must(a.fs.Fsync(a.ctx, h))
	if !a.fs.Moved(h) || a.fs.Moved(h) {
		t.Error("it is not told once that the bytes have moved")
	}
	want := "base\nb1\nb22\na1\n"
	a.wantObject("log", want)
	if got, err := a.readHandle(h); err != nil || got != want {
		t.Errorf("the handle reads %q, %v", got, err)
	}
	if k, err := a.fs.GetAttr(a.ctx, h.Node(), h); err != nil || k.Size != int64(len(want)) {
		t.Errorf("size %d, %v, want %d", k.Size, err, len(want))
	}
	b.must(b.add("log", "b3\n"))
	_, err = a.fs.Write(a.ctx, h, []byte("a2\n"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	want += "b3\na2\n"
	for _, w := range []*world{a, b} {
		w.wantRead("log", want)
	}
	// An open that finds a longer version while others append goes on with it.
	h, err = a.open("log", appendFlags)
	a.must(err)
	b.must(b.add("log", "b4\n"))
	a.must(a.add("log", "a3\n"))
	_, err = a.fs.Write(a.ctx, h, []byte("a4\n"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	want += "b4\na3\na4\n"
	b.wantRead("log", want)
	a.wantRead("log", want)
	if kept, _ := Kept(a.fs.opts.StateDir); len(kept) != 0 {
		t.Errorf("kept %+v", kept)
	}
}

// TestAppendCreateRace has two gateways make the same file by appending to it.
func TestAppendCreateRace(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	for i := range 20 {
		name := fmt.Sprint("log", i)
		ha, err := a.open(name, appendFlags|syscall.O_CREAT)
		a.must(err)
		hb, err := b.open(name, appendFlags|syscall.O_CREAT)
		b.must(err)
		if i%3 > 0 {
			_, err = a.fs.Write(a.ctx, ha, []byte("a\n"), 0)
			a.must(err)
		}
		if i%3 < 2 {
			_, err = b.fs.Write(b.ctx, hb, []byte("b\n"), 0)
			b.must(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := a.fs.Flush(a.ctx, ha); err != nil {
				t.Error(err)
			}
		})
		if err := b.fs.Flush(b.ctx, hb); err != nil {
			t.Error(err)
		}
		wg.Wait()
		a.fs.Release(ha)
		b.fs.Release(hb)
		want := []string{"b\n", "a\nb\n", "a\n"}[i%3]
		for _, w := range []*world{a, b} {
			if got, err := w.read(name); err != nil || got != want && got != "b\na\n" {
				t.Fatalf("round %d: %q, %v", i, got, err)
			}
		}
	}
}

// TestAppendLarge appends to a file that S3 copies, without fetching it.
func TestAppendLarge(t *testing.T) {
	s := mem.New()
	a := newWorld(t, s, nil)
	b := newWorld(t, s, nil)
	base := strings.Repeat("0123456789abcde\n", 6<<16) // 6 MiB
	a.must(a.write("log", base, 0))
	c := newWorld(t, s, func(o *Options) { o.CacheSize = 1 })
	c.list("")
	c.ops.reset()
	c.must(c.add("log", "first\n"))
	c.ops.mu.Lock()
	if puts, copies := c.ops.ops[store.OpPut], c.ops.ops[store.OpCopyPart]; puts != 0 || copies != 1 {
		t.Errorf("%d PUT and %d COPY-PART", puts, copies)
	}
	c.ops.mu.Unlock()
	h, err := a.open("log", syscall.O_RDWR|syscall.O_APPEND)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("third\n"), 0)
	a.must(err)
	b.must(b.add("log", "second\n"))
	a.must(a.fs.Flush(a.ctx, h))
	want := base + "first\nsecond\nthird\n"
	if got, err := a.readHandle(h); err != nil || got != want {
		t.Errorf("the handle reads %d bytes, %v, want %d", len(got), err, len(want))
	}
	a.fs.Release(h)
	b.wantRead("log", want)
	a.must(a.add("log", strings.Repeat("x", 20<<20)+"\n"))
	b.wantRead("log", want+strings.Repeat("x", 20<<20)+"\n")
	if ups, _ := s.ListUploads(a.ctx, ""); len(ups) != 0 {
		t.Errorf("uploads left: %+v", ups)
	}
	if left, _ := Kept(a.fs.opts.StateDir); len(left) != 0 {
		t.Errorf("kept: %+v", left)
	}
}

// TestAppendLargeAhead begins the upload of the next append while one is on its
// way, and gives up those that nobody needs.
func TestAppendLargeAhead(t *testing.T) {
	s := mem.New()
	begun := fault.On(fault.Hang(0), fault.Ops(store.OpCreateUpload))
	a := newWorld(t, fault.Wrap(s, begun), nil)
	b := newWorld(t, s, nil)
	want := strings.Repeat("0123456789abcde\n", 6<<16)
	b.must(b.write("log", want, 0))
	h, err := a.open("log", appendFlags)
	a.must(err)
	const appends = 6
	for i := range appends {
		line := fmt.Sprintf("line %d\n", i)
		_, err := a.fs.Write(a.ctx, h, []byte(line), 0)
		a.must(err)
		a.must(a.fs.Fsync(a.ctx, h))
		want += line
	}
	if n := begun.Fired(); n != appends+1 {
		t.Errorf("%d uploads begun for %d appends, want one for each and one ahead", n, appends)
	}
	b.must(b.add("log", "theirs\n"))
	_, err = a.fs.Write(a.ctx, h, []byte("after\n"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	want += "theirs\nafter\n"
	b.wantRead("log", want)
	a.wantRead("log", want)
	if !eventually(10*time.Second, func() bool { left, _ := s.ListUploads(a.ctx, ""); return len(left) == 0 }) {
		left, _ := s.ListUploads(a.ctx, "")
		t.Errorf("uploads left: %+v", left)
	}
	if left := a.fs.state.leftUploads(); len(left) != 0 {
		t.Errorf("uploads noted: %+v", left)
	}
}

// TestAppendRecordOfSeveralRequests keeps a record together that comes in
// several requests, while others commit.
func TestAppendRecordOfSeveralRequests(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.add("log", "base\n"))
	big := strings.Repeat("B", MaxWrite)
	h, err := a.open("log", appendFlags)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("small\n"), 0)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte(big), 0)
	a.must(err)
	other, err := a.open("log", appendFlags)
	a.must(err)
	a.must(a.fs.Fsync(a.ctx, other)) // all that is complete
	a.wantObject("log", "base\nsmall\n")
	b.must(b.add("log", "theirs\n"))
	a.must(a.fs.Fsync(a.ctx, other)) // nothing new
	_, err = a.fs.Write(a.ctx, h, []byte(big+"end\n"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, other)) // wrote nothing
	a.must(a.fs.Flush(a.ctx, h))
	want := "base\nsmall\ntheirs\n" + big + big + "end\n"
	a.wantObject("log", want)
	// A record of just that size ends with what its program does next, or with
	// what somebody else writes.
	_, err = a.fs.Write(a.ctx, h, []byte(big), 0)
	a.must(err)
	_, err = a.fs.Write(a.ctx, other, []byte("next\n"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, other))
	want += big + "next\n"
	a.wantObject("log", want)
	_, err = a.fs.Write(a.ctx, h, []byte(big), 0)
	a.must(err)
	a.fs.Release(other)
	a.fs.Release(h)
	want += big
	if !eventually(5*time.Second, func() bool { got, _, _ := objectOf(t, a.ops.Store, "log"); return got == want }) {
		t.Error("the record of a handle that was released is not in S3")
	}
}

// TestAppendLostAnswers loses the answer of an append and lets another gateway
// be first in every way: the record is there once, or the call fails.
func TestAppendLostAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		size    int
		op      store.Op
		carried bool
	}{
		"small, carried out": {10, store.OpPut, true}, "small, not carried out": {10, store.OpPut, false},
		"large, carried out": {6 << 20, store.OpComplete, true}, "large, not carried out": {6 << 20, store.OpComplete, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := mem.New()
			b := newWorld(t, s, nil)
			base := strings.Repeat("x", c.size) + "\n"
			b.must(b.write("log", base, 0))
			f := fault.Fail(store.Unavailable)
			if c.carried {
				f = fault.Lost()
			}
			rule := fault.On(f, fault.Ops(c.op), fault.Key("log"), fault.Nth(1))
			late := &hooked{Store: fault.Wrap(s, rule)}
			between := sync.OnceFunc(func() { b.must(b.add("log", "theirs\n")) })
			late.beforeHead = func(string) { // retry looks what became of it
				if rule.Fired() > 0 {
					between()
				}
			}
			a := newWorld(t, retry.New(late, retry.Config{}), nil)
			a.must(a.add("log", "mine\n"))
			fault.Exercised(t, rule)
			want := base + "theirs\nmine\n"
			if c.carried {
				want = base + "mine\ntheirs\n"
			}
			b.wantRead("log", want)
			a.wantRead("log", want)
			a.must(a.add("log", "again\n"))
			b.wantRead("log", want+"again\n")
		})
	}
}

// TestAppendAfterFailure tries again through the same handle, with more, after
// a commit that failed, whether it was carried out or not.
func TestAppendAfterFailure(t *testing.T) {
	for _, f := range []fault.Fault{fault.Fail(store.Unavailable), fault.Lost()} {
		for _, others := range []bool{false, true} {
			t.Run(fmt.Sprint(f.Moment, others), func(t *testing.T) {
				s := mem.New()
				b := newWorld(t, s, nil)
				b.must(b.write("log", "base\n", 0))
				rule := fault.On(f, fault.Ops(store.OpPut), fault.Key("log"), fault.Nth(1))
				a := newWorld(t, fault.Wrap(s, rule), nil)
				h, err := a.open("log", appendFlags)
				a.must(err)
				_, err = a.fs.Write(a.ctx, h, []byte("one\n"), 0)
				a.must(err)
				a.wantKind(a.fs.Fsync(a.ctx, h), IO)
				if kept, _ := Kept(a.fs.opts.StateDir); len(kept) != 1 || !strings.Contains(kept[0].Reason, "append") {
					t.Errorf("kept %+v", kept)
				}
				theirs := ""
				if others {
					theirs = "theirs\n"
					b.must(b.add("log", theirs))
				}
				_, err = a.fs.Write(a.ctx, h, []byte("two\n"), 0)
				a.must(err)
				a.must(a.fs.Fsync(a.ctx, h))
				a.must(a.fs.Flush(a.ctx, h))
				a.fs.Release(h)
				want := "base\n" + theirs + "one\ntwo\n"
				if f.Moment == fault.After {
					want = "base\none\n" + theirs + "two\n"
				}
				b.wantRead("log", want)
				a.wantRead("log", want)
				if kept, _ := Kept(a.fs.opts.StateDir); len(kept) != 0 {
					t.Errorf("still kept: %+v", kept)
				}
			})
		}
	}
}

// TestAppendUnknownFate never sends twice what may be there: when the list of
// the object has been pushed on by too many others, the call fails.
func TestAppendUnknownFate(t *testing.T) {
	s := mem.New()
	first := newWorld(t, s, nil)
	first.must(first.write("log", "base\n", 0))
	rule := fault.On(fault.Lost(), fault.Ops(store.OpPut), fault.Key("log"), fault.Nth(1))
	a := newWorld(t, fault.Wrap(s, rule), nil)
	h, err := a.open("log", appendFlags)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("mine\n"), 0)
	a.must(err)
	a.wantKind(a.fs.Fsync(a.ctx, h), IO)
	for i := range maxSessions {
		first.fs.appendSession = fmt.Sprint("other", i)
		first.must(first.add("log", "theirs\n"))
	}
	for range 2 {
		err = a.fs.Fsync(a.ctx, h)
		a.wantKind(err, IO)
		if !errors.Is(err, errUnknown) {
			t.Errorf("got %v", err)
		}
	}
	a.fs.Release(h)
	if got, _ := first.read("log"); strings.Count(got, "mine") != 1 {
		t.Errorf("log: %q", got)
	}
	if kept, _ := Kept(a.fs.opts.StateDir); len(kept) != 1 {
		t.Errorf("kept %+v", kept)
	}
}

// TestAppendRemovedElsewhere keeps what cannot be appended any more.
func TestAppendRemovedElsewhere(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("log", "base\n", 0))
	h, err := a.open("log", appendFlags)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("mine\n"), 0)
	a.must(err)
	b.must(b.unlink("log"))
	b.must(b.fs.FsyncDir(b.ctx, RootID))
	a.wantKind(a.fs.Flush(a.ctx, h), Stale)
	a.fs.Release(h)
	if kept, _ := Kept(a.fs.opts.StateDir); len(kept) != 1 || readFile(t, kept[0].File) != "base\nmine\n" {
		t.Errorf("kept %+v", kept)
	}
	// Replaced by another file: what is appended goes behind that.
	a.must(a.write("log", "long old text\n", 0))
	h, err = a.open("log", appendFlags)
	a.must(err)
	_, err = a.fs.Write(a.ctx, h, []byte("mine\n"), 0)
	a.must(err)
	b.must(b.write(".new.tmp", "new\n", 0))
	b.must(b.rename(".new.tmp", "log", 0))
	a.must(a.fs.Flush(a.ctx, h))
	a.fs.Release(h)
	for _, w := range []*world{a, b} {
		w.wantRead("log", "new\nmine\n")
	}
}

// TestAppendAndEdit mixes appends with edits in place: those keep their rules.
func TestAppendAndEdit(t *testing.T) {
	a := newWorld(t, mem.New(), nil)
	b := newWorld(t, a.ops.Store, nil)
	a.must(a.write("f", "original\n", 0))
	log, err := a.open("f", appendFlags)
	a.must(err)
	edit, err := a.open("f", syscall.O_RDWR)
	a.must(err)
	_, err = a.fs.Write(a.ctx, log, []byte("more\n"), 0)
	a.must(err)
	_, err = a.fs.Write(a.ctx, edit, []byte("ORIG"), 0)
	a.must(err)
	a.must(a.fs.Flush(a.ctx, log))
	b.wantRead("f", "ORIGinal\nmore\n")
	_, err = a.fs.Write(a.ctx, log, []byte("again\n"), 0)
	a.must(err)
	_, err = a.fs.Write(a.ctx, edit, []byte("orig"), 0)
	a.must(err)
	b.must(b.add("f", "theirs\n"))
	a.wantKind(a.fs.Flush(a.ctx, log), Stale)
	a.fs.Release(log)
	a.fs.Release(edit)
	a.wantRead("f", "ORIGinal\nmore\ntheirs\n")
	// An attribute that is changed between appends keeps the list of them.
	k, err := a.lookup("f")
	a.must(err)
	a.must(a.add("f", "mine\n"))
	_, err = a.fs.SetAttr(a.ctx, Caller{}, k.ID, nil, SetAttr{Mode: ptr(uint32(0o600))})
	a.must(err)
	a.must(a.fs.flushAttr(a.ctx, a.fs.nodes.find("f")))
	a.must(a.rename("f", "g", 0))
	_, info, _ := objectOf(t, a.ops.Store, "g")
	table := parseAppends(info.Meta[AppendsKey])
	if len(table.marks) != 2 || table.marks[0].session != a.fs.appendSession || table.marks[1].session != b.fs.appendSession {
		t.Errorf("list %+v", table)
	}
	if k, err := newWorld(t, a.ops.Store, nil).lookup("g"); err != nil || k.Mode != 0o600 {
		t.Errorf("attributes %+v, %v", k, err)
	}
	if names, err := a.fs.ListXAttr(a.ctx, a.mustLookup("g").ID); err != nil || len(names) != 0 {
		t.Errorf("attributes shown: %v, %v", names, err)
	}
}

func (w *world) mustLookup(path string) Known {
	w.t.Helper()
	k, err := w.lookup(path)
	w.must(err)
	return k
}
