package s3lock

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
	"github.com/causewayfs/causeway/store"
)

func (c *Coordinator) sessionName(id locks.SessionID) string {
	return c.opts.Prefix + "s/" + string(id)
}

// readSession gets a session, unless it has version known still: NotModified.
// NotExist: it has ended.
func (c *Coordinator) readSession(ctx context.Context, id locks.SessionID, known store.ETag) (sessionBody, store.ETag, error) {
	body, etag, err := c.fetch(ctx, c.sessionName(id), known)
	if err != nil {
		return sessionBody{}, "", err
	}
	s, err := decodeSession(body)
	return s, etag, err
}

func (c *Coordinator) writeSession(ctx context.Context, s sessionBody, etag store.ETag) (store.ETag, error) {
	body, err := s.encode()
	if err != nil {
		return "", err
	}
	return c.write(ctx, c.sessionName(s.ID), body, etag)
}

// session is a gateway's own session.
type session struct {
	*lease.Keeper
	id locks.SessionID
	b  *backend
}

// backend renews a session. Only the goroutine of the Keeper uses it, and Leave
// when that has ended.
type backend struct {
	c      *Coordinator
	body   sessionBody // as it was written last
	etag   store.ETag  // as it was seen last
	wanted []string    // what was read, and not yet told
}

var (
	_ locks.Session = (*session)(nil)
	_ lease.Backend = (*backend)(nil)
)

// Join implements [locks.Coordinator].
func (c *Coordinator) Join(ctx context.Context, info locks.GatewayInfo) (locks.Session, error) {
	b := &backend{c: c, body: sessionBody{
		ID: locks.SessionID(rand.Text()), TTL: c.opts.TTL.Milliseconds(), State: alive,
		Host: info.Host, PID: info.PID, Mount: info.Mount,
	}}
	begun := c.opts.Clock()
	var err error
	if b.etag, err = c.writeSession(ctx, b.body, ""); err != nil {
		return nil, err
	}
	id := b.body.ID // b belongs to the Keeper from here on
	k := lease.Keep(lease.Config{TTL: c.opts.TTL, Clock: c.opts.Clock, Log: c.opts.Log, Begun: begun}, b)
	return &session{Keeper: k, id: id, b: b}, nil
}

// ID implements [locks.Session].
func (s *session) ID() locks.SessionID { return s.id }

// Leave implements [locks.Session].
func (s *session) Leave(ctx context.Context) error {
	s.Stop()
	body := s.b.body
	body.State = ended
	err := s.b.write(ctx, body)
	if errors.Is(err, lease.ErrEnded) {
		return nil
	}
	if err == nil {
		s.b.c.forget(ctx, body.ID)
	}
	return err
}

// forget removes the object of a session that has ended. If that fails, it
// stays and does no harm.
func (c *Coordinator) forget(ctx context.Context, id locks.SessionID) {
	if err := c.st.Delete(ctx, c.sessionName(id), store.Always); err != nil {
		c.opts.Log.Debug("session that ended was not removed", "session", id, "err", err)
	}
}

// Renew implements [lease.Backend].
func (b *backend) Renew(ctx context.Context) ([]string, error) {
	next := b.body
	next.Beat++
	if err := b.write(ctx, next); err != nil {
		return nil, err
	}
	return b.tell(), nil
}

// write replaces the session's object, whatever others added to it meanwhile.
func (b *backend) write(ctx context.Context, next sessionBody) error {
	for {
		etag, err := b.c.writeSession(ctx, next, b.etag)
		switch {
		case err == nil:
			b.body, b.etag = next, etag
			return nil
		case errors.Is(err, locks.ErrConflict), errors.Is(err, store.ErrUnsettled):
			if err := b.read(ctx); err != nil {
				return err
			}
			next.Beat = max(next.Beat, b.body.Beat+1)
		default:
			return err
		}
	}
}

// read takes in what others made of the session's object.
func (b *backend) read(ctx context.Context) error {
	s, etag, err := b.c.readSession(ctx, b.body.ID, b.etag)
	switch {
	case store.IsKind(err, store.NotModified):
		return nil
	case store.IsKind(err, store.NotExist), err == nil && s.State == ended:
		return lease.ErrEnded
	case err != nil:
		return err
	}
	b.etag, b.body.Beat = etag, max(b.body.Beat, s.Beat)
	b.wanted = append(b.wanted, s.Wanted...)
	return nil
}

// Look implements [lease.Backend].
func (b *backend) Look(ctx context.Context) ([]string, error) {
	if err := b.read(ctx); err != nil {
		return nil, err
	}
	return b.tell(), nil
}

func (b *backend) tell() []string {
	wanted := b.wanted
	b.wanted = nil
	return wanted
}
