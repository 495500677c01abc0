package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/gateway/webdav"
	"github.com/causewayfs/causeway/vfs"
)

// closeDAVTimeout bounds how long requests under way hold up the end. The
// filesystem drains after it.
const closeDAVTimeout = 10 * time.Second

// access is who gets in at an HTTP address, and how. The zero value lets in
// everybody.
type access struct {
	guard       func(http.Handler) http.Handler // lets a request through or answers it; nil lets all through
	user        func(*http.Request) string      // who was let through; nil: nobody in particular
	tls         *tls.Config                     // nil: plain HTTP
	credentials bool                            // guard asks for them
}

// access is what the flags say of it.
func (g *gateway) access() (access, error) { return access{}, nil }

// admits refuses an address that others can reach and that asks for nothing.
func (s *settings) admits(addr string, a access) error {
	if a.credentials || s.insecureNoAuth || isLoopback(addr) {
		return nil
	}
	return &problem{
		what:   "serve WebDAV on " + addr,
		err:    errors.New("others can reach that address, and no credentials are asked for"),
		remedy: "Listen on 127.0.0.1, or give --insecure-no-auth if everybody may read and write all of it",
	}
}

// isLoopback reports whether only this host can reach an address.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serveDAV serves WebDAV, and status beside it, if there is an address for it.
func (g *gateway) serveDAV() (*webdav.Server, error) {
	addr := string(g.settings.webdav)
	if addr == "" {
		return nil, nil
	}
	a, err := g.access()
	if err == nil {
		err = g.settings.admits(addr, a)
	}
	if err != nil {
		return nil, err
	}
	var handler http.Handler = g.davHandler(a)
	if a.guard != nil {
		handler = a.guard(handler)
	}
	server, err := webdav.Listen(addr, handler, a.tls, g.log)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if a.tls != nil {
		scheme = "https"
	}
	g.url = fmt.Sprintf("%s://%s/", scheme, server.Addr())
	return server, nil
}

// davHandler is all that is behind the address. Names of files do not begin
// with "-/": the root of a bucket cannot show a directory "-" there.
func (g *gateway) davHandler(a access) http.Handler {
	dav := webdav.New(webdav.Config{
		Files:    g.fs.Beside(),
		Locks:    webdav.NewMemoryLocks(nil),
		Caller:   vfs.Caller{UID: g.settings.uid, GID: g.settings.gid},
		User:     a.user,
		MacFiles: webdav.MacFiles(g.settings.macFiles.value),
		Log:      g.log,
	})
	pages := status.Handler(g.snapshot, g.stack.counted)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) >= 3 && r.URL.Path[:3] == "/-/" {
			pages.ServeHTTP(w, r)
			return
		}
		dav.ServeHTTP(w, r)
	})
}

// endDAV takes no more requests.
func (g *gateway) endDAV(ctx context.Context, s *webdav.Server) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDAVTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		g.log.Debug("WebDAV ended with answers under way", "err", err)
	}
}
