package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeBinary is a stand-in for causeway that does what the script says.
func fakeBinary(t *testing.T, script string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "causeway")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	old := built
	built = func() (string, error) { return path, nil }
	t.Cleanup(func() { built = old })
}

// TestMountLifecycle runs a stand-in that mounts nothing but keeps the
// contract of the command line.
func TestMountLifecycle(t *testing.T) {
	fakeBinary(t, `case $1 in
status) echo '{"mountpoint": "'$2'"}' ;;
mount) echo "starting $*" >&2; trap 'echo drained >&2; exit 0' TERM; echo "ready $3"; while :; do sleep 0.05; done ;;
esac`)
	env := New(t, Versity)
	m := env.Mount(t, "--dir-ttl", "2s")
	if !m.Running() {
		t.Error("not running after ready")
	}
	if got := m.Status()["mountpoint"]; got != m.Dir {
		t.Errorf("status: got %v", got)
	}
	m.Restart()
	if n := strings.Count(m.Log(), "drained"); n != 1 {
		t.Errorf("drained %d times, want once:\n%s", n, m.Log())
	}
	want := "starting mount s3://" + env.Bucket + " " + m.Dir + " --endpoint " + env.Proxy.URL() +
		" --region us-east-1 --path-style --state-dir " + m.StateDir + " --dir-ttl 2s"
	if !strings.Contains(m.Log(), want) {
		t.Errorf("log %q\nwant %q in it", m.Log(), want)
	}
	m.Kill9()
	if m.Running() {
		t.Error("running after kill -9")
	}
	m.Start()
	m.Stop()
}

func TestRunReportsExitStatus(t *testing.T) {
	fakeBinary(t, "echo out; echo err >&2; exit 3")
	got := New(t, Versity).Causeway(t, nil, "doctor")
	if want := (Result{"out\n", "err\n", 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestUnmount mounts a tmpfs, in use, below a name that mountinfo escapes.
func TestUnmount(t *testing.T) {
	dir := filepath.Join(t.TempDir(), `a b\c`)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if Mounted(dir) {
		t.Error("mounted before")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("mount a tmpfs (needs root): %v", err)
	}
	busy := exec.Command("sleep", "60")
	busy.Dir = dir
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer busy.Wait()
	defer busy.Process.Kill()
	if !Mounted(dir) {
		t.Error("not mounted")
	}
	if err := Unmount(dir); err != nil {
		t.Error(err)
	}
	if Mounted(dir) {
		t.Error("mounted after Unmount")
	}
}
