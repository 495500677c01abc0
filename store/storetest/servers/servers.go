// Package servers runs real S3 servers for tests: versitygw, through package
// embedded, and MinIO, from the program of that name in $PATH or in
// $CAUSEWAY_MINIO. A missing MinIO fails a test and never skips it; `make
// tools` installs it.
//
// A package whose tests use servers has
//
//	func TestMain(m *testing.M) { servers.Main(m) }
//
// One server of each kind is started when a test first asks for it, and shared
// by all of the package; every test gets a bucket of its own. Each server is a
// child of the test binary, so that it neither changes the working directory of
// the tests nor shares their race detector, and can be killed. The child is
// this binary again, which Main recognises by an environment variable; it ends
// when the pipe to its parent does, however the parent ends.
package servers

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
)

// A Kind is a server program.
type Kind string

// The servers.
const (
	Versity Kind = "versitygw"
	MinIO   Kind = "minio"
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{Versity, MinIO} }

const (
	childVariable = "CAUSEWAY_TEST_SERVER"
	startTimeout  = 30 * time.Second
)

// shared are the servers of this test binary, closed by Main.
var shared struct {
	ready   bool // Main runs
	buckets atomic.Int64
	mu      sync.Mutex
	running map[Kind]*Server // guarded by mu
}

// Main runs the tests and ends the process. Call it from TestMain.
func Main(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		os.Exit(child())
	}
	shared.ready = true
	shared.running = map[Kind]*Server{}
	code := m.Run()
	for _, s := range shared.running {
		s.Stop()
	}
	os.Exit(code)
}

// Config returns the configuration of a new and empty bucket on the shared
// server of that kind.
func Config(t testing.TB, kind Kind) s3.Config {
	t.Helper()
	if !shared.ready {
		t.Fatal("servers: TestMain must call servers.Main")
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	s := shared.running[kind]
	if s == nil {
		var err error
		if s, err = startChild(kind, ""); err != nil {
			t.Fatal(err)
		}
		shared.running[kind] = s
	}
	return s.Bucket(t)
}

// Open returns a Store over a new and empty bucket on the shared server.
func Open(t testing.TB, kind Kind) *s3.Store {
	t.Helper()
	return open(t, Config(t, kind))
}

func open(t testing.TB, cfg s3.Config) *s3.Store {
	t.Helper()
	st, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// Server is one server process.
type Server struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	ended  chan struct{} // closed when the process has been waited for
	access access
}

// access is what a child tells its parent.
type access struct {
	Endpoint  string
	AccessKey string
	SecretKey string
	PID       int // of the server itself
	Error     string
}

// Start runs a server that is not shared, on dir, until the test ends. The
// same dir again continues with the same objects; empty means a new one.
func Start(t testing.TB, kind Kind, dir string) *Server {
	t.Helper()
	if !shared.ready {
		t.Fatal("servers: TestMain must call servers.Main")
	}
	if dir == "" {
		dir = t.TempDir()
	}
	s, err := startChild(kind, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Try reports why a server of that kind cannot be started, or nil.
func Try(kind Kind) error {
	s, err := startChild(kind, "")
	if err != nil {
		return err
	}
	s.Stop()
	return nil
}

// Endpoint returns the server's URL.
func (s *Server) Endpoint() string { return s.access.Endpoint }

// Credentials returns those of the root account.
func (s *Server) Credentials() s3.Credentials {
	return s3.Credentials{AccessKeyID: s.access.AccessKey, SecretAccessKey: s.access.SecretKey}
}

// Bucket creates a bucket and returns how to open it.
func (s *Server) Bucket(t testing.TB) s3.Config {
	t.Helper()
	creds := s.Credentials()
	cfg := s3.Config{
		Bucket: fmt.Sprintf("test-%d-%d", os.Getpid(), shared.buckets.Add(1)), Region: "us-east-1",
		Endpoint: s.access.Endpoint, PathStyle: true, Credentials: &creds,
	}
	if err := open(t, cfg).CreateBucket(t.Context()); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Stop ends the server in good order. It may be called again.
func (s *Server) Stop() {
	_ = s.stdin.Close()
	<-s.ended
}

// Kill ends the server like a crash. The child that guards MinIO stays, to clean
// up behind it.
func (s *Server) Kill() {
	if p, err := os.FindProcess(s.access.PID); err == nil {
		_ = p.Kill()
	}
	s.Stop()
}

// startChild starts this binary as a server.
func startChild(kind Kind, dir string) (*Server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), childVariable+"="+string(kind)+":"+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	s := &Server{cmd: cmd, stdin: stdin, ended: make(chan struct{})}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s.access)
	}
	if err == nil && s.access.Error != "" {
		err = fmt.Errorf("%s", s.access.Error)
	}
	go func() {
		defer close(s.ended)
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
	}()
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	return s, nil
}

// waitReady sends requests until the server carries one out.
func waitReady(ctx context.Context, cfg s3.Config) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	st, err := s3.Open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { _ = st.Close() }()
	for {
		err := st.CheckBucket(ctx)
		if err == nil || store.IsKind(err, store.NoBucket) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
