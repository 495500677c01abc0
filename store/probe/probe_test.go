package probe_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/probe"
	"github.com/causewayfs/causeway/store/storetest/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

var everything = store.Capabilities{
	PutIfAbsent: true, PutIfMatch: true, CompleteIf: true, DeleteIf: true, CopySourceIf: true, CopyIf: true,
}

func run(t *testing.T, s store.Store) store.Capabilities {
	t.Helper()
	caps, err := probe.Run(t.Context(), s, probe.Options{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := s.List(t.Context(), store.ListOptions{})
	if err != nil || len(page.Objects) > 0 {
		t.Errorf("the probe left %+v behind, %v", page.Objects, err)
	}
	if lister, ok := store.As[store.UploadLister](s); ok {
		if ups, err := lister.ListUploads(t.Context(), ""); err != nil || len(ups) > 0 {
			t.Errorf("the probe left uploads %+v behind, %v", ups, err)
		}
	}
	return caps
}

func TestServers(t *testing.T) {
	without := func(change func(*store.Capabilities)) store.Capabilities {
		c := everything
		change(&c)
		return c
	}
	for kind, want := range map[servers.Kind]store.Capabilities{
		servers.Versity: without(func(c *store.Capabilities) { c.CopyIf = false }),
		servers.MinIO:   without(func(c *store.Capabilities) { c.CopyIf, c.DeleteIf = false, false }),
	} {
		t.Run(string(kind), func(t *testing.T) {
			if got := run(t, servers.Open(t, kind)); got != want {
				t.Errorf("got %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestMemory(t *testing.T) {
	st := metrics.Wrap(mem.New())
	if got := run(t, st); got != everything {
		t.Errorf("got %+v, want everything", got)
	}
	if n := st.Requests()[store.OpDeleteMany]; n != 1 {
		t.Errorf("cleaned up with %d requests, want 1", n)
	}
	if missing := everything.Missing(); missing != nil || everything.Lacking() != nil {
		t.Errorf("nothing is missing, but Missing says %q", missing)
	}
}

// lax is a server that ignores conditions of one kind.
type lax struct {
	store.Store
	mode string
	mu   sync.Mutex
	met  map[string]chan struct{} // guarded by mu; closed when a second one came
	open map[string]bool          // guarded by mu; which are closed
}

func (l *lax) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	switch {
	case l.mode == "ignores absent" && opts.If.Absent, l.mode == "ignores match" && opts.If.Match != "":
		opts.If = store.Always
	case l.mode == "not atomic" && opts.If.Set():
		// Looks first and writes later, when another rival has looked too.
		info, err := l.Head(ctx, key)
		if opts.If.Absent && err == nil || opts.If.Match != "" && info.ETag != opts.If.Match {
			return store.Info{}, &store.Error{Op: store.OpPut, Key: key, Kind: store.PreconditionFailed}
		}
		l.meet(key)
		opts.If = store.Always
	case l.mode == "creates on match" && opts.If.Match != "":
		if _, err := l.Head(ctx, key); err != nil {
			opts.If = store.Always
		}
	case l.mode == "unsupported" && opts.If.Set():
		return store.Info{}, &store.Error{Op: store.OpPut, Key: key, Kind: store.Unsupported}
	}
	return l.Store.Put(ctx, key, body, opts)
}

// meet waits for a second request for the key.
func (l *lax) meet(key string) {
	l.mu.Lock()
	if l.met == nil {
		l.met = map[string]chan struct{}{}
	}
	ch, waiting := l.met[key]
	switch {
	case !waiting:
		ch = make(chan struct{})
		l.met[key] = ch
	case !l.open[key]:
		l.open[key] = true
		close(ch)
	}
	l.mu.Unlock()
	<-ch
}

func (l *lax) Delete(ctx context.Context, key string, cond store.Precondition) error {
	if l.mode == "deletes anything" {
		cond = store.Always
	}
	return l.Store.Delete(ctx, key, cond)
}

func (l *lax) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	switch l.mode {
	case "copies any source":
		opts.SourceIf = ""
	case "copies over anything":
		opts.If = store.Always
	}
	return l.Store.Copy(ctx, src, dst, opts)
}

func (l *lax) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	if l.mode == "completes anything" {
		opts.If = store.Always
	}
	return l.Store.Complete(ctx, key, id, parts, opts)
}

func TestLaxServers(t *testing.T) {
	for mode, want := range map[string][]string{
		"ignores absent":       {"If-None-Match: *"},
		"ignores match":        {"PutObject with If-Match"},
		"not atomic":           {"If-None-Match: *", "PutObject with If-Match"},
		"creates on match":     {"PutObject with If-Match"},
		"unsupported":          {"If-None-Match: *", "PutObject with If-Match"},
		"deletes anything":     {"DeleteObject"},
		"copies any source":    {"copy-source-if-match"},
		"copies over anything": {"CopyObject with If-None-Match"},
		"completes anything":   {"CompleteMultipartUpload"},
	} {
		t.Run(mode, func(t *testing.T) {
			caps := run(t, &lax{Store: mem.New(), mode: mode, open: map[string]bool{}})
			lacking := caps.Lacking()
			if len(lacking) != len(want) {
				t.Fatalf("lacking %q, want %q", lacking, want)
			}
			for _, w := range want {
				if !slices.ContainsFunc(lacking, func(l string) bool { return strings.Contains(l, w) }) {
					t.Errorf("lacking %q, want %q", lacking, w)
				}
			}
		})
	}
}

func TestFailure(t *testing.T) {
	rule := fault.On(fault.Fail(store.Unavailable), fault.Ops(store.OpPut), fault.Nth(5))
	_, err := probe.Run(t.Context(), fault.Wrap(mem.New(), rule), probe.Options{})
	fault.Exercised(t, rule)
	if !store.IsKind(err, store.Unavailable) {
		t.Errorf("probe of a server that fails: got %v, want unavailable", err)
	}
	denied := fault.On(fault.Fail(store.Denied), fault.Ops(store.OpDelete, store.OpDeleteMany))
	_, err = probe.Run(t.Context(), fault.Wrap(mem.New(), denied), probe.Options{})
	if !store.IsKind(err, store.Denied) {
		t.Errorf("probe without the right to delete: got %v, want denied", err)
	}
}
