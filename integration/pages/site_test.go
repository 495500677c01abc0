//go:build integration

package pages

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/gateway/access"
	"github.com/causewayfs/causeway/gateway/pages"
	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs"
)

// site is a filesystem with its pages behind an address.
type site struct {
	url   string
	store *mem.Store
	fs    *vfs.FS

	mu     sync.Mutex
	report status.Report
	work   func(*status.Report) // called for each report, if set
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{store: mem.New(), report: sampleReport()}
	for key, size := range map[string]int{
		"README.md": 2312, "Q3 figures.xlsx": 48_120, "holiday in the hills.jpg": 3_482_112, "notes.txt": 812, "backup.tar.zst": 18_734_080,
		"archive/2024/a": 1, "archive/2025/a": 1, "build output/log": 5, "datasets/one.csv": 5_000,
		"datasets/a file with a very long name that goes on and on, and has no end in sight, for it tests how that is shown.parquet": 1_234_567,
	} {
		s.object(t, key, size)
	}
	fs, err := vfs.Open(t.Context(), vfs.Options{
		Store: s.store, StateDir: t.TempDir(), Bucket: "s3://team-files",
		Capabilities: store.Capabilities{PutIfAbsent: true, PutIfMatch: true, CompleteIf: true, DeleteIf: true, CopySourceIf: true, CopyIf: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.fs = fs
	source := func() status.Report {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.work != nil {
			s.work(&s.report)
		}
		r := s.report
		r.Requests = slices.Clone(r.Requests)
		r.Kept, r.Locks = slices.Clone(r.Kept), slices.Clone(r.Locks)
		return r
	}
	p := pages.Open(pages.Config{Source: source, Status: status.Handler(source), Interval: 250 * time.Millisecond, Files: true})
	gate, err := access.Open(access.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gate.Wrap(s.routes(p, &pages.Listing{Files: fs, Bucket: "team-files"})))
	t.Cleanup(func() {
		p.Close()
		server.Close()
		if err := fs.Close(context.Background(), nil); err != nil {
			t.Error(err)
		}
	})
	s.url = server.URL
	return s
}

func (s *site) object(t *testing.T, key string, size int) {
	t.Helper()
	body := store.Body{Reader: strings.NewReader(strings.Repeat("x", size)), Size: int64(size)}
	if _, err := s.store.Put(t.Context(), key, body, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// read returns what an object holds.
func (s *site) read(t *testing.T, key string) string {
	t.Helper()
	obj, err := s.store.Get(t.Context(), key, store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Body.Close()
	data, err := io.ReadAll(obj.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func (s *site) routes(status, listing http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, "/-/"):
			status.ServeHTTP(w, r)
		case r.Method == http.MethodPut:
			s.put(w, r)
		default:
			listing.ServeHTTP(w, r)
		}
	})
}

// put stores a file as a WebDAV server would.
func (s *site) put(w http.ResponseWriter, r *http.Request) {
	flags := syscall.O_WRONLY | syscall.O_TRUNC
	if r.Header.Get("If-None-Match") == "*" {
		flags |= syscall.O_EXCL
	}
	err := s.write(r.Context(), strings.Trim(r.URL.Path, "/"), flags, r.Body)
	switch {
	case err == nil:
		w.WriteHeader(http.StatusCreated)
	case vfs.KindOf(err) == vfs.Exist:
		w.WriteHeader(http.StatusPreconditionFailed)
	default:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func (s *site) write(ctx context.Context, name string, flags int, body io.Reader) error {
	dir, base := path.Split(name)
	parent := vfs.RootID
	for c := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		if c == "" {
			continue
		}
		known, err := s.fs.Lookup(ctx, parent, c)
		if err != nil {
			return err
		}
		defer s.fs.Forget(known.ID, 1)
		parent = known.ID
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	known, h, err := s.fs.Create(ctx, vfs.Caller{}, parent, base, flags, 0o644)
	if err != nil {
		return err
	}
	defer s.fs.Forget(known.ID, 1)
	defer s.fs.Release(h)
	_, err = s.fs.Write(ctx, h, data, 0)
	return errors.Join(err, s.fs.Flush(ctx, h))
}

// change edits the report that the status page shows.
func (s *site) change(edit func(*status.Report)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	edit(&s.report)
}

// sampleReport is of a gateway that has something of everything.
func sampleReport() status.Report {
	now := time.Date(2026, 3, 4, 15, 6, 7, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	up := 3*time.Hour + 12*time.Minute
	r := status.Report{
		Version: "v1.4.0", State: status.Serving, PID: 4711, Started: ago(up), UptimeSecs: up.Seconds(),
		Mountpoint: "/mnt/team", Bucket: "s3://team-files", Endpoint: "http://10.0.0.5:9000", Region: "us-east-1", Commit: "remote",
		S3: status.Reach{State: "reachable"}, Memory: status.Memory{Resident: 148 << 20, Limit: 512 << 20},
		Files: vfs.Stats{
			Nodes: 1520, OpenHandles: 14, StagedFiles: 1, StagedBytes: 31_457_280, DirtyFiles: 2, Committing: 2, Commits: 18_342, CommitErrors: 1, KeptVersions: 1,
			CacheBytes: 6 << 30, CacheFiles: 8_210, IndexEntries: 412_806, IndexDirs: 9_120, Gateways: 2,
			Trees: []vfs.TreeProgress{{Op: "rename", Src: "builds/nightly", Dst: "builds/2026-03-04", Phase: "copying", Done: 412, Total: 980, Since: ago(time.Minute)}},
		},
		Uncommitted: []vfs.Uncommitted{
			{Path: "models/run-81/checkpoint.bin", Size: 31_000_000, Since: ago(4 * time.Second)},
			{Path: "reports/.march.docx.tmp", Size: 457_280, Since: ago(41 * time.Second), Staged: true},
		},
		Kept: []vfs.KeptVersion{{ID: "k1", Path: "shared/plan.md", Size: 8_112, Time: ago(25 * time.Minute), Reason: "replaced by another gateway since it was opened"}},
		Locks: []status.LockReport{
			{Path: "releases/stable", Mode: "exclusive", Tree: true,
				Holders: []status.LockHolder{{Host: "build-7", PID: 4121, Command: "make release VERSION=1.4.0", Via: "causeway lock", Since: ago(194 * time.Second), Fence: 42}},
				Waiters: []status.LockWaiter{
					{Place: 1, Host: "build-3", PID: 880, Command: "make release", Mode: "exclusive", Since: ago(112 * time.Second)},
					{Place: 2, Host: "files-1", PID: 5210, Command: "rsync -a site/ releases/", Mode: "exclusive", Since: ago(71 * time.Second)},
					{Place: 3, Host: "ann-laptop", Command: "Finder", Mode: "shared", Since: ago(9 * time.Second)},
				}},
			{Path: "datasets/index.db", Mode: "exclusive", Holders: []status.LockHolder{{Host: "files-1", PID: 5177, Command: "sqlite3", Via: "fcntl", Since: ago(2 * time.Second), Fence: 9}}},
			{Path: "reports/march.docx", Mode: "shared", Holders: []status.LockHolder{{Host: "ann-laptop", Command: "Word", Via: "webdav", Since: ago(22 * time.Minute), Fence: 3}, {Host: "bob-laptop", Command: "Word", Via: "webdav", Since: ago(5 * time.Minute), Fence: 4}}},
		},
	}
	for i, k := range []string{"PUT", "GET", "HEAD", "LIST", "DELETE-MANY", "COPY", "UPLOAD-PART"} {
		n := int64(20_000 / (i + 1))
		ms := []float64{21, 12, 8.4, 34, 28, 47, 310}[i]
		r.Requests = append(r.Requests, status.Request{Kind: k, Count: n, Errors: []int64{2, 0, 0, 0, 0, 0, 1}[i], P50Ms: ms, P99Ms: ms * 5.5, BytesSent: n * 1000})
	}
	return r
}

func shotName(page string, width int) string { return fmt.Sprintf("%s-%d.png", page, width) }
