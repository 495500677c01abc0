// Package etcdtest runs etcd, of $PATH, as a process of its own for tests. A
// missing etcd fails a test and never skips it; `make tools` installs it.
package etcdtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
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

func awaitHealth(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := healthy(ctx, endpoint)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func healthy(ctx context.Context, endpoint string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/health", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("health: %s", resp.Status)
	}
	return nil
}
