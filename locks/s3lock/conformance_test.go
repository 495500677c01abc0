package s3lock_test

import (
	"context"
	"testing"
	"time"

	"github.com/causewayfs/causeway/locks/coordtest"
	"github.com/causewayfs/causeway/locks/s3lock"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/storetest/servers"
)

func TestMain(m *testing.M) { servers.Main(m) }

func TestConformance(t *testing.T) {
	coordtest.Run(t, coordtest.Setup{Bubble: true, Space: func(*testing.T) func(*testing.T) coordtest.Gateway {
		back := mem.New()
		return func(*testing.T) coordtest.Gateway { return connect(back, s3lock.DefaultTTL) }
	}})
}

func TestConformanceOnServers(t *testing.T) {
	for _, kind := range servers.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel() // it mostly waits
			coordtest.Run(t, coordtest.Setup{Space: func(t *testing.T) func(*testing.T) coordtest.Gateway {
				back := servers.Open(t, kind)
				return func(*testing.T) coordtest.Gateway { return connect(back, 3*time.Second) }
			}})
		})
	}
}

// connect returns a gateway on back.
func connect(back store.Store, ttl time.Duration) coordtest.Gateway {
	faults, clock := &coordtest.Injector{}, coordtest.NewClock()
	st := retry.New(newFaulty(back, faults), retry.Config{})
	return coordtest.Gateway{
		Coordinator: s3lock.New(st, s3lock.Options{TTL: ttl, Clock: clock.Now}),
		Faults:      faults, Clock: clock,
	}
}

// faulty is a store whose requests fail as an Injector says.
type faulty struct {
	store.Store
	faults *coordtest.Injector
	by     map[coordtest.Fault]store.Store
}

func newFaulty(back store.Store, faults *coordtest.Injector) *faulty {
	return &faulty{Store: back, faults: faults, by: map[coordtest.Fault]store.Store{
		coordtest.None:      back,
		coordtest.Refused:   fault.Wrap(back, fault.On(fault.Fail(store.Unavailable))),
		coordtest.Throttled: fault.Wrap(back, fault.On(fault.Fail(store.Throttled))),
		coordtest.Lost:      fault.Wrap(back, fault.On(fault.Lost())),
	}}
}

func (f *faulty) next() store.Store { return f.by[f.faults.Next()] }

func (f *faulty) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	return f.next().Get(ctx, key, opts)
}

func (f *faulty) Head(ctx context.Context, key string) (store.Info, error) {
	return f.next().Head(ctx, key)
}

func (f *faulty) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return f.next().List(ctx, opts)
}

func (f *faulty) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	return f.next().Put(ctx, key, body, opts)
}

func (f *faulty) Delete(ctx context.Context, key string, cond store.Precondition) error {
	return f.next().Delete(ctx, key, cond)
}
