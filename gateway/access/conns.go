package access

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// conns counts connections. When there are too many, the one that has been idle
// longest is closed, so that those who leave them open take nobody's place.
type conns struct {
	most int

	mu    sync.Mutex // guards what is below
	total int
	idle  *list.List                 // of net.Conn; longest first
	where map[net.Conn]*list.Element // of those in idle
}

func newConns(most int) *conns {
	return &conns{most: most, idle: list.New(), where: map[net.Conn]*list.Element{}}
}

// changed is a http.Server's ConnState.
func (c *conns) changed(conn net.Conn, state http.ConnState) {
	if victim := c.note(conn, state); victim != nil {
		// It may wait for the other side where it is a TLS connection.
		go victim.Close()
	}
}

// note returns a connection that is to be closed.
func (c *conns) note(conn net.Conn, state http.ConnState) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unidle(conn)
	switch state {
	case http.StateNew:
		c.total++
		c.where[conn] = c.idle.PushBack(conn)
	case http.StateIdle:
		c.where[conn] = c.idle.PushBack(conn)
	case http.StateClosed, http.StateHijacked:
		c.total--
	}
	if c.total <= c.most || state != http.StateNew {
		return nil
	}
	victim, _ := c.idle.Front().Value.(net.Conn) // conn itself, if all others are at work
	c.unidle(victim)
	return victim
}

func (c *conns) unidle(conn net.Conn) {
	if e, ok := c.where[conn]; ok {
		c.idle.Remove(e)
		delete(c.where, conn)
	}
}
