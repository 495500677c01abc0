//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// commitLocal mounts with --commit local and further flags. It returns nil if
// the binary does not have that yet.
func commitLocal(t *testing.T, env *harness.Env, o harness.MountOptions) *harness.Mount {
	t.Helper()
	flags, ok := commitModes(t)["local"]
	if !ok {
		t.Log("this binary has no --commit")
		return nil
	}
	o.Flags = append(flags, o.Flags...)
	return env.MountWith(t, o)
}

// commitsLocally says whether a mount has --commit local.
func commitsLocally(m *harness.Mount) bool {
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", m.PID()))
	return err == nil && strings.Contains(string(cmdline), "--commit\x00local")
}

// takeAway resets every connection to S3 until bringBack.
func takeAway(envs ...*harness.Env) {
	for _, env := range envs {
		env.Proxy.SetFaults(1, s3proxy.Fault{Kind: s3proxy.ResetBefore})
	}
}

func bringBack(envs ...*harness.Env) {
	for _, env := range envs {
		env.Proxy.SetFaults(1)
	}
}

// TestLocalOutage takes S3 away for a minute under load: nobody notices, and
// all of it is in S3 soon after it is back, by itself. It runs in the long form
// only; TestLocalCommitAway in localcommit_test.go is the short form.
func TestLocalOutage(t *testing.T) {
	if !harness.Long() {
		t.Log("in the long form only")
		return
	}
	const away = time.Minute
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	s := newStorm(t, 23, 8, []*harness.Env{env}, []*harness.Mount{m})
	// Renaming a file that is in S3 alone, and claiming a directory's name for
	// all mounts, need S3.
	s.without = []string{"rename", "directory"}
	s.allowed = func(error) bool { return false }
	s.run(3 * time.Second)
	takeAway(env)
	s.run(away)
	if n := s.failures(); n > 0 {
		t.Errorf("calls failed while S3 was away: %s", counts(s.errors))
	}
	s.mu.Lock()
	done := 0
	for _, n := range s.done {
		done += n
	}
	s.mu.Unlock()
	if done < 200 {
		t.Errorf("%d calls succeeded, so this tells little", done)
	}
	bringBack(env)
	s.log()
	s.verify()
}

// inS3 wants every file's object to be what was acknowledged.
func (s *storm) inS3() error {
	for _, f := range s.all {
		if f.other != "" {
			continue // where it is now, verifyFile finds out
		}
		var content []byte
		if o := s.envs[0].Get(s.t, f.path); o != nil {
			content = append([]byte{}, o.Body...)
		}
		if _, err := matches(f.id, content, f.states); err != nil {
			return fmt.Errorf("S3: %s %w", f.path, err)
		}
	}
	return nil
}

// TestLocalSpoolFull writes until there is no room for more while S3 is away:
// that is ENOSPC, and what was acknowledged before arrives.
func TestLocalSpoolFull(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{StateDir: smallDisk(t, "96m"), Flags: []string{"--cache-size", "16MiB"}})
	if m == nil {
		return
	}
	write(t, m.Path("first"), "first")
	takeAway(env)
	acked := map[string][]byte{}
	var err error
	for i := 0; err == nil && i < 400; i++ {
		name, body := fmt.Sprint("f", i), pattern(byte(i), 1<<20)
		if err = os.WriteFile(m.Path(name), body, 0o644); err == nil {
			acked[name] = body
		}
	}
	wantErr(t, fmt.Sprintf("write number %d to a disk of 96 MiB", len(acked)+1), err, unix.ENOSPC)
	if len(acked) < 20 {
		t.Errorf("only %d MiB found room", len(acked))
	}
	read(t, m.Path("first"), "first")
	for name, body := range acked { // also before they are in S3
		sameFile(t, m.Path(name), body)
	}
	bringBack(env)
	eventually(t, 2*time.Minute, func() error {
		for name, body := range acked {
			if o := env.Get(t, name); o == nil || !bytes.Equal(o.Body, body) {
				return fmt.Errorf("%s is not in S3", name)
			}
		}
		return nil
	})
	eventually(t, time.Minute, func() error { return os.WriteFile(m.Path("after"), pattern(1, 1<<20), 0o644) })
}

// TestLocalConflict edits a file here, before that is in S3, and replaces it
// elsewhere: both versions are kept.
func TestLocalConflict(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	peer := env.Peer(t).Mount(t)
	write(t, m.Path("f"), "the first version")
	syncMount(t, env, m.Dir)
	visible(t, peer.Path("f"))
	read(t, m.Path("f"), "the first version")

	env.Proxy.SetFaults(1, s3proxy.Fault{Kind: s3proxy.ResetBefore, Ops: []string{s3proxy.PutObject}})
	f, err := os.OpenFile(m.Path("f"), os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("THE"), 0)
	must(t, errors.Join(err, f.Close()))
	read(t, m.Path("f"), "THE first version")
	write(t, peer.Path("f"), "somebody else's version")
	bringBack(env)

	eventually(t, time.Minute, func() error {
		if n := len(kept(t, env, m)); n != 1 {
			return fmt.Errorf("%d versions are kept, want 1", n)
		}
		return nil
	})
	wantKept(t, env, m, "f", "THE first version")
	if o := env.Get(t, "f"); string(o.Body) != "somebody else's version" {
		t.Errorf("object: got %q", o.Body)
	}
	for _, m := range []*harness.Mount{m, peer} {
		eventually(t, 10*time.Second, func() error {
			if b, err := os.ReadFile(m.Path("f")); err != nil || string(b) != "somebody else's version" {
				return fmt.Errorf("%s: %q, %v", m.Path("f"), b, err)
			}
			return nil
		})
	}
	if files, _ := m.Status()["files"].(map[string]any); !strings.Contains(fmt.Sprint(files["last_error"]), "f") {
		t.Errorf("status does not tell of the conflict: %v", files["last_error"])
	}
}

// syncMount runs `causeway sync` on a path of a mount.
func syncMount(t *testing.T, env *harness.Env, path string) {
	t.Helper()
	if r := env.Causeway(t, nil, "sync", path); r.Code != 0 {
		t.Errorf("causeway sync %s: %+v", path, r)
	}
}

// TestLocalSync wants all ways to wait for S3 to do so.
func TestLocalSync(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	must(t, os.Mkdir(m.Path("d"), 0o755))
	env.Quiesce(t)
	env.Proxy.SetLatency(500 * time.Millisecond)
	inS3 := func(what string, names ...string) {
		for _, name := range names {
			if o := env.Get(t, name); o == nil || string(o.Body) != name {
				t.Errorf("%s has returned, and %s is not in S3", what, name)
			}
		}
	}
	writeSome := func(what string, n int) (names []string) {
		for i := range n {
			name := fmt.Sprintf("d/%s%d", what, i)
			write(t, m.Path(name), name)
			names = append(names, name)
		}
		for _, name := range names {
			read(t, m.Path(name), name)
		}
		return names
	}
	if n := writeSome("first", 8); env.Get(t, n[7]) != nil {
		t.Error("close waited for S3")
	}
	names := writeSome("mount", 8)
	syncMount(t, env, m.Dir)
	inS3("causeway sync of the mount", names...)
	names = writeSome("file", 1)
	syncMount(t, env, m.Path(names[0]))
	inS3("causeway sync of a file", names...)

	names = writeSome("fsync", 1)
	f, err := os.OpenFile(m.Path(names[0]), os.O_WRONLY, 0)
	must(t, err)
	must(t, errors.Join(f.Sync(), f.Close()))
	inS3("fsync", names...)
	names = writeSome("unmount", 8)
	m.Stop()
	inS3("the mount", names...)
}

// TestLocalKilled ends the gateway while S3 is away: the next one sends what
// was acknowledged.
func TestLocalKilled(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := commitLocal(t, env, harness.MountOptions{})
	if m == nil {
		return
	}
	write(t, m.Path("old"), "old")
	syncMount(t, env, m.Dir)
	takeAway(env)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 20 {
				name := fmt.Sprintf("f%d-%d", i, k)
				if err := os.WriteFile(m.Path(name), []byte(name), 0o644); err != nil {
					t.Errorf("write %s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	must(t, os.Remove(m.Path("old")))
	m.Kill9()
	bringBack(env)
	m.Start()
	eventually(t, time.Minute, func() error {
		if env.Get(t, "old") != nil {
			return errors.New("the removed file is there")
		}
		for i := range 8 {
			for k := range 20 {
				if name := fmt.Sprintf("f%d-%d", i, k); env.Get(t, name) == nil {
					return fmt.Errorf("%s is not in S3", name)
				}
			}
		}
		return nil
	})
	read(t, m.Path("f7-19"), "f7-19")
}

// TestLocalFullKeepsAcknowledged writes a version for which there is no room,
// while the one before it is acknowledged and not in S3 yet: that one stays.
func TestLocalFullKeepsAcknowledged(t *testing.T) {
	for name, flags := range map[string]int{"rewrite": os.O_WRONLY | os.O_TRUNC, "append": os.O_WRONLY | os.O_APPEND, "edit": os.O_WRONLY} {
		t.Run(name, func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			disk := smallDisk(t, "64m")
			m := commitLocal(t, env, harness.MountOptions{StateDir: disk, Flags: []string{"--cache-size", "8MiB"}})
			if m == nil {
				return
			}
			write(t, m.Path("f"), "the version before")
			syncMount(t, env, m.Dir)
			takeAway(env)
			const acknowledged = "the version that was acknowledged"
			write(t, m.Path("f"), acknowledged)
			free := fill(t, disk, 1<<20)
			f, err := os.OpenFile(m.Path("f"), flags, 0)
			must(t, err)
			chunk := pattern(8, 256<<10)
			for i := 0; err == nil && i < 100; i++ {
				_, err = f.Write(chunk)
			}
			wantErr(t, "write", err, unix.ENOSPC)
			if err := f.Close(); err == nil {
				t.Error("close after a write that failed: no error")
			}
			read(t, m.Path("f"), acknowledged)
			free()
			bringBack(env)
			eventually(t, time.Minute, func() error {
				if o := env.Get(t, "f"); o == nil || string(o.Body) != acknowledged {
					return fmt.Errorf("object: %+v, want %q", o, acknowledged)
				}
				return nil
			})
			read(t, m.Path("f"), acknowledged)
		})
	}
}
