package journal

import (
	"sync"
	"sync/atomic"
	"testing"
)

// benchmark has callers that each append 3 KB, sync and end it.
func benchmark(b *testing.B, callers int) {
	j, _, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 3<<10)
	var left atomic.Int64
	left.Store(int64(b.N))
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				ids, err := j.Append(nil, body)
				if err == nil {
					err = j.Sync()
				}
				if err != nil {
					b.Error(err)
					return
				}
				j.Done(ids...)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	st := j.Stats()
	b.ReportMetric(float64(st.Records)/float64(max(st.Syncs, 1)), "records/sync")
	b.ReportMetric(float64(st.Cleaned), "cleaned")
	if err := j.Close(); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkAppendSync1(b *testing.B)  { benchmark(b, 1) }
func BenchmarkAppendSync64(b *testing.B) { benchmark(b, 64) }
