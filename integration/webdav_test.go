//go:build integration

package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/integration/harness"
)

// dav is a bucket that a process of its own serves over WebDAV.
type dav struct {
	*harness.Mount
	url string // without a slash at its end
}

// serveDAV serves the bucket.
func serveDAV(t *testing.T, env *harness.Env, flags ...string) dav {
	t.Helper()
	addr, err := harness.FreeAddr()
	must(t, err)
	state := t.TempDir()
	url := "http://" + addr
	m := env.Command(t, url+"/", func(string) []string {
		args := append([]string{"serve", "s3://" + env.Bucket, "--listen", addr, "--state-dir", state}, env.S3Flags()...)
		return append(args, flags...)
	})
	return dav{m, url}
}

// reply is an answer that was read.
type reply struct {
	code int
	http.Header
	body string
}

// ask sends one request: "METHOD /path", header lines, a body.
func (d dav) ask(t *testing.T, line, body string, header ...string) reply {
	t.Helper()
	method, path, _ := strings.Cut(line, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, d.url+path, strings.NewReader(body))
	must(t, err)
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, strings.ReplaceAll(value, "URL", d.url))
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(t, err)
	return reply{resp.StatusCode, resp.Header, string(b)}
}

// expect wants a status.
func (d dav) expect(t *testing.T, code int, line, body string, header ...string) reply {
	t.Helper()
	a := d.ask(t, line, body, header...)
	if a.code != code {
		t.Errorf("%s %v: got %d %q, want %d", line, header, a.code, short(a.body), code)
	}
	return a
}

// run runs a client of the machine, with a home of its own.
func (d dav) run(t *testing.T, env *harness.Env, stdin, name string, args ...string) harness.Result {
	t.Helper()
	cmd := exec.Command(harness.Need(t, name), args...)
	cmd.Env = env.Environ(t)
	cmd.Dir = t.TempDir()
	cmd.Stdin = strings.NewReader(stdin)
	r := harness.Run(t, cmd)
	if r.Code != 0 {
		t.Errorf("%s %v: exit status %d\n%s%s", name, args, r.Code, r.Stdout, r.Stderr)
	}
	return r
}

// TestLitmus runs the WebDAV suite of neon's author: all passes, no warning.
func TestLitmus(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		d := serveDAV(t, env)
		r := d.run(t, env, "", "litmus", "-k", d.url+"/")
		out := r.Stdout + r.Stderr
		if n := strings.Count(out, " 0 failed. 100.0%"); n != 5 {
			t.Errorf("%d of 5 parts passed:\n%s", n, out)
		}
		if strings.Contains(out, "WARNING") || strings.Contains(out, "SKIPPED") {
			t.Errorf("litmus warns:\n%s", out)
		}
		d.Stop()
	})
}

// treeSize is how many files the clients copy.
func treeSize() int {
	if harness.Long() {
		return 1000
	}
	return 60
}

// makeTree makes files in directories.
func makeTree(t *testing.T, n int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("d%d", i%7))
		must(t, os.MkdirAll(sub, 0o755))
		write(t, filepath.Join(sub, fmt.Sprintf("f %d", i)), strings.Repeat(fmt.Sprint(i, "\n"), i%50))
	}
	return dir
}

func TestCadaver(t *testing.T) {
	env := harness.New(t, harness.Versity)
	d := serveDAV(t, env)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "from cadaver\n")
	r := d.run(t, env, strings.NewReplacer("FILE", file, "URL", d.url).Replace(`open URL/
mkcol c
cd c
put FILE a
copy a b
move b c
lock c
propset c color blue
propget c color
put FILE c
unlock c
ls
cat c
delete a
quit
`), "cadaver")
	for _, want := range []string{"Value of color is: blue", "from cadaver", "Locking `c': succeeded"} {
		if !strings.Contains(r.Stdout, want) {
			t.Errorf("got %s, want %q", r.Stdout, want)
		}
	}
	if strings.Contains(r.Stdout, "failed") {
		t.Errorf("something failed:\n%s", r.Stdout)
	}
	if o := env.Get(t, "c/c"); o == nil || string(o.Body) != "from cadaver\n" {
		t.Errorf("the object is %v", o)
	}
}

func TestRcloneOverDAV(t *testing.T) {
	env := harness.New(t, harness.MinIO)
	d := serveDAV(t, env)
	dir := makeTree(t, treeSize())
	remote := fmt.Sprintf(":webdav,url='%s',vendor=other:", d.url)
	d.run(t, env, "", "rclone", "copy", dir, remote+"a")
	d.run(t, env, "", "rclone", "check", "--download", dir, remote+"a")
	d.run(t, env, "", "rclone", "move", remote+"a", remote+"b")
	d.run(t, env, "", "rclone", "check", "--download", dir, remote+"b")
	out := t.TempDir()
	d.run(t, env, "", "rclone", "copy", remote+"b", out)
	harness.Must(t, out, "diff", "-r", dir, out)
	d.run(t, env, "", "rclone", "purge", remote+"b")
	d.expect(t, 404, "PROPFIND /b", "", "Depth: 0")
}

// TestDavfs copies a tree through a mount of davfs2 and out again, and renames.
func TestDavfs(t *testing.T) {
	env := harness.New(t, harness.Versity)
	d := serveDAV(t, env)
	work, err := os.MkdirTemp("", "causeway-davfs-") // that davfs2's own user can enter
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(work) })
	must(t, os.Chmod(work, 0o755))
	cache, conf, mnt := filepath.Join(work, "cache"), filepath.Join(work, "conf"), filepath.Join(work, "mnt")
	must(t, os.Mkdir(cache, 0o755))
	must(t, os.Chmod(cache, 0o777))
	must(t, os.Mkdir(mnt, 0o755))
	// buf_size: newer kernels read directories in larger pieces than davfs2 expects.
	write(t, conf, "ask_auth 0\ndelay_upload 0\nbuf_size 256\ncache_dir "+cache+"\n")
	mount := func() {
		t.Helper()
		harness.Must(t, work, "mount", "-t", "davfs", "-o", "conf="+conf, d.url+"/", mnt)
	}
	umount := func() { t.Helper(); harness.Must(t, "/", "umount", mnt) }
	t.Cleanup(func() { harness.Unmount(mnt) })
	dir := makeTree(t, treeSize())
	mount()
	harness.Must(t, "/", "cp", "-r", dir, filepath.Join(mnt, "in"))
	must(t, os.Rename(filepath.Join(mnt, "in", "d1", "f 1"), filepath.Join(mnt, "in", "d2", "moved")))
	must(t, os.Rename(filepath.Join(mnt, "in", "d2", "moved"), filepath.Join(mnt, "in", "d1", "f 1")))
	must(t, os.Rename(filepath.Join(mnt, "in"), filepath.Join(mnt, "tree")))
	umount() // what was not sent goes now
	mount()
	out := t.TempDir()
	harness.Must(t, "/", "cp", "-r", filepath.Join(mnt, "tree"), out)
	umount()
	harness.Must(t, "/", "diff", "-r", dir, filepath.Join(out, "tree"))
}

// TestCurl saves with conditions, as scripts do.
func TestCurl(t *testing.T) {
	env := harness.New(t, harness.MinIO)
	d := serveDAV(t, env)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "text")
	curl := func(want string, args ...string) {
		t.Helper()
		r := d.run(t, env, "", "curl", append([]string{"-s", "-o", "/dev/null", "-w", "%{http_code}"}, args...)...)
		if r.Stdout != want {
			t.Errorf("curl %v: got %s, want %s", args, r.Stdout, want)
		}
	}
	curl("201", "-T", file, "-H", "If-None-Match: *", d.url+"/f")
	curl("412", "-T", file, "-H", "If-None-Match: *", d.url+"/f")
	etag := d.ask(t, "HEAD /f", "").Get("ETag")
	if o := env.Get(t, "f"); o == nil || o.ETag != etag {
		t.Errorf("ETag: got %s, the object is %v", etag, o)
	}
	write(t, file, "newer")
	curl("204", "-T", file, "-H", "If-Match: "+etag, d.url+"/f")
	curl("412", "-T", file, "-H", "If-Match: "+etag, d.url+"/f")
	curl("412", "-X", "DELETE", "-H", "If-Match: "+etag, d.url+"/f")
	curl("304", "-H", "If-None-Match: "+d.ask(t, "HEAD /f", "").Get("ETag"), d.url+"/f")
	curl("206", "-r", "1-3", d.url+"/f")
	curl("204", "-X", "DELETE", d.url+"/f")
	curl("404", d.url+"/f")
}

// TestDAVListen wants an address that others can reach to be refused.
func TestDAVListen(t *testing.T) {
	env := harness.New(t, harness.Versity)
	args := append([]string{"serve", "s3://" + env.Bucket, "--listen", "0.0.0.0:0", "--state-dir", t.TempDir()}, env.S3Flags()...)
	r := env.Causeway(t, nil, args...)
	if r.Code != 1 || r.Stdout != "" {
		t.Errorf("got %+v, want exit status 1", r)
	}
	wantLine(t, r.Stderr, "0.0.0.0", "credentials", "--insecure-no-auth")
}
