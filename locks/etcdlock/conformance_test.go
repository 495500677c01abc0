package etcdlock_test

import (
	"context"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/causewayfs/causeway/locks/coordtest"
	"github.com/causewayfs/causeway/locks/etcdlock"
	"github.com/causewayfs/causeway/locks/etcdlock/etcdtest"
)

func TestConformance(t *testing.T) {
	endpoint := etcdtest.Start(t)
	coordtest.Run(t, coordtest.Setup{Told: true, Space: func(t *testing.T) func(*testing.T) coordtest.Gateway {
		prefix := t.Name() + "/"
		return func(t *testing.T) coordtest.Gateway { return connect(t, endpoint, prefix) }
	}})
}

func connect(t *testing.T, endpoint, prefix string) coordtest.Gateway {
	t.Helper()
	faults, clock := &coordtest.Injector{}, coordtest.NewClock()
	c, err := etcdlock.New([]string{endpoint}, etcdlock.Options{
		TTL: 3 * time.Second, Prefix: prefix, Clock: clock.Now,
		Dial: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(unary(faults)), grpc.WithChainStreamInterceptor(stream(faults)),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return coordtest.Gateway{Coordinator: c, Faults: faults, Clock: clock}
}

// before says what a request that is not carried out answers.
func before(f coordtest.Fault) error {
	switch f {
	case coordtest.Refused:
		return status.Error(codes.Unavailable, "injected")
	case coordtest.Throttled:
		return status.Error(codes.ResourceExhausted, "etcdserver: too many requests")
	}
	return nil
}

func unary(faults *coordtest.Injector) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		f := faults.Next()
		if err := before(f); err != nil {
			return err
		}
		err := invoke(ctx, method, req, reply, cc, opts...)
		if f == coordtest.Lost {
			return status.Error(codes.Unavailable, "injected: the answer is lost")
		}
		return err
	}
}

// stream has faults strike streams when they are opened, or their first answer.
func stream(faults *coordtest.Injector) grpc.StreamClientInterceptor {
	return func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
		f := faults.Next()
		if err := before(f); err != nil {
			return nil, err
		}
		s, err := open(ctx, desc, cc, method, opts...)
		if err == nil && f == coordtest.Lost {
			s = lossy{s}
		}
		return s, err
	}
}

type lossy struct{ grpc.ClientStream }

func (l lossy) RecvMsg(m any) error {
	if err := l.ClientStream.RecvMsg(m); err != nil {
		return err
	}
	return status.Error(codes.Unavailable, "injected: the answer is lost")
}
