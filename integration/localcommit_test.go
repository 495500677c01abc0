//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// syncing is a `causeway sync` that is running.
type syncing struct {
	*exec.Cmd
	stderr *lockedBuffer
	done   chan struct{}
}

// lockedBuffer can be read while a process writes to it.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func startSync(t *testing.T, env *harness.Env, path string) *syncing {
	t.Helper()
	s := &syncing{Cmd: exec.Command(harness.Binary(t), "sync", path), stderr: &lockedBuffer{}, done: make(chan struct{})}
	s.Env, s.Stderr = env.Environ(t), s.stderr
	must(t, s.Start())
	go func() {
		s.Wait()
		close(s.done)
	}()
	t.Cleanup(func() {
		s.Process.Kill()
		<-s.done
	})
	return s
}

// ended waits for the end and wants an exit status, and words on stderr.
func (s *syncing) ended(t *testing.T, code int, words ...string) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		t.Fatalf("causeway sync does not end\n%s", s.stderr)
	}
	if got := s.ProcessState.ExitCode(); got != code {
		t.Errorf("causeway sync: exit status %d, want %d", got, code)
	}
	for _, w := range words {
		if !strings.Contains(s.stderr.String(), w) {
			t.Errorf("causeway sync printed %q, want %q in it", s.stderr, w)
		}
	}
}

// spooled is how many files wait for S3, as status says.
func spooled(m *harness.Mount) float64 {
	files, _ := m.Status()["files"].(map[string]any)
	n, _ := files["spool_files"].(float64)
	return n
}

// save replaces a file as editors do.
func save(t *testing.T, path, text string) {
	t.Helper()
	write(t, path+".tmp", text)
	must(t, os.Rename(path+".tmp", path))
}

// TestLocalCommitAway works on while S3 is away, watches the backlog, and waits
// for it when S3 is back.
func TestLocalCommitAway(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	must(t, os.Mkdir(m.Path("d"), 0o755))
	write(t, m.Path("d", "old"), "old")
	syncMount(t, env, m.Dir)
	takeAway(env)
	want := map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("d/f%d", i)
		write(t, m.Path(name), "first")
		save(t, m.Path(name), name)
		want[name] = name
	}
	must(t, os.Rename(m.Path("d/f0"), m.Path("d/renamed")))
	want["d/renamed"] = want["d/f0"]
	delete(want, "d/f0")
	must(t, errors.Join(os.Remove(m.Path("d/f1")), os.Remove(m.Path("d/old"))))
	delete(want, "d/f1")
	for name, text := range want {
		read(t, m.Path(name), text)
	}
	if n := len(names(t, m.Path("d"))); n != len(want) {
		t.Errorf("%d names, want %d", n, len(want))
	}
	if n := spooled(m); int(n) < len(want) {
		t.Errorf("status: %v files wait for S3, want at least %d", n, len(want))
	}

	s := startSync(t, env, m.Path("d"))
	eventually(t, time.Minute, func() error {
		if !strings.Contains(s.stderr.String(), "waiting for S3") {
			return errors.New("causeway sync does not tell what it waits for")
		}
		return nil
	})
	must(t, s.Process.Signal(syscall.SIGINT))
	s.ended(t, 1, m.Dir+": waiting for S3: ", " files, ", "interrupted")

	bringBack(env)
	startSync(t, env, m.Dir).ended(t, 0)
	if n := spooled(m); n != 0 {
		t.Errorf("status: %v files wait for S3 after sync", n)
	}
	peer := env.Peer(t).Mount(t)
	for name, text := range want {
		read(t, peer.Path(name), text)
	}
	if n := len(names(t, peer.Path("d"))); n != len(want) {
		t.Errorf("a second mount shows %v, want %d names", names(t, peer.Path("d")), len(want))
	}
}

// TestLocalCommitFsyncDir wants fsync of a directory to do what sync does.
func TestLocalCommitFsyncDir(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	for i := range 20 {
		write(t, m.Path(fmt.Sprint("f", i)), "text")
	}
	dir, err := os.Open(m.Dir)
	must(t, err)
	must(t, errors.Join(dir.Sync(), dir.Close()))
	for i := range 20 {
		if env.Get(t, fmt.Sprint("f", i)) == nil {
			t.Errorf("f%d is not in S3", i)
		}
	}
}

// TestLocalCommitLeft ends a mount while S3 is away: what is left is named,
// listed, and sent by the next mount. It waits for deadlines, and is a long form.
func TestLocalCommitLeft(t *testing.T) {
	if !harness.Long() {
		t.Log("in the long form only")
		return
	}
	for _, c := range []struct {
		name string
		kind s3proxy.Kind
		end  func(m *harness.Mount)
	}{
		{"two signals", s3proxy.ResetBefore, nil},
		{"two signals, S3 hangs", s3proxy.StallBefore, nil},
		{"killed", s3proxy.ResetBefore, (*harness.Mount).Kill9},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			m := commitLocal(t, env, harness.MountOptions{})
			if m == nil {
				return
			}
			write(t, m.Path("old"), "old")
			syncMount(t, env, m.Dir)
			env.Proxy.SetFaults(1, s3proxy.Fault{Kind: c.kind})
			for i := range 10 {
				save(t, m.Path(fmt.Sprint("f", i)), fmt.Sprint(i))
			}
			must(t, os.WriteFile(m.Path("large"), pattern(1, 300<<10), 0o644))
			must(t, os.Remove(m.Path("old")))
			if c.end == nil {
				interruptTwice(t, m)
			} else {
				c.end(m)
			}
			versions := kept(t, env, m)
			if len(versions) != 11 {
				t.Errorf("recover lists %+v, want 11 files", versions)
			}
			for _, v := range versions {
				if !strings.Contains(v.Reason, "the next mount sends it") {
					t.Errorf("recover: %+v", v)
				}
			}
			if r := env.Causeway(t, nil, "doctor", "--state-dir", m.StateDir); !strings.Contains(r.Stdout, "not in S3 yet") {
				t.Errorf("doctor does not tell what is left:\n%s", r.Stdout)
			}
			bringBack(env)
			m.Start()
			syncMount(t, env, m.Dir)
			peer := env.Peer(t).Mount(t)
			for i := range 10 {
				read(t, peer.Path(fmt.Sprint("f", i)), fmt.Sprint(i))
			}
			sameFile(t, peer.Path("large"), pattern(1, 300<<10))
			if env.Get(t, "old") != nil {
				t.Error("the removed file is there")
			}
			if left := kept(t, env, m); len(left) != 0 {
				t.Errorf("recover still lists %+v", left)
			}
		})
	}
}

// interruptTwice ends a mount that has something to send, and no S3.
func interruptTwice(t *testing.T, m *harness.Mount) {
	t.Helper()
	process, err := os.FindProcess(m.PID())
	must(t, err)
	must(t, process.Signal(syscall.SIGINT))
	eventually(t, time.Minute, func() error {
		if !strings.Contains(m.Log(), "draining: waiting for S3: 11 files") {
			return errors.New("the mount does not tell what it waits for")
		}
		return nil
	})
	if !m.Running() {
		t.Fatalf("the first signal has ended it\n%s", m.Log())
	}
	start := time.Now()
	must(t, process.Signal(syscall.SIGINT))
	eventually(t, 30*time.Second, func() error {
		if m.Running() {
			return errors.New("it runs after the second signal")
		}
		return nil
	})
	t.Logf("ended %v after the second signal", time.Since(start).Round(time.Millisecond))
	if want := "11 files, 1 removal stay in the journal"; !strings.Contains(m.Log(), want) {
		t.Errorf("the log has no %q:\n%s", want, m.Log())
	}
}

// TestLocalCommitConflict replaces a file elsewhere before what was written here
// is in S3: sync says that it never will be, until the version is dropped.
func TestLocalCommitConflict(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	peer := env.Peer(t).Mount(t)
	write(t, m.Path("f"), "the first version")
	syncMount(t, env, m.Dir)
	visible(t, peer.Path("f"))
	env.Proxy.SetFaults(1, s3proxy.Fault{Kind: s3proxy.ResetBefore, Ops: []string{s3proxy.PutObject}})
	f, err := os.OpenFile(m.Path("f"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("THE"), 0)
	must(t, errors.Join(err, f.Close()))
	write(t, m.Path("other"), "other")
	write(t, peer.Path("f"), "somebody else's version")
	s := startSync(t, env, m.Dir)
	bringBack(env)
	s.ended(t, 1, "causeway recover --state-dir "+m.StateDir)
	wantKept(t, env, m, "f", "THE first version")
	read(t, peer.Path("f"), "somebody else's version")

	startSync(t, env, m.Path("f")).ended(t, 1, "causeway recover")
	startSync(t, env, m.Path("other")).ended(t, 0)
	if r := env.Causeway(t, nil, "recover", "drop", kept(t, env, m)[0].ID, "--state-dir", m.StateDir); r.Code != 0 {
		t.Fatalf("recover drop: %+v", r)
	}
	startSync(t, env, m.Dir).ended(t, 0)
}
