package swamp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s := &Store{Root: t.TempDir()}
	if err := s.Setup(); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSaveAndLoad(t *testing.T) {
	s := newStore(t)
	const model, name = "@local/shell/m1", "result"
	for want := 1; want <= 12; want++ {
		payload := fmt.Appendf(nil, "payload %d", want)
		got, err := s.Save(model, name, payload)
		if err != nil || got != want {
			t.Fatalf("Save: got %d, %v, want %d", got, err, want)
		}
		if latest, err := s.Latest(model, name); err != nil || latest != want {
			t.Errorf("Latest: got %d, %v, want %d", latest, err, want)
		}
		if b, err := s.Load(model, name, want); err != nil || !bytes.Equal(b, payload) {
			t.Errorf("Load: got %q, %v", b, err)
		}
	}
	if err := os.Remove(filepath.Join(s.data(model, name), "latest")); err != nil {
		t.Fatal(err)
	}
	if latest, err := s.Latest(model, name); err != nil || latest != 12 {
		t.Errorf("Latest without the file: got %d, %v", latest, err)
	}
	if err := os.WriteFile(s.Raw(model, name, 3), []byte("other"), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(model, name, 3); err == nil {
		t.Error("Load of a changed payload: no error")
	}
	if err := s.SaveOutput(model, "execute", []byte("x")); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(s.data(model, name), "*", ".*.tmp")); len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestConcurrentSavesGetVersionsOfTheirOwn(t *testing.T) {
	s := newStore(t)
	const writers, each = 8, 20
	versions := make([][]int, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				v, err := s.Save("m", "d", fmt.Appendf(nil, "%d-%d", w, i))
				// Two writers may unlink the same latest: swamp has its lock
				// against that, which this test does without.
				if err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Error(err)
				}
				versions[w] = append(versions[w], v)
			}
		})
	}
	wg.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(versions...)))
	for i, v := range all {
		if v != i+1 {
			t.Fatalf("versions are not 1 to %d: %v", writers*each, all)
		}
	}
}

func TestLock(t *testing.T) {
	s := newStore(t)
	s.Namespace = "team"
	if err := s.Setup(); err != nil {
		t.Fatal(err)
	}
	l, err := s.LockModel(t.Context(), "a/m", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Heartbeat(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.LockModel(ctx, "a/m", time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("lock taken twice: %v", err)
	}
	all, err := s.LockAll(t.Context(), time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	locks, err := s.WalkLocks()
	slices.Sort(locks)
	want := []string{filepath.Join(s.Root, ".locks/team.lock"), filepath.Join(s.Root, "team/data/a/m/.lock")}
	if err != nil || !slices.Equal(locks, want) {
		t.Errorf("WalkLocks: got %v, %v, want %v", locks, err, want)
	}
	if err := errors.Join(l.Release(), all.Release()); err != nil {
		t.Error(err)
	}
	if locks, err := s.WalkLocks(); err != nil || len(locks) > 0 {
		t.Errorf("WalkLocks after release: got %v, %v", locks, err)
	}
	if err := l.Release(); err == nil {
		t.Error("released twice")
	}
}

func TestLockExcludes(t *testing.T) {
	s := newStore(t)
	var wg sync.WaitGroup
	counter := filepath.Join(s.Root, "counter")
	if err := os.WriteFile(counter, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		wg.Go(func() {
			for range 20 {
				l, err := s.LockModel(t.Context(), "m", time.Millisecond)
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := os.ReadFile(counter)
				err = os.WriteFile(counter, append(b, '.'), 0o666)
				if err := errors.Join(err, l.Release()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if b, err := os.ReadFile(counter); err != nil || len(b) != 120 {
		t.Errorf("counted %d, %v, want 120", len(b), err)
	}
}

func TestStreams(t *testing.T) {
	s := newStore(t)
	var lines []string
	for i := range 50 {
		lines = append(lines, fmt.Sprint("line ", i))
	}
	v, err := s.StreamLines("m", "log", lines)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Load("m", "log", v); err != nil || string(b) != strings.Join(lines, "\n")+"\n" {
		t.Errorf("lines: got %q, %v", b, err)
	}

	payload := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	v, err = s.StreamBytes("m", "blob", payload)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Load("m", "blob", v); err != nil || !bytes.Equal(b, payload) {
		t.Errorf("bytes: got %d bytes, %v", len(b), err)
	}

	v, err = s.HandOut("m", "file", s.Raw("m", "blob", v))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.Load("m", "file", v); err != nil || !bytes.Equal(b, payload) {
		t.Errorf("handed out: got %d bytes, %v", len(b), err)
	}
}

func TestMigrateAndRemove(t *testing.T) {
	s := newStore(t)
	for i := range 30 {
		if _, err := s.Save(fmt.Sprintf("t/m%d", i%5), "d", []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Migrate("team"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		model := fmt.Sprintf("t/m%d", i)
		if v, err := s.Latest(model, "d"); err != nil || v != 6 {
			t.Errorf("%s after the move: got %d, %v, want 6", model, v, err)
		}
	}
	if _, err := os.Stat(filepath.Join(s.Root, "data")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("data is still where it was: %v", err)
	}
	if err := Remove(filepath.Join(s.Root, "team"), 4); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(s.Root); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
}

func TestRealPath(t *testing.T) {
	s := newStore(t)
	path := filepath.Join(s.Root, "data", "absent", "x")
	depth := strings.Count(s.Root, "/")
	if n, err := RealPath(path); err != nil || n != depth+2 {
		t.Errorf("got %d calls, %v, want %d", n, err, depth+2)
	}
	link := filepath.Join(s.Root, "link")
	if err := os.Symlink("data", link); err != nil {
		t.Fatal(err)
	}
	if _, err := RealPath(filepath.Join(link, "x")); err == nil {
		t.Error("a link on the way: no error")
	}
}
