package access

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"
)

// Limits keep clients from taking more than their part. The zero value is the
// defaults.
type Limits struct {
	HeaderBytes int           // of one request: 64 KiB
	HeaderTime  time.Duration // until all of the header is here: 10 s
	IdleTime    time.Duration // between requests: 2 min
	Conns       int           // at the same time; the one idle longest makes room: 2048
	Bodies      int           // requests with a body at the same time: 256; half of them from one address
	BodyWait    time.Duration // for a place among these, then 503: 10 s
	// A body must bring BodyBytes in BodyTime of waiting for it, again and
	// again, or it is cut off: 4 KiB in 30 s.
	BodyBytes int
	BodyTime  time.Duration
	// WriteTime is how long a client may leave an answer unread before it is cut
	// off: 1 min.
	WriteTime time.Duration
}

func (l Limits) filled() Limits {
	set(&l.HeaderBytes, 64<<10)
	set(&l.HeaderTime, 10*time.Second)
	set(&l.IdleTime, 2*time.Minute)
	set(&l.Conns, 2048)
	set(&l.Bodies, 256)
	set(&l.BodyWait, 10*time.Second)
	set(&l.BodyBytes, 4<<10)
	set(&l.BodyTime, 30*time.Second)
	set(&l.WriteTime, time.Minute)
	return l
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Server returns a server with these limits, for listeners of the caller. log is
// told of each request, for debugging, with nothing that is secret; it may be
// nil.
func (l Limits) Server(h http.Handler, log *slog.Logger) *http.Server {
	l = l.filled()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &http.Server{
		Handler:           l.wrap(h, log),
		ReadHeaderTimeout: l.HeaderTime,
		IdleTimeout:       l.IdleTime,
		MaxHeaderBytes:    l.HeaderBytes,
		ConnState:         newConns(l.Conns).changed,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
	}
}

func (l Limits) wrap(h http.Handler, log *slog.Logger) http.Handler {
	b := &bodies{limits: l, places: make(chan struct{}, l.Bodies), by: map[string]int{}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		answer := &patient{ResponseWriter: w, control: http.NewResponseController(w), limit: l.WriteTime, status: http.StatusOK}
		defer func() {
			// The query is left out: it may have anything in it.
			log.Debug("request", "method", r.Method, "path", r.URL.EscapedPath(), "status", answer.status,
				"bytes", answer.written, "took", time.Since(start).Round(time.Microsecond), "from", r.RemoteAddr)
		}()
		if r.Body != nil && r.Body != http.NoBody {
			leave, ok := b.enter(r)
			if !ok {
				w.Header().Set("Retry-After", "5")
				http.Error(answer, "too many requests with a body", http.StatusServiceUnavailable)
				return
			}
			defer leave()
			body := &steady{ReadCloser: r.Body, control: answer.control, limits: l}
			defer body.leave()
			r.Body = body
		}
		h.ServeHTTP(answer, r)
	})
}

// bodies counts requests with a body.
type bodies struct {
	limits Limits
	places chan struct{}

	mu sync.Mutex
	by map[string]int // by source, those that have or wait for a place
}

// enter waits for a place.
func (b *bodies) enter(r *http.Request) (leave func(), ok bool) {
	from := source(r.RemoteAddr).String()
	b.mu.Lock()
	if b.by[from] >= max(b.limits.Bodies/2, 1) {
		b.mu.Unlock()
		return nil, false
	}
	b.by[from]++
	b.mu.Unlock()
	gone := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.by[from]--; b.by[from] == 0 {
			delete(b.by, from)
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), b.limits.BodyWait)
	defer cancel()
	select {
	case b.places <- struct{}{}:
		return func() { <-b.places; gone() }, true
	case <-ctx.Done():
		gone()
		return nil, false
	}
}

// steady is a body that must keep coming. Only the time that is spent waiting for
// the client counts.
type steady struct {
	io.ReadCloser
	control *http.ResponseController
	limits  Limits
	waited  time.Duration // in this stretch
	got     int           // in this stretch
	whole   bool          // all of it was read
	late    bool          // it was cut off
}

func (s *steady) Read(p []byte) (int, error) {
	start := time.Now()
	s.until(start.Add(s.limits.BodyTime - s.waited))
	n, err := s.ReadCloser.Read(p)
	s.waited += time.Since(start)
	if s.got += n; s.got >= s.limits.BodyBytes {
		s.waited, s.got = 0, 0
	}
	switch {
	case errors.Is(err, io.EOF):
		// From here on the server reads to notice that the client is gone; a
		// deadline would end the request.
		s.whole = true
		s.until(time.Time{})
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.late = true
	}
	return n, err
}

// leave is called when the handler is done. The server reads some of what is left
// of a body then, for which there is a deadline, too; it sets its own for the next
// request.
func (s *steady) leave() {
	if !s.whole && !s.late {
		s.until(time.Now().Add(s.limits.BodyTime))
	}
}

// until sets the deadline. A connection without any is one of a test.
func (s *steady) until(at time.Time) { _ = s.control.SetReadDeadline(at) }

// patient is an answer that must keep being read, and remembers what it was.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	status  int
	written int64
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *patient) WriteHeader(status int) {
	if status >= http.StatusOK {
		p.status = status
	}
	p.ResponseWriter.WriteHeader(status)
}

func (p *patient) Write(data []byte) (int, error) {
	_ = p.control.SetWriteDeadline(time.Now().Add(p.limit))
	n, err := p.ResponseWriter.Write(data)
	p.written += int64(n)
	return n, err
}
