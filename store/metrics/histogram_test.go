package metrics

import (
	"testing"
	"time"
)

// TestBuckets demands that buckets join without gaps and hold what is in them.
func TestBuckets(t *testing.T) {
	for i := range bucket(1 << 60) {
		up := upper(i)
		if bucket(up-time.Microsecond) != i || bucket(up) != i+1 {
			t.Fatalf("bucket %d ends at %v, but its neighbours are in %d and %d", i, up, bucket(up-time.Microsecond), bucket(up))
		}
	}
	for d := time.Duration(1); d < 1<<60; d = d*3/2 + 7 {
		if up := upper(bucket(d)); up < d || d > 8*time.Microsecond && up > d+d/4+time.Microsecond {
			t.Errorf("%v is in a bucket up to %v", d, up)
		}
	}
	if bucket(-5) != 0 {
		t.Errorf("a negative duration is in bucket %d", bucket(-5))
	}
}
