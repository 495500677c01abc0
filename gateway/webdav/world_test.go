package webdav

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs"
)

// counted counts the requests for files that reach a store.
type counted struct {
	store.Store
	mu  sync.Mutex
	ops map[store.Op]int
}

func (c *counted) count(op store.Op, key string) {
	if strings.HasPrefix(key, ".causeway/") {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops[op]++
}

func (c *counted) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = map[store.Op]int{}
}

// String is the counts in a fixed order, such as "GET 1, PUT 2".
func (c *counted) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for op, n := range c.ops {
		parts = append(parts, fmt.Sprintf("%s %d", op, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func (c *counted) Get(ctx context.Context, key string, o store.GetOptions) (*store.Object, error) {
	c.count(store.OpGet, key)
	return c.Store.Get(ctx, key, o)
}

func (c *counted) Head(ctx context.Context, key string) (store.Info, error) {
	c.count(store.OpHead, key)
	return c.Store.Head(ctx, key)
}

func (c *counted) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	c.count(store.OpList, o.Prefix)
	return c.Store.List(ctx, o)
}

func (c *counted) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	c.count(store.OpPut, key)
	return c.Store.Put(ctx, key, b, o)
}

func (c *counted) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (store.Info, error) {
	c.count(store.OpCopy, dst)
	return c.Store.Copy(ctx, src, dst, o)
}

func (c *counted) UploadPart(ctx context.Context, key string, id store.UploadID, n int, b store.Body) (store.Part, error) {
	c.count(store.OpUploadPart, key)
	return c.Store.UploadPart(ctx, key, id, n, b)
}

// world is a handler on a filesystem on a store that others may share.
type world struct {
	t     *testing.T
	ops   *counted
	fs    *vfs.FS
	locks *MemoryLocks
	url   string
	// now is added to the time that locks see.
	skew time.Duration
}

func newWorld(t *testing.T, s store.Store, change func(*Config)) *world {
	t.Helper()
	return newWorldWith(t, s, change, nil)
}

func newWorldWith(t *testing.T, s store.Store, change func(*Config), options func(*vfs.Options)) *world {
	t.Helper()
	if s == nil {
		s = mem.New()
	}
	w := &world{t: t, ops: &counted{Store: s, ops: map[store.Op]int{}}}
	o := vfs.Options{Store: w.ops, StateDir: t.TempDir(), Umask: 0o22, GatewayID: fmt.Sprint(t.Name(), time.Now().UnixNano()),
		Capabilities: store.Capabilities{PutIfAbsent: true, PutIfMatch: true, CompleteIf: true, DeleteIf: true, CopySourceIf: true, CopyIf: true}}
	if options != nil {
		options(&o)
	}
	var err error
	if w.fs, err = vfs.Open(context.Background(), o); err != nil {
		t.Fatalf("Open: %v", err)
	}
	w.locks = NewMemoryLocks(func() time.Time { return time.Now().Add(w.skew) })
	c := Config{Files: w.fs.Beside(), Locks: w.locks}
	if change != nil {
		change(&c)
	}
	server := httptest.NewServer(New(c))
	w.url = server.URL
	t.Cleanup(func() {
		server.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := w.fs.Close(ctx, nil); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return w
}

// answer is what came back.
type answer struct {
	code int
	http.Header
	body string
}

// send sends a request: "METHOD /path", header lines as "Name: value", a body.
func (w *world) send(line, body string, header ...string) answer {
	w.t.Helper()
	method, path, _ := strings.Cut(line, " ")
	r, err := http.NewRequest(method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, strings.ReplaceAll(value, "URL", w.url))
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatalf("%s: %v", line, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// want sends a request and wants a status.
func (w *world) want(code int, line, body string, header ...string) answer {
	w.t.Helper()
	a := w.send(line, body, header...)
	if a.code != code {
		w.t.Errorf("%s %v: got %d %q, want %d", line, header, a.code, short(a.body), code)
	}
	return a
}

// holds wants a file to have a text.
func (w *world) holds(path, text string) {
	w.t.Helper()
	if a := w.send("GET "+path, ""); a.code != 200 || a.body != text {
		w.t.Errorf("GET %s: got %d %q, want 200 %q", path, a.code, short(a.body), short(text))
	}
}

// absent wants nothing to be at a path.
func (w *world) absent(path string) {
	w.t.Helper()
	w.want(404, "PROPFIND "+path, "", "Depth: 0")
}

func short(s string) string { return s[:min(len(s), 300)] }

// raw sends bytes on a connection of its own, ends its half of it if cut is
// set, and returns what comes back.
func (w *world) raw(request string, cut bool) string {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.url, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		w.t.Fatal(err)
	}
	if cut {
		conn.(*net.TCPConn).CloseWrite()
	}
	b, _ := io.ReadAll(conn)
	return string(b)
}

const (
	lockBody   = `<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner><D:href>me</D:href></D:owner></D:lockinfo>`
	sharedBody = `<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>`
)

// lock takes a lock and returns its token.
func (w *world) lock(path, body string, header ...string) string {
	w.t.Helper()
	a := w.send("LOCK "+path, body, header...)
	token := strings.Trim(a.Get("Lock-Token"), "<>")
	if a.code != 200 && a.code != 201 || token == "" {
		w.t.Fatalf("LOCK %s: got %d %q", path, a.code, a.body)
	}
	return token
}
