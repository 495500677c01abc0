package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/memlock"
	"github.com/causewayfs/causeway/locks/participant"
	"github.com/causewayfs/causeway/locks/s3lock"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/s3"
)

// coordinatorValue is what gateways agree through: the bucket itself, or etcd.
type coordinatorValue struct {
	etcd []string // HOST:PORT of its members; nil: the bucket
}

var _ pflag.Value = (*coordinatorValue)(nil)

// etcdPort is where etcd listens unless a port is given.
const etcdPort = "2379"

func (v *coordinatorValue) Set(text string) error {
	text = strings.TrimSpace(text)
	if text == "s3" {
		v.etcd = nil
		return nil
	}
	list, ok := strings.CutPrefix(text, "etcd://")
	if !ok {
		return fmt.Errorf("%q is neither s3 nor etcd://HOST,HOST", text)
	}
	var hosts []string
	for host := range strings.SplitSeq(strings.TrimSuffix(list, "/"), ",") {
		if host = strings.TrimSpace(host); host == "" || strings.ContainsAny(host, "/ ") {
			return fmt.Errorf("%q is no list of hosts such as etcd://10.0.0.1,10.0.0.2:2379", text)
		}
		if _, _, err := net.SplitHostPort(host); err != nil {
			host = net.JoinHostPort(strings.Trim(host, "[]"), etcdPort)
		}
		hosts = append(hosts, host)
	}
	v.etcd = hosts
	return nil
}

func (v *coordinatorValue) String() string {
	if len(v.etcd) == 0 {
		return "s3"
	}
	return "etcd://" + strings.Join(v.etcd, ",")
}

func (v *coordinatorValue) Type() string { return "s3|etcd://HOST,…" }

// defaultLockTTL is how long locks outlive a gateway that was killed.
const defaultLockTTL = s3lock.DefaultTTL

// lockFlags say how gateways agree about locks.
func (s *settings) lockFlags(f *pflag.FlagSet) {
	s.lockTTL = durationValue(defaultLockTTL)
	f.Var(&s.coordinator, "coordinator", "what gateways agree about locks through: the bucket, or etcd, which is faster; the same one for all gateways of a bucket")
	f.BoolVar(&s.etcdTLS, "etcd-tls", false, "connect to etcd with TLS; user and password are $"+etcdUser+" and $"+etcdPassword)
	f.Var(&s.lockTTL, "lock-ttl", "`AGE` at which the locks of a gateway that does not answer any more go to others, from 3s")
}

// leastLockTTL leaves room for the renewals of a session.
const leastLockTTL = 3 * time.Second

// coordination is how this gateway agrees with others, and what it owns for
// that.
type coordination struct {
	service *participant.Participant
	coord   locks.Coordinator
	conns   io.Closer     // the connections of the coordinator; may be nil
	opened  chan struct{} // closed when the filesystem is open
}

// lockConnections is how long one request about locks may take, and is repeated:
// who waits for a lock is rather told soon that nobody can say who has it.
const (
	lockRequest = 5 * time.Second
	lockElapsed = 10 * time.Second
)

// openLocks connects to the coordinator; nothing is sent yet. A mount that
// writes nothing has no locks: they would be written to the bucket.
func (g *gateway) openLocks(ctx context.Context) error {
	s := g.settings
	if s.readOnly && len(s.coordinator.etcd) == 0 {
		return nil
	}
	if time.Duration(s.lockTTL) < leastLockTTL {
		return &usageError{fmt.Errorf("--lock-ttl must be at least %s", leastLockTTL)}
	}
	c := &coordination{opened: make(chan struct{})}
	if err := g.openCoordinator(ctx, c); err != nil {
		return err
	}
	host, _ := os.Hostname() // for people only
	c.service = participant.Open(participant.Options{
		Coordinator: c.coord,
		Info:        locks.GatewayInfo{Host: host, PID: os.Getpid(), Mount: g.where()},
		Log:         g.log,
		Shared:      s.readOnly,
		Acquired:    g.whenOpen(c, func(ctx context.Context) error { return g.fs.Acquired(ctx) }),
		Releasing:   g.whenOpen(c, func(ctx context.Context) error { return g.fs.Releasing(ctx) }),
		Publish:     g.whenOpen(c, func(ctx context.Context) error { return g.fs.Publish(ctx) }),
	})
	g.locks = c
	return nil
}

// whenOpen makes a hook of the filesystem wait until there is one.
func (g *gateway) whenOpen(c *coordination, hook func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		select {
		case <-c.opened:
			return hook(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (g *gateway) openCoordinator(ctx context.Context, c *coordination) error {
	ttl := time.Duration(g.settings.lockTTL)
	if etcd := g.settings.coordinator.etcd; len(etcd) > 0 {
		return g.openEtcd(c, etcd, ttl)
	}
	if len(g.stack.caps.Missing()) > 0 { // and --single-writer
		c.coord = memlock.NewSpace(memlock.Options{TTL: ttl, Push: true}).Open()
		return nil
	}
	// Connections of its own, so that no upload stands before a renewal.
	base, err := s3.Open(ctx, g.s3)
	if err != nil {
		return &problem{what: "open " + g.target.String() + " for locks", err: err}
	}
	c.conns = base
	c.coord = s3lock.New(retry.New(base, retry.Config{RequestTimeout: lockRequest, MaxElapsed: lockElapsed}),
		s3lock.Options{TTL: ttl, Log: g.log})
	return nil
}

// closeLocks gives up all locks. All that was acknowledged is in S3, or stays
// in the state directory.
func (g *gateway) closeLocks(ctx context.Context) {
	c := g.locks
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLocksTimeout)
	defer cancel()
	err := errors.Join(c.service.Close(ctx), c.coord.Close())
	if c.conns != nil {
		err = errors.Join(err, c.conns.Close())
	}
	if err != nil {
		g.log.Warn("locks were not given up, and go to others when the lease runs out", "lease", c.coord.TTL(), "err", err)
	}
}

// closeLocksTimeout bounds how long giving up locks holds up the end.
const closeLocksTimeout = 5 * time.Second

// openedFS tells hooks that there is a filesystem.
func (g *gateway) openedFS() {
	if g.locks != nil {
		close(g.locks.opened)
	}
}

// lockReports is what the status tells of locks.
func (g *gateway) lockReports() []status.LockReport {
	if g.locks == nil {
		return nil
	}
	r, err := g.locks.service.Report(context.Background(), false)
	if err != nil {
		return nil
	}
	return status.LockReports(r)
}
