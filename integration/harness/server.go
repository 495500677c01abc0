package harness

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Kind is a kind of S3 server.
type Kind string

// The servers that tests run on.
const (
	Versity Kind = "versitygw" // 1.8, POSIX backend
	MinIO   Kind = "minio"
)

// Server is a running S3 server on loopback.
type Server struct {
	Kind      Kind
	URL       string
	AccessKey string
	SecretKey string
	Region    string
	Root      string // the directory that holds its buckets

	cmd    *exec.Cmd
	output *bytes.Buffer // guarded by exec.Cmd until done is closed
	done   chan struct{} // closed when the process has ended
}

// servers are those of this process, by kind.
var servers = struct {
	sync.Mutex
	byKind map[Kind]*Server
}{byKind: map[Kind]*Server{}}

// StartServer returns the process's server of a kind, started at first need.
func StartServer(t T, kind Kind) *Server {
	t.Helper()
	servers.Lock()
	defer servers.Unlock()
	if s := servers.byKind[kind]; s != nil {
		select {
		case <-s.done:
			t.Logf("%s has died: %s", kind, s.output)
		default:
			return s
		}
	}
	s, err := launch(kind)
	if err != nil {
		t.Fatalf("start %s: %v", kind, err)
	}
	servers.byKind[kind] = s
	return s
}

// Shutdown ends the servers of this process and removes what it kept.
func Shutdown() {
	servers.Lock()
	defer servers.Unlock()
	for kind, s := range servers.byKind {
		s.cmd.Process.Kill()
		<-s.done
		delete(servers.byKind, kind)
	}
	if dir, err := work(); err == nil {
		os.RemoveAll(dir)
	}
}

// launch starts a server on a free port. Another process may take the port in
// between, so it tries a few.
func launch(kind Kind) (*Server, error) {
	tool := map[Kind]serverTool{Versity: versityTool, MinIO: minioTool}[kind]
	path, err := tool.find()
	if err != nil {
		return nil, err
	}
	dir, err := work()
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp(dir, string(kind)+"-")
	if err != nil {
		return nil, err
	}
	for range 5 {
		var s *Server
		if s, err = launchOn(kind, path, root); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func launchOn(kind Kind, path, root string) (*Server, error) {
	addr, err := FreeAddr()
	if err != nil {
		return nil, err
	}
	s := &Server{
		Kind: kind, URL: "http://" + addr, Region: "us-east-1", Root: root,
		AccessKey: "causeway-test", SecretKey: "causeway-test-secret",
		output: &bytes.Buffer{}, done: make(chan struct{}),
	}
	switch kind {
	case Versity:
		s.cmd = exec.Command(path, "--access", s.AccessKey, "--secret", s.SecretKey,
			"--port", addr, "--quiet", "--keep-alive", "posix", root)
	case MinIO:
		s.cmd = exec.Command(path, "server", "--quiet", "--address", addr, root)
		s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+s.AccessKey, "MINIO_ROOT_PASSWORD="+s.SecretKey,
			"MINIO_BROWSER=off", "MINIO_UPDATE=off", "HOME="+root)
	}
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	ownGroup(s.cmd, syscall.SIGKILL)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	if err := s.awaitReady(); err != nil {
		s.cmd.Process.Kill()
		<-s.done
		return nil, fmt.Errorf("%w\n%s", err, s.output)
	}
	return s, nil
}

// awaitReady waits until the server answers a signed request.
func (s *Server) awaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for {
		_, err := s.Client(s.URL).ListBuckets(ctx, &s3.ListBucketsInput{})
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended at once: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// FreeAddr returns a loopback address with a port that was free just now.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Client returns an SDK client for the server, reached at url.
func (s *Server) Client(url string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: aws.String(url),
		Region:       s.Region,
		UsePathStyle: true,
		Credentials:  credentials.NewStaticCredentialsProvider(s.AccessKey, s.SecretKey, ""),
	})
}

// bucketSerial makes bucket names unique in this process.
var bucketSerial atomic.Int64

// NewBucket makes a bucket with a name of its own and returns it.
func (s *Server) NewBucket(t T) string {
	t.Helper()
	name := fmt.Sprintf("it-%d-%d", os.Getpid(), bucketSerial.Add(1))
	if _, err := s.Client(s.URL).CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil {
		t.Fatalf("create bucket: %v", err)
	}
	return name
}

// bucketDir is where versitygw keeps a bucket.
func (s *Server) bucketDir(bucket string) string { return filepath.Join(s.Root, bucket) }
