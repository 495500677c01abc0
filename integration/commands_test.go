//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/integration/harness"
)

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
		if r := env.Causeway(t, []string{"AWS_SECRET_ACCESS_KEY=wrong"}, args...); r.Code != 1 {
			t.Errorf("doctor with a wrong secret: exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
	})
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
