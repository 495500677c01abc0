package webdav

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Limits of connections. A request as a whole has no deadline: a large body may
// take hours.
const (
	headerTimeout  = 15 * time.Second
	idleTimeout    = 3 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Server serves HTTP on one address until Close.
type Server struct {
	http    *http.Server
	address net.Addr
	serving sync.WaitGroup
}

// Listen serves handler on addr, with TLS if secure is not nil.
func Listen(addr string, handler http.Handler, secure *tls.Config, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve WebDAV on %s: %w", addr, err)
	}
	s := &Server{address: l.Addr(), http: &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	s.serving.Go(func() {
		// It returns when Close has closed l, and has nothing to report then.
		if secure != nil {
			_ = s.http.ServeTLS(l, "", "")
		} else {
			_ = s.http.Serve(l)
		}
	})
	return s, nil
}

// Addr is the address with its port.
func (s *Server) Addr() net.Addr { return s.address }

// Close takes no more requests, and waits for those under way until ctx ends;
// what is left then is cut off.
func (s *Server) Close(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	s.serving.Wait()
	return err
}
