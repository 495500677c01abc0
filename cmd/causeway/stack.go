package main

import (
	"context"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/probe"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/s3"
)

// stack is the object store of a gateway with its decorators: metrics outside
// retry, so that a request that was repeated counts once, with the latency
// that the caller saw.
type stack struct {
	top  *metrics.Store
	caps store.Capabilities // set by probe
}

// connect opens the bucket of cfg and makes sure that it can be used.
func connect(ctx context.Context, cfg s3.Config) (*stack, error) {
	base, err := s3.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := base.CheckBucket(ctx); err != nil {
		return nil, err
	}
	return &stack{top: metrics.New(retry.New(base, retry.Options{}))}, nil
}

// probe finds out which conditions on writes the endpoint enforces.
func (s *stack) probe(ctx context.Context) (err error) {
	s.caps, err = probe.Run(ctx, s.top)
	return err
}

// requests sums up what was asked of the store.
func (s *stack) requests() []status.Request {
	requests := []status.Request{}
	for _, op := range s.top.Snapshot() {
		requests = append(requests, status.Request{
			Kind:          string(op.Op),
			Count:         op.Count,
			Errors:        op.Errors,
			InFlight:      op.InFlight,
			P50Ms:         op.P50.Seconds() * 1000,
			P99Ms:         op.P99.Seconds() * 1000,
			TotalSeconds:  op.Total.Seconds(),
			BytesSent:     op.BytesSent,
			BytesReceived: op.BytesReceived,
		})
	}
	return requests
}
