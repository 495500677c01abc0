package etcdlock

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
)

// sessionBody is the value of a session's key.
type sessionBody struct {
	Version int    `json:"version"`
	TTL     int64  `json:"ttl_ms"`
	Host    string `json:"host,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Mount   string `json:"mount,omitempty"`
}

// session is a gateway's own session.
type session struct {
	*lease.Keeper
	c     *Coordinator
	id    locks.SessionID
	lease clientv3.LeaseID
	stop  context.CancelFunc // of listen
	work  *sync.WaitGroup    // listen
}

var (
	_ locks.Session = (*session)(nil)
	_ lease.Backend = (*backend)(nil)
)

// Join implements [locks.Coordinator].
func (c *Coordinator) Join(ctx context.Context, info locks.GatewayInfo) (locks.Session, error) {
	body, err := json.Marshal(sessionBody{Version: 1, TTL: c.opts.TTL.Milliseconds(), Host: info.Host, PID: info.PID, Mount: info.Mount})
	if err != nil {
		return nil, err
	}
	begun := c.opts.Clock()
	granted, err := c.grant(ctx)
	if err != nil {
		return nil, err
	}
	id := locks.SessionID(rand.Text())
	var revision int64
	_, err = c.repeat(ctx, func(ctx context.Context) error {
		resp, err := c.client.Put(ctx, c.sessionKey(id), string(body), clientv3.WithLease(granted))
		if err == nil {
			revision = resp.Header.Revision
		}
		return err
	})
	if err != nil {
		return nil, err // the lease runs out
	}
	k := lease.Keep(lease.Config{TTL: c.opts.TTL, Clock: c.opts.Clock, Log: c.opts.Log, Begun: begun}, &backend{c: c, lease: granted})
	s := &session{Keeper: k, c: c, id: id, lease: granted, work: &sync.WaitGroup{}}
	listening, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.work.Go(func() { s.listen(listening, revision+1) })
	s.work.Go(func() {
		<-k.Done()
		stop()
	})
	return s, nil
}

// grant begins a lease. One whose answer is lost runs out.
func (c *Coordinator) grant(ctx context.Context) (clientv3.LeaseID, error) {
	var id clientv3.LeaseID
	_, err := c.repeat(ctx, func(ctx context.Context) error {
		resp, err := c.client.Grant(ctx, int64(c.opts.TTL/time.Second))
		if err == nil {
			id = resp.ID
		}
		return err
	})
	return id, err
}

// listen takes in what others want, and that the session has ended, until ctx
// ends.
func (s *session) listen(ctx context.Context, from int64) {
	name := s.c.sessionKey(s.id)
	for ctx.Err() == nil {
		watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for resp := range s.c.client.Watch(watch, name, clientv3.WithPrefix(), clientv3.WithRev(from)) {
			if resp.Err() != nil {
				break
			}
			from = resp.Header.Revision + 1
			s.take(name, resp.Events)
		}
		cancel()
		if lease.Pause(ctx, time.Second) != nil {
			return
		}
		from = s.again(ctx, name, from)
	}
}

func (s *session) take(name string, events []*clientv3.Event) {
	for _, e := range events {
		key, wish := strings.CutPrefix(string(e.Kv.Key), name+"/")
		switch {
		case e.Type == clientv3.EventTypePut && wish:
			s.Post(key)
		case e.Type == clientv3.EventTypeDelete && !wish:
			s.End()
		}
	}
}

// again reads what a watch that broke may have missed. It returns from where to
// go on.
func (s *session) again(ctx context.Context, name string, from int64) int64 {
	resp, err := s.c.client.Get(ctx, name, clientv3.WithPrefix())
	if err != nil {
		return from
	}
	alive := false
	for _, kv := range resp.Kvs {
		if key, wish := strings.CutPrefix(string(kv.Key), name+"/"); wish {
			s.Post(key)
		} else {
			alive = true
		}
	}
	if !alive {
		s.End()
	}
	return resp.Header.Revision + 1
}

// ID implements [locks.Session].
func (s *session) ID() locks.SessionID { return s.id }

// Leave implements [locks.Session].
func (s *session) Leave(ctx context.Context) error {
	s.Stop()
	s.stop()
	s.work.Wait()
	_, err := s.c.repeat(ctx, func(ctx context.Context) error {
		_, err := s.c.client.Revoke(ctx, s.lease)
		return err
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// backend renews a session. What is wanted is told by listen.
type backend struct {
	c     *Coordinator
	lease clientv3.LeaseID
}

// Renew implements [lease.Backend].
func (b *backend) Renew(ctx context.Context) ([]string, error) {
	_, err := b.c.repeat(ctx, func(ctx context.Context) error {
		_, err := b.c.client.KeepAliveOnce(ctx, b.lease)
		return err
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil, lease.ErrEnded
	}
	return nil, err
}

// Look implements [lease.Backend]. There is nothing to ask for.
func (b *backend) Look(context.Context) ([]string, error) { return nil, nil }

// Ended implements [locks.Coordinator].
func (c *Coordinator) Ended(ctx context.Context, id locks.SessionID) (bool, error) {
	kv, _, err := c.read(ctx, c.sessionKey(id))
	return err == nil && kv == nil, err
}

// Want implements [locks.Coordinator].
func (c *Coordinator) Want(ctx context.Context, holder locks.SessionID, key string) error {
	name := c.sessionKey(holder)
	kv, _, err := c.read(ctx, name)
	if err != nil || kv == nil {
		return err
	}
	_, err = c.repeat(ctx, func(ctx context.Context) error {
		_, err := c.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(name), "=", kv.CreateRevision)).
			Then(clientv3.OpPut(name+"/"+key, "", clientv3.WithLease(clientv3.LeaseID(kv.Lease)))).Commit()
		return err
	})
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}
