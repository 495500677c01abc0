package fuse

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

func TestInterruptOfDyingCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interrupt := make(chan struct{})
		ctx := &requestContext{cancel: interrupt, dying: func(uint32) bool { return true }}
		child, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		go close(interrupt)
		<-child.Done()
		if child.Err() != context.Canceled || ctx.Err() != context.Canceled {
			t.Errorf("got %v and %v, want %v", child.Err(), ctx.Err(), context.Canceled)
		}
		<-ctx.Done()
		called := make(chan struct{})
		ctx.AfterFunc(func() { close(called) })
		<-called
		ctx.finish()
	})
}

// TestInterruptOfLivingCaller: a signal that does not kill is not passed on,
// until one comes that does.
func TestInterruptOfLivingCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interrupt := make(chan struct{})
		var killed atomic.Bool
		ctx := &requestContext{cancel: interrupt, dying: func(uint32) bool { return killed.Load() }}
		defer ctx.finish()
		done := ctx.Done()
		close(interrupt)
		time.Sleep(time.Minute)
		select {
		case <-done:
			t.Fatal("the request ended by a harmless signal")
		default:
		}
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		killed.Store(true)
		<-done
	})
}

// TestFinishedContext: nothing watches after finish, whatever is asked then;
// synctest fails the test if a goroutine stays.
func TestFinishedContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		interrupt := make(chan struct{})
		ctx := &requestContext{cancel: interrupt, dying: func(uint32) bool { return true }}
		stop := ctx.AfterFunc(func() { t.Error("called") })
		if !stop() || stop() {
			t.Error("stop does not say whether it stopped")
		}
		ctx.finish()
		synctest.Wait()
		close(interrupt)
		late := &requestContext{cancel: interrupt, dying: func(uint32) bool { return true }}
		late.finish()
		for _, c := range []*requestContext{ctx, late} {
			select {
			case <-c.Done():
				t.Error("ended after it was answered")
			default:
			}
		}
	})
}

func TestInterruptedRequest(t *testing.T) {
	b, f := openTest(t)
	f.setHook(func(ctx context.Context, op string) *vfs.Error {
		<-ctx.Done()
		return &vfs.Error{Op: op, Kind: vfs.Interrupted, Err: ctx.Err()}
	})
	interrupt := make(chan struct{})
	close(interrupt)
	h := raw.InHeader{NodeId: 1, Caller: raw.Caller{Pid: 1 << 30}} // nobody: it is taken for dead
	var out raw.EntryOut
	if st := b.Lookup(interrupt, &h, "x", &out); st != raw.EINTR {
		t.Errorf("got %v, want EINTR", st)
	}
}
