package s3proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTurns lets a server say when it sees two requests at once that S3 would
// answer one after the other.
func TestTurns(t *testing.T) {
	var busy sync.Map // key: *atomic.Int64, 1 for a reader and 1000 for a writer
	var clashes atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		op, key := target(r)
		share := int64(1)
		if Mutates(op) {
			share = 1000
		}
		names := map[string]int64{key: share}
		if src := strings.TrimPrefix(r.Header.Get("X-Amz-Copy-Source"), "b/"); src != "" && src != key {
			names[src] = 1
		}
		for name, n := range names {
			v, _ := busy.LoadOrStore(name, &atomic.Int64{})
			now := v.(*atomic.Int64).Add(n)
			if now != n && now >= 1000 {
				clashes.Add(1)
			}
			defer v.(*atomic.Int64).Add(-n)
		}
		time.Sleep(time.Millisecond) // so that others come meanwhile
	}))
	defer server.Close()
	turns := NewTurns()
	var wg sync.WaitGroup
	for i := range 2 {
		p, err := Start(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.TakeTurns(turns)
		for j := range 8 {
			wg.Go(func() {
				for k := range 50 {
					key := fmt.Sprintf("/b/k%d", (i+j+k)%2)
					method := []string{http.MethodGet, http.MethodGet, http.MethodDelete, http.MethodPut}[(j+k)%4]
					r, _ := http.NewRequest(method, p.URL()+key, http.NoBody)
					if method == http.MethodPut && k%2 == 0 {
						r.Header.Set("X-Amz-Copy-Source", fmt.Sprintf("b/k%d", k/2%2))
					}
					resp, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Error(err)
						return
					}
					resp.Body.Close()
				}
			})
		}
	}
	wg.Wait()
	if n := clashes.Load(); n > 0 {
		t.Errorf("%d requests met others that had to wait", n)
	}
	if len(turns.keys) > 0 {
		t.Errorf("locks are left: %v", turns.keys)
	}
}
