// Package etcdtest runs etcd, of $PATH, as a process of its own for tests. A
// missing etcd fails a test and never skips it; `make tools` installs it.
package etcdtest

import (
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/locks/etcdlock"
)

const startTimeout = 60 * time.Second

// guard runs its arguments as a program until its input is closed, so that etcd
// does not outlive the test however that ends.
const guard = `"$@" & pid=$!; cat >/dev/null; kill -9 $pid; wait $pid`

// Start runs an empty etcd until the test ends, and returns its endpoint.
func Start(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("etcd")
	if err != nil {
		t.Fatalf("etcd is needed for this test; run `make tools`: %v", err)
	}
	client, peer := "http://"+freeAddress(t), "http://"+freeAddress(t)
	cmd := exec.Command("sh", "-c", guard, "sh", program, "--name", "test", "--data-dir", t.TempDir(), //nolint:gosec // constants
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "test="+peer,
		"--unsafe-no-fsync", "--logger", "zap", "--log-level", "error", "--log-outputs", "stderr")
	var output strings.Builder
	cmd.Stderr = &output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("etcd wrote: %s", output.String())
		}
	})
	if err := awaitHealth(t.Context(), client); err != nil {
		t.Fatalf("etcd does not start: %v", err)
	}
	return client
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// awaitHealth waits until etcd answers a read, which takes a leader.
func awaitHealth(ctx context.Context, endpoint string) error {
	c, err := etcdlock.New([]string{endpoint}, etcdlock.Options{})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err = c.Get(ctx, "ready")
	return err
}
