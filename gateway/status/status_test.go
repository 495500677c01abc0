package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/causewayfs/causeway/vfs"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the golden files")

// full is a Report in which every field is set.
func full() Report {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return Report{
		Version: "v1.2.3", State: Serving, PID: 42, Started: at, UptimeSecs: 61.5,
		Mountpoint: "/mnt", Bucket: "s3://bucket/prefix", Endpoint: "http://127.0.0.1:9000", Region: "us-east-1",
		StateDir: "/var/lib/causeway/bucket", ReadOnly: true, SingleWriter: true, Missing: []string{"If-Match on DELETE"},
		S3:     Reach{State: Away, Since: at, Outages: 1, Waiting: 2, Refused: 3, Probes: 4, Retries: 5, BudgetWaits: 6},
		Commit: "local", Goroutines: 4, OpenFDs: 5, Memory: Memory{Resident: 1, Heap: 2, Limit: 3},
		Files: vfs.Stats{
			Nodes: 1, OpenHandles: 2, StagedFiles: 3, StagedBytes: 4, DirtyFiles: 5, Committing: 6, Commits: 7,
			CommitErrors: 8, PendingUnlink: 9, PendingAttr: 10, KeptVersions: 11, Recalled: 18, CacheBytes: 12, CacheFiles: 13,
			IndexEntries: 14, IndexDirs: 15, HiddenKeys: 16, Gateways: 17, SpoolFiles: 18, SpoolBytes: 19, SpoolOldest: at.Add(30 * time.Second),
			JournalIntents: 20, JournalBytes: 21,
			Trees:     []vfs.TreeProgress{{Op: "rename", Src: "a", Dst: "b", Phase: "copying", Done: 18, Total: 19, Since: at, Resumed: true}},
			LastError: "put a: timed out", LastErrorTime: at,
		},
		Requests: []Request{{
			Kind: "PUT", Count: 10, Errors: 1, InFlight: 2, Outcomes: map[string]int64{"timed out": 1, "conflicting write": 2},
			MeanMs: 16.5, P50Ms: 15.5, P99Ms: 99, MaxMs: 120, BytesSent: 1000, BytesReceived: 20,
		}},
		Uncommitted: []vfs.Uncommitted{{Path: "a.tmp", Size: 22, Since: at, Staged: true}},
		Kept:        []vfs.KeptVersion{{ID: "x-1", Path: "b", Size: 23, Time: at, Reason: "stale", Base: "etag"}},
		Locks: []LockReport{{
			Path: "db", Mode: "exclusive", Tree: true,
			Holders: []LockHolder{{Host: "h1", PID: 24, Command: "make", Via: "lock", Since: at, Fence: 25, Cached: true}},
			Waiters: []LockWaiter{{Place: 1, Host: "h2", PID: 26, Command: "deploy", Mode: "shared", Since: at}},
		}},
	}
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// TestShape compares the JSON with the golden file: programs read it.
func TestShape(t *testing.T) {
	w := get(t, Handler(full), "/status")
	if ct := w.Header().Get("Content-Type"); w.Code != http.StatusOK || ct != "application/json" {
		t.Errorf("status %d, content type %q", w.Code, ct)
	}
	golden := filepath.Join("testdata", "status.json")
	if *rewrite {
		if err := os.WriteFile(golden, w.Body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(w.Body.Bytes(), want) {
		t.Errorf("got\n%s\nwant\n%s", w.Body, want)
	}
}

func TestMetrics(t *testing.T) {
	more := prometheus.NewCounter(prometheus.CounterOpts{Name: "more_total", Help: "More."})
	more.Add(5)
	w := get(t, Handler(full, more), "/-/metrics")
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	for _, line := range []string{
		`causeway_info{bucket="s3://bucket/prefix",mountpoint="/mnt",version="v1.2.3"} 1`,
		`more_total 5`,
		`causeway_commits_total 7`,
		`causeway_staged_bytes 4`,
		`causeway_spool_files 18`,
		`causeway_spool_bytes 19`,
		`causeway_spool_oldest_age_seconds 31.5`,
		`causeway_journal_intents 20`,
		`causeway_journal_bytes 21`,
		`causeway_goroutines 4`,
		`causeway_open_fds 5`,
	} {
		if !strings.Contains(w.Body.String(), line+"\n") {
			t.Errorf("no line %q in\n%s", line, w.Body)
		}
	}
}

// TestMetricNames checks the conventions that Prometheus has for names.
func TestMetricNames(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(collector{full}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		counter := f.GetType().String() == "COUNTER"
		if !strings.HasPrefix(f.GetName(), "causeway_") || counter != strings.HasSuffix(f.GetName(), "_total") {
			t.Errorf("%s is a %s", f.GetName(), f.GetType())
		}
		if !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s: help %q is no sentence", f.GetName(), f.GetHelp())
		}
	}
	if len(families) < 15 {
		t.Errorf("only %d metrics", len(families))
	}
}

func TestHealth(t *testing.T) {
	r := full()
	h := Handler(func() Report { return r })
	if w := get(t, h, "/-/health"); w.Code != http.StatusOK {
		t.Errorf("serving: status %d", w.Code)
	}
	r.State = Draining
	if w := get(t, h, "/-/health"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "draining\n" {
		t.Errorf("draining: status %d, %q", w.Code, w.Body)
	}
}

func TestReady(t *testing.T) {
	r := full()
	h := Handler(func() Report { return r })
	for _, c := range []struct {
		state State
		s3    string
		want  int
	}{{Serving, "reachable", 200}, {Serving, "doubtful", 200}, {Serving, Away, 503}, {Draining, "reachable", 503}} {
		r.State, r.S3.State = c.state, c.s3
		if w := get(t, h, "/-/ready"); w.Code != c.want {
			t.Errorf("%s, S3 %s: status %d", c.state, c.s3, w.Code)
		}
	}
}

// TestSortLocks wants what somebody waits for to be first.
func TestSortLocks(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	held := func(path string, age time.Duration, waiters ...LockWaiter) LockReport {
		return LockReport{Path: path, Holders: []LockHolder{{Since: at.Add(-age)}}, Waiters: waiters}
	}
	r := Report{Locks: []LockReport{held("young", time.Second), held("old", time.Hour), held("one", 0, LockWaiter{Place: 1}), held("two", 0, LockWaiter{Place: 2}, LockWaiter{Place: 1})}}
	SortLocks(r.Locks)
	var got []string
	for _, l := range r.Locks {
		got = append(got, l.Path)
	}
	if strings.Join(got, " ") != "two one old young" || r.Locks[0].Waiters[0].Place != 1 || r.lockWaiters() != 3 {
		t.Errorf("%v, %v", got, r.Locks[0].Waiters)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	h := Handler(full)
	if w := get(t, h, "/"); w.Code != http.StatusNotFound {
		t.Errorf("/: status %d", w.Code)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/status", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST /status: status %d", w.Code)
	}
}

// serveOn runs a Server on the control socket of a new state directory.
func serveOn(t *testing.T, run string) Entry {
	t.Helper()
	state := t.TempDir()
	e := Entry{Mountpoint: "/mnt", Bucket: "s3://b", StateDir: state, Socket: SocketPath(state, run), PID: 1}
	s := NewServer(full, nil)
	if err := s.ListenUnix(e.Socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestFindAndFetch(t *testing.T) {
	run := t.TempDir()
	e := serveOn(t, run)
	remove, err := Register(run, e)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(e.Socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	found := Entries(run, filepath.Join(run, "absent"))
	if len(found) != 1 || found[0].Mountpoint != e.Mountpoint || found[0].StateDir != e.StateDir {
		t.Fatalf("found %v", found)
	}
	r, err := Fetch(t.Context(), found[0])
	if err != nil {
		t.Fatal(err)
	}
	got, want := mustJSON(t, r), mustJSON(t, full())
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	remove()
	if found := Entries(run); len(found) != 0 {
		t.Errorf("after the removal: %v", found)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestStaleEntries: a killed gateway leaves its entry and its socket; both
// are seen through, and the next gateway takes over.
func TestStaleEntries(t *testing.T) {
	run, state := t.TempDir(), t.TempDir()
	socket := filepath.Join(state, SocketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	gone := Entry{Mountpoint: "/gone", StateDir: "/nowhere", Socket: filepath.Join(state, "absent")}
	for _, e := range []Entry{{Mountpoint: "/mnt", StateDir: state, Socket: socket}, gone} {
		if _, err := Register(run, e); err != nil {
			t.Fatal(err)
		}
	}
	for _, e := range Entries(run) {
		if _, err := Fetch(t.Context(), e); !errors.Is(err, ErrNotRunning) {
			t.Errorf("%s: %v, want ErrNotRunning", e.Mountpoint, err)
		}
	}
	if left := Entries(run); len(left) != 0 {
		t.Errorf("stale entries are still there: %v", left)
	}
	s := NewServer(full, nil)
	if err := s.ListenUnix(socket); err != nil {
		t.Errorf("take the socket over: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnreadableEntriesArePassedOver(t *testing.T) {
	run := t.TempDir()
	for name, text := range map[string]string{"a.json": "{", "b.json": "{}", "c.txt": `{"socket":"/x"}`} {
		if err := os.WriteFile(filepath.Join(run, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found := Entries(run); len(found) != 0 {
		t.Errorf("found %v", found)
	}
}

func TestLongStateDirectory(t *testing.T) {
	run := t.TempDir()
	long := filepath.Join("/", strings.Repeat("d", 200))
	path := SocketPath(long, run)
	if filepath.Dir(path) != run || path == SocketPath(long+"x", run) {
		t.Errorf("socket of a long state directory: %s", path)
	}
	if got := SocketPath("/short", run); got != "/short/"+SocketName {
		t.Errorf("socket of a short state directory: %s", got)
	}
}

func TestTCP(t *testing.T) {
	s := NewServer(full, nil)
	addr, err := s.ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + addr.String() + "/-/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
	if _, err := NewServer(full, nil).ListenTCP(addr.String()); err == nil {
		t.Error("two servers on one address")
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
