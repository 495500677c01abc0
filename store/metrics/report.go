package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causewayfs/causeway/store"
)

// OpStats is what is known of one kind of request. Count is of finished
// requests, with and without error.
type OpStats struct {
	Op        store.Op
	Count     uint64
	InFlight  int64
	Errors    map[store.Kind]uint64 // nil if there are none
	BytesUp   uint64                // of bodies that were stored
	BytesDown uint64                // of bodies that were read
	Mean      time.Duration
	P50, P99  time.Duration // accurate to an eighth
	Max       time.Duration
}

// Snapshot returns the statistics of the requests that there were, in the order
// of [store.Ops].
func (s *Store) Snapshot() []OpStats {
	var all []OpStats
	for _, op := range store.Ops() {
		st := s.ops[op].stats(op)
		if st.Count > 0 || st.InFlight > 0 {
			all = append(all, st)
		}
	}
	return all
}

// Requests returns how many requests of each Op have finished.
func (s *Store) Requests() map[store.Op]uint64 {
	n := map[store.Op]uint64{}
	for _, st := range s.Snapshot() {
		if st.Count > 0 {
			n[st.Op] = st.Count
		}
	}
	return n
}

func (c *counters) stats(op store.Op) OpStats {
	h := c.latency.counts()
	return OpStats{
		Op: op, Count: h.total, InFlight: c.inFlight.Load(), Errors: c.errors(),
		BytesUp: c.bytesUp.Load(), BytesDown: c.bytesDown.Load(),
		Mean: h.mean(), P50: h.quantile(0.5), P99: h.quantile(0.99), Max: h.max,
	}
}

func (c *counters) errors() map[store.Kind]uint64 {
	var errs map[store.Kind]uint64
	for _, kind := range store.Kinds() {
		if n := c.kinds[kind].Load(); n > 0 {
			if errs == nil {
				errs = map[store.Kind]uint64{}
			}
			errs[kind] = n
		}
	}
	return errs
}

var (
	requestsDesc = prometheus.NewDesc("causeway_s3_requests_total", "S3 requests by operation and outcome.", []string{"op", "outcome"}, nil)
	bytesDesc    = prometheus.NewDesc("causeway_s3_bytes_total", "Bytes of bodies by operation and direction.", []string{"op", "direction"}, nil)
	inFlightDesc = prometheus.NewDesc("causeway_s3_requests_in_flight", "S3 requests under way.", []string{"op"}, nil)
	latencyDesc  = prometheus.NewDesc("causeway_s3_request_seconds", "Time until the answer, for reads until the body begins.", []string{"op"}, nil)
)

// exported are the buckets that Prometheus gets, in seconds.
var exported = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}

var _ prometheus.Collector = (*Store)(nil)

// Describe implements [prometheus.Collector].
func (s *Store) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, bytesDesc, inFlightDesc, latencyDesc} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	for _, op := range store.Ops() {
		s.ops[op].collect(string(op), ch)
	}
}

func (c *counters) collect(op string, ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	counter(requestsDesc, c.ok.Load(), op, "ok")
	for kind, n := range c.errors() {
		counter(requestsDesc, n, op, kind.String())
	}
	counter(bytesDesc, c.bytesUp.Load(), op, "up")
	counter(bytesDesc, c.bytesDown.Load(), op, "down")
	ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(c.inFlight.Load()), op)

	h := c.latency.counts()
	buckets := make(map[float64]uint64, len(exported))
	for _, le := range exported {
		buckets[le] = h.below(time.Duration(le * float64(time.Second)))
	}
	ch <- prometheus.MustNewConstHistogram(latencyDesc, h.total, h.sum.Seconds(), buckets, op)
}

// below counts what surely took at most d.
func (c counts) below(d time.Duration) uint64 {
	n := uint64(0)
	for i, in := range c.buckets {
		if upper(i) > d {
			break
		}
		n += in
	}
	return n
}
