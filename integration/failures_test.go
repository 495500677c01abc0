//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// keptVersion is a line of `causeway recover --json`.
type keptVersion struct {
	ID     string `json:"id"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

// kept returns what recover lists of a mount's state directory.
func kept(t *testing.T, env *harness.Env, m *harness.Mount) (versions []keptVersion) {
	t.Helper()
	r := env.Causeway(t, nil, "recover", "--state-dir", m.StateDir, "--json")
	if r.Code != 0 {
		t.Fatalf("recover: exit status %d: %s", r.Code, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &versions); err != nil {
		t.Fatalf("recover --json: %v in %s", err, r.Stdout)
	}
	return versions
}

// wantKept wants recover to list one version of a file, in words too, and to
// copy out the text; and status to count it.
func wantKept(t *testing.T, env *harness.Env, m *harness.Mount, path, text string) {
	t.Helper()
	versions := kept(t, env, m)
	if len(versions) != 1 || strings.Trim(versions[0].Path, "/") != path || versions[0].Size != int64(len(text)) || versions[0].Reason == "" {
		t.Fatalf("recover: got %+v, want %d bytes of %s and a reason", versions, len(text), path)
	}
	if r := env.Causeway(t, nil, "recover", "--state-dir", m.StateDir); r.Code != 0 || !strings.Contains(r.Stdout, path) {
		t.Errorf("recover in words: %+v", r)
	}
	to := filepath.Join(t.TempDir(), "copy")
	if r := env.Causeway(t, nil, "recover", "cp", versions[0].ID, to, "--state-dir", m.StateDir); r.Code != 0 {
		t.Errorf("recover cp: %+v", r)
	} else {
		read(t, to, text)
	}
	files, _ := m.Status()["files"].(map[string]any)
	if files["kept_versions"] != 1.0 {
		t.Errorf("status: %v kept versions, want 1", files["kept_versions"])
	}
}

// refuse runs a mount command that must fail: exit status 1, one line on
// standard error with each of the words, nothing on standard output, nothing
// mounted.
func refuse(t *testing.T, env *harness.Env, o harness.MountOptions, words ...string) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.StateDir == "" {
		o.StateDir = t.TempDir()
	}
	mounted := harness.Mounted(o.Dir)
	r := env.Causeway(t, o.Env, slices.Concat(env.MountArgs(o), o.Flags)...)
	if r.Code != 1 || r.Stdout != "" {
		t.Errorf("exit status %d, stdout %q, want 1 and nothing", r.Code, r.Stdout)
	}
	wantLine(t, r.Stderr, words...)
	if harness.Mounted(o.Dir) != mounted {
		t.Error("something is mounted now")
		harness.Unmount(o.Dir)
	}
}

// wantLine wants a text to be one line with each of the words, in any case.
func wantLine(t *testing.T, text string, words ...string) {
	t.Helper()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		t.Errorf("got %q, want one line", text)
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			t.Errorf("got %q, want %q in it", text, w)
		}
	}
}

func TestRefusals(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		t.Run("wrong secret", func(t *testing.T) {
			refuse(t, env, harness.MountOptions{Env: []string{"AWS_SECRET_ACCESS_KEY=wrong"}}, "credentials")
		})
		t.Run("unknown key", func(t *testing.T) {
			refuse(t, env, harness.MountOptions{Env: []string{"AWS_ACCESS_KEY_ID=nobody"}}, "credentials")
		})
		t.Run("no credentials", func(t *testing.T) {
			refuse(t, env, harness.MountOptions{Env: []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}}, "credentials")
		})
		t.Run("missing bucket", func(t *testing.T) {
			other := *env
			other.Bucket = "no-such-bucket"
			refuse(t, &other, harness.MountOptions{}, "no-such-bucket")
		})
		t.Run("conditions not enforced", func(t *testing.T) {
			weak := env.Peer(t)
			weak.Proxy.IgnoreConditions(env.Server.AccessKey, env.Server.SecretKey, env.Server.Region)
			refuse(t, weak, harness.MountOptions{}, "If-None-Match", "--single-writer")
			m := weak.Mount(t, "--single-writer")
			write(t, m.Path("f"), "text")
			read(t, m.Path("f"), "text")
			r := env.Causeway(t, nil, append([]string{"doctor", "s3://" + env.Bucket}, weak.S3Flags()...)...)
			if r.Code != 1 || !strings.Contains(r.Stdout, "If-None-Match") {
				t.Errorf("doctor: got %+v, want exit status 1 and If-None-Match", r)
			}
		})
	})
}

func TestRefusalsOnThisHost(t *testing.T) {
	env := harness.New(t, harness.Versity)
	t.Run("unreachable endpoint", func(t *testing.T) {
		addr, err := harness.FreeAddr()
		must(t, err)
		refuse(t, env, harness.MountOptions{Endpoint: "http://" + addr}, addr)
	})
	t.Run("mount point missing", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "absent")
		refuse(t, env, harness.MountOptions{Dir: dir}, dir)
	})
	t.Run("mount point is a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		write(t, file, "")
		refuse(t, env, harness.MountOptions{Dir: file}, file)
	})
	t.Run("mount point busy", func(t *testing.T) {
		m := env.Mount(t)
		refuse(t, env, harness.MountOptions{Dir: m.Dir}, m.Dir)
		write(t, m.Path("f"), "text")
		read(t, m.Path("f"), "text")
	})
	t.Run("state directory in use", func(t *testing.T) {
		m := env.Mount(t)
		refuse(t, env, harness.MountOptions{StateDir: m.StateDir}, m.StateDir)
	})
	t.Run("no /dev/fuse", func(t *testing.T) {
		dir, state := t.TempDir(), t.TempDir()
		args := append([]string{"-m", "sh", "-c", `mount -t tmpfs none /dev && exec "$@"`, "sh", harness.Binary(t)},
			env.MountArgs(harness.MountOptions{Dir: dir, StateDir: state})...)
		cmd := exec.Command(harness.Need(t, "unshare"), args...)
		cmd.Env = env.Environ(t)
		r := harness.Run(t, cmd)
		if r.Code != 1 || r.Stdout != "" {
			t.Errorf("exit status %d, stdout %q, want 1 and nothing", r.Code, r.Stdout)
		}
		wantLine(t, r.Stderr, "fuse")
	})
	t.Run("usage", func(t *testing.T) {
		for _, args := range [][]string{{"mount"}, {"mount", "s3://b"}, {"mount", "b", t.TempDir()}, {"nonsense"},
			{"mount", "s3://bbb", t.TempDir(), "--nonsense"}, {"mount", "s3://bbb", t.TempDir(), "--dir-ttl", "soon"}} {
			if r := env.Causeway(t, nil, args...); r.Code != 2 || r.Stderr == "" || r.Stdout != "" {
				t.Errorf("causeway %v: got %+v, want exit status 2 and what is wrong on stderr", args, r)
			}
		}
	})
}

func TestDoctor(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		args := append([]string{"doctor", "s3://" + env.Bucket}, env.S3Flags()...)
		if r := env.Causeway(t, nil, args...); r.Code != 0 {
			t.Errorf("doctor: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		env.Put(t, "odd/../key", []byte("x"), nil)
		if r := env.Causeway(t, []string{"AWS_SECRET_ACCESS_KEY=wrong"}, args...); r.Code != 1 {
			t.Errorf("doctor with a wrong secret: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
}

// TestTransientFaults fails every kind of request a few times: callers notice
// nothing.
func TestTransientFaults(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		m := env.Mount(t)
		write(t, m.Path("there"), "before")
		for _, kind := range []s3proxy.Kind{s3proxy.SlowDown, s3proxy.ResetBefore, s3proxy.ResetAfter, s3proxy.Truncate} {
			t.Run(kind.String(), func(t *testing.T) {
				env.Proxy.SetFaults(1, s3proxy.Fault{Kind: kind, Count: 2, Ops: []string{s3proxy.PutObject, s3proxy.GetObject}})
				defer env.Proxy.SetFaults(1)
				faulty := func(what string, do func()) {
					env.Proxy.SetFaults(1, s3proxy.Fault{Kind: kind, Count: 2})
					do()
					if t.Failed() {
						t.Fatalf("%s failed\n%s", what, env.Proxy.Stats())
					}
				}
				dir := m.Path(kind.String())
				faulty("mkdir", func() { must(t, os.Mkdir(dir, 0o755)) })
				faulty("create", func() { write(t, filepath.Join(dir, "f"), "text") })
				faulty("exclusive create", func() {
					f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
					must(t, err)
					must(t, f.Close())
				})
				faulty("save", func() {
					write(t, filepath.Join(dir, "f.tmp"), "saved")
					must(t, os.Rename(filepath.Join(dir, "f.tmp"), filepath.Join(dir, "saved")))
				})
				faulty("edit", func() {
					f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_RDWR, 0)
					must(t, err)
					_, err = f.WriteAt([]byte("T"), 0)
					must(t, errors.Join(err, f.Close()))
				})
				faulty("read", func() { read(t, filepath.Join(dir, "f"), "Text") })
				faulty("rename", func() { must(t, os.Rename(filepath.Join(dir, "f"), filepath.Join(dir, "g"))) })
				faulty("large file", func() { must(t, os.WriteFile(filepath.Join(dir, "large"), pattern(6, 24<<20), 0o644)) })
				faulty("large read", func() { sameFile(t, filepath.Join(dir, "large"), pattern(6, 24<<20)) })
				faulty("remove", func() {
					must(t, os.Remove(filepath.Join(dir, "g")))
					env.Quiesce(t)
				})
				for name, text := range map[string]string{"saved": "saved", "lock": ""} {
					if o := env.Get(t, kind.String()+"/"+name); o == nil || string(o.Body) != text {
						t.Errorf("object %s: got %+v, want %q", name, o, text)
					}
				}
				eventually(t, 10*time.Second, func() error {
					if o := env.Get(t, kind.String()+"/g"); o != nil {
						return errors.New("the removed object is there")
					}
					return nil
				})
			})
		}
	})
}

// TestOutage lets S3 fail for longer than a call waits: the call fails, the
// bytes are kept, and the mount goes on when S3 does.
func TestOutage(t *testing.T) {
	for _, kind := range []s3proxy.Kind{s3proxy.SlowDown, s3proxy.ResetBefore, s3proxy.StallBefore} {
		t.Run(kind.String(), func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			m := env.Mount(t)
			write(t, m.Path("f"), "old")
			env.Proxy.SetFaults(1, s3proxy.Fault{Kind: kind, Ops: []string{s3proxy.PutObject}, Key: "f"})
			env.Proxy.Reset()
			f, err := os.OpenFile(m.Path("f"), os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			_, err = f.WriteString("the new version")
			must(t, err)
			closed := make(chan error, 1)
			go func() { closed <- f.Close() }()
			select {
			case err = <-closed:
			case <-time.After(3 * time.Minute):
				t.Fatal("close hangs because S3 does")
			}
			if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.ETIMEDOUT) {
				t.Errorf("close: got %v, want EIO or ETIMEDOUT", err)
			}
			if n := env.Proxy.Stats().Ops[s3proxy.PutObject].Requests; n < 2 {
				t.Errorf("tried %d times, want more than once\n%s", n, env.Proxy.Stats())
			}
			env.Proxy.SetFaults(1)
			if o := env.Get(t, "f"); string(o.Body) != "old" {
				t.Errorf("object: got %q, want it as it was", o.Body)
			}
			wantKept(t, env, m, "f", "the new version")
			if files, _ := m.Status()["files"].(map[string]any); files["last_error"] == nil {
				t.Errorf("status does not tell the error: %v", files)
			}
			write(t, m.Path("f"), "newer")
			if o := env.Get(t, "f"); string(o.Body) != "newer" {
				t.Errorf("after the outage: got %q", o.Body)
			}
		})
	}
}

// TestInterrupt kills a program that waits for S3: it must die at once, though
// S3 does not answer.
func TestInterrupt(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	names(t, m.Dir)
	env.Proxy.SetFaults(1, s3proxy.Fault{Kind: s3proxy.StallBefore, Key: "f"})
	defer env.Proxy.SetFaults(1)
	cmd := exec.Command("sh", "-c", "echo text > "+m.Path("f"))
	must(t, cmd.Start())
	for env.Proxy.Stats().Keys["f"] == nil {
		time.Sleep(5 * time.Millisecond)
	}
	must(t, cmd.Process.Kill())
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("the program waits for S3 though it was killed")
		env.Proxy.SetFaults(1)
		<-done
	}
	if _, err := os.ReadDir(m.Dir); err != nil {
		t.Error(err)
	}
}

// smallDisk mounts a tmpfs of that size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs (needs root): %v", err)
	}
	t.Cleanup(func() { harness.Unmount(dir) })
	return dir
}

// TestDiskFull fills the disk that has the state directory.
func TestDiskFull(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, f *os.File){
		"one write":   func(t *testing.T, f *os.File) {},
		"after fsync": func(t *testing.T, f *os.File) { must(t, f.Sync()) },
	} {
		t.Run(name, func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			m := env.MountWith(t, harness.MountOptions{StateDir: smallDisk(t, "48m")})
			write(t, m.Path("f"), "old")
			write(t, m.Path("other"), "other")
			f, err := os.OpenFile(m.Path("f"), os.O_WRONLY, 0)
			must(t, err)
			prepare(t, f)
			chunk := pattern(8, 1<<20)
			for i := 0; err == nil && i < 200; i++ {
				_, err = f.Write(chunk)
			}
			wantErr(t, "write", err, unix.ENOSPC)
			f.Close() // may fail or not
			if o := env.Get(t, "f"); string(o.Body) != "old" {
				t.Errorf("object: got %d bytes, want it as it was", len(o.Body))
			}
			read(t, m.Path("other"), "other")
			for _, v := range kept(t, env, m) {
				if r := env.Causeway(t, nil, "recover", "drop", v.ID, "--state-dir", m.StateDir); r.Code != 0 {
					t.Errorf("recover drop: %+v", r)
				}
			}
			eventually(t, 30*time.Second, func() error { return os.WriteFile(m.Path("after"), chunk, 0o644) })
			if o := env.Get(t, "after"); o == nil || !bytes.Equal(o.Body, chunk) {
				t.Error("a file written after that is not in S3")
			}
		})
	}
}

// TestDeletedUnderReader takes an object away while it is read: the reader
// gets what was there or an error, and never anything else.
func TestDeletedUnderReader(t *testing.T) {
	for name, change := range map[string]func(env *harness.Env, t *testing.T){
		"deleted":  func(env *harness.Env, t *testing.T) { env.Delete(t, "large") },
		"replaced": func(env *harness.Env, t *testing.T) { env.Put(t, "large", pattern(10, 64<<20), nil) },
		"shrunk":   func(env *harness.Env, t *testing.T) { env.Put(t, "large", []byte("short"), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			data := pattern(9, 64<<20)
			env.Put(t, "large", data, nil)
			m := env.Mount(t)
			f, err := os.Open(m.Path("large"))
			must(t, err)
			defer f.Close()
			head := make([]byte, 4096)
			_, err = io.ReadFull(f, head)
			must(t, err)
			change(env, t)
			rest, err := io.ReadAll(f)
			got := append(head, rest...)
			if !bytes.Equal(got, data[:len(got)]) {
				t.Errorf("read %d bytes that were never in the file", len(got))
			}
			if err != nil && !errors.Is(err, unix.ESTALE) {
				t.Errorf("got error %v, want ESTALE or none", err)
			}
			if err == nil && len(got) != len(data) {
				t.Errorf("got %d bytes and no error, want %d", len(got), len(data))
			}
		})
	}
}

// TestKilled ends the gateway with kill -9: what was acknowledged is there
// after it starts again, temporary names included.
func TestKilled(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	write(t, m.Path("closed"), "closed")
	write(t, m.Path("staged.tmp"), "staged")
	write(t, m.Path("removed"), "x")
	must(t, os.Remove(m.Path("removed")))
	m.Kill9()
	m.Start()
	read(t, m.Path("closed"), "closed")
	read(t, m.Path("staged.tmp"), "staged")
	must(t, os.Rename(m.Path("staged.tmp"), m.Path("final")))
	if o := env.Get(t, "final"); o == nil || string(o.Body) != "staged" {
		t.Errorf("object: got %+v", o)
	}
	wantGone(t, m.Path("removed"))
	eventually(t, 10*time.Second, func() error {
		if env.Get(t, "removed") != nil {
			return errors.New("the removed object is there")
		}
		return nil
	})
}

// TestDrain ends the gateway with SIGTERM while files are open and removals
// are on their way.
func TestDrain(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	for i := range 50 {
		write(t, m.Path(fmt.Sprint("f", i)), "text")
	}
	for i := range 50 {
		must(t, os.Remove(m.Path(fmt.Sprint("f", i))))
	}
	write(t, m.Path("last"), "text")
	m.Stop()
	var keys []string
	for _, o := range env.List(t, "") {
		if !strings.HasPrefix(o.Key, ".causeway/") {
			keys = append(keys, o.Key)
		}
	}
	if !slices.Equal(keys, []string{"last"}) {
		t.Errorf("objects: got %v, want last alone", keys)
	}
}

// TestStatus wants the figures that people look for.
func TestStatus(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	write(t, m.Path("f"), "text")
	write(t, m.Path("x.tmp"), "text")
	s := m.Status()
	if s["mountpoint"] != m.Dir || !strings.Contains(fmt.Sprint(s["bucket"]), env.Bucket) || s["state"] != "serving" {
		t.Errorf("status: got %v", s)
	}
	files, _ := s["files"].(map[string]any)
	if files["staged_files"] != 1.0 || files["commits"] != 1.0 {
		t.Errorf("status: got %v, want 1 staged file and 1 commit", files)
	}
	if requests, _ := s["requests"].([]any); len(requests) == 0 {
		t.Error("status tells no requests")
	}
}

// TestUp runs everything on one machine.
func TestUp(t *testing.T) {
	env := harness.New(t, harness.Versity) // for its environment only
	addr, err := harness.FreeAddr()
	must(t, err)
	data := t.TempDir()
	m := env.Command(t, t.TempDir(), func(dir string) []string {
		return []string{"up", dir, "--data", data, "--listen", addr}
	})
	write(t, m.Path("f"), "text")
	must(t, os.Mkdir(m.Path("d"), 0o755))
	m.Restart()
	read(t, m.Path("f"), "text")
	if got := names(t, m.Dir); !slices.Equal(got, []string{"d", "f"}) {
		t.Errorf("names: got %v", got)
	}
	if m.Status()["mountpoint"] != m.Dir {
		t.Errorf("status: got %v", m.Status())
	}
}
