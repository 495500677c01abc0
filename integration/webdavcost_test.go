//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// TestDAVRequests counts what S3 is asked.
func TestDAVRequests(t *testing.T) {
	env := harness.New(t, harness.Versity)
	const files = 10_000
	n := files
	if !harness.Long() {
		n = 500
	}
	env.Seed(t, n, func(i int) string { return fmt.Sprintf("many/f%05d", i) })
	d := serveDAV(t, env, "--dir-ttl", "1m", "--verify", "1m")
	for i := range 5 {
		got := env.Requests(t, func() { d.expect(t, 201, fmt.Sprint("PUT /put", i), "small") })
		delete(got, s3proxy.ListObjectsV2) // gateways look for each other, off this path
		if counts(got) != "PutObject 1" && i > 0 {
			t.Errorf("a small PUT: got %s", counts(got))
		}
	}
	list := func() reply { return d.expect(t, 207, "PROPFIND /many", "", "Depth: 1") }
	first := list()
	if c := strings.Count(first.body, "<D:response>"); c != n+1 {
		t.Errorf("PROPFIND: got %d resources, want %d", c, n+1)
	}
	var took time.Duration
	got := env.Requests(t, func() {
		began := time.Now()
		list()
		took = time.Since(began)
	})
	if len(got) > 0 {
		t.Errorf("PROPFIND of what is known: got %s, want none", counts(got))
	}
	t.Logf("PROPFIND Depth 1 of %d entries took %v", n, took)
}

// TestDAVThroughput compares large bodies with rclone's server on the same S3
// server. It reports; the long form also wants 80 % of rclone's speed.
func TestDAVThroughput(t *testing.T) {
	if !harness.Long() {
		return
	}
	env := harness.New(t, harness.Versity)
	d := serveDAV(t, env)
	addr, err := harness.FreeAddr()
	must(t, err)
	remote := fmt.Sprintf(":s3,provider=Other,env_auth=true,endpoint='%s',region=%s,force_path_style=true:%s", env.Server.URL, env.Server.Region, env.Bucket)
	cmd := exec.Command(harness.Need(t, "rclone"), "serve", "webdav", remote, "--addr", addr)
	cmd.Env = env.Environ(t)
	must(t, cmd.Start())
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	other := "http://" + addr
	eventually(t, 20*time.Second, func() error {
		r, err := http.Get(other + "/")
		if err == nil {
			r.Body.Close()
		}
		return err
	})
	const size = 1 << 30
	best := map[string]time.Duration{}
	for range 3 {
		for name, url := range map[string]string{"causeway": d.url, "rclone": other} {
			for _, method := range []string{"PUT", "GET"} {
				took := transfer(t, method, url+"/big-"+name, size)
				if b := best[name+method]; b == 0 || took < b {
					best[name+method] = took
				}
			}
		}
	}
	for _, method := range []string{"PUT", "GET"} {
		ours, theirs := best["causeway"+method], best["rclone"+method]
		t.Logf("%s of 1 GiB: %v, rclone %v", method, ours, theirs)
		if ours*8 > theirs*10 {
			t.Errorf("%s: %v is more than 125 %% of rclone's %v", method, ours, theirs)
		}
	}
	rss, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.PID()))
	must(t, err)
	if m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(rss); m != nil {
		t.Logf("peak memory %s kB", m[1])
		if len(m[1]) > 6 || string(m[1]) > "204800" && len(m[1]) == 6 {
			t.Errorf("peak memory is %s kB, want less than 200 MiB", m[1])
		}
	}
}

// transfer moves one large body and returns how long that took.
func transfer(t *testing.T, method, url string, size int64) time.Duration {
	t.Helper()
	var body io.Reader
	if method == http.MethodPut {
		body = io.LimitReader(&repeat{pattern(1, 1<<20), 0}, size)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	must(t, err)
	if body != nil {
		r.ContentLength = size
	}
	began := time.Now()
	resp, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	must(t, err)
	if resp.StatusCode/100 != 2 || method == http.MethodGet && n != size {
		t.Fatalf("%s %s: got %s, %d bytes", method, url, resp.Status, n)
	}
	return time.Since(began)
}

// repeat reads the same bytes for ever.
type repeat struct {
	p   []byte
	off int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.p[r.off:])
	r.off = (r.off + n) % len(r.p)
	return n, nil
}
