package retry_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/breaker"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformanceOverBreaker(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		b := breaker.Wrap(mem.New(), breaker.Config{})
		t.Cleanup(func() { _ = b.Close() })
		return retry.New(b, retry.Config{})
	}, storetest.Differences{})
}

// outage runs writers of conditional PUTs, with a deadline of half a minute
// each, while an endpoint that worked is away for some time. It returns their
// errors.
func outage(t *testing.T, f fault.Fault, away time.Duration) (*metrics.Store, *retry.Store, []error) {
	broken := fault.On(f)
	back := mem.New()
	sent := metrics.Wrap(fault.Wrap(back, broken))
	b := breaker.Wrap(sent, breaker.Config{})
	defer b.Close()
	s := retry.New(b, retry.Config{})
	errs := make([]error, 50)
	var work sync.WaitGroup
	for i := range errs {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			begun := time.Now()
			_, errs[i] = s.Put(ctx, string(rune('a'+i)), body("x"), store.PutOptions{If: store.IfAbsent()})
			if took := time.Since(begun); took > 31*time.Second {
				t.Errorf("a call took %v", took)
			}
		})
	}
	time.Sleep(away)
	broken.Stop()
	work.Wait()
	fault.Exercised(t, broken)
	return sent, s, errs
}

var outages = map[string]fault.Fault{"refused": fault.Fail(store.Unavailable), "silent": fault.Hang(fault.Forever)}

// TestBlip has an endpoint that is away for less than the callers can wait.
func TestBlip(t *testing.T) {
	for name, f := range outages {
		inBubble(t, name, func(t *testing.T) {
			sent, s, errs := outage(t, f, 15*time.Second)
			for _, err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			if n := sent.Requests()[store.OpPut]; n > 50*12 {
				t.Errorf("%d PUTs for 50 calls: callers do not wait for the return", n)
			}
			if st := s.Stats(); st.AwayWaits == 0 || st.Waiting != 0 || st.Retries == 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestLongOutage has an endpoint that is away for longer.
func TestLongOutage(t *testing.T) {
	for name, f := range outages {
		inBubble(t, name, func(t *testing.T) {
			_, _, errs := outage(t, f, time.Minute)
			for _, err := range errs {
				if !store.IsKind(err, store.Unavailable) || !errors.Is(err, store.ErrAway) {
					t.Errorf("got %v, want that the endpoint is away", err)
				}
			}
		})
	}
}

// TestRefusalIsNotSettled has a conditional Copy, which could not be settled,
// wait for an endpoint that is away, since nothing was sent.
func TestRefusalIsNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := mem.New()
		sent := metrics.Wrap(back)
		switched := &onOff{Store: sent, changed: make(chan struct{})}
		s := retry.New(switched, retry.Config{})
		if _, err := s.Put(t.Context(), "k", body("x"), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		switched.away = true
		time.AfterFunc(20*time.Second, switched.comeBack)
		if _, err := s.Copy(t.Context(), "k", "l", store.CopyOptions{If: store.IfAbsent()}); err != nil {
			t.Error(err)
		}
		switched.away, switched.changed = true, make(chan struct{})
		time.AfterFunc(20*time.Second, switched.comeBack)
		if _, err := s.Put(t.Context(), "m", body("x"), store.PutOptions{If: store.IfAbsent()}); err != nil {
			t.Error(err)
		}
		for op, n := range map[store.Op]uint64{store.OpPut: 2, store.OpCopy: 1, store.OpHead: 0} {
			if got := sent.Requests()[op]; got != n {
				t.Errorf("%d %s requests, want %d", got, op, n)
			}
		}
	})
}

// onOff is an endpoint that is away when the test says so.
type onOff struct {
	store.Store
	mu      sync.Mutex
	away    bool
	changed chan struct{}
}

func (o *onOff) comeBack() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = false
	close(o.changed)
}

func (o *onOff) Away() (time.Time, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Time{}, o.away
}

func (o *onOff) Changed() <-chan struct{} { return o.changed }

func (o *onOff) refusal() error {
	if _, away := o.Away(); away {
		return &store.Error{Kind: store.Unavailable, Err: store.ErrAway}
	}
	return nil
}

func (o *onOff) Put(ctx context.Context, key string, b store.Body, opts store.PutOptions) (store.Info, error) {
	if err := o.refusal(); err != nil {
		return store.Info{}, err
	}
	return o.Store.Put(ctx, key, b, opts)
}

func (o *onOff) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	if err := o.refusal(); err != nil {
		return store.Info{}, err
	}
	return o.Store.Copy(ctx, src, dst, opts)
}

// TestExpired has credentials that worked be refused, until somebody renews
// them.
func TestExpired(t *testing.T) {
	for renewed, want := range map[time.Duration]bool{8 * time.Second: true, time.Hour: false} {
		inBubble(t, renewed.String(), func(t *testing.T) {
			expired := fault.On(fault.Fail(store.BadCredentials), fault.Key("k"))
			e := setup(t, retry.Config{}, expired)
			_, err := e.put("other", "x", store.Always)
			e.must(err)
			time.AfterFunc(renewed, expired.Stop)
			_, err = e.put("k", "x", store.IfAbsent())
			if (err == nil) != want {
				t.Errorf("credentials renewed after %v: %v", renewed, err)
			}
			if !want {
				// Later calls do not wait for what is not coming.
				begun := time.Now()
				_, err := e.put("k", "x", store.IfAbsent())
				e.want("put", err, store.BadCredentials)
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("gave up after %v", took)
				}
			}
		})
	}
}
