package main

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func env(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestTargets(t *testing.T) {
	for text, want := range map[string]target{
		"s3://b": {"b", ""}, "s3://b/": {"b", ""}, "s3://b/p": {"b", "p"}, "s3://b/p/q/": {"b", "p/q"},
	} {
		got, err := parseTarget(text)
		if err != nil || got != want {
			t.Errorf("parseTarget(%q) = %v, %v, want %v", text, got, err, want)
		}
		if again, err := parseTarget(got.String()); err != nil || again != got {
			t.Errorf("%q prints as %q, which is read as %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"", "b", "s3://", "s3:///p", "s3://b/a//b", "s3://b/..", "s3://b/../c", "s3://b/./c", "http://b"} {
		if got, err := parseTarget(text); err == nil {
			t.Errorf("parseTarget(%q) = %v, want an error", text, got)
		}
	}
}

func TestStateDirectories(t *testing.T) {
	for _, c := range []struct {
		vars map[string]string
		uid  int
		want string
	}{
		{map[string]string{"HOME": "/h", "XDG_STATE_HOME": "/x"}, 0, "/var/lib/causeway"},
		{map[string]string{"HOME": "/h", "XDG_STATE_HOME": "/x"}, 5, "/x/causeway"},
		{map[string]string{"HOME": "/h"}, 5, "/h/.local/state/causeway"},
		{map[string]string{"HOME": "/h", "XDG_STATE_HOME": "relative"}, 5, "/h/.local/state/causeway"},
	} {
		if got, err := stateHome(env(c.vars), c.uid); err != nil || got != c.want {
			t.Errorf("stateHome(%v, %d) = %q, %v, want %q", c.vars, c.uid, got, err, c.want)
		}
	}
	if _, err := stateHome(env(nil), 5); err == nil || !strings.Contains(message(err), "--state-dir") {
		t.Errorf("without a home: %v", err)
	}
}

func TestStateNames(t *testing.T) {
	a := stateName("", target{"bucket", "a/b"})
	if !strings.HasPrefix(a, "bucket-a-b-") || strings.Contains(a, "/") {
		t.Errorf("name %q", a)
	}
	seen := map[string]bool{}
	for _, n := range []string{
		a,
		stateName("", target{"bucket", "a-b"}),
		stateName("", target{"bucket", ""}),
		stateName("http://other", target{"bucket", "a/b"}),
		stateName("", target{"bucket", strings.Repeat("x", 300)}),
	} {
		if seen[n] || len(n) > 80 {
			t.Errorf("name %q is taken or long", n)
		}
		seen[n] = true
	}
	if stateName("http://e/", target{"b", ""}) != stateName("http://e", target{"b", ""}) {
		t.Error("a slash at the end of the endpoint makes a difference")
	}
}

func TestMemoryBudget(t *testing.T) {
	for limit, want := range map[int64]int64{
		64 << 20: minMemory, 1 << 30: 256 << 20, 24 << 30: maxMemory, math.MaxInt64: maxMemory,
	} {
		if got := defaultMemory(limit); got != want {
			t.Errorf("defaultMemory(%d) = %d, want %d", limit, got, want)
		}
	}
}

func TestCgroupLimit(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	write := func(dir, text string) {
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(inner, "max\n")
	if got := cgroupLimit(root, "0::/a/b\n"); got != math.MaxInt64 {
		t.Errorf("no limit: got %d", got)
	}
	write(filepath.Dir(inner), "1000\n")
	if got := cgroupLimit(root, "0::/a/b\n"); got != 1000 {
		t.Errorf("limit of the parent: got %d", got)
	}
	write(inner, "500\n")
	if got := cgroupLimit(root, "1:cpu:/x\n0::/a/b\n"); got != 500 {
		t.Errorf("own limit: got %d", got)
	}
	if got := cgroupLimit(root, "0::/../../a\n"); got != 1000 {
		t.Errorf("path that leads out: got %d", got)
	}
}

func TestTotalMemory(t *testing.T) {
	if got := totalMemory("MemTotal:       1024 kB\nMemFree: 3 kB\n"); got != 1<<20 {
		t.Errorf("got %d", got)
	}
	if got := totalMemory("nonsense"); got != math.MaxInt64 {
		t.Errorf("got %d", got)
	}
}

func TestUserAllowOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fuse.conf")
	if err := os.WriteFile(path, []byte("# user_allow_other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if userAllowOther(path) {
		t.Error("a comment counts")
	}
	if err := os.WriteFile(path, []byte("mount_max = 5\n user_allow_other\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !userAllowOther(path) {
		t.Error("the line does not count")
	}
}
