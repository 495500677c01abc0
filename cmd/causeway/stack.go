package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/breaker"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/probe"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/s3"
)

// stack is the object store of a gateway with its decorators. Metrics are
// inside of all others: they show each request that S3 gets, also those that
// are sent again, and not those that are refused since S3 is away.
type stack struct {
	base    *s3.Store
	counted *metrics.Store
	breaker *breaker.Store
	top     *retry.Store
	caps    store.Capabilities // set by probe
}

// close ends what runs in the background. Idle connections to a server in this
// process would keep that waiting.
func (s *stack) close() {
	_ = s.breaker.Close() // it only ends and awaits a goroutine
	_ = s.base.Close()    // it only closes idle connections
}

// connect opens the bucket of cfg and makes sure that it can be used. Requests
// that are repeated are logged for debugging.
func connect(ctx context.Context, cfg s3.Config, log *slog.Logger) (*stack, error) {
	base, err := s3.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := base.CheckBucket(ctx); err != nil {
		return nil, err
	}
	counted := metrics.Wrap(base)
	broken := breaker.Wrap(counted, breaker.Config{Log: log})
	top := retry.New(broken, retry.Config{OnRetry: func(op store.Op, key string, err error) {
		log.Debug("request is repeated", "op", op, "key", key, "err", err)
	}})
	return &stack{base: base, counted: counted, breaker: broken, top: top}, nil
}

// A probe that a busy server disturbs is run again.
const (
	probeTries = 3
	probePause = time.Second
)

// probe finds out which conditions on writes the endpoint enforces. It must
// see the answers as they are, and so goes round retry.
func (s *stack) probe(ctx context.Context) (err error) {
	for try := 1; ; try++ {
		s.caps, err = probe.Run(ctx, s.base, probe.Options{})
		if err == nil || try == probeTries || !passing(store.KindOf(err)) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(probePause):
		}
	}
}

// passing reports whether the reason of a failure may be gone in a moment.
func passing(k store.Kind) bool {
	return k == store.Throttled || k == store.Unavailable || k == store.Timeout
}

// reach tells whether S3 answers, and what was done while it did not.
func (s *stack) reach() status.Reach {
	b, r := s.breaker.Stats(), s.top.Stats()
	reach := status.Reach{
		State:       b.State.String(),
		Outages:     b.Outages,
		Refused:     b.Refused,
		Probes:      b.Probes,
		Waiting:     r.Waiting,
		Retries:     r.Retries,
		BudgetWaits: r.BudgetWaits,
	}
	if !b.Since.IsZero() {
		reach.Since = b.Since.UTC()
	}
	return reach
}

// requests sums up what was asked of S3.
func (s *stack) requests() []status.Request {
	requests := []status.Request{}
	for _, op := range s.counted.Snapshot() {
		r := status.Request{
			Kind:          string(op.Op),
			Count:         int64(op.Count),
			InFlight:      op.InFlight,
			MeanMs:        milliseconds(op.Mean),
			P50Ms:         milliseconds(op.P50),
			P99Ms:         milliseconds(op.P99),
			MaxMs:         milliseconds(op.Max),
			BytesSent:     int64(op.BytesUp),
			BytesReceived: int64(op.BytesDown),
		}
		for kind, n := range op.Errors {
			if r.Outcomes == nil {
				r.Outcomes = map[string]int64{}
			}
			r.Outcomes[kind.String()] = int64(n)
			if !answer(kind) {
				r.Errors += int64(n)
			}
		}
		requests = append(requests, r)
	}
	return requests
}

// answer reports whether kind is an ordinary answer of S3, or the caller's own
// doing, and no failure.
func answer(kind store.Kind) bool {
	switch kind {
	case store.NotExist, store.NotModified, store.PreconditionFailed, store.Conflict, store.OutOfRange, store.Canceled:
		return true
	}
	return false
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
