package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/causewayfs/causeway/gateway/access"
	"github.com/causewayfs/causeway/gateway/davlock"
	"github.com/causewayfs/causeway/gateway/pages"
	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/gateway/webdav"
	"github.com/causewayfs/causeway/vfs"
)

// closeDAVTimeout bounds how long requests under way hold up the end. The
// filesystem drains after it.
const closeDAVTimeout = 10 * time.Second

// serveDAV serves WebDAV, and pages beside it, if there is an address for it.
func (g *gateway) serveDAV() (*webdav.Server, error) {
	addr := string(g.settings.webdav)
	if addr == "" {
		return nil, nil
	}
	gate, err := g.gate()
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("serve WebDAV on %s: %w", addr, err)
	}
	if err := admits(gate, addr, l.Addr()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	server := access.Limits{}.Server(gate.Wrap(g.davHandler()), g.log)
	server.TLSConfig = gate.TLS()
	scheme := "http"
	if server.TLSConfig != nil {
		scheme = "https"
	}
	g.url = fmt.Sprintf("%s://%s/", scheme, l.Addr())
	return webdav.Serve(l, server), nil
}

// davHandler is all that is behind the address. Names of files do not begin
// with "-/": the root of a bucket cannot show a directory "-" there.
func (g *gateway) davHandler() http.Handler {
	dav := webdav.New(webdav.Config{
		Files:  g.fs.Beside(),
		Locks:  g.davLocks(),
		Caller: vfs.Caller{UID: g.settings.uid, GID: g.settings.gid},
		User:   func(r *http.Request) string { return access.From(r.Context()).User },
		// A listing leads to the status page.
		Directory: &pages.Listing{Files: g.fs, Bucket: strings.TrimPrefix(g.target.String(), "s3://")},
		MacFiles:  webdav.MacFiles(g.settings.macFiles.value),
		Log:       g.log,
	})
	g.pages = pages.Open(pages.Config{
		Source: g.snapshot,
		Status: status.Handler(g.snapshot, g.stack.counted, collectors.NewGoCollector()),
		Files:  true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/-/") {
			g.pages.ServeHTTP(w, r)
			return
		}
		dav.ServeHTTP(w, r)
	})
}

// davLocks are the locks that clients get: those of all gateways, or if there is
// no coordinator, since nothing is written, of this one.
func (g *gateway) davLocks() webdav.LockSystem {
	if g.locks == nil {
		return webdav.NewMemoryLocks(nil)
	}
	g.dav = davlock.Open(g.fs, nil, g.log)
	return g.dav
}

// endDAV takes no more requests.
func (g *gateway) endDAV(ctx context.Context, s *webdav.Server) {
	if s == nil {
		return
	}
	g.pages.Close() // event streams would not end by themselves
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeDAVTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		g.log.Debug("WebDAV ended with answers under way", "err", err)
	}
	if g.dav != nil {
		g.dav.Close()
	}
}
