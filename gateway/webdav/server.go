package webdav

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
)

// Server serves HTTP on one address until Close.
type Server struct {
	http    *http.Server
	address net.Addr
	serving sync.WaitGroup
}

// Serve has server take requests from l, with TLS if it has a TLSConfig.
func Serve(l net.Listener, server *http.Server) *Server {
	s := &Server{address: l.Addr(), http: server}
	s.serving.Go(func() {
		// It returns when Close has closed l, and has nothing to report then.
		if server.TLSConfig != nil {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	})
	return s
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
