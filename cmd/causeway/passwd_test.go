package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPasswd sets a password from standard input and makes a token; neither is in
// a file.
func TestPasswd(t *testing.T) {
	dir := t.TempDir()
	users, tokens := filepath.Join(dir, "users"), filepath.Join(dir, "tokens")
	run := func(stdin string, args ...string) (int, string, string) {
		a, stdout, stderr := testApp(t, nil)
		a.stdin = strings.NewReader(stdin)
		return a.run(context.Background(), append([]string{"passwd"}, args...)), stdout.String(), stderr.String()
	}
	if code, out, errs := run("s3cret pass\nmore\n", users, "ann"); code != exitDone || out != "" || errs != "" {
		t.Fatalf("%d, %q, %q", code, out, errs)
	}
	code, token, errs := run("", "--token", tokens, "ci")
	if code != exitDone || !strings.HasPrefix(token, "cwt_") || errs != "" {
		t.Fatalf("%d, %q, %q", code, token, errs)
	}
	for path, user := range map[string]string{users: "ann:$2", tokens: "ci:"} {
		text, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(text), user) || strings.Contains(string(text), "s3cret") || strings.Contains(string(text), strings.TrimSpace(token)) {
			t.Errorf("%s: %q, %v", path, text, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	for _, c := range []struct{ stdin, user string }{{"", "ann"}, {"\n", "ann"}, {strings.Repeat("x", 73), "ann"}, {"x", "a:b"}} {
		if code, _, errs := run(c.stdin, users, c.user); code != exitFailed || strings.Count(errs, "\n") != 1 {
			t.Errorf("%q for %q: %d, %q", c.stdin, c.user, code, errs)
		}
	}
}
