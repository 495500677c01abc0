//go:build integration

package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

// usage is what a gateway uses at one moment, or the most of each over a time.
type usage struct {
	rss        int64 // bytes
	goroutines int
	threads    int
	fds        int
	stateBytes int64 // that files take on the disk
	stateFiles int
}

// most takes the larger of each.
func (u usage) most(v usage) usage {
	return usage{max(u.rss, v.rss), max(u.goroutines, v.goroutines), max(u.threads, v.threads), max(u.fds, v.fds),
		max(u.stateBytes, v.stateBytes), max(u.stateFiles, v.stateFiles)}
}

// String is for the log.
func (u usage) String() string {
	return fmt.Sprintf("%d MiB resident, %d goroutines, %d threads, %d descriptors, %d files of %d MiB in the state directory",
		u.rss>>20, u.goroutines, u.threads, u.fds, u.stateFiles, u.stateBytes>>20)
}

// exceeds says what of u is above limit; empty if nothing is.
func (u usage) exceeds(limit usage) string {
	var over []string
	for _, c := range []struct {
		what     string
		got, max int64
	}{
		{"resident bytes", u.rss, limit.rss}, {"goroutines", int64(u.goroutines), int64(limit.goroutines)},
		{"threads", int64(u.threads), int64(limit.threads)}, {"descriptors", int64(u.fds), int64(limit.fds)},
		{"bytes in the state directory", u.stateBytes, limit.stateBytes}, {"files in the state directory", int64(u.stateFiles), int64(limit.stateFiles)},
	} {
		if c.got > c.max {
			over = append(over, fmt.Sprintf("%d %s, limit %d", c.got, c.what, c.max))
		}
	}
	return strings.Join(over, "; ")
}

// sampler measures a mount that has --status at addr.
type sampler struct {
	t    *testing.T
	m    *harness.Mount
	addr string

	mu   sync.Mutex
	peak usage // guarded by mu: since the last call of since
	n    int   // guarded by mu: samples in it
}

// during measures every now and then while do runs, and returns the most of
// each.
func (s *sampler) during(do func()) usage {
	s.mu.Lock()
	s.peak, s.n = usage{}, 0
	s.mu.Unlock()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			u := s.now()
			s.mu.Lock()
			s.peak, s.n = s.peak.most(u), s.n+1
			s.mu.Unlock()
			select {
			case <-stop:
				return
			case <-time.After(500 * time.Millisecond):
			}
		}
	})
	do()
	close(stop)
	wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

// now measures once.
func (s *sampler) now() usage {
	u := usage{goroutines: s.metric("go_goroutines")}
	proc := fmt.Sprintf("/proc/%d", s.m.PID())
	text, err := os.ReadFile(proc + "/status")
	if err != nil {
		s.t.Errorf("measure: %v", err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) > 1 && f[0] == "VmRSS:":
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			u.rss = kib << 10
		case len(f) > 1 && f[0] == "Threads:":
			u.threads, _ = strconv.Atoi(f[1])
		}
	}
	fds, err := os.ReadDir(proc + "/fd")
	if err != nil {
		s.t.Errorf("measure: %v", err)
	}
	u.fds = len(fds)
	u.stateFiles, u.stateBytes = diskUse(s.t, s.m.StateDir)
	return u
}

// diskUse counts the files below dir, and what they take on the disk; a file
// with two names counts once.
func diskUse(t *testing.T, dir string) (files int, bytes int64) {
	t.Helper()
	seen := map[uint64]bool{}
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed meanwhile
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		files++
		if st := info.Sys().(*syscall.Stat_t); !seen[st.Ino] {
			seen[st.Ino] = true
			bytes += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Errorf("measure %s: %v", dir, err)
	}
	return files, bytes
}

// metric is a metric without labels.
func (s *sampler) metric(name string) int {
	resp, err := http.Get("http://" + s.addr + "/-/metrics")
	if err != nil {
		s.t.Errorf("metrics: %v", err)
		return 0
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			f, err := strconv.ParseFloat(value, 64)
			if err != nil {
				s.t.Errorf("metric %s: %v", name, err)
			}
			return int(f)
		}
	}
	s.t.Errorf("no metric %s", name)
	return 0
}

// TestUsage checks that more than the limit is found, of each.
func TestUsage(t *testing.T) {
	limit := usage{10, 10, 10, 10, 10, 10}
	if got := limit.exceeds(limit); got != "" {
		t.Errorf("at the limit: got %q", got)
	}
	for i, u := range []usage{{rss: 11}, {goroutines: 11}, {threads: 11}, {fds: 11}, {stateBytes: 11}, {stateFiles: 11}} {
		if u.exceeds(limit) == "" || u.most(limit).exceeds(limit) == "" || limit.most(u).exceeds(limit) == "" {
			t.Errorf("%d: more than the limit passed", i)
		}
	}
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "a"), pattern(1, 100_000), 0o644))
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	if files, n := diskUse(t, dir); files != 2 || n < 100_000 || n > 110_000 {
		t.Errorf("disk use: got %d files of %d bytes, want 2 of 100000 and a bit", files, n)
	}
}
