package etcdlock

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
)

const (
	// DefaultTTL is how long a session lives without being renewed.
	DefaultTTL = 15 * time.Second
	// DefaultPrefix is where the keys of all buckets are.
	DefaultPrefix = "causeway/"

	attemptTimeout = 2 * time.Second // of one request
	maxElapsed     = 5 * time.Second // of all attempts, if the context has no deadline
	baseDelay      = 20 * time.Millisecond
	maxDelay       = time.Second
	recheck        = 10 * time.Second // of what is watched
)

// Options of a Coordinator. The zero value has the defaults.
type Options struct {
	TTL    time.Duration // 0: DefaultTTL; rounded up to seconds
	Prefix string        // "": DefaultPrefix; ends with "/". Gateways of one bucket have the same one.
	// Clock is a monotonic clock that goes on while the machine sleeps; nil:
	// lease.Boot.
	Clock func() time.Duration
	Log   *slog.Logger // nil: silent

	TLS                *tls.Config // nil: none
	Username, Password string
	// Dial is for tests.
	Dial []grpc.DialOption
}

// Coordinator is the coordinator. It may be used concurrently.
type Coordinator struct {
	client *clientv3.Client
	opts   Options
}

var _ locks.Coordinator = (*Coordinator)(nil)

// New prepares a Coordinator of a cluster. It sends no request; whoever cannot
// be reached now may be later.
func New(endpoints []string, opts Options) (*Coordinator, error) {
	if opts.TTL <= 0 {
		opts.TTL = DefaultTTL
	}
	opts.TTL = (opts.TTL + time.Second - 1).Truncate(time.Second)
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	opts.Prefix += "1/"
	if opts.Clock == nil {
		opts.Clock = lease.Boot
	}
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: opts.TLS, Username: opts.Username, Password: opts.Password,
		DialTimeout: attemptTimeout, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: opts.Dial, Logger: zap.NewNop(),
	})
	if err != nil {
		return nil, fmt.Errorf("prepare the connection to etcd: %w", err)
	}
	return &Coordinator{client: client, opts: opts}, nil
}

// TTL implements [locks.Coordinator].
func (c *Coordinator) TTL() time.Duration { return c.opts.TTL }

// Close implements [locks.Coordinator].
func (c *Coordinator) Close() error { return c.client.Close() }

func (c *Coordinator) recordKey(key string) string { return c.opts.Prefix + "r/" + key }

func (c *Coordinator) sessionKey(id locks.SessionID) string { return c.opts.Prefix + "s/" + string(id) }

// repeat sends a request until it is answered. It reports whether an attempt
// may have been carried out whose answer was lost.
func (c *Coordinator) repeat(ctx context.Context, send func(context.Context) error) (lost bool, err error) {
	begun := time.Now()
	for pause := baseDelay; ; pause = min(2*pause, maxDelay) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err = send(attempt)
		cancel()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return lost, err
		}
		lost = lost || code(err) != codes.ResourceExhausted
		if _, bounded := ctx.Deadline(); !bounded && time.Since(begun) > maxElapsed {
			return lost, err
		}
		c.opts.Log.Debug("request to etcd is repeated", "err", err)
		if lease.Pause(ctx, pause/2+rand.N(pause)) != nil { //nolint:gosec // jitter
			return lost, err
		}
	}
}

// passing reports whether the reason of a failure may be gone in a moment.
func passing(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true // of the attempt
	}
	switch code(err) {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return false
}

// code returns the code of an error of etcd's client, which has its own type
// for those that the server names.
func code(err error) codes.Code {
	var named interface{ Code() codes.Code }
	if errors.As(err, &named) {
		return named.Code()
	}
	return status.Code(err)
}

// List implements [locks.Coordinator].
func (c *Coordinator) List(ctx context.Context, prefix string) ([]string, error) {
	var resp *clientv3.GetResponse
	_, err := c.repeat(ctx, func(ctx context.Context) (err error) {
		resp, err = c.client.Get(ctx, c.recordKey(prefix), clientv3.WithPrefix(), clientv3.WithKeysOnly(),
			clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
		return err
	})
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, kv := range resp.Kvs {
		keys = append(keys, strings.TrimPrefix(string(kv.Key), c.recordKey("")))
	}
	return keys, nil
}
