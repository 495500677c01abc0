//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

// TestDAVBesideMount serves one process's files through FUSE and WebDAV.
func TestDAVBesideMount(t *testing.T) {
	env := harness.New(t, harness.Versity)
	addr, err := harness.FreeAddr()
	must(t, err)
	m := env.Mount(t, "--webdav", addr)
	d := dav{m, "http://" + addr}
	for i := range 20 {
		write(t, m.Path("f"), fmt.Sprint("mount ", i))
		if got := d.ask(t, "GET /f", "").body; got != fmt.Sprint("mount ", i) {
			t.Errorf("WebDAV reads %q after the mount's write %d", got, i)
		}
		d.expect(t, 204, "PUT /f", fmt.Sprint("webdav ", i))
		read(t, m.Path("f"), fmt.Sprint("webdav ", i))
		if _, err := os.Stat(m.Path(fmt.Sprint("new", i))); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		d.expect(t, 201, fmt.Sprint("MKCOL /new", i), "")
		if _, err := os.Stat(m.Path(fmt.Sprint("new", i))); err != nil {
			t.Error(err)
		}
		d.expect(t, 204, fmt.Sprint("DELETE /new", i), "")
		if _, err := os.Stat(m.Path(fmt.Sprint("new", i))); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a directory that is gone: %v", err)
		}
	}
	if got := d.ask(t, "GET /-/health", "").body; got != "serving\n" {
		t.Errorf("health: got %q", got)
	}
	writersOfBoth(t, m, d)
}

// writersOfBoth lets 16 writers of each kind count in one file under If-Match,
// or replace another by renaming: no update is lost, no file is torn.
func writersOfBoth(t *testing.T, m *harness.Mount, d dav) {
	const writers = 16
	d.expect(t, 201, "PUT /count", "0")
	whole := regexp.MustCompile(`^\d+ x{1000}\n$`)
	var wg sync.WaitGroup
	var counted atomic.Int64
	stop := make(chan struct{})
	for i := range writers {
		wg.Go(func() {
			for try := 0; ; try++ {
				a := d.ask(t, "GET /count", "")
				n := 0
				fmt.Sscan(a.body, &n)
				b := d.ask(t, "PUT /count", fmt.Sprint(n+1), "If-Match: "+a.Get("ETag"))
				if b.code == 204 {
					counted.Add(1)
					return
				}
				if b.code != 412 {
					t.Errorf("PUT: got %d %s", b.code, short(b.body))
					return
				}
			}
		})
		wg.Go(func() {
			tmp := m.Path(fmt.Sprintf(".saved.%d.tmp", i))
			for n := range 3 {
				write(t, tmp, fmt.Sprintf("%d %s\n", n, strings.Repeat("x", 1000)))
				must(t, os.Rename(tmp, m.Path("saved")))
				d.expect(t, 204, "PUT /saved", fmt.Sprintf("%d %s\n", n, strings.Repeat("x", 1000)))
			}
		})
	}
	var reader sync.WaitGroup
	reader.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			b, err := os.ReadFile(m.Path("saved"))
			if a := d.ask(t, "GET /saved", ""); a.code == 200 && !whole.MatchString(a.body) {
				t.Errorf("WebDAV reads a torn file of %d bytes", len(a.body))
			}
			if err == nil && !whole.Match(b) {
				t.Errorf("the mount reads a torn file of %d bytes", len(b))
			}
		}
	})
	wg.Wait()
	close(stop)
	reader.Wait()
	if got := d.ask(t, "GET /count", "").body; got != fmt.Sprint(counted.Load()) || counted.Load() != writers {
		t.Errorf("the count is %s after %d updates by %d writers", got, counted.Load(), writers)
	}
}
