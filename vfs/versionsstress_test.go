package vfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// laggard answers some requests late, before or after they were carried out.
type laggard struct{ store.Store }

func lag() {
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
	}
}

func (l laggard) Get(ctx context.Context, key string, o store.GetOptions) (*store.Object, error) {
	lag()
	defer lag()
	return l.Store.Get(ctx, key, o)
}

func (l laggard) Head(ctx context.Context, key string) (store.Info, error) {
	lag()
	defer lag()
	return l.Store.Head(ctx, key)
}

func (l laggard) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	lag()
	defer lag()
	return l.Store.Put(ctx, key, b, o)
}

func (l laggard) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (store.Info, error) {
	lag()
	defer lag()
	return l.Store.Copy(ctx, src, dst, o)
}

// selfDescribing is a file that tells in each line which version it is, and
// with that its size. An edit changes the first line alone.
func selfDescribing(version int64) string {
	line := fmt.Sprintf("%15d\n", version)
	return line + strings.Repeat(line, int(version*7919%180))
}

func isTorn(text string) bool {
	if len(text) <= 16 {
		return len(text)%16 != 0
	}
	version, err := strconv.ParseInt(strings.TrimSpace(text[16:32]), 10, 64)
	return err != nil || text[16:] != selfDescribing(version)[16:]
}

// TestHandlesKeepTheirVersion has clients of two gateways rewrite, save, edit,
// rename and remove a few names, while others have them open: what these read
// is one version, with its size, and so is what the kernel is told meanwhile of
// the node. Clients of one gateway take turns with what shows at once there.
func TestHandlesKeepTheirVersion(t *testing.T) {
	s := mem.New()
	var c versionClients
	for i := range c.worlds {
		c.worlds[i] = newWorld(t, laggard{s}, func(o *Options) { o.Strict, o.DirTTL = true, time.Nanosecond })
	}
	var wg sync.WaitGroup
	for id := range 16 {
		wg.Go(func() {
			for range 150 {
				c.step(t, id, rand.IntN(len(versionNames)), rand.IntN(100))
			}
		})
	}
	wg.Wait()
	if c.reads.Load() < 1000 {
		t.Errorf("%d reads tell little", c.reads.Load())
	}
	for _, w := range c.worlds { // an edit that was refused stays while its node waits for a second try
		if !eventually(5*time.Second, func() bool { return !slices.ContainsFunc(w.fs.localNodes(), hasRefused) }) {
			t.Error("an edit that was refused is not given up")
		}
	}
}

func hasRefused(n *node) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file != nil && n.file.superseded && n.file.keptID != ""
}

var versionNames = [...]string{"a", "b", "c"}

type versionClients struct {
	worlds     [2]*world
	busy       [2][len(versionNames)]sync.RWMutex
	ids, reads atomic.Int64
}

// step does one thing; what another client makes fail is none of its business.
func (c *versionClients) step(t *testing.T, id, k, dice int) {
	w, busy, name := c.worlds[id%2], &c.busy[id%2], versionNames[k]
	if dice < 65 {
		busy[k].RLock()
		defer busy[k].RUnlock()
		if dice < 50 {
			c.read(t, w, name)
			return
		}
		tmp := fmt.Sprintf("%s.%d.tmp", name, id)
		if w.write(tmp, selfDescribing(c.ids.Add(1)), 0) == nil {
			_ = w.rename(tmp, name, 0)
		}
		return
	}
	next := (k + 1) % len(versionNames)
	for _, i := range []int{min(k, next), max(k, next)} {
		busy[i].Lock()
		defer busy[i].Unlock()
	}
	switch {
	case dice < 78:
		_ = w.write(name, selfDescribing(c.ids.Add(1)), syscall.O_TRUNC)
	case dice < 88:
		c.edit(w, name)
	case dice < 94:
		_ = w.rename(name, versionNames[next], 0)
	default:
		_ = w.unlink(name)
	}
}

func (c *versionClients) edit(w *world, name string) {
	h, err := w.open(name, syscall.O_RDWR)
	if err != nil {
		return
	}
	defer w.fs.Release(h)
	lag()
	if got, err := w.readHandle(h); err == nil && got != "" {
		_, _ = w.fs.Write(w.ctx, h, fmt.Appendf(nil, "%15d\n", c.ids.Add(1)), 0)
	}
	_ = w.fs.Flush(w.ctx, h)
}

func (c *versionClients) read(t *testing.T, w *world, name string) {
	h, err := w.open(name, syscall.O_RDONLY)
	if err != nil {
		return
	}
	defer w.fs.Release(h)
	for i, first := 0, ""; i < 3; i++ {
		got, err := w.readHandle(h)
		if err != nil {
			return // the rest of a version that is gone
		}
		c.reads.Add(1)
		if isTorn(got) {
			t.Errorf("torn: %d bytes %.60q", len(got), got)
		}
		if i > 0 && got != first {
			t.Errorf("a handle read %d bytes %.30q and then %d bytes %.30q", len(first), first, len(got), got)
		}
		first = got
		c.told(t, w, h, name, int64(len(got)))
		lag()
	}
}

// told checks what the kernel is told of the size of an open file.
func (c *versionClients) told(t *testing.T, w *world, h *Handle, name string, size int64) {
	if k, err := w.fs.GetAttr(w.ctx, h.Node(), h); err == nil && k.Size != size {
		t.Errorf("fstat: %d bytes, read %d", k.Size, size)
	}
	if k, err := w.fs.GetAttr(w.ctx, h.Node(), nil); err == nil && k.Size != size {
		t.Errorf("stat of an open file: %d bytes, read %d", k.Size, size)
	}
	k, err := w.fs.Lookup(w.ctx, RootID, name)
	if err != nil {
		return
	}
	defer w.fs.Forget(k.ID, 1)
	if k.ID == h.Node() && k.Size != size {
		t.Errorf("lookup of an open file: %d bytes, read %d", k.Size, size)
	}
	// The caller of another open leaves.
	ctx, cancel := context.WithTimeout(w.ctx, time.Duration(rand.IntN(1500))*time.Microsecond)
	defer cancel()
	if other, err := w.fs.Open(ctx, k.ID, syscall.O_RDONLY); err == nil {
		w.fs.Release(other)
	}
}
