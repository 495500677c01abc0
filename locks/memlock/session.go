package memlock

import (
	"context"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
)

// session is a gateway's own session.
type session struct {
	*lease.Keeper
	id locks.SessionID
	c  *Coordinator
}

var (
	_ locks.Session = (*session)(nil)
	_ lease.Backend = (*backend)(nil)
)

// Join implements [locks.Coordinator].
func (c *Coordinator) Join(ctx context.Context, info locks.GatewayInfo) (locks.Session, error) {
	begun := c.now()
	id := newSessionID()
	p := &presence{info: info}
	err := c.do(ctx, OpJoin, string(id), func() {
		c.space.mu.Lock()
		defer c.space.mu.Unlock()
		c.space.sessions[id] = p
	})
	if err != nil {
		return nil, err
	}
	k := lease.Keep(lease.Config{TTL: c.TTL(), Clock: c.now, Begun: begun}, &backend{id: id, c: c})
	c.space.mu.Lock()
	p.keeper = k
	c.space.mu.Unlock()
	return &session{Keeper: k, id: id, c: c}, nil
}

// ID implements [locks.Session].
func (s *session) ID() locks.SessionID { return s.id }

// Leave implements [locks.Session].
func (s *session) Leave(ctx context.Context) error {
	s.Stop()
	return s.c.do(ctx, OpLeave, string(s.id), func() { s.c.space.End(s.id) })
}

// backend renews a session. One goroutine uses it.
type backend struct {
	id   locks.SessionID
	c    *Coordinator
	told uint64 // wishes, with the last answer
}

// Renew implements [lease.Backend].
func (b *backend) Renew(ctx context.Context) ([]string, error) { return b.look(ctx, OpRenew) }

// Look implements [lease.Backend].
func (b *backend) Look(ctx context.Context) ([]string, error) { return b.look(ctx, OpLook) }

func (b *backend) look(ctx context.Context, op Op) ([]string, error) {
	var wanted []string
	var told uint64
	var refusal error
	err := b.c.do(ctx, op, string(b.id), func() {
		wanted, told, refusal = b.c.space.look(b.id, op == OpRenew, b.told)
	})
	if err != nil {
		return nil, err
	}
	b.told = told
	return wanted, refusal
}
