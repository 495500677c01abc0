package harness

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commandLimit is how long a command that should end by itself may take.
const commandLimit = 2 * time.Minute

// Result is what a command printed and how it ended.
type Result struct {
	Stdout, Stderr string
	Code           int // exit status; -1 if it was killed
}

// S3Flags are the flags that lead causeway to the bucket, through the proxy.
func (e *Env) S3Flags() []string {
	return []string{"--endpoint", e.Proxy.URL(), "--region", e.Server.Region, "--path-style"}
}

// Environ is the environment for programs that use the bucket: this process's
// own, without what would lead them elsewhere, and with the credentials.
func (e *Env) Environ(t T) []string {
	t.Helper()
	home := t.TempDir()
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "CAUSEWAY_") && !strings.HasPrefix(v, "RCLONE_") &&
			!strings.HasPrefix(v, "XDG_") && !strings.HasPrefix(v, "HOME=") {
			env = append(env, v)
		}
	}
	// What a killed mount held goes to others after this; the default is for hosts
	// that are far apart.
	env = append(env, "CAUSEWAY_LOCK_TTL=4s")
	return append(env, "HOME="+home, "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION="+e.Server.Region,
		"AWS_ACCESS_KEY_ID="+e.Server.AccessKey, "AWS_SECRET_ACCESS_KEY="+e.Server.SecretKey)
}

// Causeway runs the binary with args until it ends by itself. Variables in
// env override the environment that the bucket's users get.
func (e *Env) Causeway(t T, env []string, args ...string) Result {
	t.Helper()
	cmd := exec.Command(Binary(t), args...)
	cmd.Env = append(e.Environ(t), env...)
	return Run(t, cmd)
}

// Run runs a command until it ends by itself; one that does not end fails the
// test.
func Run(t T, cmd *exec.Cmd) Result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ownGroup(cmd, syscall.SIGKILL)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", cmd.Args, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	if !stop() {
		t.Fatalf("%v did not end within %v\nstdout: %s\nstderr: %s", cmd.Args, commandLimit, &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("run %v: %v", cmd.Args, err)
	}
	return Result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// Must runs a program of the machine in dir, with any file descriptors and
// environment of this process, and fails the test if it fails. It returns
// what it printed.
func Must(t T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(Need(t, name), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s (in %s): %v\n%s", name, strings.Join(args, " "), dir, err, tail(out, 6000))
	}
	return string(out)
}

// tail is the end of a text that is too long.
func tail(b []byte, limit int) []byte {
	if len(b) <= limit {
		return b
	}
	return append([]byte("…"), b[len(b)-limit:]...)
}

// output collects what a process prints while others read it.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns what was printed so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
