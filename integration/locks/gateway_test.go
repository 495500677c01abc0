//go:build integration

package locks

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/etcdlock"
	"github.com/causewayfs/causeway/locks/lease"
	"github.com/causewayfs/causeway/locks/participant"
	"github.com/causewayfs/causeway/locks/s3lock"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/s3"
)

// settings say what a gateway is.
type settings struct {
	Endpoint, Bucket, Key, Secret string
	Etcd                          string // its endpoint; "": the bucket is the coordinator
	TTL                           time.Duration
	Shared                        bool // it never has the bucket for itself
}

// command is a line that a gateway gets.
type command struct {
	Do      string // random, lock, unlock, stop
	Workers int
	Seed    uint64
	Op      int
	Path    string
	Owner   string
}

// gateway is the child process.
type gateway struct {
	account
	locks locks.Service
	data  store.Store
	ops   atomic.Int64
	stop  atomic.Bool // workers end
	work  sync.WaitGroup
}

func (s settings) open(ctx context.Context) (store.Store, error) {
	st, err := s3.Open(ctx, s3.Config{
		Bucket: s.Bucket, Endpoint: s.Endpoint, Region: "us-east-1", PathStyle: true,
		Credentials: &s3.Credentials{AccessKeyID: s.Key, SecretAccessKey: s.Secret},
	})
	if err != nil {
		return nil, err
	}
	return retry.New(st, retry.Config{RequestTimeout: 2 * time.Second, MaxElapsed: 5 * time.Second}), nil
}

func (s settings) coordinator(ctx context.Context) (locks.Coordinator, error) {
	if s.Etcd != "" {
		return etcdlock.New([]string{s.Etcd}, etcdlock.Options{TTL: s.TTL, Prefix: s.Bucket + "/"})
	}
	st, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	return s3lock.New(st, s3lock.Options{TTL: s.TTL}), nil
}

// runGateway is the life of a child.
func runGateway(args []string) error {
	var s settings
	if err := json.Unmarshal([]byte(args[0]), &s); err != nil {
		return err
	}
	ctx := context.Background()
	coord, err := s.coordinator(ctx)
	if err != nil {
		return err
	}
	data, err := s.open(ctx)
	if err != nil {
		return err
	}
	g := &gateway{account: account{out: os.Stdout}, data: data, locks: participant.Open(participant.Options{
		Coordinator: coord, Shared: s.Shared, Info: locks.GatewayInfo{Host: fmt.Sprintf("gateway-%d", os.Getpid()), PID: os.Getpid()},
	})}
	g.tell(event{Kind: evReady})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return err
		}
		g.do(ctx, c)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = g.locks.Close(ctx) // a proxy may refuse that, too
	return coord.Close()
}

func (g *gateway) do(ctx context.Context, c command) {
	switch c.Do {
	case "random":
		g.random(ctx, c)
	case "stop":
		g.stop.Store(true)
	case "lock":
		g.work.Go(func() { g.lock(ctx, g.request(c.Op, c.Owner, c.Path, true, false, true)) })
	case "unlock":
		g.tell(event{Kind: evReleasing, Op: c.Op, Owner: c.Owner, Path: c.Path})
		err := g.locks.Unlock(locks.Owner(c.Owner), whole(c.Path, true, false))
		g.tell(event{Kind: evReleased, Op: c.Op, Error: kindOf(err)})
	}
}

func whole(path string, excl, tree bool) locks.Claim {
	c := locks.Claim{Path: path, Tree: tree, End: locks.MaxOffset}
	if excl {
		c.Mode = locks.Exclusive
	}
	return c
}

func kindOf(err error) string {
	if err == nil {
		return ""
	}
	return locks.KindOf(err).String()
}

// asking is a request with its number.
type asking struct {
	op int
	locks.Request
}

// request describes a request in the account.
func (g *gateway) request(op int, owner, path string, excl, tree, wait bool) asking {
	var once sync.Once
	return asking{op: op, Request: locks.Request{
		Claim: whole(path, excl, tree), Owner: locks.Owner(owner), Wait: wait,
		Holder: locks.Holder{PID: os.Getpid(), Via: "test"},
		Notify: func(p locks.Position) {
			once.Do(func() { g.tell(event{Kind: evQueued, Op: op, Place: p.Place}) })
		},
	}}
}

// lock asks for a lock, and accounts for that.
func (g *gateway) lock(ctx context.Context, r asking) (locks.Grant, error) {
	g.tell(event{Kind: evAsked, Op: r.op, Owner: string(r.Owner), Path: r.Path, Excl: r.Mode == locks.Exclusive, Tree: r.Tree, Wait: r.Wait})
	grant, err := g.locks.Lock(ctx, r.Request)
	if err != nil {
		g.tell(event{Kind: evFailed, Op: r.op, Error: kindOf(err), Text: err.Error()})
		return grant, err
	}
	at := lease.Boot()
	select {
	case <-grant.Lost: // the answer and the loss crossed
		g.tell(event{At: at, Kind: evLost, Op: r.op})
	default:
	}
	g.tell(event{At: at, Kind: evGranted, Op: r.op, Fence: grant.Fence})
	return grant, nil
}
