package harness

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits for what a mount has to do, generous since machines are shared.
const (
	readyLimit = 60 * time.Second
	drainLimit = 90 * time.Second
	killLimit  = 20 * time.Second
	lifeLimit  = 4 * time.Minute // of a process, if the test is not a long one
	longLife   = 30 * time.Minute
)

// MountOptions say how a mount differs from the usual.
type MountOptions struct {
	Prefix   string   // of the keys; none by default
	Dir      string   // the mount point; a new directory by default
	StateDir string   // a new directory by default
	Endpoint string   // the proxy by default
	Flags    []string // further flags
	Env      []string // further environment

	// Life is how long the process may run before something must hang; a few
	// minutes by default, more in the long form.
	Life time.Duration
}

// Mount is a bucket mounted by a process of its own.
type Mount struct {
	Dir      string
	StateDir string // empty if the command has chosen it

	t      T
	path   string   // of the binary
	args   []string // its arguments
	env    []string
	life   time.Duration // 0: the default
	cmd    *exec.Cmd     // nil before the first start
	done   chan struct{} // closed when cmd has ended
	stderr *output       // of all starts
}

// Mount mounts the bucket with further flags and waits until it is ready.
func (e *Env) Mount(t T, flags ...string) *Mount {
	t.Helper()
	return e.MountWith(t, MountOptions{Flags: flags})
}

// MountWith mounts the bucket and waits until it is ready. The test's end
// unmounts it.
func (e *Env) MountWith(t T, o MountOptions) *Mount {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	m := e.newMount(t, o.Dir, slices.Concat(e.MountArgs(o), o.Flags), o.Env)
	m.StateDir, m.life = o.StateDir, o.Life
	m.Start()
	return m
}

// Command runs another command that mounts, such as up, with the arguments
// that args makes for the mount point dir, and waits until it is ready.
func (e *Env) Command(t T, dir string, args func(dir string) []string) *Mount {
	t.Helper()
	m := e.newMount(t, dir, args(dir), nil)
	m.Start()
	return m
}

func (e *Env) newMount(t T, dir string, args, env []string) *Mount {
	t.Helper()
	m := &Mount{Dir: dir, t: t, path: Binary(t), args: args, env: append(e.Environ(t), env...), stderr: &output{}}
	t.Cleanup(m.cleanup)
	return m
}

// MountArgs are the arguments of the mount command for o, without its Flags.
func (e *Env) MountArgs(o MountOptions) []string {
	url := "s3://" + e.Bucket
	if o.Prefix != "" {
		url += "/" + o.Prefix
	}
	args := append([]string{"mount", url, o.Dir}, e.S3Flags()...)
	if o.Endpoint != "" {
		args[slices.Index(args, "--endpoint")+1] = o.Endpoint
	}
	return append(args, "--state-dir", o.StateDir)
}

// Start mounts again after Stop or Kill9, with the same state directory.
func (m *Mount) Start() {
	m.t.Helper()
	m.cmd = exec.Command(m.path, m.args...)
	m.cmd.Env = m.env
	m.cmd.Stderr = m.stderr
	ownGroup(m.cmd, syscall.SIGTERM)
	stdout, err := m.cmd.StdoutPipe()
	if err != nil {
		m.t.Fatalf("mount: %v", err)
	}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatalf("mount: %v", err)
	}
	ready, done := make(chan string, 1), make(chan struct{})
	m.done = done
	limit := lifeLimit
	if Long() {
		limit = longLife
	}
	limit = cmp.Or(m.life, limit)
	// A filesystem that hangs would hang the test for good: its system calls
	// cannot be interrupted. SIGQUIT ends the process, with all its stacks.
	tooLong := time.AfterFunc(limit, func() {
		m.t.Errorf("the mount process was ended after %v: something hangs", limit)
		m.cmd.Process.Signal(syscall.SIGQUIT)
	})
	go func(cmd *exec.Cmd) {
		defer tooLong.Stop()
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		ready <- strings.TrimSpace(line)
		io.Copy(m.stderr, r) // nothing more belongs there, so show it
		cmd.Wait()
		close(done)
	}(m.cmd)
	select {
	case line := <-ready:
		if line != "ready "+m.Dir {
			m.t.Fatalf("mount printed %q, want %q\n%s", line, "ready "+m.Dir, m.Log())
		}
	case <-time.After(readyLimit):
		m.t.Fatalf("mount not ready within %v\n%s", readyLimit, m.Log())
	}
}

// PID is that of the process.
func (m *Mount) PID() int { return m.cmd.Process.Pid }

// Log is the end of what the process has written to its standard error.
func (m *Mount) Log() string { return string(tail([]byte(m.stderr.String()), 20000)) }

// Running says whether the process has not ended yet.
func (m *Mount) Running() bool {
	if m.done == nil {
		return false
	}
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// Stop drains and unmounts, as a service manager does, and fails the test if
// that does not work out.
func (m *Mount) Stop() {
	m.t.Helper()
	m.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-m.done:
	case <-time.After(drainLimit):
		m.t.Fatalf("mount did not end within %v after SIGTERM\n%s", drainLimit, m.Log())
	}
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		m.t.Errorf("mount ended with %v, want exit status 0\n%s", m.cmd.ProcessState, m.Log())
	}
	if Mounted(m.Dir) {
		m.t.Errorf("%s is still mounted after the process has ended", m.Dir)
	}
	m.checkRaces()
}

// Restart drains, unmounts and mounts again: caches of the kernel are gone.
func (m *Mount) Restart() {
	m.t.Helper()
	m.Stop()
	m.Start()
}

// stuckAfter is how long a killed process may take to be gone by itself.
const stuckAfter = 3 * time.Second

// Kill9 ends the process as a crash would, and clears the dead mount away. One of
// its threads may be telling the kernel to drop a name, and wait for the lock of a
// directory; if whoever holds that lock waits for the killed process in turn,
// neither ends before the connection is aborted (umount2(2), MNT_FORCE).
func (m *Mount) Kill9() {
	m.t.Helper()
	m.cmd.Process.Kill()
	select {
	case <-m.done:
	case <-time.After(stuckAfter):
		m.t.Logf("the killed mount on %s is stuck in the kernel: its connection is aborted", m.Dir)
		_ = unix.Unmount(m.Dir, unix.MNT_FORCE) // busy: what is wanted has happened then
		<-m.done
	}
	Unmount(m.Dir)
}

// Status returns what `causeway status --json` says about the mount.
func (m *Mount) Status() map[string]any {
	m.t.Helper()
	cmd := exec.Command(m.path, "status", m.Dir, "--json")
	cmd.Env = m.env
	r := Run(m.t, cmd)
	if r.Code != 0 {
		m.t.Fatalf("causeway status: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	var status map[string]any
	if err := json.Unmarshal([]byte(r.Stdout), &status); err != nil {
		m.t.Fatalf("causeway status --json: %v\n%s", err, r.Stdout)
	}
	return status
}

// Causeway returns a command that runs the binary as the user of this mount.
func (m *Mount) Causeway(args ...string) *exec.Cmd {
	cmd := exec.Command(m.path, args...)
	cmd.Env = m.env
	return cmd
}

// Path is a path below the mount point.
func (m *Mount) Path(elem ...string) string {
	return filepath.Join(append([]string{m.Dir}, elem...)...)
}

// cleanup leaves neither a process nor a mount behind.
func (m *Mount) cleanup() {
	if m.cmd == nil || m.cmd.Process == nil {
		return
	}
	if m.Running() {
		m.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-m.done:
		case <-time.After(killLimit):
			m.t.Errorf("mount did not end within %v after SIGTERM: killed", killLimit)
			m.cmd.Process.Kill()
			Unmount(m.Dir)
			<-m.done
		}
	}
	Unmount(m.Dir)
	m.checkRaces()
	if m.t.Failed() {
		m.t.Logf("log of the mount at %s:\n%s", m.Dir, m.Log())
	}
}

// checkRaces fails the test if a binary with the race detector found one.
func (m *Mount) checkRaces() {
	if log := m.stderr.String(); strings.Contains(log, "WARNING: DATA RACE") {
		m.t.Errorf("data race in the mount process:\n%s", log)
	}
}

// Mounted says whether a filesystem is mounted at dir, a dead one included.
// It does not touch the filesystem.
func Mounted(dir string) bool {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false
	}
	// Blanks and the like are written as octal escapes there.
	escaped := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(dir)
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == escaped {
			return true
		}
	}
	return false
}

// Unmount takes away whatever is mounted at dir, in use or not. It does
// nothing if nothing is.
func Unmount(dir string) error {
	for range 10 { // mounts can be stacked
		if !Mounted(dir) {
			return nil
		}
		err := unix.Unmount(dir, unix.MNT_DETACH)
		if errors.Is(err, unix.EPERM) {
			err = exec.Command("fusermount3", "-uz", dir).Run()
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return fmt.Errorf("unmount %s: there is always another mount", dir)
}
