package access

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// refusal is the answer to a request that does not get through.
type refusal struct {
	status    int
	text      string
	challenge bool          // tell how to show credentials
	wait      time.Duration // Retry-After
}

// Wrap returns a handler that lets through to next what is allowed, with the
// Identity in its context (From).
func (g *Gate) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, refused := g.admit(r)
		if refused != nil {
			g.refuse(w, refused)
			return
		}
		// What is stored here is not to act in a browser in the name of whoever
		// looks at it. Pages of our own replace the policy.
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Content-Security-Policy", "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'")
		w.Header().Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r.WithContext(id.with(r.Context())))
	})
}

func (g *Gate) admit(r *http.Request) (Identity, *refusal) {
	path, err := "", error(nil)
	if r.URL.Path != "*" { // of OPTIONS (RFC 9110 section 9.3.7)
		path, err = Path(r.URL)
	}
	switch {
	case err != nil:
		return Identity{}, &refusal{status: http.StatusBadRequest, text: err.Error()}
	case !g.hostIsOurs(r):
		return Identity{}, &refusal{status: http.StatusMisdirectedRequest, text: "this address is served to this host by its own names only"}
	case g.origin.Check(r) != nil:
		return Identity{}, &refusal{status: http.StatusForbidden, text: "a page of another origin may not do this"}
	case public(r):
		return g.identity(Anonymous, ""), nil
	}
	id, refused := g.identify(r)
	if refused != nil {
		return Identity{}, refused
	}
	return id, g.authorize(r, id, path)
}

// hostIsOurs refuses hosts that a web page may have made up for this address
// (DNS rebinding), where nothing else keeps it out.
func (g *Gate) hostIsOurs(r *http.Request) bool {
	if !g.open() || g.config.NoAuth {
		return true
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "" || strings.EqualFold(host, "localhost") {
		return true // no host is HTTP/1.0, and no browser
	}
	_, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil
}

// public reports whether a request needs no credentials: what probes ask, and
// what pages are made of.
func public(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	p := r.URL.Path
	return p == "/-/health" || p == "/-/ready" || strings.HasPrefix(p, "/-/assets/")
}

// identify finds out who asks.
func (g *Gate) identify(r *http.Request) (Identity, *refusal) {
	header := r.Header.Get("Authorization")
	if !g.open() && r.TLS == nil && !g.config.PlainHTTP && !arrivedLocally(r) {
		return Identity{}, &refusal{status: http.StatusForbidden, text: "credentials are taken over TLS only"}
	}
	if g.config.ClientCAs != "" {
		if user := certificateUser(r.TLS); user != "" {
			return g.identity(user, "certificate"), nil
		}
	}
	if header == "" || g.open() {
		return g.identity(Anonymous, ""), nil
	}
	scheme, rest, _ := strings.Cut(header, " ")
	switch user, password, basic := r.BasicAuth(); {
	case basic && (g.logins != nil || g.tokens != nil):
		return g.byPassword(r, user, password)
	case strings.EqualFold(scheme, "Bearer") && g.tokens != nil:
		return g.byToken(r, strings.TrimSpace(rest))
	}
	return Identity{}, unauthorized
}

var unauthorized = &refusal{status: http.StatusUnauthorized, text: "credentials are needed", challenge: true}

// arrivedLocally reports whether the request came in on a loopback address.
func arrivedLocally(r *http.Request) bool {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return isLoopback(addr)
}

func (g *Gate) byPassword(r *http.Request, user, password string) (Identity, *refusal) {
	if g.tokens != nil && strings.HasPrefix(password, tokenPrefix) {
		if all, _ := g.tokens.get(); all.owns(user, password) {
			return g.identity(user, "token"), nil
		}
	}
	if g.logins == nil {
		return g.slowed(r, user, "token", func(context.Context) (bool, error) { return false, nil })
	}
	if g.logins.remembers(user, password) {
		return g.identity(user, "password"), nil
	}
	return g.slowed(r, user, "password", func(ctx context.Context) (bool, error) {
		return g.logins.check(ctx, user, password)
	})
}

func (g *Gate) byToken(r *http.Request, token string) (Identity, *refusal) {
	all, _ := g.tokens.get()
	if user, ok := all.user(token); ok {
		return g.identity(user, "token"), nil
	}
	return g.slowed(r, "", "token", func(context.Context) (bool, error) { return false, nil })
}

// slowed makes a check if the address has not to wait.
func (g *Gate) slowed(r *http.Request, user, via string, check func(context.Context) (bool, error)) (Identity, *refusal) {
	done, wait := g.slow.begin(r.RemoteAddr)
	if wait > 0 {
		return Identity{}, &refusal{status: http.StatusTooManyRequests, text: "too many failed logins from this address", wait: wait}
	}
	ok, err := check(r.Context())
	done(ok || err != nil)
	switch {
	case err != nil:
		return Identity{}, &refusal{status: http.StatusServiceUnavailable, text: "the request ended"}
	case ok:
		return g.identity(user, via), nil
	}
	if g.logins == nil || !g.logins.knows(user) {
		user = "" // it may be a password in the wrong field
	}
	g.failed.note(r.RemoteAddr, user, via)
	return Identity{}, unauthorized
}

// authorize tells whether the request may go on.
func (g *Gate) authorize(r *http.Request, id Identity, path string) *refusal {
	err := permitted(r, id, path)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrPath):
		return &refusal{status: http.StatusBadRequest, text: err.Error()}
	case id.User == Anonymous && !g.open():
		return unauthorized
	}
	return &refusal{status: http.StatusForbidden, text: err.Error()}
}

func (g *Gate) refuse(w http.ResponseWriter, f *refusal) {
	h := w.Header()
	if f.challenge {
		if g.logins != nil || g.tokens != nil {
			h.Add("WWW-Authenticate", `Basic realm="Causeway", charset="UTF-8"`)
		}
		if g.tokens != nil {
			h.Add("WWW-Authenticate", `Bearer realm="Causeway"`)
		}
	}
	if f.wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.wait.Seconds()))))
	}
	h.Set("Cache-Control", "no-store")
	http.Error(w, f.text, f.status)
}
