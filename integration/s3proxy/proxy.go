// Package s3proxy stands between an S3 client and an S3 server on loopback.
// It counts what passes, by operation and by key, makes every request slower
// by a fixed latency without limiting how many run at once, and fails chosen
// requests in chosen ways. Tests and benchmarks see with it what a client
// really asks of S3, and what it makes of the answers it does not get.
//
// The Host header, the path and all end-to-end headers reach the server as
// the client sent them, since signatures cover them. Addressing is path-style.
package s3proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy is one running proxy. Its methods may be called at any time from any
// goroutine.
type Proxy struct {
	backend   *url.URL
	transport *http.Transport
	listener  *gate
	server    *http.Server
	closed    chan struct{} // closed by Close
	serving   sync.WaitGroup
	closing   sync.Once

	counter *counter
	faults  *faultPlan
	latency atomic.Int64 // time.Duration
	away    atomic.Int64 // Absence
	blind   atomic.Pointer[blinder]
	watch   atomic.Pointer[func(Request)]
	turns   atomic.Pointer[Turns]
}

// Start runs a proxy on a free loopback port in front of the S3 server at
// backend, such as http://127.0.0.1:7070, until Close.
func Start(backend string) (*Proxy, error) {
	u, err := url.Parse(backend)
	if err != nil {
		return nil, fmt.Errorf("parse backend URL: %w", err)
	}
	if u.Scheme == "" || u.Host == "" {
		return nil, fmt.Errorf("backend %q: want a URL such as http://127.0.0.1:7070", backend)
	}
	l, err := newGate()
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{
		backend:   u,
		transport: &http.Transport{MaxIdleConnsPerHost: 2048, DisableCompression: true, ExpectContinueTimeout: 2 * time.Second},
		listener:  l,
		closed:    make(chan struct{}),
		counter:   newCounter(),
		faults:    &faultPlan{},
	}
	p.server = &http.Server{Handler: p, ConnState: l.track}
	p.serving.Go(func() { p.server.Serve(l) })
	return p, nil
}

// URL is where clients reach the proxy.
func (p *Proxy) URL() string { return "http://" + p.listener.Addr().String() }

// Stats returns what was counted since Start or the last Reset.
func (p *Proxy) Stats() Stats { return p.counter.snapshot() }

// Reset forgets what was counted. Latency and faults stay as they are.
func (p *Proxy) Reset() { p.counter.reset() }

// SetLatency adds d to every request from now on, before the server sees it.
func (p *Proxy) SetLatency(d time.Duration) { p.latency.Store(int64(d)) }

// SetFaults replaces the faults, and starts their counts anew; no fault at all
// lets everything pass. The first that matches and fires decides. The seed
// decides what a probability hits: the same requests again for the same seed.
func (p *Proxy) SetFaults(seed uint64, faults ...Fault) { p.faults.set(seed, faults) }

// WaitQuiet returns nil once no request has been under way for d, and an error
// with what is still coming when ctx ends first. Requests that ignore, which
// may be nil, says true for do not disturb the quiet.
func (p *Proxy) WaitQuiet(ctx context.Context, d time.Duration, ignore func(op, key string) bool) error {
	start := time.Now()
	for {
		last, busy := p.counter.quietSince(ignore)
		if last.Before(start) {
			last = start
		}
		if !busy && time.Since(last) >= d {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("requests do not cease: %w\n%s", ctx.Err(), p.Stats())
		case <-time.After(min(d/4+time.Millisecond, 20*time.Millisecond)):
		}
	}
}

// Close stops the proxy: requests under way are cut off.
func (p *Proxy) Close() error {
	var err error
	p.closing.Do(func() {
		close(p.closed)
		err = p.server.Close()
		p.serving.Wait()
		p.transport.CloseIdleConnections()
	})
	return err
}

// ServeHTTP passes one request on.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &Request{Begin: time.Now()}
	rec.Op, rec.Key = target(r)
	rec.If = r.Header.Get("If-Match") + r.Header.Get("X-Amz-Copy-Source-If-Match") + r.Header.Get("If-None-Match")
	p.counter.begin(rec)
	defer func() {
		rec.Took = time.Since(rec.Begin)
		p.counter.end(rec)
		if watch := p.watch.Load(); watch != nil {
			(*watch)(*rec)
		}
	}()

	if !p.pause(r.Context(), time.Duration(p.latency.Load())) {
		return
	}
	if p.silent(w, r) {
		return
	}
	fault := p.faults.next(rec.Op, rec.Key)
	if fault != nil {
		rec.Fault = fault.Kind
		switch fault.Kind {
		case SlowDown:
			p.refuse(w, r, rec)
			return
		case ResetBefore:
			reset(w)
			return
		case StallBefore:
			rec.Up, _ = io.Copy(io.Discard, r.Body)
			p.hang(r.Context(), fault.Stall)
			reset(w)
			return
		}
	}
	p.pass(w, r, rec, fault)
}

// pass asks the server and hands its answer to the client, unless a fault is
// to spoil it.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, rec *Request, fault *Fault) {
	body := &meter{ReadCloser: r.Body}
	resp, err := p.ask(r, body)
	rec.Up = body.n.Load()
	if err != nil {
		if r.Context().Err() == nil {
			http.Error(w, "s3proxy: "+err.Error(), http.StatusBadGateway)
			rec.Status = http.StatusBadGateway
		}
		return
	}
	defer resp.Body.Close()
	rec.ETag = resp.Header.Get("Etag")
	if p.silent(w, r) {
		return
	}

	if fault != nil {
		p.spoil(w, r, resp, rec, fault)
		return
	}
	rec.Status = resp.StatusCode
	answer(w, resp)
	rec.Down, err = io.Copy(w, resp.Body)
	if err != nil {
		panic(http.ErrAbortHandler) // the client must not take it for complete
	}
}

// hopByHop headers concern one connection and not the request.
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// ask sends a copy of r to the server.
func (p *Proxy) ask(r *http.Request, body io.ReadCloser) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.RequestURI = "" // of servers only
	out.URL.Scheme, out.URL.Host = p.backend.Scheme, p.backend.Host
	out.Body = body
	if r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	for _, h := range hopByHop {
		out.Header.Del(h)
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "") // else the transport adds its own
	}
	if b := p.blind.Load(); b != nil {
		if err := b.apply(out); err != nil {
			return nil, err
		}
	}
	defer p.turns.Load().take(r)()
	return p.transport.RoundTrip(out)
}

// answer sends the status and headers of resp.
func answer(w http.ResponseWriter, resp *http.Response) {
	h := w.Header()
	for name, values := range resp.Header {
		h[name] = values
	}
	for _, name := range hopByHop {
		h.Del(name)
	}
	w.WriteHeader(resp.StatusCode)
}

// refuse answers as S3 does when it is asked too much.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, rec *Request) {
	rec.Up, _ = io.Copy(io.Discard, r.Body)
	rec.Status = http.StatusServiceUnavailable
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(rec.Status)
	if r.Method != http.MethodHead {
		n, _ := io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+
			`<Error><Code>SlowDown</Code><Message>too many requests</Message><RequestId>s3proxy</RequestId></Error>`)
		rec.Down = int64(n)
	}
}

// spoil keeps the answer, or half of it, from the client.
func (p *Proxy) spoil(w http.ResponseWriter, r *http.Request, resp *http.Response, rec *Request, fault *Fault) {
	if fault.Kind == ResetAfter {
		io.Copy(io.Discard, resp.Body)
		reset(w)
		return
	}
	// Half the body; where there is none, nothing but an open connection.
	if half := resp.ContentLength / 2; r.Method != http.MethodHead && half > 0 {
		w.Header().Set("Content-Length", resp.Header.Get("Content-Length"))
		answer(w, resp)
		rec.Status = resp.StatusCode
		rec.Down, _ = io.CopyN(w, resp.Body, half)
		http.NewResponseController(w).Flush()
	} else {
		io.Copy(io.Discard, resp.Body)
	}
	if fault.Kind == StallAfter {
		p.hang(r.Context(), fault.Stall)
	}
	panic(http.ErrAbortHandler) // closes the connection
}

// pause waits for d and says whether the client is still there.
func (p *Proxy) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
	case <-p.closed:
	}
	return false
}

// hang waits for d, without limit if it is 0, or until the client has gone.
func (p *Proxy) hang(ctx context.Context, d time.Duration) {
	if d <= 0 {
		d = 24 * time.Hour
	}
	p.pause(ctx, d)
}

// reset ends the client's connection with a TCP reset.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// meter counts what is read through it.
type meter struct {
	io.ReadCloser
	n atomic.Int64
}

// Read implements io.Reader.
func (m *meter) Read(b []byte) (int, error) {
	n, err := m.ReadCloser.Read(b)
	m.n.Add(int64(n))
	return n, err
}

var errNoHash = errors.New("request carries no payload hash to sign")
