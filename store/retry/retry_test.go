package retry_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return retry.New(mem.New(), retry.Config{}) }, storetest.Differences{})
}

// TestConformanceUnderFaults demands that, below retries, a store that loses
// answers, tears bodies and is throttled conforms as if it did not. Three things
// cannot be as if: Copy with a condition but no place for a nonce, Delete of a
// version that was absent already, and uploads that nobody knows, left behind by
// a lost CreateUpload.
func TestConformanceUnderFaults(t *testing.T) {
	certain := fault.Ops(store.OpGet, store.OpHead, store.OpList, store.OpPut, store.OpDeleteMany,
		store.OpUploadPart, store.OpCopyPart, store.OpComplete, store.OpAbort)
	rules := []*fault.Rule{
		fault.On(fault.Fail(store.Throttled), fault.Every(11)),
		fault.On(fault.Fail(store.Unavailable), certain, fault.Every(13)),
		fault.On(fault.Lost(), certain, fault.Every(5)),
		fault.On(fault.Tear(1), fault.Ops(store.OpGet), fault.Every(3)),
		fault.On(fault.Tear(100_000), fault.Ops(store.OpGet), fault.Every(4)),
		fault.On(fault.Fail(store.Conflict), fault.Ops(store.OpPut, store.OpCopy), fault.Every(17)),
	}
	t.Run("all", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store {
			return retry.New(fault.Wrap(mem.New(), rules...), retry.Config{
				BaseDelay: time.Microsecond, MaxDelay: time.Millisecond, Budget: retry.NewBudget(1, 1e6, 1e6),
			})
		}, storetest.Differences{})
	})
	fault.Exercised(t, rules...)
}

// env is a store under faults, with what is needed to look behind.
type env struct {
	*testing.T
	store.Store
	ctx  context.Context
	back *mem.Store
	sent *metrics.Store
}

// setup puts retries over counted requests over faults over memory.
func setup(t *testing.T, cfg retry.Config, rules ...*fault.Rule) *env {
	back := mem.New()
	sent := metrics.Wrap(fault.Wrap(back, rules...))
	t.Cleanup(func() { fault.Exercised(t, rules...) })
	return &env{T: t, Store: retry.New(sent, cfg), ctx: t.Context(), back: back, sent: sent}
}

func body(content string) store.Body {
	return store.Body{Reader: strings.NewReader(content), Size: int64(len(content))}
}

func (e *env) put(key, content string, cond store.Precondition) (store.Info, error) {
	return e.Put(e.ctx, key, body(content), store.PutOptions{If: cond})
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) want(what string, err error, kind store.Kind) {
	e.Helper()
	if !store.IsKind(err, kind) {
		e.Errorf("%s: got %v, want %v", what, err, kind)
	}
}

func (e *env) requests(op store.Op, n uint64) {
	e.Helper()
	if got := e.sent.Requests()[op]; got != n {
		e.Errorf("%d %s requests, want %d (%v)", got, op, n, e.sent.Requests())
	}
}

func (e *env) holds(key, content string) {
	e.Helper()
	obj, err := e.back.Get(e.ctx, key, store.GetOptions{})
	if err != nil {
		e.Errorf("%s: %v", key, err)
		return
	}
	data, _ := io.ReadAll(obj.Body)
	if string(data) != content {
		e.Errorf("%s holds %q, want %q", key, data, content)
	}
}

func onPut(f fault.Fault) *fault.Rule { return fault.On(f, fault.Ops(store.OpPut), fault.Nth(1)) }

func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// TestBounds has a server that never recovers.
func TestBounds(t *testing.T) {
	down := func() *fault.Rule { return fault.On(fault.Fail(store.Unavailable)) }
	inBubble(t, "MaxElapsed", func(t *testing.T) {
		e := setup(t, retry.Config{}, down())
		begun := time.Now()
		_, err := e.Head(e.ctx, "k")
		e.want("head", err, store.Unavailable)
		if took := time.Since(begun); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("gave up after %v, want some 30 s", took)
		}
		if n := e.sent.Requests()[store.OpHead]; n < 8 || n > 25 {
			t.Errorf("%d attempts in 30 s", n)
		}
	})
	inBubble(t, "stalled", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Hang(fault.Forever)))
		begun := time.Now()
		_, err := e.Head(e.ctx, "k")
		e.want("head", err, store.Timeout)
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
	inBubble(t, "deadline", func(t *testing.T) {
		e := setup(t, retry.Config{}, down())
		ctx, cancel := context.WithTimeout(e.ctx, 100*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := e.Put(ctx, "k", body("x"), store.PutOptions{})
		e.want("put", err, store.Unavailable) // the reason, and not that time is up
		if took := time.Since(begun); took < 90*time.Second || took > 100*time.Second {
			t.Errorf("gave up after %v, want nearly 100 s", took)
		}
	})
	inBubble(t, "canceled", func(t *testing.T) {
		e := setup(t, retry.Config{}, down())
		ctx, cancel := context.WithCancel(e.ctx)
		time.AfterFunc(3*time.Second, cancel)
		begun := time.Now()
		_, err := e.Head(ctx, "k")
		e.want("head", err, store.Canceled)
		if time.Since(begun) != 3*time.Second {
			t.Errorf("gave up after %v, want 3 s", time.Since(begun))
		}
	})
	inBubble(t, "bad credentials", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fail(store.BadCredentials)))
		_, err := e.Head(e.ctx, "k")
		e.want("head", err, store.BadCredentials)
		e.requests(store.OpHead, 3)
	})
	inBubble(t, "size", func(t *testing.T) {
		e := setup(t, retry.Config{RequestTimeout: time.Second, MinRate: 1000}, onPut(fault.Hang(59*time.Second)))
		_, err := e.put("k", strings.Repeat("x", 60_000), store.Always)
		e.must(err)
		e.requests(store.OpPut, 1) // a minute is in order for so many bytes
	})
}

// TestAnswersAreNotRepeated sends each answer that is one.
func TestAnswersAreNotRepeated(t *testing.T) {
	for _, kind := range store.Kinds() {
		switch kind {
		case store.Throttled, store.Unavailable, store.Timeout, store.Conflict, store.BadCredentials:
			continue
		}
		e := setup(t, retry.Config{}, fault.On(fault.Fail(kind)))
		_, err := e.put("k", "x", store.IfAbsent())
		e.want("put", err, kind)
		e.requests(store.OpPut, 1)
		_, err = e.Get(e.ctx, "k", store.GetOptions{})
		e.want("get", err, kind)
		e.requests(store.OpGet, 1)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := retry.NewBudget(0.2, 20, 200)
		back := fault.Wrap(mem.New(), fault.On(fault.Fail(store.Unavailable)))
		sent := metrics.Wrap(back)
		begun := time.Now()
		done := make(chan error)
		const callers = 500
		for range callers {
			s := retry.New(sent, retry.Config{Budget: budget})
			go func() {
				_, err := s.Head(t.Context(), "k")
				done <- err
			}()
		}
		for range callers {
			if err := <-done; !store.IsKind(err, store.Unavailable) {
				t.Errorf("head: %v", err)
			}
		}
		retries := sent.Requests()[store.OpHead] - callers
		if limit := 200 + 20*uint64(time.Since(begun).Seconds()+1); retries > limit || retries < limit/2 {
			t.Errorf("%d retries in %v, want nearly %d", retries, time.Since(begun), limit)
		}
	})
}

func TestNoticesRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		e := setup(t, retry.Config{OnRetry: func(op store.Op, key string, err error) {
			seen = append(seen, fmt.Sprint(op, " ", key, " ", store.KindOf(err)))
		}}, onPut(fault.Fail(store.Throttled)))
		_, err := e.put("k", "x", store.Always)
		e.must(err)
		if len(seen) != 1 || seen[0] != "PUT k throttled" {
			t.Errorf("noticed %q", seen)
		}
	})
}

func FuzzNonce(f *testing.F) {
	f.Add("mode", "33188")
	f.Add(retry.NonceKey, "forged")
	f.Fuzz(func(t *testing.T, key, value string) {
		meta := store.Metadata{key: value}
		if store.CheckMetadata(meta) != nil || len(key)+len(value) > store.MaxMetadata {
			return
		}
		s := retry.New(mem.New(), retry.Config{})
		if _, err := s.Put(t.Context(), "k", body("x"), store.PutOptions{Meta: meta, If: store.IfAbsent()}); err != nil {
			t.Fatal(err)
		}
		if len(meta) != 1 || meta[key] != value {
			t.Errorf("the caller's metadata became %v", meta)
		}
		info, err := s.Head(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if key == retry.NonceKey {
			meta = store.Metadata{}
		}
		if len(info.Meta) != len(meta) || info.Meta[key] != meta[key] {
			t.Errorf("stored %v, read %v", meta, info.Meta)
		}
	})
}
