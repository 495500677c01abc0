package vfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// put stores a document in the root.
func (w *world) put(name, text string, o PutOptions) (Attr, bool, error) {
	o.Size, o.Mode = int64(len(text)), 0o644
	return w.fs.Put(w.ctx, Caller{}, RootID, name, strings.NewReader(text), o)
}

// content reads the object of a key, as another tool would.
func object(t *testing.T, s store.Store, key string) string {
	t.Helper()
	obj, err := s.Get(context.Background(), key, store.GetOptions{})
	if err != nil {
		return err.Error()
	}
	defer obj.Body.Close()
	b, err := io.ReadAll(obj.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPutConditions(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	a, created, err := w.put("f", "one", PutOptions{If: Condition{Absent: true}})
	if err != nil || !created || a.ETag == "" || a.Size != 3 {
		t.Fatalf("got %+v, %v, %v", a, created, err)
	}
	for _, c := range []struct {
		cond Condition
		want Kind
	}{{Condition{Absent: true}, Exist}, {Condition{Match: "other"}, Stale}} {
		if _, _, err := w.put("f", "bad", PutOptions{If: c.cond}); KindOf(err) != c.want || err == nil {
			t.Errorf("%+v: got %v, want %v", c.cond, err, c.want)
		}
	}
	if _, _, err := w.put("none", "bad", PutOptions{If: Condition{Match: a.ETag}}); KindOf(err) != Stale || err == nil {
		t.Errorf("of a version of nothing: got %v", err)
	}
	if _, created, err := w.put("f", "two", PutOptions{If: Condition{Match: a.ETag}}); err != nil || created {
		t.Errorf("got %v, %v", created, err)
	}
	if got := object(t, s, "f"); got != "two" {
		t.Errorf("the object is %q", got)
	}
	if n := w.fs.Stats().KeptVersions; n != 0 {
		t.Errorf("%d versions kept", n)
	}
}

// brokenBody ends with an error.
type brokenBody struct{ r io.Reader }

var errBroken = errors.New("broken")

func (b brokenBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		err = errBroken
	}
	return n, err
}

// A body that does not arrive changes nothing, and leaves nothing.
func TestPutOfLess(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	if _, _, err := w.put("f", "one", PutOptions{}); err != nil {
		t.Fatal(err)
	}
	big := strings.Repeat("0123456789abcdef", 20<<16) // parts are on their way when it breaks
	for _, text := range []string{"", "x", big} {
		for _, name := range []string{"f", "new", "x.tmp"} {
			_, _, err := w.fs.Put(w.ctx, Caller{}, RootID, name, brokenBody{strings.NewReader(text)}, PutOptions{Size: -1})
			if !errors.Is(err, errBroken) {
				t.Errorf("%s: got %v, want the body's error", name, err)
			}
			_, _, err = w.fs.Put(w.ctx, Caller{}, RootID, name, strings.NewReader(text), PutOptions{Size: int64(len(text)) + 1})
			if KindOf(err) != Invalid {
				t.Errorf("%s: got %v, want Invalid", name, err)
			}
			_, _, err = w.fs.Put(w.ctx, Caller{}, RootID, name, strings.NewReader(text), PutOptions{Size: -1,
				Ready: func(context.Context) (func(), error) { return nil, errBroken }})
			if !errors.Is(err, errBroken) {
				t.Errorf("%s: got %v, want Ready's error", name, err)
			}
		}
	}
	if got := object(t, s, "f"); got != "one" {
		t.Errorf("the object is %q", got)
	}
	for _, name := range []string{"new", "x.tmp"} {
		if _, err := w.fs.Lookup(w.ctx, RootID, name); KindOf(err) != NotExist {
			t.Errorf("%s: got %v, want none", name, err)
		}
	}
}

// Attributes of the file stay, whatever the size of the body.
func TestPutKeepsAttributes(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	big := strings.Repeat("0123456789abcdef", 20<<16)
	for i, text := range []string{"small", big} {
		name := fmt.Sprint("f", i)
		if _, _, err := w.put(name, text, PutOptions{}); err != nil {
			t.Fatal(err)
		}
		known, err := w.fs.Lookup(w.ctx, RootID, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.fs.SetXAttr(w.ctx, known.ID, "user.x", []byte("y"), 0); err != nil {
			t.Fatal(err)
		}
		mode := uint32(0o4640)
		if _, err := w.fs.SetAttr(w.ctx, Caller{}, known.ID, nil, SetAttr{Mode: &mode}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := w.put(name, text+"!", PutOptions{}); err != nil { // attributes are still on their way
			t.Fatal(err)
		}
		w.fs.Forget(known.ID, 1)
		if err := w.fs.Sync(w.ctx, ""); err != nil {
			t.Fatal(err)
		}
		other := newWorld(t, s, nil)
		known, err = other.fs.Lookup(w.ctx, RootID, name)
		if err != nil {
			t.Fatal(err)
		}
		known, err = other.fs.GetAttr(w.ctx, known.ID, nil)
		x, xerr := other.fs.GetXAttr(w.ctx, known.ID, "user.x")
		if err != nil || xerr != nil || known.Mode != 0o640 || string(x) != "y" || known.Size != int64(len(text)+1) {
			t.Errorf("%s: got mode %o, x %q, size %d, %v, %v", name, known.Mode, x, known.Size, err, xerr)
		}
	}
}

// Handles that are open when a document takes the name.
func TestPutBesideHandles(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	open := func(flags int) (*Handle, func()) {
		t.Helper()
		known, h, err := w.fs.Create(w.ctx, Caller{}, RootID, "f", flags|syscall.O_CREAT, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		return h, func() { w.fs.Release(h); w.fs.Forget(known.ID, 1) }
	}
	put := func(text string) {
		t.Helper()
		if _, _, err := w.put("f", text, PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put("first")
	r, done := open(syscall.O_RDONLY)
	put("second")
	buf := make([]byte, 16)
	if n, err := w.fs.Read(w.ctx, r, buf, 0); err != nil || string(buf[:n]) != "first" {
		t.Errorf("a reader gets %q, %v", buf[:n], err)
	}
	done()

	whole, done := open(syscall.O_WRONLY | syscall.O_TRUNC)
	if _, err := w.fs.Write(w.ctx, whole, []byte("rewritten"), 0); err != nil {
		t.Fatal(err)
	}
	put("third")
	if err := w.fs.Flush(w.ctx, whole); err != nil { // the last close wins
		t.Errorf("Flush of a rewritten file: %v", err)
	}
	done()
	if got := object(t, s, "f"); got != "rewritten" {
		t.Errorf("the object is %q", got)
	}

	edit, done := open(syscall.O_RDWR)
	if _, err := w.fs.Write(w.ctx, edit, []byte("RE"), 0); err != nil {
		t.Fatal(err)
	}
	put("fourth")
	if err := w.fs.Flush(w.ctx, edit); KindOf(err) != Stale { // and an edit is not lost silently
		t.Errorf("Flush of an edit: got %v, want Stale", err)
	}
	done()
	if got := object(t, s, "f"); got != "fourth" || w.fs.Stats().KeptVersions != 1 {
		t.Errorf("the object is %q, %d versions kept", got, w.fs.Stats().KeptVersions)
	}
}

// Documents and commits of one name at once: the name ends with a whole one of
// them, here and in S3.
func TestPutRaces(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	if _, _, err := w.put("f", strings.Repeat("x", 100), PutOptions{}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 20 {
				text := strings.Repeat(fmt.Sprint(i), 100+n)
				if _, _, err := w.put("f", text, PutOptions{}); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		wg.Go(func() {
			tmp := fmt.Sprintf("f%d.tmp", i)
			for range 20 {
				known, h, err := w.fs.Create(w.ctx, Caller{}, RootID, tmp, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_TRUNC, 0o644)
				if err != nil {
					t.Errorf("Create: %v", err)
					return
				}
				_, err1 := w.fs.Write(w.ctx, h, bytes.Repeat([]byte{'a' + byte(i)}, 200), 0)
				err2 := w.fs.Flush(w.ctx, h)
				w.fs.Release(h)
				err3 := w.fs.Rename(w.ctx, RootID, tmp, RootID, "f", 0)
				w.fs.Forget(known.ID, 1)
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Errorf("save: %v", err)
				}
			}
		})
		wg.Go(func() {
			for n := range 10 {
				if _, err := w.fs.CopyFile(w.ctx, RootID, "f", RootID, fmt.Sprint("g", n%2), CopyOptions{}); err != nil && KindOf(err) != NotExist {
					t.Errorf("CopyFile: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, name := range []string{"f", "g0", "g1"} {
		text := object(t, s, name)
		if len(text) < 100 || strings.Trim(text, text[:1]) != "" {
			t.Errorf("%s is torn: %q", name, text)
		}
		known, err := w.fs.Lookup(w.ctx, RootID, name)
		if err != nil {
			t.Fatal(err)
		}
		h, err := w.fs.Open(w.ctx, known.ID, syscall.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		if n, err := w.fs.Read(w.ctx, h, buf, 0); err != nil || string(buf[:n]) != text {
			t.Errorf("%s: this gateway shows %q, %v, S3 has %q", name, buf[:n], err, text)
		}
		w.fs.Release(h)
		w.fs.Forget(known.ID, 1)
	}
}

func TestCopyTree(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	d, err := w.fs.Mkdir(w.ctx, Caller{}, RootID, "d", 0o750)
	if err != nil {
		t.Fatal(err)
	}
	e, err := w.fs.Mkdir(w.ctx, Caller{}, d.ID, "e", 0o755)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if _, _, err := w.fs.Put(w.ctx, Caller{}, e.ID, fmt.Sprint("f", i), strings.NewReader(fmt.Sprint(i)), PutOptions{Size: -1}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.fs.Symlink(w.ctx, Caller{}, d.ID, "link", "e/f1"); err != nil {
		t.Fatal(err)
	}
	if err := w.fs.CopyTree(w.ctx, Caller{}, RootID, "d", e.ID, "x", CopyOptions{}); KindOf(err) != Invalid {
		t.Errorf("into itself: got %v", err)
	}
	if err := w.fs.CopyTree(w.ctx, Caller{}, RootID, "d", RootID, "c", CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := w.fs.CopyTree(w.ctx, Caller{}, RootID, "d", RootID, "c", CopyOptions{}); KindOf(err) != Exist {
		t.Errorf("onto something: got %v", err)
	}
	for i := range 100 {
		if got := object(t, s, fmt.Sprint("c/e/f", i)); got != fmt.Sprint(i) {
			t.Errorf("f%d: got %q", i, got)
		}
	}
	c, err := w.fs.Lookup(w.ctx, RootID, "c")
	if err != nil || c.Mode != 0o750 {
		t.Errorf("got mode %o, %v", c.Mode, err)
	}
	link, err := w.fs.Lookup(w.ctx, c.ID, "link")
	if err != nil {
		t.Fatal(err)
	}
	if target, err := w.fs.Readlink(w.ctx, link.ID); err != nil || target != "e/f1" {
		t.Errorf("link: got %q, %v", target, err)
	}
	for id, n := range map[NodeID]uint64{d.ID: 1, e.ID: 1, c.ID: 1, link.ID: 1} {
		w.fs.Forget(id, n)
	}
	if n := len(w.fs.Stats().Trees); n != 0 {
		t.Errorf("%d copies under way", n)
	}
}
