// Package harness runs the real thing for tests and benchmarks: the causeway
// binary, built once per process, mounting buckets of real S3 servers through
// an s3proxy.
//
//	env := harness.New(t, harness.Versity)      // a server, a proxy, a bucket
//	m := env.Mount(t)                           // causeway mount, waits for "ready"
//	os.WriteFile(filepath.Join(m.Dir, "f"), …)  // use it
//	env.Proxy.Stats()                           // what it asked of S3
//
// Servers are shared by the tests of a process and end with it (Main, or
// Shutdown); proxies, buckets, mounts and their directories end with the test
// that made them, mounts first, also after a failure. A tool that is missing
// fails the test and says how to get it: nothing is skipped.
//
// Environment:
//
//	CAUSEWAY_BIN    use this binary instead of building one
//	CAUSEWAY_RACE   1 builds it with the race detector
//	CAUSEWAY_LONG   1 runs the long form of tests that have one
//	CAUSEWAY_TOOLS  where servers are built and kept (default ~/.cache/causeway-tools)
package harness

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/s3proxy"
)

// T is what the harness needs of a test; *testing.T and *testing.B have it,
// and programs that are no tests can make their own.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
	Context() context.Context
}

var (
	_ T = (*testing.T)(nil)
	_ T = (*testing.B)(nil)
)

// Long says whether tests run in their long form.
func Long() bool { return os.Getenv("CAUSEWAY_LONG") == "1" }

// Env is one bucket of a server, reached through a proxy.
type Env struct {
	Server *Server
	Proxy  *s3proxy.Proxy
	Bucket string
}

// New makes a bucket on the server of that kind, which is started if need be,
// and a proxy in front of it that nobody else uses.
func New(t T, kind Kind) *Env {
	t.Helper()
	s := StartServer(t, kind)
	p, err := s3proxy.Start(s.URL)
	if err != nil {
		t.Fatalf("start proxy: %v", err)
	}
	t.Cleanup(func() { p.Close() })
	return &Env{Server: s, Proxy: p, Bucket: s.NewBucket(t)}
}

// Main runs the tests of a package, or, in a child process that Reexec
// started, the function registered under its name. It ends the process.
func Main(m *testing.M, children map[string]func(args []string) error) {
	RunChild(children)
	code := m.Run()
	Shutdown()
	os.Exit(code)
}

// ownGroup keeps signals of the terminal from a child, and ends it when this
// process dies without a chance to clean up.
func ownGroup(cmd *exec.Cmd, whenOrphaned syscall.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: whenOrphaned}
}

// Peer is the same bucket through a proxy of its own, so that a second
// gateway's requests are counted apart and can fail apart.
func (e *Env) Peer(t T) *Env {
	t.Helper()
	p, err := s3proxy.Start(e.Server.URL)
	if err != nil {
		t.Fatalf("start proxy: %v", err)
	}
	t.Cleanup(func() { p.Close() })
	return &Env{Server: e.Server, Proxy: p, Bucket: e.Bucket}
}

// Settled is how long no request may come for a gateway to count as quiet:
// longer than any delay with which it batches requests.
const Settled = 400 * time.Millisecond

// Background says whether a request is one of those that a gateway sends by
// itself while its mount is in use: those that tell gateways of each other, and
// that renew its session.
func Background(op, key string) bool {
	return strings.Contains("/"+key, "/.causeway/gateways/") || strings.Contains("/"+key, "/.causeway/locks/s/")
}

// Quiesce waits until the gateway has nothing left to send.
func (e *Env) Quiesce(t T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := e.Proxy.WaitQuiet(ctx, Settled, Background); err != nil {
		t.Fatalf("wait for the gateway to fall quiet: %v", err)
	}
}

// Requests returns the requests that do makes the gateway send, deferred ones
// included, by operation. What a gateway sends by itself is left out, and a
// batch of one removal counts like a single one, as DeleteObject.
func (e *Env) Requests(t T, do func()) map[string]int {
	t.Helper()
	e.Quiesce(t)
	e.Proxy.Reset()
	do()
	e.Quiesce(t)
	got := e.Proxy.Stats().Without(Background)
	if n := got[s3proxy.DeleteObjects]; n == 1 && got[s3proxy.DeleteObject] == 0 {
		delete(got, s3proxy.DeleteObjects)
		got[s3proxy.DeleteObject] = n
	}
	return got
}

// Writes says whether a request stores or removes a file's object.
func Writes(op, key string) bool {
	return s3proxy.Mutates(op) && !strings.Contains("/"+key, "/.causeway/")
}
