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
	m.Kill9()
	m.Start()
	read(t, m.Path("closed"), "closed")
	read(t, m.Path("staged.tmp"), "staged")
	must(t, os.Rename(m.Path("staged.tmp"), m.Path("final")))
	if o := env.Get(t, "final"); o == nil || string(o.Body) != "staged" {
		t.Errorf("object: got %+v", o)
	}
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
