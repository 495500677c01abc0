//go:build integration

package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
)

// commitModes are the flags that say when a close returns, of those that the
// binary knows.
func commitModes(t *testing.T) map[string][]string {
	t.Helper()
	modes := map[string][]string{"remote": nil}
	if hasFlag(t, "--commit") {
		modes["local"] = []string{"--commit", "local"}
	}
	return modes
}

// hasFlag says whether the mount command knows a flag.
func hasFlag(t *testing.T, flag string) bool {
	t.Helper()
	out, err := exec.Command(harness.Binary(t), "mount", "--help").CombinedOutput()
	if err != nil {
		t.Fatalf("mount --help: %v", err)
	}
	return strings.Contains(string(out), flag+" ")
}

// fill takes what is left of a disk, all but some bytes. What it returns gives
// it back.
func fill(t *testing.T, dir string, left int64) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	eventually(t, 10*time.Second, func() error { // others may write to it meanwhile
		var st unix.Statfs_t
		must(t, unix.Statfs(dir, &st))
		if size := int64(st.Bavail)*int64(st.Bsize) - left; size > 0 {
			return unix.Fallocate(int(f.Fd()), 0, 0, size)
		}
		return nil
	})
	return func() { os.Remove(path) }
}

// TestDiskFullUnderLoad fills the disk of the state directory under writers of
// all kinds, temporary names, removals and renames, several times, and makes
// room again. Calls may be ENOSPC while it is full and no other error; what was
// acknowledged is right, then and later; and all goes on by itself.
func TestDiskFullUnderLoad(t *testing.T) {
	rounds, load := 3, 3*time.Second
	if harness.Long() {
		rounds, load = 30, 20*time.Second
	}
	for mode, flags := range commitModes(t) {
		if mode == "local" && !harness.Long() {
			continue // does not pass: a close may hang; TestLocalFullKeepsAcknowledged is the short form
		}
		t.Run(mode, func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			disk := smallDisk(t, "160m")
			m := env.MountWith(t, harness.MountOptions{StateDir: disk, Life: time.Hour,
				Flags: append([]string{"--cache-size", "32MiB"}, flags...)})
			s := newStorm(t, 11, 8, []*harness.Env{env}, []*harness.Mount{m})
			full := func(err error) bool { return errors.Is(err, unix.ENOSPC) }
			s.allowed, s.dropped = full, full
			for round := range rounds {
				before := s.failures()
				s.run(load)
				if s.failures() != before {
					t.Errorf("round %d: calls failed with room on the disk: %s", round, counts(s.errors))
				}
				free := fill(t, disk, int64(round%3)<<20)
				s.run(load)
				s.large(t, round, full)
				free()
				s.dropKept(t, env, m)
				if n := s.failures(); n == before {
					t.Errorf("round %d: no call failed although the disk was full", round)
				}
				s.recovers(t, round)
			}
			s.log()
			s.verify()
			m.Kill9() // what was acknowledged does not depend on the process
			m.Start()
			s.verify()
		})
	}
}

// failures is how many calls have failed.
func (s *storm) failures() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.errors {
		n += k
	}
	return n
}

// large writes some large files at once, more than there is room for.
func (s *storm) large(t *testing.T, round int, full func(error) bool) {
	var wg sync.WaitGroup
	for i, w := range s.workers[:4] {
		wg.Go(func() {
			f := w.files[0]
			if f.other != "" {
				return
			}
			f.version++
			next := uniform(40_000, f.version)
			file, err := w.open(f, f.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
			if err == nil {
				err = w.became(f, next, w.put(file, next.bytes(f.id), 0))
			} else {
				f.states = append(f.states, stormState{})
			}
			w.did("large file", err)
			if err == nil && round == 0 && i == 0 {
				t.Log("a large file fitted")
			}
		})
	}
	wg.Wait()
}

// dropKept gives up what was kept, so that it takes no room.
func (s *storm) dropKept(t *testing.T, env *harness.Env, m *harness.Mount) {
	for _, v := range kept(t, env, m) {
		if r := env.Causeway(t, nil, "recover", "drop", v.ID, "--state-dir", m.StateDir); r.Code != 0 {
			t.Errorf("recover drop: %+v", r)
		}
	}
}

// recovers wants every worker to be able to write again, without a restart.
func (s *storm) recovers(t *testing.T, round int) {
	t.Helper()
	for i := range s.workers {
		path := s.mounts[0].Path(s.dir, fmt.Sprintf("after-%d-%d", round, i))
		eventually(t, 60*time.Second, func() error { return os.WriteFile(path, block(i, 0, round), 0o644) })
		must(t, os.Remove(path))
	}
}
