package s3lock

import (
	"context"
	"errors"
	"strconv"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
	"github.com/causewayfs/causeway/store"
)

// sighting is what is known of another gateway's session.
type sighting struct {
	lease.Sighting
	body sessionBody
	etag store.ETag
}

func (c *Coordinator) sighted(id locks.SessionID) sighting {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen[id]
}

// Ended implements [locks.Coordinator].
func (c *Coordinator) Ended(ctx context.Context, id locks.SessionID) (bool, error) {
	over, silent, err := c.observe(ctx, id)
	if err != nil || !over && !silent {
		return false, err
	}
	if !over {
		over, err = c.end(ctx, id)
	}
	if over {
		c.mu.Lock()
		delete(c.seen, id)
		c.mu.Unlock()
	}
	return over, err
}

// observe looks at a session: whether it has ended, and else whether it has
// been silent for so long that it may be ended.
func (c *Coordinator) observe(ctx context.Context, id locks.SessionID) (over, silent bool, err error) {
	s := c.sighted(id)
	body, etag, err := c.readSession(ctx, id, s.etag)
	switch {
	case store.IsKind(err, store.NotExist), err == nil && body.State == ended:
		return true, false, nil
	case store.IsKind(err, store.NotModified):
		body, etag = s.body, s.etag
	case err != nil:
		return false, false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// The renewal was carried out before the answer came: silence counts from
	// then, at the earliest. Another goroutine may have seen it before.
	now := c.opts.Clock()
	s = c.seen[id]
	if body.Beat >= s.body.Beat {
		s = sighting{Sighting: s.See(strconv.FormatUint(body.Beat, 10), now), body: body, etag: etag}
		c.seen[id] = s
	}
	return false, s.Silent(now) >= s.body.ttl(), nil
}

// end ends a session if it is as it was seen last.
func (c *Coordinator) end(ctx context.Context, id locks.SessionID) (bool, error) {
	s := c.sighted(id)
	if s.etag == "" {
		return false, nil // another goroutine has ended it: the next look tells
	}
	s.body.State = ended
	_, err := c.writeSession(ctx, s.body, s.etag)
	switch {
	case errors.Is(err, locks.ErrConflict):
		return false, nil
	case err != nil:
		return false, err
	}
	c.opts.Log.Info("ended a session that was silent", "session", id, "host", s.body.Host, "pid", s.body.PID)
	c.forget(ctx, id)
	return true, nil
}

// Want implements [locks.Coordinator].
func (c *Coordinator) Want(ctx context.Context, holder locks.SessionID, key string) error {
	for {
		body, etag, err := c.readSession(ctx, holder, "")
		switch {
		case store.IsKind(err, store.NotExist), err == nil && body.State == ended:
			return nil
		case err != nil:
			return err
		}
		// The wish is written even if it is there already: the owner may have
		// taken that one in.
		_, err = c.writeSession(ctx, body.want(key), etag)
		if !errors.Is(err, locks.ErrConflict) && !errors.Is(err, store.ErrUnsettled) {
			return err
		}
	}
}
