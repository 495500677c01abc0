package vfs

import (
	"context"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// asThread is w as seen by one thread.
func (w *world) asThread(id uint32) *world {
	t := *w
	t.ctx = context.WithValue(w.ctx, CallerKey{}, id)
	return &t
}

// An open finds the name of its node gone again each time that the kernel has
// looked it up: by the second time it gets what is there.
func TestOpenOfNameThatMoves(t *testing.T) {
	for _, flags := range []int{syscall.O_RDONLY, syscall.O_RDWR, syscall.O_WRONLY | syscall.O_TRUNC} {
		for _, gone := range []bool{false, true} {
			s := mem.New()
			w := newWorld(t, s, nil).asThread(4711)
			w.must(w.write("f", "old", 0))
			var h *Handle
			for try := range 2 {
				k, err := w.lookup("f")
				w.must(err)
				w.fs.supersede(w.fs.nodes.get(k.ID)) // somebody else's version has come
				if gone && try == 1 {
					w.must(s.Delete(w.ctx, "f", store.Always))
					w.fs.idx.Forget("f")
				}
				h, err = w.fs.Open(w.ctx, k.ID, flags)
				if try == 0 {
					w.wantKind(err, Stale)
					continue
				}
				if gone && flags&syscall.O_TRUNC == 0 {
					w.wantKind(err, NotExist)
					break
				}
				w.must(err)
				if !h.Elsewhere(k.ID) {
					t.Error("the handle has the node that lost its name")
				}
				_, err = w.fs.GetAttr(w.ctx, k.ID, h)
				w.must(err)
			}
			if h == nil {
				continue
			}
			if flags != syscall.O_RDONLY {
				_, err := w.fs.Write(w.ctx, h, []byte("new"), 0)
				w.must(err)
			}
			w.must(w.fs.Flush(w.ctx, h))
			w.fs.Release(h)
			want := map[bool]string{true: "old", false: "new"}[flags == syscall.O_RDONLY]
			if got, _, _ := objectOf(t, s, "f"); got != want {
				t.Errorf("flags %#x: the object is %q, want %q", flags, got, want)
			}
		}
	}
}

// A file that goes while Create, which the kernel asks for a new name, opens it
// is made anew.
func TestCreateOfNameThatGoes(t *testing.T) {
	s := mem.New()
	h := &hooked{Store: s}
	w := newWorld(t, h, nil)
	w.must(w.write("f", "old", 0))
	h.beforeGet = func(key string) {
		if key == "f" {
			w.must(s.Delete(w.ctx, "f", store.Always))
		}
	}
	_, open, err := w.fs.Create(w.ctx, Caller{}, RootID, "f", syscall.O_RDWR, 0o600)
	w.must(err)
	h.beforeGet = nil
	_, err = w.fs.Write(w.ctx, open, []byte("new"), 0)
	w.must(err)
	w.must(w.fs.Flush(w.ctx, open))
	w.fs.Release(open)
	if got, _, _ := objectOf(t, s, "f"); got != "new" {
		t.Errorf("the object is %q", got)
	}
}
