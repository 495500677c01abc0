package pages

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/gateway/access"
	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs"
)

// newListing shows a filesystem with these objects, whose sizes are those of
// their names.
func newListing(t *testing.T, keys ...string) *Listing {
	t.Helper()
	s := mem.New()
	for _, k := range keys {
		if _, err := s.Put(t.Context(), k, store.Body{Reader: strings.NewReader(k), Size: int64(len(k))}, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := vfs.Open(t.Context(), vfs.Options{Store: s, StateDir: t.TempDir(), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n := fs.Stats().Nodes; n > 1 {
			t.Errorf("%d nodes are still known: references were kept", n)
		}
		if err := fs.Close(t.Context(), nil); err != nil {
			t.Error(err)
		}
	})
	return &Listing{Files: fs, Bucket: "bucket"}
}

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestListing(t *testing.T) {
	l := newListing(t, "a.txt", "longer name.txt", "d/x", "e & <f>/y", "-/hidden")
	w := get(l, "/")
	body := w.Body.String()
	for _, want := range []string{
		`href="./d/"`, `href="./e%20&amp;%20%3Cf%3E/"`, `<span>e &amp; &lt;f&gt;</span>`, `href="./longer%20name.txt"`, "2 folders, 2 files, 20 B",
		`aria-sort="ascending"`, `href="?order=desc"`, `href="?order=desc&amp;sort=size"`, "data-upload",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, `href="./-/"`) {
		t.Error("the directory whose place the status page has is shown")
	}
	if csp := w.Header().Get("Content-Security-Policy"); csp != policy || strings.Contains(csp, "unsafe") {
		t.Errorf("policy %q", csp)
	}
	if strings.Contains(body, " style=") || strings.Contains(body, " onclick=") || strings.Contains(body, "<script>") {
		t.Error("something is inline")
	}
	for path, status := range map[string]int{"/d/": 200, "/d": 301, "/absent/": 404, "/a.txt/": 404, "/d/x/": 404, "/d/../": 400, "//": 400} {
		w := get(l, path)
		if w.Code != status {
			t.Errorf("%s: %d, want %d", path, w.Code, status)
		}
		if status == 301 && w.Header().Get("Location") != "/d/" {
			t.Errorf("leads to %q", w.Header().Get("Location"))
		}
	}
	w = httptest.NewRecorder()
	if l.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil)); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %d", w.Code)
	}
}

// TestListingShowsWhatIsAllowed goes through a Gate with rules.
func TestListingShowsWhatIsAllowed(t *testing.T) {
	l := newListing(t, "open/a", "secret/b")
	rules := t.TempDir() + "/rules"
	writeFile(t, rules, access.Anonymous+" / read\n"+access.Anonymous+" /secret none\n")
	g, err := access.Open(access.Config{Rules: rules, NoAuth: true})
	if err != nil {
		t.Fatal(err)
	}
	body := get(g.Wrap(l), "/").Body.String()
	if !strings.Contains(body, "open") || strings.Contains(body, "secret") || strings.Contains(body, "data-upload") || strings.Contains(body, `href="/-/"`) {
		t.Errorf("got\n%s", body)
	}
}

func TestPager(t *testing.T) {
	var keys []string
	for i := range 2 * perPage {
		keys = append(keys, fmt.Sprintf("f%05d", i))
	}
	l := newListing(t, append(keys, "last")...)
	for query, want := range map[string][]string{
		"":                   {"f00000<", `<a href="?page=2" rel="next">`},
		"?page=2":            {"f01000<", `rel="prev"`, `rel="next"`},
		"?page=99":           {"last<", `<a href="?page=2" rel="prev">`},
		"?page=-1":           {"f00000<"},
		"?order=desc&page=3": {"f00000<", `<a href="?order=desc&amp;page=2" rel="prev">`},
	} {
		body := get(l, "/"+query).Body.String()
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%q: no %q", query, w)
			}
		}
		if n := strings.Count(body, "<tr class"); n > perPage {
			t.Errorf("%q: %d rows", query, n)
		}
	}
}

func TestOrder(t *testing.T) {
	at := time.Unix(1e9, 0)
	all := []entry{{"b", "file", 1, at}, {"A", "file", 3, at.Add(1)}, {"z", "dir", 0, at}, {"c", "file", 1, at.Add(2)}, {"y", "dir", 0, at.Add(1)}}
	for query, want := range map[string]string{
		"": "y z A b c", "order=desc": "z y c b A", "sort=size": "y z b c A", "sort=size&order=desc": "y z A b c",
		"sort=time": "z y b A c", "sort=time&order=desc": "y z c A b", "sort=odd&order=odd": "y z A b c",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		orderOf(q).sort(all)
		var got []string
		for _, e := range all {
			got = append(got, e.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", query, got, want)
		}
	}
}

func TestText(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 10_240: "10.0 KiB", 1 << 20: "1.00 MiB", 1023 << 10: "1.00 MiB", 1<<63 - 1: "8.00 EiB"} {
		if got := humanSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1\u202f000", -1234567: "-1\u202f234\u202f567", -100: "-100"} {
		if got := humanCount(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{-1: "0 s", 61 * time.Second: "1 min 1 s", 25 * time.Hour: "25 h 0 min", 100 * time.Hour: "4 days"} {
		if got := humanDuration(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestHistory(t *testing.T) {
	h := newHistory(3)
	if s := h.samples(); s == nil || len(s) != 0 {
		t.Errorf("at first %v", s)
	}
	for i := range 5 {
		h.add(Sample{At: int64(i), Commits: float64(i)})
	}
	if s := h.samples(); len(s) != 3 || s[0].At != 2 || s[2].At != 4 || h.recently().Commits != 3 {
		t.Errorf("then %v, %v", s, h.recently())
	}
	old := status.Report{Files: vfs.Stats{Commits: 10}, Requests: []status.Request{{Kind: "GET", Count: 5}}}
	now := status.Report{Files: vfs.Stats{Commits: 14, CommitErrors: 2}, Requests: []status.Request{{Kind: "GET", Count: 9}, {Kind: "HEAD", Count: 2}, {Kind: "PUT", Count: 4, Errors: 2}, {Kind: "LIST", Count: 6}, {Kind: "DELETE-MANY", Count: 8}}}
	want := Sample{At: 1000, Commits: 2, Failed: 1, Reads: 3, Writes: 2, Lists: 3, Deletes: 4, Errors: 1}
	if got := between(old, now, time.UnixMilli(1000), 2*time.Second); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestKinds wants every kind of request in one of the groups that it belongs to.
func TestKinds(t *testing.T) {
	for _, op := range store.Ops() {
		var s Sample
		*groupOf(string(op))(&s) = 1
		name := string(op)
		want := s.Writes
		switch {
		case strings.HasPrefix(name, "LIST"):
			want = s.Lists
		case strings.HasPrefix(name, "DELETE"), strings.HasPrefix(name, "ABORT"):
			want = s.Deletes
		case name == "GET", name == "HEAD":
			want = s.Reads
		}
		if want != 1 {
			t.Errorf("%s counts for %+v", op, s)
		}
	}
}

// openPages serves pages whose report says how often it was asked for.
func openPages(t *testing.T, c Config) (*Pages, *httptest.Server) {
	t.Helper()
	var asked atomic.Int64
	c.Source = func() status.Report {
		return status.Report{State: status.Serving, Bucket: "s3://b", Files: vfs.Stats{Commits: asked.Add(1)}, Locks: []status.LockReport{{
			Path: "p", Holders: []status.LockHolder{{Host: "h<1>", PID: 7}}, Waiters: []status.LockWaiter{{Place: 1, Host: "w"}},
		}}}
	}
	c.Status = status.Handler(c.Source)
	p := Open(c)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return p, s
}

func TestStatusPage(t *testing.T) {
	p, s := openPages(t, Config{Interval: time.Millisecond})
	defer p.Close()
	w := get(p, "/-/")
	for _, want := range []string{"Held by", "h&lt;1&gt; · pid 7", "1 waiting", "Serving"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %q in\n%s", want, w.Body)
		}
	}
	if w.Header().Get("Content-Security-Policy") != policy {
		t.Errorf("headers %v", w.Header())
	}
	for path, code := range map[string]int{"/-/health": 200, "/-/ready": 200, "/-/metrics": 200, "/-/api/status": 200, "/-/api/locks": 200, "/-/api/history": 200, "/-/x": 404, "/-/assets/x.css": 404} {
		if w := get(p, path); w.Code != code {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	var locks []status.LockReport
	if err := json.Unmarshal(get(p, "/-/api/locks").Body.Bytes(), &locks); err != nil || len(locks) != 1 {
		t.Errorf("locks %v, %v", locks, err)
	}
	for name := range loaded.names {
		path, err := asset(name)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get(s.URL + path)
		if err != nil || resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Fatalf("%s: %v, %v", path, resp, err)
		}
		resp.Body.Close()
	}
}

// TestEvents reads the stream until samples have come, and sees it end by Close.
func TestEvents(t *testing.T) {
	p, s := openPages(t, Config{Interval: 5 * time.Millisecond, Viewers: 1})
	resp, err := http.Get(s.URL + "/-/api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if ct := resp.Header.Get("Content-Type"); ct != "text/event-stream" {
		t.Errorf("content type %q", ct)
	}
	if w := get(p, "/-/api/events"); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a viewer too many: %d", w.Code)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	samples := 0
	for samples < 3 && lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var st state
		if err := json.Unmarshal([]byte(data), &st); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(st.Parts["part-locks"], "h&lt;1&gt;") || len(st.Parts) != len(partNames) {
			t.Errorf("parts %v", st.Parts)
		}
		samples += len(st.Samples)
	}
	if samples < 3 {
		t.Fatalf("the stream ended: %v", lines.Err())
	}
	p.Close()
	for lines.Scan() {
	}
	if len(p.history.samples()) < 2 {
		t.Errorf("history %v", p.history.samples())
	}
}

// TestEmptyReport renders what a gateway that has done nothing says.
func TestEmptyReport(t *testing.T) {
	p := Open(Config{Source: func() status.Report { return status.Report{State: status.Draining} }})
	defer p.Close()
	if w := get(p, "/-/"); w.Code != 200 || !strings.Contains(w.Body.String(), "Nobody holds a lock") || !strings.Contains(w.Body.String(), "Finishing") {
		t.Errorf("%d\n%s", w.Code, w.Body)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
