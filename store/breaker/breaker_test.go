package breaker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/breaker"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s := breaker.Wrap(mem.New(), breaker.Config{})
		t.Cleanup(func() { _ = s.Close() })
		return s
	}, storetest.Differences{})
}

// env is a breaker over counted requests over faults over memory.
type env struct {
	*testing.T
	*breaker.Store
	ctx  context.Context // of the test
	sent *metrics.Store
	work sync.WaitGroup
}

// inBubble runs a test on a clock of its own.
func inBubble(t *testing.T, name string, test func(e *env), rules ...*fault.Rule) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			sent := metrics.Wrap(fault.Wrap(mem.New(), rules...))
			ctx, cancel := context.WithCancel(t.Context())
			e := &env{T: t, Store: breaker.Wrap(sent, breaker.Config{}), ctx: ctx, sent: sent}
			defer func() {
				cancel()
				e.work.Wait()
				if err := e.Close(); err != nil {
					t.Error(err)
				}
			}()
			test(e)
			fault.Exercised(t, rules...)
		})
	})
}

func (e *env) put(key string) error {
	_, err := e.Put(e.ctx, key, store.Body{Reader: strings.NewReader("x"), Size: 1}, store.PutOptions{})
	return err
}

// background starts n PUTs that may take up to 10 s each, again and again.
func (e *env) background(ctx context.Context, n int) {
	for i := range n {
		e.work.Go(func() {
			for ctx.Err() == nil {
				attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
				_, _ = e.Put(attempt, fmt.Sprint("k", i), store.Body{}, store.PutOptions{})
				cancel()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
}

func (e *env) want(state breaker.State) {
	e.Helper()
	if got := e.Stats(); got.State != state {
		e.Errorf("state %v, want %v (%+v)", got.State, state, got)
	}
}

// awaitState waits until the endpoint is believed to be in a state.
func (e *env) awaitState(state breaker.State, limit time.Duration) time.Duration {
	e.Helper()
	begun := time.Now()
	for e.Stats().State != state {
		if time.Since(begun) > limit {
			e.Fatalf("not %v after %v: %+v", state, limit, e.Stats())
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(begun)
}

func TestOutage(t *testing.T) {
	for name, f := range map[string]fault.Fault{"refused": fault.Fail(store.Unavailable), "silent": fault.Hang(fault.Forever)} {
		rule := fault.On(f)
		inBubble(t, name, func(e *env) {
			begun := time.Now()
			ctx, cancel := context.WithCancel(e.ctx)
			defer cancel()
			e.background(ctx, 4)
			took := e.awaitState(breaker.Away, 7*time.Second)
			if took < 3*time.Second {
				e.Errorf("away after only %v", took)
			}
			time.Sleep(10 * time.Millisecond)
			before := e.sent.Requests()[store.OpPut]
			at := time.Now()
			err := e.put("k")
			if !store.IsKind(err, store.Unavailable) || !errors.Is(err, store.ErrAway) || time.Since(at) != 0 {
				e.Errorf("refusal after %v: %v", time.Since(at), err)
			}
			if since, away := e.Away(); !away || since.Sub(begun).Abs() > time.Second {
				e.Errorf("away %v since %v, want since %v", away, since, begun)
			}
			changed := e.Changed()
			time.Sleep(30 * time.Second)
			if n := e.sent.Requests()[store.OpPut]; n != before {
				e.Errorf("%d PUTs were sent while the endpoint was away", n-before)
			}
			if n := e.Stats().Probes; n < 10 || n > 25 {
				e.Errorf("%d probes in half a minute", n)
			}
			rule.Stop()
			if took := e.awaitState(breaker.Reachable, 3*time.Second); took > 2500*time.Millisecond {
				e.Errorf("noticed the return after %v", took)
			}
			<-changed
			if err := e.put("k"); err != nil {
				e.Errorf("put after the return: %v", err)
			}
			if st := e.Stats(); st.Outages != 1 || st.Refused == 0 {
				e.Errorf("%+v", st)
			}
		}, rule)
	}
}

// TestNoOutage has endpoints that work, badly.
func TestNoOutage(t *testing.T) {
	run := func(name string, rules ...*fault.Rule) {
		inBubble(t, name, func(e *env) {
			ctx, cancel := context.WithCancel(e.ctx)
			e.background(ctx, 4)
			for range 1200 {
				time.Sleep(100 * time.Millisecond)
				e.want(breaker.Reachable)
			}
			cancel()
			if st := e.Stats(); st.Outages != 0 || st.Refused != 0 {
				e.Errorf("%+v", st)
			}
		}, rules...)
	}
	run("a fifth fails", fault.On(fault.Fail(store.Unavailable), fault.Chance(0.2, 1)))
	run("a fifth stalls for half a minute", fault.On(fault.Hang(30*time.Second), fault.Chance(0.2, 2)))
	run("throttled", fault.On(fault.Fail(store.Throttled)))
	run("denied", fault.On(fault.Fail(store.Denied)))
	run("answers after 4 s", fault.On(fault.Hang(4*time.Second)))
	run("writes hang, reads work", fault.On(fault.Hang(fault.Forever), fault.Ops(store.OpPut)))
}

// TestBurst has requests fail at once after a long silence, as when idle
// connections have died: that is no outage.
func TestBurst(t *testing.T) {
	inBubble(t, "", func(e *env) {
		if err := e.put("k"); err != nil {
			e.Fatal(err)
		}
		time.Sleep(time.Hour)
		for range 20 {
			_ = e.put("fails")
		}
		e.want(breaker.Reachable)
		if err := e.put("k"); err != nil {
			e.Error(err)
		}
	}, fault.On(fault.Fail(store.Unavailable), fault.Key("fails")))
}

// TestDoubt leaves an endpoint that is away alone: nothing is sent, and the
// first request after that finds out.
func TestDoubt(t *testing.T) {
	rule := fault.On(fault.Hang(fault.Forever))
	inBubble(t, "", func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		e.background(ctx, 1)
		e.awaitState(breaker.Away, 10*time.Second)
		cancel()
		e.awaitState(breaker.Doubtful, 15*time.Second)
		time.Sleep(10 * time.Second) // the last probes end
		before := e.sent.Requests()
		time.Sleep(time.Hour)
		if now := e.sent.Requests(); now[store.OpHead] != before[store.OpHead] {
			e.Errorf("%v requests before and %v after an idle hour", before, now)
		}
		if _, away := e.Away(); away {
			e.Error("away although nobody has asked for an hour")
		}
		attempt, cancel := context.WithTimeout(e.ctx, 10*time.Second)
		defer cancel()
		e.work.Go(func() { _, _ = e.Head(attempt, "k") })
		if took := e.awaitState(breaker.Away, 3*time.Second); took < time.Second {
			e.Errorf("away again after %v", took)
		}
		e.awaitState(breaker.Doubtful, 30*time.Second)
		rule.Stop()
		if err := e.put("k"); err != nil {
			e.Error(err)
		}
		e.want(breaker.Reachable)
		if n := e.Stats().Outages; n != 1 {
			e.Errorf("%d outages, want 1", n)
		}
	}, rule)
}

// TestLateFailures has requests from before the return fail after it.
func TestLateFailures(t *testing.T) {
	rule := fault.On(fault.Hang(fault.Forever))
	inBubble(t, "", func(e *env) {
		stay, cancel := context.WithCancel(e.ctx)
		e.background(stay, 1)
		time.Sleep(5 * time.Second)
		for range 20 { // too young to be ended when the endpoint goes away
			late, cancel := context.WithTimeout(e.ctx, 10*time.Second)
			defer cancel()
			e.work.Go(func() { _ = e.Delete(late, "k", store.Always) })
		}
		e.awaitState(breaker.Away, 5*time.Second)
		cancel()
		rule.Stop()
		e.awaitState(breaker.Reachable, 3*time.Second)
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			e.want(breaker.Reachable)
		}
	}, rule)
}

// slow sends a body at a rate, as a slow line would take it.
type slow struct{ store.Store }

func (s *slow) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	p := make([]byte, 64<<10)
	for off := int64(0); off < body.Size; off += int64(len(p)) {
		if _, err := body.Reader.ReadAt(p, off); err != nil && !errors.Is(err, io.EOF) {
			return store.Info{}, err
		}
		time.Sleep(500 * time.Millisecond)
	}
	return store.Info{Key: key}, nil
}

// TestSlowUpload has one large upload on a line that lets nothing else through.
func TestSlowUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heads := fault.On(fault.Hang(time.Minute), fault.Ops(store.OpHead))
		s := breaker.Wrap(&slow{fault.Wrap(mem.New(), heads)}, breaker.Config{})
		body := store.Body{Reader: bytes.NewReader(make([]byte, 16<<20)), Size: 16 << 20}
		if _, err := s.Put(t.Context(), "k", body, store.PutOptions{}); err != nil {
			t.Error(err)
		}
		if st := s.Stats(); st.Outages != 0 || st.State != breaker.Reachable {
			t.Errorf("%+v", st)
		}
		heads.Stop()
		_ = s.Close()
	})
}

// TestCut ends requests that stand still, also bodies, when the endpoint goes
// away.
func TestCut(t *testing.T) {
	inBubble(t, "", func(e *env) {
		_, err := e.Put(e.ctx, "k", store.Body{Reader: bytes.NewReader(make([]byte, 100)), Size: 100}, store.PutOptions{})
		if err != nil {
			e.Fatal(err)
		}
		obj, err := e.Get(e.ctx, "k", store.GetOptions{})
		if err != nil {
			e.Fatal(err)
		}
		begun := time.Now()
		n, err := io.Copy(io.Discard, obj.Body)
		if n != 10 || !store.IsKind(err, store.Timeout) || time.Since(begun) > 7*time.Second {
			e.Errorf("read %d bytes in %v: %v", n, time.Since(begun), err)
		}
		_ = obj.Body.Close()
		e.want(breaker.Away)
	}, fault.On(fault.Fault{Moment: fault.Torn, Bytes: 10, Kind: store.Unavailable, Delay: fault.Forever}, fault.Ops(store.OpGet)),
		fault.On(fault.Hang(fault.Forever), fault.Ops(store.OpHead)))
}
