// Package embedded runs an S3 server inside this process: versitygw with its
// POSIX backend on a local directory. It is what `causeway up` uses, and tests.
//
// Every object is a plain file DIR/objects/BUCKET/KEY; ETags and metadata are
// extended attributes of it. All conditional requests are honoured atomically.
// The server cannot hold both "a" and "a/b".
//
// Three things come from the library and cannot be helped: there is at most one
// server in a process; Start changes the working directory of the process to
// the objects' directory, so relative paths must be made absolute before; and
// an acknowledged object is in the page cache, not yet on the medium, so it
// survives a killed process but perhaps not a power failure.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
)

const (
	region          = "us-east-1"
	defaultBucket   = "causeway"
	maxConnections  = 4096
	startTimeout    = 10 * time.Second
	startAttempts   = 5 // of finding a free port
	probeInterval   = 5 * time.Millisecond
	credentialsFile = "credentials.json"
	objectsDir      = "objects"
)

// Config says where the server keeps its files and where it listens.
type Config struct {
	// Dir holds everything; it is created if absent. Its filesystem needs
	// extended attributes.
	Dir string
	// Bucket is created; empty means "causeway".
	Bucket string
	// Listen is a loopback address "127.0.0.1:PORT" or the path of a unix
	// socket; empty means a free port.
	Listen string
}

// Server is a running server.
type Server struct {
	endpoint    string
	bucket      string
	credentials s3.Credentials
	cancel      context.CancelFunc
	done        chan struct{} // closed when the server has ended
	err         error         // why; set before done is closed
	release     func()        // lets another server start; may be called again
}

// running guards the one server that the library allows in a process.
var running sync.Mutex

// ErrRunning is returned by Start when this process has a server already.
var ErrRunning = errors.New("an embedded server runs in this process already")

// Start runs a server until Close, and returns when it answers and the bucket
// exists. ctx bounds only the start.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Bucket == "" {
		cfg.Bucket = defaultBucket
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("start embedded server: %w", err)
	}
	objects := filepath.Join(dir, objectsDir)
	if err := os.MkdirAll(objects, 0o700); err != nil {
		return nil, fmt.Errorf("start embedded server: %w", err)
	}
	if err := checkXattrs(objects); err != nil {
		return nil, err
	}
	creds, err := loadCredentials(filepath.Join(dir, credentialsFile))
	if err != nil {
		return nil, fmt.Errorf("start embedded server: %w", err)
	}
	if !running.TryLock() {
		return nil, ErrRunning
	}
	s, err := startAnywhere(ctx, cfg, objects, creds)
	if err != nil {
		running.Unlock()
		return nil, fmt.Errorf("start embedded server: %w", err)
	}
	s.release = sync.OnceFunc(running.Unlock)
	return s, nil
}

// startAnywhere starts on the configured address, or on free ports until one
// is still free when the server takes it.
func startAnywhere(ctx context.Context, cfg Config, objects string, creds s3.Credentials) (*Server, error) {
	if cfg.Listen != "" {
		return startAt(ctx, cfg, cfg.Listen, objects, creds)
	}
	var last error
	for range startAttempts {
		addr, err := freePort()
		if err != nil {
			return nil, err
		}
		s, err := startAt(ctx, cfg, addr, objects, creds)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return s, err
		}
		last = err
	}
	return nil, last
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}

func startAt(ctx context.Context, cfg Config, addr, objects string, creds s3.Credentials) (*Server, error) {
	endpoint := "http://" + addr
	if filepath.IsAbs(addr) {
		endpoint = "unix:" + addr
	} else if host, _, err := net.SplitHostPort(addr); err != nil || !net.ParseIP(host).IsLoopback() {
		return nil, fmt.Errorf("listen address %q is neither of loopback nor an absolute path", addr)
	}
	be, err := posix.New(objects, meta.XattrMeta{}, posix.PosixOpts{
		NewDirPerm: 0o755, Concurrency: maxConnections, CopyObjectThreshold: 5 << 30,
	})
	if err != nil {
		return nil, err
	}
	serving, cancel := context.WithCancel(context.Background())
	s := &Server{
		endpoint: endpoint, bucket: cfg.Bucket, credentials: creds,
		cancel: cancel, done: make(chan struct{}),
	}
	go func() {
		defer close(s.done)
		s.err = embedgw.RunVersityGW(serving, be, gatewayConfig(addr, creds))
	}()
	if err := s.ready(ctx); err != nil {
		cancel()
		<-s.done
		return nil, errors.Join(err, s.err)
	}
	return s, nil
}

func gatewayConfig(addr string, creds s3.Credentials) *embedgw.Config {
	return &embedgw.Config{
		RootUserAccess: creds.AccessKeyID, RootUserSecret: creds.SecretAccessKey,
		// Given here, because the library announces the one it makes itself
		// on standard output.
		IAMService:        newAccounts(creds),
		Region:            region,
		Ports:             []string{addr},
		SocketPerm:        "0600",
		MaxConnections:    maxConnections,
		MaxRequests:       maxConnections,
		MultipartMaxParts: 10000,
		DisableACLs:       true,
		KeepAlive:         true,
		Quiet:             true,
	}
}

// ready waits until the server, and not another one that took its port,
// answers, and creates the bucket with that request.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := s3.Open(ctx, s.S3())
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }()
	for {
		err = client.CreateBucket(ctx)
		if k := store.KindOf(err); err == nil || k != store.Unavailable && k != store.Timeout {
			return err
		}
		select {
		case <-s.done:
			return fmt.Errorf("server ended: %w", s.err)
		case <-ctx.Done():
			return fmt.Errorf("server does not answer: %w", err)
		case <-time.After(probeInterval):
		}
	}
}

// Endpoint is what [s3.Config] takes: a URL, or "unix:" and a path.
func (s *Server) Endpoint() string { return s.endpoint }

// Bucket is the bucket that Start created.
func (s *Server) Bucket() string { return s.bucket }

// Region is what requests are signed for.
func (s *Server) Region() string { return region }

// Credentials are those of the root account.
func (s *Server) Credentials() s3.Credentials { return s.credentials }

// S3 returns a configuration that opens the server's bucket.
func (s *Server) S3() s3.Config {
	creds := s.credentials
	return s3.Config{
		Bucket: s.bucket, Region: region, Endpoint: s.endpoint, PathStyle: true, Credentials: &creds,
	}
}

// Done is closed when the server has ended, by Close or by itself.
func (s *Server) Done() <-chan struct{} { return s.done }

// Close ends the server after the requests under way, or when ctx ends; then
// it goes on ending by itself.
func (s *Server) Close(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		s.release()
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("end embedded server: %w", ctx.Err())
	}
}
