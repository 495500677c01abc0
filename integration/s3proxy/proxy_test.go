package s3proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// start returns a proxy in front of a server that answers with h.
func start(t testing.TB, h http.HandlerFunc) *Proxy {
	t.Helper()
	backend := httptest.NewServer(h)
	t.Cleanup(backend.Close)
	p, err := Start(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// client has connections of its own, so that a test's faults stay its own.
func client(t testing.TB) *http.Client {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// do sends a request and returns the status and body, or the first error.
func do(t testing.TB, c *http.Client, method, url, body string, headers ...string) (int, string, error) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestTarget(t *testing.T) {
	for _, tc := range []struct{ method, url, copySource, op, key string }{
		{"GET", "/", "", ListBuckets, ""},
		{"PUT", "/b", "", CreateBucket, ""},
		{"HEAD", "/b/", "", HeadBucket, ""},
		{"GET", "/b?list-type=2&prefix=a%2Fb", "", ListObjectsV2, "a/b"},
		{"GET", "/b/?prefix=x", "", ListObjects, "x"},
		{"GET", "/b?uploads", "", ListMultipartUploads, ""},
		{"GET", "/b?versioning", "", BucketSettings, ""},
		{"POST", "/b?delete", "", DeleteObjects, ""},
		{"DELETE", "/b", "", DeleteBucket, ""},
		{"PUT", "/b/a%20c/d", "", PutObject, "a c/d"},
		{"PUT", "/b/dir/", "", PutObject, "dir/"},
		{"PUT", "/b/k?x-id=PutObject", "", PutObject, "k"},
		{"PUT", "/b/k", "b/src", CopyObject, "k"},
		{"PUT", "/b/k?renameObject", "", RenameObject, "k"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "", UploadPart, "k"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "b/src", UploadPartCopy, "k"},
		{"PUT", "/b/k?tagging", "", ObjectSettings, "k"},
		{"POST", "/b/k?uploads", "", CreateMultipartUpload, "k"},
		{"POST", "/b/k?uploadId=u", "", CompleteMultipartUpload, "k"},
		{"DELETE", "/b/k?uploadId=u", "", AbortMultipartUpload, "k"},
		{"DELETE", "/b/k", "", DeleteObject, "k"},
		{"GET", "/b/k?uploadId=u", "", ListParts, "k"},
		{"GET", "/b/k", "", GetObject, "k"},
		{"HEAD", "/b/k", "", HeadObject, "k"},
		{"PATCH", "/b/k", "", Other, "k"},
	} {
		r := httptest.NewRequest(tc.method, tc.url, nil)
		if tc.copySource != "" {
			r.Header.Set("X-Amz-Copy-Source", tc.copySource)
		}
		if op, key := target(r); op != tc.op || key != tc.key {
			t.Errorf("%s %s: got %s %q, want %s %q", tc.method, tc.url, op, key, tc.op, tc.key)
		}
	}
}

func TestPassesRequestsUnchanged(t *testing.T) {
	var got *http.Request
	var gotBody string
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got, gotBody = r, string(b)
		w.Header().Set("ETag", `"e"`)
		w.WriteHeader(http.StatusPreconditionFailed)
		io.WriteString(w, "answer")
	})
	conn, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const uri = "/b/a%2Fb%20c/%C3%BC+~'()/x%2525?partNumber=1&uploadId=u%2Fv"
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: s3.example:9\r\nAuthorization: sig\r\nIf-Match: \"x\"\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody", uri)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 412 || resp.Header.Get("ETag") != `"e"` || string(b) != "answer" {
		t.Errorf("answer: got %d %q %q", resp.StatusCode, resp.Header, b)
	}
	if got.RequestURI != uri || got.Host != "s3.example:9" || gotBody != "body" {
		t.Errorf("request: got %q host %q body %q", got.RequestURI, got.Host, gotBody)
	}
	if got.Header.Get("Authorization") != "sig" || got.Header.Get("If-Match") != `"x"` {
		t.Errorf("headers: got %v", got.Header)
	}
	if ua, ok := got.Header["User-Agent"]; ok {
		t.Errorf("added User-Agent %q", ua)
	}
}

func TestCounts(t *testing.T) {
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if strings.HasSuffix(r.URL.Path, "absent") {
			w.WriteHeader(404)
			return
		}
		io.WriteString(w, "12345")
	})
	c := client(t)
	do(t, c, "PUT", p.URL()+"/b/k", "abc")
	do(t, c, "PUT", p.URL()+"/b/k", "abc")
	do(t, c, "GET", p.URL()+"/b/k", "")
	do(t, c, "GET", p.URL()+"/b/absent", "")
	do(t, c, "GET", p.URL()+"/b?list-type=2&prefix=.x/", "")

	s := p.Stats()
	if got, want := s.Ops[PutObject], (Count{Requests: 2, Up: 6, Down: 10}); got != want {
		t.Errorf("PutObject: got %+v, want %+v", got, want)
	}
	if got, want := s.Ops[GetObject], (Count{Requests: 2, Failed: 1, Down: 5}); got != want {
		t.Errorf("GetObject: got %+v, want %+v", got, want)
	}
	if s.Keys["k"][PutObject] != 2 || s.Keys["k"][GetObject] != 1 || s.Keys[".x/"][ListObjectsV2] != 1 {
		t.Errorf("keys: got %v", s.Keys)
	}
	if got := s.Total(); got != 5 {
		t.Errorf("Total() = %d, want 5", got)
	}
	if up, down := s.Bytes(); up != 6 || down != 20 {
		t.Errorf("Bytes() = %d, %d, want 6, 20", up, down)
	}
	rest := s.Without(func(op, key string) bool { return strings.HasPrefix(key, ".x/") })
	if rest[ListObjectsV2] != 0 || rest[PutObject] != 2 {
		t.Errorf("Without: got %v", rest)
	}
	if len(s.Recent) != 5 || s.Recent[3].Status != 404 {
		t.Errorf("Recent: got %+v", s.Recent)
	}
	p.Reset()
	if got := p.Stats().Total(); got != 0 {
		t.Errorf("after Reset: %d requests", got)
	}
}

// TestLatencyDoesNotQueue holds all requests at the server until the last one
// is there: a proxy that lets fewer through at once never gets to the end.
func TestLatencyDoesNotQueue(t *testing.T) {
	const n = 50
	var arrived sync.WaitGroup
	arrived.Add(n)
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Done()
		arrived.Wait()
	})
	p.SetLatency(30 * time.Millisecond)
	c := client(t)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			if _, _, err := do(t, c, "GET", fmt.Sprintf("%s/b/%d", p.URL(), i), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took < 30*time.Millisecond {
		t.Errorf("%d requests took %v in all, less than the latency of one", n, took)
	}
}

func TestFaults(t *testing.T) {
	var served atomic.Int32
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, strings.Repeat("x", 1000))
	})
	c := client(t)
	for _, tc := range []struct {
		fault      Fault
		wantServed int32
		wantStatus int
		wantErr    bool
		wantLen    int
	}{
		{Fault{Kind: SlowDown}, 0, 503, false, -1},
		{Fault{Kind: ResetBefore}, 0, 0, true, 0},
		{Fault{Kind: ResetAfter}, 1, 0, true, 0},
		{Fault{Kind: Truncate}, 1, 200, true, 500},
		{Fault{Kind: StallBefore, Stall: time.Millisecond}, 0, 0, true, 0},
		{Fault{Kind: StallAfter, Stall: time.Millisecond}, 1, 200, true, 500},
		{Fault{Kind: SlowDown, Ops: []string{PutObject}}, 1, 200, false, 1000},
		{Fault{Kind: SlowDown, Key: "other"}, 1, 200, false, 1000},
		{Fault{Kind: SlowDown, From: 2}, 1, 200, false, 1000},
	} {
		served.Store(0)
		p.Reset()
		p.SetFaults(1, tc.fault)
		// POST is not repeated by net/http after a reset.
		status, body, err := do(t, c, "POST", p.URL()+"/b/key", "body")
		name := fmt.Sprintf("%v %+v", tc.fault.Kind, tc.fault)
		if (err != nil) != tc.wantErr || status != tc.wantStatus || served.Load() != tc.wantServed {
			t.Errorf("%s: got status %d, error %v, served %d", name, status, err, served.Load())
		}
		if tc.wantLen >= 0 && len(body) != tc.wantLen {
			t.Errorf("%s: got %d bytes, want %d", name, len(body), tc.wantLen)
		}
		if err := p.WaitQuiet(t.Context(), time.Millisecond, nil); err != nil {
			t.Fatal(err)
		}
		want := 1
		if tc.wantServed == 1 && !tc.wantErr {
			want = 0
		}
		if got := p.Stats().Ops[Other].Faults; got != want {
			t.Errorf("%s: counted %d faults, want %d", name, got, want)
		}
	}
}

func TestFaultSelection(t *testing.T) {
	var f faultPlan
	run := func(faults ...Fault) string {
		f.set(7, faults)
		var b strings.Builder
		for range 6 {
			if f.next(PutObject, "k") != nil {
				b.WriteByte('x')
			} else {
				b.WriteByte('.')
			}
		}
		return b.String()
	}
	for _, tc := range []struct {
		fault Fault
		want  string
	}{
		{Fault{Kind: SlowDown}, "xxxxxx"},
		{Fault{Kind: SlowDown, From: 3}, "..xxxx"},
		{Fault{Kind: SlowDown, From: 3, Count: 1}, "..x..."},
		{Fault{Kind: SlowDown, Count: 2}, "xx...."},
	} {
		if got := run(tc.fault); got != tc.want {
			t.Errorf("%+v: got %s, want %s", tc.fault, got, tc.want)
		}
	}
}

func TestFaultProbabilityDependsOnSeedAlone(t *testing.T) {
	hits := func(seed uint64, reversed bool) (set map[string]bool) {
		var f faultPlan
		f.set(seed, []Fault{{Kind: SlowDown, Probability: 0.25}})
		set = map[string]bool{}
		for i := range 2000 {
			if reversed {
				i = 1999 - i
			}
			key := fmt.Sprint("key", i)
			if f.next(PutObject, key) != nil {
				set[key] = true
			}
		}
		return set
	}
	a, b, other := hits(1, false), hits(1, true), hits(2, false)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Error("the order of requests changes which ones fail")
	}
	if fmt.Sprint(a) == fmt.Sprint(other) {
		t.Error("the seed does not matter")
	}
	if len(a) < 400 || len(a) > 600 {
		t.Errorf("%d of 2000 failed, want about 500", len(a))
	}
}

func TestWaitQuiet(t *testing.T) {
	release := make(chan struct{})
	p := start(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "slow") {
			<-release
		}
	})
	c := client(t)
	var wg sync.WaitGroup
	wg.Go(func() { do(t, c, "GET", p.URL()+"/b/slow", "") })
	for p.Stats().Total() == 0 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := p.WaitQuiet(ctx, time.Millisecond, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request under way: got %v", err)
	}
	if err := p.WaitQuiet(t.Context(), time.Millisecond, func(op, key string) bool { return key == "slow" }); err != nil {
		t.Errorf("with that request ignored: got %v", err)
	}
	close(release)
	wg.Wait()
	if err := p.WaitQuiet(t.Context(), time.Millisecond, nil); err != nil {
		t.Errorf("after it: got %v", err)
	}
}

func TestIgnoreConditions(t *testing.T) {
	var got http.Header
	p := start(t, func(w http.ResponseWriter, r *http.Request) { got = r.Header })
	p.IgnoreConditions("key", "secret", "us-east-1")
	c := client(t)
	const hash = "UNSIGNED-PAYLOAD"
	do(t, c, "PUT", p.URL()+"/b/k", "x", "If-None-Match", "*", "X-Amz-Content-Sha256", hash, "Authorization", "old")
	if got.Get("If-None-Match") != "" || !strings.HasPrefix(got.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=key/") {
		t.Errorf("conditional PUT: got headers %v", got)
	}
	do(t, c, "GET", p.URL()+"/b/k", "", "If-None-Match", "e", "Authorization", "old")
	if got.Get("If-None-Match") != "e" || got.Get("Authorization") != "old" {
		t.Errorf("GET: got headers %v", got)
	}
}

func TestCloseEndsStalledRequests(t *testing.T) {
	p := start(t, func(w http.ResponseWriter, r *http.Request) {})
	p.SetFaults(1, Fault{Kind: StallBefore})
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := do(t, client(t), "POST", p.URL()+"/b/k", ""); err == nil {
			t.Error("a request stalled for good got an answer")
		}
	})
	for p.Stats().Total() == 0 {
		time.Sleep(time.Millisecond)
	}
	p.Close()
	wg.Wait()
}

func BenchmarkPut(b *testing.B) {
	p := start(b, func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) })
	c := client(b)
	body := strings.Repeat("x", 2500)
	for b.Loop() {
		if _, _, err := do(b, c, "PUT", p.URL()+"/b/k", body); err != nil {
			b.Fatal(err)
		}
	}
}
