//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// storm is a load of all kinds of writers, and readers, on one or two mounts.
// Each file has one owner, who knows what it must hold; a file is also written
// through one mount and then through the other.
type storm struct {
	t      *testing.T
	envs   []*harness.Env
	mounts []*harness.Mount
	dog    *watchdog

	dir        string // below the mount points
	scratch    string
	largeOneIn int      // every so manieth file is large
	without    []string // kinds that are left out
	all        []*stormFile
	workers    []*stormWorker

	// allowed says whether an error may happen; dropped, whether it says that
	// the bytes are not kept.
	allowed, dropped func(err error) bool

	names     atomic.Int64
	foundKept atomic.Int64 // closes that failed and whose bytes were kept
	mu        sync.Mutex
	done      map[string]int // guarded by mu: calls that succeeded, by kind
	errors    map[string]int // guarded by mu: calls that failed, by kind and errno
	leftDirs  []string       // guarded by mu: directories that could not be removed
}

// newStorm makes the workers, each with some files. The mounts are one or two.
func newStorm(t *testing.T, seed uint64, workers int, envs []*harness.Env, mounts []*harness.Mount) *storm {
	s := &storm{t: t, envs: envs, mounts: mounts, dog: newWatchdog(t, mounts...), dir: "storm", scratch: t.TempDir(), largeOneIn: 60,
		allowed: failed, dropped: func(error) bool { return false }, done: map[string]int{}, errors: map[string]int{}}
	must(t, os.Mkdir(mounts[0].Path(s.dir), 0o755))
	for _, m := range mounts {
		visible(t, m.Path(s.dir))
	}
	for i := range workers {
		w := &stormWorker{storm: s, rng: rand.New(rand.NewPCG(seed, uint64(i)))}
		for range 6 {
			f := &stormFile{id: len(s.all), states: []stormState{nil}, mount: i % len(mounts)}
			f.path = path.Join(s.dir, fmt.Sprint("f", f.id))
			name := f.path
			f.name.Store(&name)
			s.all = append(s.all, f)
			w.files = append(w.files, f)
		}
		s.workers = append(s.workers, w)
	}
	return s
}

// run lets all workers work for that long, and longer if some kind of call has
// not been made yet.
func (s *storm) run(d time.Duration) {
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for _, w := range s.workers {
		wg.Go(func() {
			for i := 0; (time.Now().Before(end) || i < 3) && !s.t.Failed(); i++ {
				w.step()
			}
		})
	}
	wg.Wait()
}

// did notes how a call ended.
func (s *storm) did(kind string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.done[kind]++
		return
	}
	text := err.Error()
	s.errors[kind+": "+text[strings.LastIndex(text, ": ")+2:]]++
	if !s.allowed(err) {
		s.t.Errorf("%s: %v", kind, err)
	}
}

// log says what was done, and wants all kinds of calls to be among it.
func (s *storm) log() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.t.Logf("done: %s\nfailed: %s\nkept after a failure: %d; the longest call: %s", counts(s.done), counts(s.errors), s.foundKept.Load(),
		s.dog.longestCall())
	for _, k := range stormKinds {
		if s.done[k.name] == 0 && !slices.Contains(s.without, k.name) {
			s.t.Errorf("%s: never succeeded, so this tells nothing about it", k.name)
		}
	}
}

// verify compares everything with what it must be, through all mounts and
// straight from S3, and wants nothing else to be there.
func (s *storm) verify() {
	s.t.Helper()
	for _, env := range s.envs {
		env.Proxy.SetFaults(1)
	}
	for _, dir := range s.leftDirs {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Errorf("now that nothing fails: %v", err)
		}
	}
	s.leftDirs = nil
	for _, m := range s.mounts {
		if commitsLocally(m) {
			eventually(s.t, 2*time.Minute, s.inS3) // by itself
		}
	}
	for _, env := range s.envs {
		env.Quiesce(s.t)
	}
	objects := map[string]bool{}
	for _, o := range s.envs[0].List(s.t, s.dir+"/") {
		objects[o.Key] = true
	}
	want := map[string]bool{}
	for _, f := range s.all {
		s.verifyFile(f, objects, want)
	}
	for i, m := range s.mounts {
		eventually(s.t, 30*time.Second, func() error {
			got := map[string]bool{}
			for _, name := range names(s.t, m.Path(s.dir)) {
				got[path.Join(s.dir, name)] = true
			}
			return sameNames(fmt.Sprint("mount ", i), got, want)
		})
	}
	delete(objects, s.dir+"/")
	if err := sameNames("S3", objects, want); err != nil {
		s.t.Error(err)
	}
}

// verifyFile checks one file everywhere, and adds its name to want if it must
// be there.
func (s *storm) verifyFile(f *stormFile, objects, want map[string]bool) {
	paths := []string{f.path}
	if f.other != "" {
		paths = append(paths, f.other)
	}
	there := 0
	for _, p := range paths {
		var content []byte
		if objects[p] {
			content = s.envs[0].Get(s.t, p).Body
			want[p] = true
			there++
		}
		states := f.states
		if f.other != "" {
			states = append(slices.Clone(states), nil) // at one of its names at least
		}
		state, err := matches(f.id, content, states)
		if err != nil {
			s.t.Errorf("S3: %s %v", p, err)
			continue
		}
		for i := range s.mounts {
			eventually(s.t, 30*time.Second, func() error {
				got, err := s.content(i, p)
				if err == nil {
					_, err = matches(f.id, got, []stormState{state})
				}
				if err != nil {
					return fmt.Errorf("mount %d: %s %w", i, p, err)
				}
				return nil
			})
		}
	}
	if f.other != "" && there == 0 && f.states[0] != nil {
		s.t.Errorf("S3: neither %s nor %s is there", f.path, f.other)
	}
}

// sameNames wants two sets of names to be the same.
func sameNames(where string, got, want map[string]bool) error {
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if !want[name] && !strings.HasSuffix(name, ".tmp") {
			return fmt.Errorf("%s: %s is there, and should not be", where, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if !got[name] {
			return fmt.Errorf("%s: %s is not there", where, name)
		}
	}
	return nil
}

// doomed writes files whose requests all fail, small and large ones: their
// closes fail by the deadline, and the bytes are kept.
func (s *storm) doomed(t *testing.T) {
	var wg sync.WaitGroup
	for i, w := range s.workers[:min(4, len(s.workers))] {
		f := &stormFile{id: 1000 + i, path: fmt.Sprintf("%s/doomed%d", s.dir, i), mount: i % len(s.mounts), states: []stormState{nil}, version: 1}
		blocks := 3
		if harness.Long() && i%2 == 0 {
			blocks = 18_000 // its deadline is over a minute
		}
		alone := &stormWorker{storm: s, rng: rand.New(rand.NewPCG(5, uint64(i))), files: w.files}
		wg.Go(func() {
			file, err := alone.open(f, f.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
			if err != nil {
				t.Errorf("open: %v", err)
				return
			}
			next := uniform(blocks, 1)
			err = alone.became(f, next, alone.put(file, next.bytes(f.id), 0))
			if !failed(err) {
				t.Errorf("close of %s, which S3 refuses: got %v, want EIO or ETIMEDOUT", f.path, err)
			}
		})
	}
	wg.Wait()
}

// TestStorm fails a fifth of the requests of two gateways under a mixed load.
func TestStorm(t *testing.T) {
	load, stall := 30*time.Second, 2*time.Second
	if harness.Long() {
		load, stall = 30*time.Minute, 30*time.Second
	}
	env := harness.New(t, harness.Versity)
	envs := []*harness.Env{env, env.Peer(t)}
	var mounts []*harness.Mount
	for _, env := range envs {
		mounts = append(mounts, env.MountWith(t, harness.MountOptions{Life: load + 30*time.Minute}))
	}
	s := newStorm(t, 3, 24, envs, mounts)
	for i, env := range envs {
		refused := s3proxy.Fault{Kind: s3proxy.SlowDown, Key: s.dir + "/doomed"}
		env.Proxy.SetFaults(uint64(31+i), append([]s3proxy.Fault{refused}, stormFaults(stall)...)...)
	}
	var wg sync.WaitGroup
	wg.Go(func() { s.doomed(t) })
	begun := time.Now()
	s.run(load)
	t.Logf("the load ended after %v", time.Since(begun).Round(time.Millisecond))
	wg.Wait()
	t.Logf("the closes that had to fail ended after %v", time.Since(begun).Round(time.Millisecond))
	defer func() { t.Logf("all ended after %v", time.Since(begun).Round(time.Millisecond)) }()
	wantFaults(t, envs...)
	if n := s.foundKept.Load(); n < 4 {
		t.Errorf("%d failed closes had their bytes kept, want the 4 that had to fail", n)
	}
	s.log()
	s.verify()
}
