package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/vfs"
)

// syncRig runs gateways that do nothing but answer sync.
type syncRig struct {
	t   *testing.T
	run string // the runtime directory
	env map[string]string

	mu    sync.Mutex
	asked []string // guarded by mu
}

func newSyncRig(t *testing.T) *syncRig {
	run := t.TempDir()
	return &syncRig{t: t, run: filepath.Join(run, "causeway"), env: map[string]string{"XDG_RUNTIME_DIR": run}}
}

// serve registers a gateway for a mount point whose sync returns what fn does.
func (r *syncRig) serve(mountpoint string, files vfs.Stats, fn func(ctx context.Context) error) {
	r.t.Helper()
	state := r.t.TempDir()
	s := status.NewServer(func() status.Report { return status.Report{Files: files} }, func(ctx context.Context, path string) error {
		r.mu.Lock()
		r.asked = append(r.asked, filepath.Base(mountpoint)+":"+path)
		r.mu.Unlock()
		return fn(ctx)
	})
	socket := status.SocketPath(state, r.run)
	if err := s.ListenUnix(socket); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close(context.Background()) })
	if _, err := status.Register(r.run, status.Entry{Mountpoint: mountpoint, Bucket: "s3://b", StateDir: state, Socket: socket}); err != nil {
		r.t.Fatal(err)
	}
}

// take returns what was asked since the last call.
func (r *syncRig) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	asked := r.asked
	r.asked = nil
	slices.Sort(asked)
	return asked
}

func TestSyncCommand(t *testing.T) {
	r := newSyncRig(t)
	if got := mustFail(t, r.env, "sync"); !strings.Contains(got, "causeway mount") {
		t.Errorf("nothing runs: %s", got)
	}
	dir := t.TempDir()
	outer, other := filepath.Join(dir, "outer"), filepath.Join(dir, "other")
	inner := filepath.Join(outer, "inner")
	ok := func(context.Context) error { return nil }
	r.serve(outer, vfs.Stats{}, ok)
	r.serve(inner, vfs.Stats{}, ok)
	r.serve(other, vfs.Stats{}, ok)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path string
		want []string
	}{
		{outer, []string{"outer:"}},
		{filepath.Join(outer, "a/../b c/d"), []string{"outer:b c/d"}},
		{filepath.Join(inner, "f"), []string{"inner:f"}},
		{inner, []string{"inner:"}},
		{filepath.Join(outer, "innermost"), []string{"outer:innermost"}},
		{filepath.Join(link, "other"), []string{"other:"}},
		{"", []string{"inner:", "other:", "outer:"}},
	} {
		args := []string{"sync"}
		if c.path != "" {
			args = append(args, c.path)
		}
		if got := must(t, r.env, args...); got != "" {
			t.Errorf("sync %s printed %q", c.path, got)
		}
		if got := r.take(); !slices.Equal(got, c.want) {
			t.Errorf("sync %s: asked for %q, want %q", c.path, got, c.want)
		}
	}
	if got := mustFail(t, r.env, "sync", filepath.Join(dir, "elsewhere")); !strings.Contains(got, "no gateway answers") {
		t.Errorf("a path in no mount: %s", got)
	}
}

func TestSyncFails(t *testing.T) {
	r := newSyncRig(t)
	dir := t.TempDir()
	kept, broken := filepath.Join(dir, "kept"), filepath.Join(dir, "broken")
	r.serve(kept, vfs.Stats{}, func(context.Context) error { return fmt.Errorf("%w: one", status.ErrNotCommitted) })
	r.serve(broken, vfs.Stats{}, func(context.Context) error { return errors.New("S3 is gone") })
	if got := mustFail(t, r.env, "sync", kept); !strings.Contains(got, "causeway recover --state-dir /") {
		t.Errorf("a version is kept: %s", got)
	}
	if got := mustFail(t, r.env, "sync"); !strings.Contains(got, "S3 is gone") || !strings.Contains(got, "not committed") || strings.Count(got, "\n") != 1 {
		t.Errorf("two mounts fail: %q", got)
	}
}

// TestSyncInterrupted wants a signal to end the wait, here and in the gateway.
func TestSyncInterrupted(t *testing.T) {
	r := newSyncRig(t)
	mountpoint := t.TempDir()
	waiting, ended := make(chan struct{}), make(chan struct{})
	r.serve(mountpoint, vfs.Stats{SpoolFiles: 3, SpoolBytes: 2048, SpoolOldest: time.Now()}, func(ctx context.Context) error {
		close(waiting)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	})
	a, _, stderr := testApp(t, r.env)
	signals := make(chan os.Signal, 2)
	a.signals = signals
	code := make(chan int)
	go func() { code <- a.run(context.Background(), []string{"sync", mountpoint}) }()
	<-waiting
	signals <- syscall.SIGINT
	if got := <-code; got != exitFailed {
		t.Errorf("exit status %d", got)
	}
	<-ended
	if got := stderr.String(); !strings.Contains(got, "interrupted (waiting for S3: 3 files, 2 KiB") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}

// TestSyncTellsTheBacklog wants a line on stderr while something waits.
func TestSyncTellsTheBacklog(t *testing.T) {
	r := newSyncRig(t)
	mountpoint := t.TempDir()
	told := make(chan struct{})
	r.serve(mountpoint, vfs.Stats{SpoolFiles: 3, SpoolBytes: 2048, SpoolOldest: time.Now()}, func(context.Context) error {
		<-told
		return nil
	})
	a, _, _ := testApp(t, r.env)
	lines := &lineWriter{first: told}
	a.stderr = lines
	if code := a.run(context.Background(), []string{"sync", mountpoint}); code != exitDone {
		t.Errorf("exit status %d", code)
	}
	if want := "causeway: " + mountpoint + ": waiting for S3: 3 files, 2 KiB, oldest "; !strings.HasPrefix(lines.text, want) {
		t.Errorf("got %q, want %q", lines.text, want)
	}
}

// lineWriter keeps what is written, and closes first at the first write.
type lineWriter struct {
	first chan struct{}
	text  string
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if w.text == "" {
		close(w.first)
	}
	w.text += string(p)
	return len(p), nil
}

func TestKeptBelow(t *testing.T) {
	state := t.TempDir()
	for id, path := range map[string]string{"1": "a/b", "2": "a/b/c", "3": "ab", "4": "a"} {
		keepVersion(t, state, id, path, "x")
	}
	for path, want := range map[string]int{"": 4, "a": 3, "a/b": 2, "a/b/c": 1, "b": 0} {
		if got, err := keptBelow(state, path); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", path, got, err, want)
		}
	}
}
