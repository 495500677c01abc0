package metrics_test

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return metrics.Wrap(mem.New()) }, storetest.Differences{})
}

func body(n int) store.Body {
	return store.Body{Reader: strings.NewReader(strings.Repeat("x", n)), Size: int64(n)}
}

func find(t *testing.T, s *metrics.Store, op store.Op) metrics.OpStats {
	t.Helper()
	for _, st := range s.Snapshot() {
		if st.Op == op {
			return st
		}
	}
	t.Fatalf("no %s in %+v", op, s.Snapshot())
	return metrics.OpStats{}
}

func TestCounts(t *testing.T) {
	ctx := t.Context()
	s := metrics.Wrap(mem.New())
	if len(s.Snapshot()) != 0 {
		t.Errorf("snapshot before any request: %+v", s.Snapshot())
	}
	for range 5 {
		if _, err := s.Put(ctx, "k", body(100), store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = s.Put(ctx, "k", body(100), store.PutOptions{If: store.IfAbsent()})
	_, _ = s.Head(ctx, "no")
	obj, err := s.Get(ctx, "k", store.GetOptions{Length: 30})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(obj.Body); err != nil {
		t.Fatal(err)
	}
	put := find(t, s, store.OpPut)
	if put.Count != 6 || put.BytesUp != 500 || put.Errors[store.PreconditionFailed] != 1 || put.InFlight != 0 {
		t.Errorf("put: %+v", put)
	}
	if get := find(t, s, store.OpGet); get.Count != 1 || get.BytesDown != 30 || get.Errors != nil {
		t.Errorf("get: %+v", get)
	}
	if head := find(t, s, store.OpHead); head.Errors[store.NotExist] != 1 {
		t.Errorf("head: %+v", head)
	}
	if n := s.Requests(); n[store.OpPut] != 6 || n[store.OpGet] != 1 || len(n) != 3 {
		t.Errorf("requests: %v", n)
	}
	if _, err := s.ListUploads(ctx, ""); err != nil || find(t, s, store.OpListUploads).Count != 1 {
		t.Errorf("list uploads: %v", err)
	}
}

func TestBrokenBodyIsAnError(t *testing.T) {
	s := metrics.Wrap(fault.Wrap(mem.New(), fault.On(fault.Tear(3), fault.Ops(store.OpGet))))
	if _, err := s.Put(t.Context(), "k", body(10), store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	obj, err := s.Get(t.Context(), "k", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(obj.Body)
	if get := find(t, s, store.OpGet); get.Errors[store.Unavailable] != 1 || get.BytesDown != 3 {
		t.Errorf("get: %+v", get)
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := fault.On(fault.Hang(2*time.Second), fault.Every(50))
		rest := fault.On(fault.Hang(10 * time.Millisecond))
		s := metrics.Wrap(fault.Wrap(mem.New(), slow, rest))
		for range 100 {
			_, _ = s.Head(t.Context(), "k")
		}
		st := find(t, s, store.OpHead)
		near := func(what string, got, want time.Duration) {
			if got < want || got > want*5/4 {
				t.Errorf("%s: got %v, want about %v", what, got, want)
			}
		}
		near("p50", st.P50, 10*time.Millisecond)
		near("p99", st.P99, 2*time.Second)
		near("mean", st.Mean, 49*time.Millisecond)
		near("max", st.Max, 2*time.Second)
	})
}

func TestPrometheus(t *testing.T) {
	s := metrics.Wrap(mem.New())
	_, _ = s.Put(t.Context(), "k", body(100), store.PutOptions{})
	_, _ = s.Head(t.Context(), "no")
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(s); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				got[name] = m.GetCounter().GetValue()
			case m.GetHistogram() != nil:
				got[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	for name, want := range map[string]float64{
		"causeway_s3_requests_total PUT ok":              1,
		"causeway_s3_requests_total HEAD does not exist": 1,
		"causeway_s3_bytes_total up PUT":                 100,
		"causeway_s3_request_seconds PUT":                1,
		"causeway_s3_requests_total GET ok":              0,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s = %v, want %v (%v)", name, v, want, ok)
		}
	}
}

func BenchmarkHead(b *testing.B) {
	s := metrics.Wrap(mem.New())
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, _ = s.Head(b.Context(), "k")
		}
	})
}
