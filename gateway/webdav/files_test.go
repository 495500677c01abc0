package webdav

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs"
)

// RFC 9110 section 14: ranges.
func TestRanges(t *testing.T) {
	w := newWorld(t, nil, nil)
	etag := w.want(201, "PUT /f", "0123456789").Get("ETag")
	for _, c := range []struct {
		header, body string
		code         int
	}{
		{"Range: bytes=2-4", "234", 206}, {"Range: bytes=7-", "789", 206}, {"Range: bytes=-2", "89", 206},
		{"Range: bytes=0-100", "0123456789", 206}, {"Range: lines=1", "0123456789", 416},
	} {
		if a := w.want(c.code, "GET /f", "", c.header); c.code == 206 && a.body != c.body {
			t.Errorf("%s: got %q, want %q", c.header, a.body, c.body)
		}
	}
	w.want(416, "GET /f", "", "Range: bytes=10-")
	if a := w.want(200, "GET /f", "", "Range: bytes=2-4", `If-Range: "other"`); a.body != "0123456789" {
		t.Errorf("If-Range of another version: got %q", a.body)
	}
	if a := w.want(206, "GET /f", "", "Range: bytes=2-4", "If-Range: "+etag); a.body != "234" {
		t.Errorf("If-Range: got %q", a.body)
	}
	a := w.want(200, "HEAD /f", "")
	if a.Get("Content-Length") != "10" || a.Get("ETag") != etag || a.Get("Accept-Ranges") != "bytes" || a.Get("Last-Modified") == "" {
		t.Errorf("HEAD: got %v", a.Header)
	}
	w.want(404, "GET /f/", "")
}

// What each request costs.
func TestStoreRequests(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(207, "PROPFIND /", "", "Depth: 1")
	for _, c := range []struct {
		line, body string
		header     string
		want       string
	}{
		{"PUT /f", "one", "X: y", "PUT 1"},
		{"PUT /f", "two", "X: y", "PUT 1"},
		{"PROPFIND /", "", "Depth: 1", ""},
		{"HEAD /f", "", "X: y", ""},
		{"COPY /f", "", "Destination: URL/g", "COPY 1"},
		{"MOVE /g", "", "Destination: URL/h", "COPY 1"},
		{"MKCOL /d", "", "X: y", "PUT 1"},
		{"PROPFIND /d", "", "Depth: 1", ""},
		{"PUT /d/f", "", "If-None-Match: *", "PUT 1"},
	} {
		w.ops.reset()
		w.send(c.line, c.body, c.header)
		if got := w.ops.String(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.line, got, c.want)
		}
	}
}

// A large body goes in parts while it arrives.
func TestLargeBody(t *testing.T) {
	w := newWorld(t, nil, nil)
	big := noise(20 << 20)
	w.ops.reset()
	w.want(201, "PUT /big", big)
	if got := w.ops.String(); !strings.Contains(got, "3") || strings.Contains(got, "PUT") {
		t.Errorf("got %q, want 3 parts and no PUT", got)
	}
	w.holds("/big", big)
	w.ops.reset()
	w.raw("PUT /big HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n"+big, true)
	w.holds("/big", big)
}

// failing refuses to store.
type failing struct {
	store.Store
	kind atomic.Int32
}

func (f *failing) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	if k := store.Kind(f.kind.Load()); k != 0 && !strings.HasPrefix(key, ".causeway/") {
		return store.Info{}, &store.Error{Op: store.OpPut, Key: key, Kind: k}
	}
	return f.Store.Put(ctx, key, b, o)
}

// Errors of S3 are what they are: 403, 507 (section 11.5).
func TestStoreErrors(t *testing.T) {
	f := &failing{Store: mem.New()}
	w := newWorld(t, f, nil)
	w.want(201, "PUT /f", "one")
	for kind, code := range map[store.Kind]int{store.Denied: 403, store.NoSpace: 507} {
		f.kind.Store(int32(kind))
		w.want(code, "PUT /f", "two")
		w.want(code, "PUT /g", "two")
		w.want(code, "MKCOL /d", "")
	}
	f.kind.Store(0)
	w.holds("/f", "one")
	w.absent("/g")
}

func TestReadOnly(t *testing.T) {
	s := mem.New()
	newWorld(t, s, nil).want(201, "PUT /f", "one")
	w := newWorldWith(t, s, nil, func(o *vfs.Options) { o.ReadOnly = true })
	w.holds("/f", "one")
	for _, line := range []string{"PUT /f", "PUT /g", "MKCOL /d", "DELETE /f", "COPY /f", "MOVE /f"} {
		w.want(403, line, "", "Destination: URL/to")
	}
	a := w.want(207, "PROPPATCH /f", setProps)
	if !strings.Contains(a.body, "403 Forbidden") {
		t.Errorf("PROPPATCH: got %s", a.body)
	}
}

// Names that are not those of files here.
func TestStrangePaths(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, target := range []string{"/../x", "/a/../../x", "/./x", "/a/%2e%2e/x", "/a%2fb", "/a%2Fb", "//x", "/a//b", "/x%00", "/%ff", "/a//"} {
		for _, method := range []string{"GET", "PUT", "MKCOL", "DELETE", "PROPFIND"} {
			got := w.raw(method+" "+target+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", false)
			if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
				t.Errorf("%s %s: got %q, want 400", method, target, short(got))
			}
		}
		w.want(201, "PUT /f", "x")
		if a := w.send("MOVE /f", "", "Destination: URL"+target); a.code != 400 {
			t.Errorf("MOVE to %s: got %d, want 400", target, a.code)
		}
		w.want(204, "DELETE /f", "")
	}
	w.want(404, "GET /.causeway", "")
	w.want(404, "GET /.causeway/gateways", "")
	w.want(403, "PUT /.causeway", "x")
	w.want(403, "MKCOL /.causeway", "")
	w.want(409, "PUT /.causeway/x", "x")
	w.want(414, "PUT /"+strings.Repeat("n", 256), "x")
	w.want(201, "PUT /"+strings.Repeat("n", 255), "x")
	w.want(400, "PUT /%01", "x")
	w.want(201, "PUT /%E2%98%83", "snow")
	w.holds("/%E2%98%83", "snow")
	if a := w.want(207, "PROPFIND /", "", "Depth: 1"); strings.Contains(a.body, ".causeway") {
		t.Error(".causeway is listed")
	}
}

// Links are followed inside, and nowhere else.
func TestLinks(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "MKCOL /d", "")
	w.want(201, "PUT /d/f", "text")
	for name, target := range map[string]string{"in": "d", "file": "d/f", "up": "../x", "out": "/etc/passwd", "round": "round", "nowhere": "no"} {
		if _, err := w.fs.Symlink(t.Context(), vfs.Caller{}, vfs.RootID, name, target); err != nil {
			t.Fatal(err)
		}
	}
	w.holds("/file", "text")
	w.holds("/in/f", "text")
	for _, path := range []string{"/up", "/out", "/round", "/nowhere"} {
		w.want(404, "GET "+path, "")
	}
	a := w.want(207, "PROPFIND /", "", "Depth: 1")
	if n := strings.Count(a.body, "<D:response>"); n != 4 {
		t.Errorf("got %d resources, want /, d, file and in: %s", n, a.body)
	}
	w.want(204, "PUT /file", "new")
	w.holds("/d/f", "new")
	w.want(204, "DELETE /in", "")
	w.holds("/d/f", "new")
	if a := w.want(207, "PROPFIND /", "", "Depth: infinity"); strings.Count(a.body, "<D:response>") != 4 {
		t.Errorf("Depth infinity: got %s", a.body)
	}
}

// What is written through handles, as on the mount, and through WebDAV, is seen
// by both at once; and the one does not tear what the other writes.
func TestBesideHandles(t *testing.T) {
	w := newWorld(t, nil, nil)
	ctx := t.Context()
	write := func(name, text string) {
		t.Helper()
		known, h, err := w.fs.Create(ctx, vfs.Caller{}, vfs.RootID, name, syscall.O_CREAT|syscall.O_WRONLY|syscall.O_TRUNC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer w.fs.Forget(known.ID, 1)
		defer w.fs.Release(h)
		if _, err := w.fs.Write(ctx, h, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		if err := w.fs.Flush(ctx, h); err != nil {
			t.Fatal(err)
		}
	}
	write("f", "mount")
	w.holds("/f", "mount")
	w.want(204, "PUT /f", "webdav")
	known, err := w.fs.Lookup(ctx, vfs.RootID, "f")
	if err != nil {
		t.Fatal(err)
	}
	h, err := w.fs.Open(ctx, known.ID, syscall.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	w.want(204, "PUT /f", "newer")
	buf := make([]byte, 10)
	if n, err := w.fs.Read(ctx, h, buf, 0); err != nil || string(buf[:n]) != "webdav" {
		t.Errorf("a handle reads %q, %v, want the version that it opened", buf[:n], err)
	}
	w.fs.Release(h)
	w.fs.Forget(known.ID, 1)
	w.holds("/f", "newer")
	write("f", "last")
	w.holds("/f", "last")
}

// P5: of writers who all read one version, one succeeds.
func TestNoLostUpdate(t *testing.T) {
	s := mem.New()
	worlds := []*world{newWorld(t, s, nil), newWorld(t, s, nil)}
	worlds[0].want(201, "PUT /n", "0")
	const writers, each = 6, 5
	var wg sync.WaitGroup
	for i := range writers {
		w := worlds[i%2]
		wg.Go(func() {
			for done := 0; done < each; {
				a := w.send("GET /n", "")
				n := 0
				fmt.Sscan(a.body, &n)
				switch b := w.send("PUT /n", fmt.Sprint(n+1), "If-Match: "+a.Get("ETag")); b.code {
				case 204:
					done++
				case 412:
				default:
					t.Errorf("PUT: got %d %s", b.code, b.body)
					return
				}
			}
		})
	}
	wg.Wait()
	worlds[1].holds("/n", fmt.Sprint(writers*each))
}

// P4: of all who demand that there is none, one succeeds.
func TestOneWinner(t *testing.T) {
	s := mem.New()
	worlds := []*world{newWorld(t, s, nil), newWorld(t, s, nil)}
	for _, method := range []string{"PUT", "MKCOL"} {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if a := worlds[i%2].send(method+" /"+method, "", "If-None-Match: *"); a.code == 201 {
					won.Add(1)
				} else if a.code != 412 && a.code != 405 {
					t.Errorf("%s: got %d", method, a.code)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%s: %d winners", method, won.Load())
		}
	}
}

// macOS's own files: kept here, stored, or refused.
func TestMacFiles(t *testing.T) {
	w := newWorldWith(t, nil, nil, func(o *vfs.Options) { o.StagedOnly = MacNames })
	w.want(207, "PROPFIND /", "", "Depth: 1")
	w.ops.reset()
	w.want(201, "PUT /._f", "fork")
	w.want(204, "PUT /._f", "fork 2")
	w.want(201, "PUT /.DS_Store", "store")
	w.holds("/._f", "fork 2")
	w.want(201, "MOVE /._f", "", "Destination: URL/._g")
	w.holds("/._g", "fork 2")
	if got := w.ops.String(); got != "" {
		t.Errorf("got %q, want no request", got)
	}
	w.want(201, "COPY /._g", "", "Destination: URL/plain")
	w.holds("/plain", "fork 2")
	w.want(204, "DELETE /._g", "")
	w.absent("/._g")

	w = newWorld(t, nil, func(c *Config) { c.MacFiles = MacRefuse })
	w.ops.reset()
	w.want(403, "PUT /._f", "fork")
	w.want(404, "PROPFIND /._f", "", "Depth: 0")
	w.want(201, "PUT /f", "f")
	w.want(403, "MOVE /f", "", "Destination: URL/._f")
}

func TestStatusesAreTotal(t *testing.T) {
	for _, k := range vfs.Kinds() {
		if code := statuses[k]; code < 400 || code > 599 {
			t.Errorf("%v: got %d", k, code)
		}
	}
}
