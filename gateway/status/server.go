package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// SocketName is the control socket's name in a state directory.
const SocketName = "control.sock"

// maxSocketPath is what fits into a sockaddr_un on every system, with its
// final NUL.
const maxSocketPath = 103

// Handler serves the paths that the package comment lists. The metrics are
// those of the Report and those of more.
func Handler(source Source, more ...prometheus.Collector) http.Handler {
	mux := http.NewServeMux()
	report := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		// The client is gone if this fails.
		_ = e.Encode(source())
	}
	mux.HandleFunc("GET /status", report)
	mux.HandleFunc("GET /-/status", report) // where files have the other names
	mux.HandleFunc("GET /-/health", func(w http.ResponseWriter, _ *http.Request) {
		r := source()
		if r.State != Serving {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintln(w, r.State)
	})
	mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) {
		r := source()
		if r.State != Serving || r.S3.State == Away {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprintf(w, "%s, S3 %s\n", r.State, r.S3.State)
	})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(append(more, collector{source})...)
	mux.Handle("GET /-/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

// Server serves a Source on any number of listeners until Close, and a Syncer
// on those that are unix sockets.
type Server struct {
	public  *http.Server       // on TCP
	control *http.Server       // on the socket
	calls   *http.ServeMux     // of control
	end     context.CancelFunc // of what control's requests wait for
	serving sync.WaitGroup
}

// NewServer returns a Server that listens nowhere yet; source and more are
// those of Handler. Without a sync there is no /sync.
func NewServer(source Source, sync Syncer, more ...prometheus.Collector) *Server {
	public := Handler(source, more...)
	control := http.NewServeMux()
	control.Handle("/", public)
	if sync != nil {
		control.HandleFunc("POST /sync", serveSync(sync))
	}
	life, end := context.WithCancel(context.Background())
	s := &Server{public: newHTTP(public), control: newHTTP(control), end: end, calls: control}
	s.control.BaseContext = func(net.Listener) context.Context { return life }
	return s
}

// ServeLocks adds the calls about locks to the control socket. It must be called
// before ListenUnix.
func (s *Server) ServeLocks(l *LockServer) { l.handle(s.calls) }

func newHTTP(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, WriteTimeout: time.Minute}
}

// ListenTCP serves on addr and returns the address, with its port filled in if
// addr has port 0.
func (s *Server) ListenTCP(addr string) (net.Addr, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve status on %s: %w", addr, err)
	}
	s.serve(s.public, l)
	return l.Addr(), nil
}

// ListenUnix serves on a socket at path, which only this user may connect to.
// A socket that a killed gateway left there is replaced: the caller owns the
// directory.
func (s *Server) ListenUnix(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace the control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen on the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return fmt.Errorf("protect the control socket: %w", err)
	}
	s.serve(s.control, l)
	return nil
}

func (s *Server) serve(server *http.Server, l net.Listener) {
	s.serving.Go(func() {
		// It returns when Close has closed l, and has nothing to report then.
		_ = server.Serve(l)
	})
}

// Close stops serving. Answers under way have until ctx ends; whoever waits for
// S3 is told that the gateway ends.
func (s *Server) Close(ctx context.Context) error {
	s.end()
	var errs []error
	for _, server := range []*http.Server{s.public, s.control} {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, err, server.Close())
		}
	}
	s.serving.Wait()
	return errors.Join(errs...)
}

// SocketPath returns where the gateway with stateDir listens: in stateDir, or
// in runtimeDir under a name made from it where the first is too long for a
// socket's address.
func SocketPath(stateDir, runtimeDir string) string {
	path := filepath.Join(stateDir, SocketName)
	if len(path) <= maxSocketPath {
		return path
	}
	return filepath.Join(runtimeDir, entryName(stateDir)+".sock")
}
