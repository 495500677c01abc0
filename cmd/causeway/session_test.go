package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// fakeFS drains when drained is closed.
type fakeFS struct {
	drained chan struct{}
	rest    vfs.Stats
	err     error
	closed  bool
}

func (f *fakeFS) Stats() vfs.Stats { return f.rest }

func (f *fakeFS) Close(ctx context.Context, progress func(vfs.Stats)) error {
	f.closed = true
	progress(f.rest)
	select {
	case <-f.drained:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fakeMount is in use until free is closed.
type fakeMount struct {
	free     chan struct{}
	done     chan struct{}
	end      sync.Once
	detached bool
}

func newFakeMount(busy bool) *fakeMount {
	m := &fakeMount{free: make(chan struct{}), done: make(chan struct{})}
	if !busy {
		close(m.free)
	}
	return m
}

func (m *fakeMount) Done() <-chan struct{} { return m.done }

func (m *fakeMount) Unmount(ctx context.Context) error {
	select {
	case <-m.free:
		m.end.Do(func() { close(m.done) })
		return nil
	case <-ctx.Done():
		return errors.New("unmount: in use")
	}
}

func (m *fakeMount) Detach() error {
	m.detached = true
	return nil
}

// running is a session under test.
type running struct {
	*session
	fs      *fakeFS
	mount   *fakeMount
	signals chan os.Signal
	stderr  *bytes.Buffer
	drains  int
	result  chan error
}

func startSession(busy bool, rest vfs.Stats) *running {
	r := &running{
		fs:      &fakeFS{drained: make(chan struct{}), rest: rest},
		mount:   newFakeMount(busy),
		signals: make(chan os.Signal, 2),
		stderr:  &bytes.Buffer{},
		result:  make(chan error, 1),
	}
	r.session = &session{
		fs: r.fs, mount: r.mount, stateDir: "/state", signals: r.signals, stderr: r.stderr,
		draining: func() { r.drains++ },
	}
	go func() { r.result <- r.session.wait(context.Background()) }()
	synctest.Wait()
	return r
}

func TestSignalDrainsAndUnmounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(false, vfs.Stats{Committing: 2, StagedBytes: 3 << 20})
		r.signals <- syscall.SIGTERM
		synctest.Wait()
		if !r.fs.closed || r.mount.detached {
			t.Errorf("closed %v, detached %v", r.fs.closed, r.mount.detached)
		}
		close(r.fs.drained)
		if err := <-r.result; err != nil {
			t.Errorf("wait: %v", err)
		}
		if !strings.Contains(r.stderr.String(), "2 commits, 3 MiB") {
			t.Errorf("no progress in %q", r.stderr)
		}
		if r.drains != 1 {
			t.Errorf("draining was called %d times", r.drains)
		}
	})
}

func TestSecondSignalLeavesTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(false, vfs.Stats{DirtyFiles: 1})
		r.signals <- syscall.SIGINT
		synctest.Wait()
		r.signals <- syscall.SIGINT
		err := <-r.result
		if err == nil || exitStatus(err) != exitFailed {
			t.Fatalf("wait: %v, want a failure", err)
		}
		for _, want := range []string{"/state", "causeway recover"} {
			if !strings.Contains(message(err), want) {
				t.Errorf("message %q does not have %q", message(err), want)
			}
		}
	})
}

// TestBacklog wants the end of a mount with --commit local to tell what waits,
// and what it leaves.
func TestBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(false, vfs.Stats{SpoolFiles: 3, SpoolBytes: 5 << 20, SpoolOldest: time.Now().Add(-time.Minute), PendingUnlink: 1})
		r.signals <- syscall.SIGINT
		synctest.Wait()
		if want := "draining: waiting for S3: 3 files, 5 MiB, oldest 1m0s; 1 removal\n"; !strings.Contains(r.stderr.String(), want) {
			t.Errorf("no %q in %q", want, r.stderr)
		}
		r.signals <- syscall.SIGINT
		err := <-r.result
		if err == nil || exitStatus(err) != exitFailed {
			t.Fatalf("wait: %v, want a failure", err)
		}
		if want := "interrupted again: 3 files, 1 removal stay in the journal in /state; the next mount sends them"; !strings.Contains(message(err), want) {
			t.Errorf("message %q does not have %q", message(err), want)
		}
	})
}

func TestSecondSignalEndsTheWaitForABusyMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(true, vfs.Stats{})
		r.signals <- syscall.SIGINT
		synctest.Wait()
		if r.fs.closed {
			t.Fatal("the filesystem was closed while its users had time to go")
		}
		r.signals <- syscall.SIGINT
		<-r.result
		if !r.mount.detached || !r.fs.closed {
			t.Errorf("detached %v, closed %v", r.mount.detached, r.fs.closed)
		}
	})
}

// TestBusyMountIsDetached: whoever uses the mount cannot hold up the drain
// for ever.
func TestBusyMountIsDetached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(true, vfs.Stats{})
		close(r.fs.drained)
		r.signals <- syscall.SIGTERM
		if err := <-r.result; err != nil {
			t.Errorf("wait: %v", err)
		}
		if !r.mount.detached {
			t.Error("the mount was not detached")
		}
	})
}

func TestUnmountBySomebodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(false, vfs.Stats{})
		close(r.fs.drained)
		r.mount.end.Do(func() { close(r.mount.done) })
		if err := <-r.result; err != nil {
			t.Errorf("wait: %v", err)
		}
	})
}

func TestDrainFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := startSession(false, vfs.Stats{})
		r.fs.err = errors.New("S3 is gone")
		close(r.fs.drained)
		r.signals <- syscall.SIGTERM
		err := <-r.result
		if err == nil || !strings.Contains(message(err), "S3 is gone") || !strings.Contains(message(err), "causeway recover") {
			t.Errorf("wait: %v", err)
		}
	})
}

func TestWithoutMount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, signals := &fakeFS{drained: make(chan struct{})}, make(chan os.Signal, 2)
		close(fs.drained)
		s := &session{fs: fs, signals: signals, stderr: &bytes.Buffer{}, draining: func() {}}
		result := make(chan error, 1)
		go func() { result <- s.wait(context.Background()) }()
		synctest.Wait()
		signals <- syscall.SIGTERM
		if err := <-result; err != nil {
			t.Errorf("wait: %v", err)
		}
	})
}
