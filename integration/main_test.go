//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/appender"
	"github.com/causewayfs/causeway/integration/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, map[string]func([]string) error{
		"swamp-worker": swampWorker,
		appender.Child: appender.Main,
		"lock-counter": lockCounter,
		"lock-cycle":   lockCycle,
	})
}

// onBoth runs a test on both servers.
func onBoth(t *testing.T, test func(t *testing.T, env *harness.Env)) {
	for _, kind := range []harness.Kind{harness.Versity, harness.MinIO} {
		t.Run(string(kind), func(t *testing.T) { test(t, harness.New(t, kind)) })
	}
}

// write makes or replaces a file.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// read wants a file to hold text.
func read(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	if string(got) != want {
		t.Errorf("%s: got %d bytes %q, want %d bytes %q", path, len(got), short(string(got)), len(want), short(want))
	}
}

func short(s string) string { return s[:min(len(s), 100)] }

// must wants no error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantErr wants an error that is target.
func wantErr(t *testing.T, what string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got error %v, want %v", what, err, target)
	}
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// eventually waits until check returns nil, and fails with its error if that
// takes longer than limit.
func eventually(t *testing.T, limit time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still after %v: %v", limit, err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// visible waits until a path can be seen, as another gateway may take up to
// --dir-ttl to show it.
func visible(t *testing.T, path string) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		_, err := os.Lstat(path)
		return err
	})
}

// gone waits until a path cannot be seen.
func gone(t *testing.T, path string) {
	t.Helper()
	eventually(t, 10*time.Second, func() error {
		_, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("%s: %v, want it gone", path, err)
	})
}

// snapshot describes all files below dir by what must survive: mode, size,
// modification time, link target, content if asked for.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		text := fmt.Sprintf("%v %s", info.Mode(), info.ModTime().UTC().Format(time.RFC3339Nano))
		if info.Mode().IsRegular() {
			text += fmt.Sprint(" size ", info.Size())
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text = "link to " + target // its time is not kept by everyone
		}
		tree[rel] = text
		return nil
	})
	if err != nil {
		t.Fatalf("walk: %v", err)
	}
	return tree
}

// sameTree wants two snapshots to be equal.
func sameTree(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	all := maps.Clone(got)
	maps.Copy(all, want)
	shown := 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if got[name] == want[name] {
			continue
		}
		if shown++; shown > 10 {
			t.Errorf("%s: more differ, of %d", what, len(all))
			return
		}
		t.Errorf("%s: %s:\n got %s\nwant %s", what, name, got[name], want[name])
	}
}

// pattern is a reader of n bytes without repetition that depend on seed.
func pattern(seed byte, n int) []byte {
	b := make([]byte, n)
	x := uint64(seed)*0x9e3779b97f4a7c15 + 1
	for i := range b {
		if i%8 == 0 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		b[i] = byte(x >> (8 * (i % 8)))
	}
	return b
}

// sameFile compares a file with what it must hold, without holding both.
func sameFile(t *testing.T, path string, want []byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	got, err := io.ReadAll(f)
	if err != nil {
		t.Errorf("read %s: %v", path, err)
	}
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s: got %d bytes, want %d; they differ from byte %d on", path, len(got), len(want), at)
}

// counts writes request counts in a fixed order.
func counts(m map[string]int) string {
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", op, m[op]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
