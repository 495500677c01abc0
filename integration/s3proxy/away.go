package s3proxy

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Absence is a way in which the whole server is away, for all requests.
type Absence int

// The absences.
const (
	Present Absence = iota
	Refused         // connections are refused, and those that exist are reset
	Silent          // connections are accepted, and nothing is answered on them
)

// String returns the absence's name.
func (a Absence) String() string {
	switch a {
	case Present:
		return "present"
	case Refused:
		return "refused"
	case Silent:
		return "silent"
	}
	return fmt.Sprintf("absence(%d)", int(a))
}

// SetAway makes the server away, or present again. Requests that were left
// without an answer never get one.
func (p *Proxy) SetAway(a Absence) error {
	was := Absence(p.away.Swap(int64(a)))
	if a == Refused && was != Refused {
		return p.listener.shut()
	}
	if a != Refused && was == Refused {
		return p.listener.open()
	}
	return nil
}

// silent hangs until the client has gone, if nothing is to be answered.
func (p *Proxy) silent(w http.ResponseWriter, r *http.Request) bool {
	if Absence(p.away.Load()) != Silent {
		return false
	}
	io.Copy(io.Discard, r.Body) // else nothing tells when the client has gone
	p.hang(r.Context(), 0)
	reset(w)
	return true
}

// gate is a listener that can stop to listen for a while.
type gate struct {
	addr string

	mu     sync.Mutex
	l      net.Listener          // guarded by mu; nil while shut
	opened chan struct{}         // guarded by mu; closed when l is set, or closed is
	closed bool                  // guarded by mu
	conns  map[net.Conn]struct{} // guarded by mu
}

var _ net.Listener = (*gate)(nil)

func newGate() (*gate, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &gate{addr: l.Addr().String(), l: l, opened: make(chan struct{}), conns: map[net.Conn]struct{}{}}, nil
}

// Addr implements net.Listener.
func (g *gate) Addr() net.Addr {
	addr, _ := net.ResolveTCPAddr("tcp", g.addr) // it is one
	return addr
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	for {
		g.mu.Lock()
		l, opened, closed := g.l, g.opened, g.closed
		g.mu.Unlock()
		switch {
		case closed:
			return nil, net.ErrClosed
		case l == nil:
			<-opened
			continue
		}
		conn, err := l.Accept()
		if err != nil && errors.Is(err, net.ErrClosed) {
			continue // shut, or closed
		}
		return conn, err
	}
}

// Close implements net.Listener.
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	if g.l == nil {
		close(g.opened)
		return nil
	}
	return g.l.Close()
}

// shut stops to listen and resets all connections.
func (g *gate) shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.l == nil {
		return nil
	}
	err := g.l.Close()
	g.l, g.opened = nil, make(chan struct{})
	for conn := range g.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		conn.Close()
	}
	return err
}

// open listens again, on the same address. Another process may have it for a
// moment, so it tries for a while.
func (g *gate) open() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.l != nil {
		return nil
	}
	var err error
	for range 100 {
		if g.l, err = net.Listen("tcp", g.addr); err == nil {
			close(g.opened)
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	g.l = nil
	return fmt.Errorf("listen again: %w", err)
}

// track notes connections, for http.Server.ConnState.
func (g *gate) track(conn net.Conn, state http.ConnState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateNew:
		g.conns[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(g.conns, conn)
	}
}
