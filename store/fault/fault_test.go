package fault_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformanceWithoutRules(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return fault.Wrap(mem.New()) }, storetest.Differences{})
}

func put(ctx context.Context, s store.Store, key, content string) error {
	_, err := s.Put(ctx, key, store.Body{Reader: strings.NewReader(content), Size: int64(len(content))}, store.PutOptions{})
	return err
}

func want(t *testing.T, what string, err error, kind store.Kind) {
	t.Helper()
	if !store.IsKind(err, kind) || !errors.Is(err, fault.ErrInjected) {
		t.Errorf("%s: got %v, want an injected %v", what, err, kind)
	}
}

func TestBeforeAndAfter(t *testing.T) {
	ctx := t.Context()
	before := fault.On(fault.Fail(store.Throttled), fault.Ops(store.OpPut), fault.Key("a"))
	lost := fault.On(fault.Lost(), fault.Ops(store.OpPut), fault.Key("b"), fault.Nth(2))
	back := mem.New()
	s := fault.Wrap(back, before, lost)
	want(t, "before", put(ctx, s, "a", "x"), store.Throttled)
	if err := put(ctx, s, "b1", "x"); err != nil {
		t.Errorf("first put of b: %v", err)
	}
	want(t, "after", put(ctx, s, "b2", "x"), store.Unavailable)
	if _, err := back.Head(ctx, "a"); !store.IsKind(err, store.NotExist) {
		t.Errorf("a was stored: %v", err)
	}
	if _, err := back.Head(ctx, "b2"); err != nil {
		t.Errorf("b2 was not stored: %v", err)
	}
	before.Stop()
	if err := put(ctx, s, "a", "x"); err != nil {
		t.Errorf("put after Stop: %v", err)
	}
	fault.Exercised(t, before, lost)
	if before.Fired() != 1 || lost.Fired() != 1 {
		t.Errorf("fired %d and %d times, want 1 each", before.Fired(), lost.Fired())
	}
}

// TestEveryRequest strikes each kind of request before and after.
func TestEveryRequest(t *testing.T) {
	ctx := t.Context()
	for _, f := range []fault.Fault{fault.Fail(store.Denied), {Moment: fault.After, Kind: store.Denied}} {
		back := mem.New()
		if err := put(ctx, back, "k", "content"); err != nil {
			t.Fatal(err)
		}
		rule := fault.On(f)
		s := fault.Wrap(back, rule)
		calls := map[store.Op]func() error{
			store.OpGet:          func() error { _, err := s.Get(ctx, "k", store.GetOptions{}); return err },
			store.OpHead:         func() error { _, err := s.Head(ctx, "k"); return err },
			store.OpList:         func() error { _, err := s.List(ctx, store.ListOptions{}); return err },
			store.OpPut:          func() error { return put(ctx, s, "k", "x") },
			store.OpCopy:         func() error { _, err := s.Copy(ctx, "k", "l", store.CopyOptions{}); return err },
			store.OpDelete:       func() error { return s.Delete(ctx, "k", store.Always) },
			store.OpDeleteMany:   func() error { _, err := s.DeleteMany(ctx, []string{"k"}); return err },
			store.OpCreateUpload: func() error { _, err := s.CreateUpload(ctx, "k", store.PutOptions{}); return err },
			store.OpUploadPart:   func() error { _, err := s.UploadPart(ctx, "k", "id", 1, store.Body{}); return err },
			store.OpCopyPart:     func() error { _, err := s.CopyPart(ctx, "k", "id", 1, "k", "", 0, 1); return err },
			store.OpComplete:     func() error { _, err := s.Complete(ctx, "k", "id", nil, store.PutOptions{}); return err },
			store.OpAbort:        func() error { return s.Abort(ctx, "k", "id") },
		}
		for op, call := range calls {
			err := call()
			want(t, string(op), err, store.Denied)
			var e *store.Error
			if errors.As(err, &e) && e.Op != op {
				t.Errorf("%s: error names %s", op, e.Op)
			}
		}
		if rule.Fired() != int64(len(calls)) {
			t.Errorf("fired %d times, want %d", rule.Fired(), len(calls))
		}
	}
}

func TestTorn(t *testing.T) {
	ctx := t.Context()
	rule := fault.On(fault.Tear(3), fault.Ops(store.OpGet))
	s := fault.Wrap(mem.New(), rule)
	if err := put(ctx, s, "k", "0123456789"); err != nil {
		t.Fatal(err)
	}
	obj, err := s.Get(ctx, "k", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(obj.Body)
	if string(data) != "012" {
		t.Errorf("read %q, want the first 3 bytes", data)
	}
	want(t, "read", err, store.Unavailable)
	fault.Exercised(t, rule)
}

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rule := fault.On(fault.Hang(fault.Forever), fault.First(1))
		short := fault.On(fault.Hang(time.Minute), fault.Nth(1))
		s := fault.Wrap(mem.New(), rule, short)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begun := time.Now()
		err := put(ctx, s, "k", "x")
		if !store.IsKind(err, store.Timeout) || time.Since(begun) != time.Hour {
			t.Errorf("stall forever: %v after %v, want a timeout after an hour", err, time.Since(begun))
		}
		begun = time.Now()
		if err := put(t.Context(), s, "k", "x"); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("stall for a minute: %v after %v", err, time.Since(begun))
		}
		fault.Exercised(t, rule, short)
	})
}

func TestCounting(t *testing.T) {
	ctx := t.Context()
	every := fault.On(fault.Fail(store.Throttled), fault.Ops(store.OpHead), fault.Every(3))
	chance := fault.On(fault.Fail(store.Denied), fault.Ops(store.OpList), fault.Chance(0.3, 7))
	s := fault.Wrap(mem.New(), every, chance)
	for range 300 {
		_, _ = s.Head(ctx, "k")
		_, _ = s.List(ctx, store.ListOptions{})
	}
	if every.Fired() != 100 {
		t.Errorf("every third of 300 fired %d times", every.Fired())
	}
	if n := chance.Fired(); n < 60 || n > 120 {
		t.Errorf("three of ten of 300 fired %d times", n)
	}
}
