package access

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

func TestSetPassword(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	for _, c := range []struct{ user, password string }{{"ann", "one"}, {"bob", "two"}} {
		if err := setPassword(path, c.user, c.password, bcrypt.MinCost); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "# people\n"+strings.TrimSuffix(string(text), "\n"))
	if err := setPassword(path, "ann", "three", bcrypt.MinCost); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text, _ = os.ReadFile(path)
	lines := strings.Split(string(text), "\n")
	if lines[0] != "# people" || !strings.HasPrefix(lines[1], "ann:$2") || !strings.HasPrefix(lines[2], "bob:$2") {
		t.Errorf("file:\n%s", text)
	}
	g, _ := open(t, Config{Htpasswd: path})
	g.logins.compare = bcrypt.CompareHashAndPassword
	for password, status := range map[string]int{"one": 401, "three": 200} {
		if w := ask(g.Wrap(whoami), request("GET", "/", basic("ann", password))); w.Code != status {
			t.Errorf("%s: %d", password, w.Code)
		}
	}
	if left, _ := filepath.Glob(filepath.Dir(path) + "/.causeway-*"); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestSetPasswordRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	for name, c := range map[string]struct{ user, password string }{
		"empty": {"ann", ""}, "long": {"ann", strings.Repeat("x", 73)}, "colon": {"a:b", "x"}, "space": {"a b", "x"},
		"everybody": {"*", "x"}, "nobody": {"", "x"}, "newline": {"a\nb", "x"},
	} {
		if err := SetPassword(path, c.user, c.password); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("there is a file")
	}
	// A file that the gateway would not read is not made worse.
	write(t, path, "ann:plain\n")
	if err := SetPassword(path, "bob", "x"); err == nil {
		t.Error("a broken file was changed")
	}
}

// TestTokensTogether adds tokens at the same time, and wants all of them.
func TestTokensTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	var wg sync.WaitGroup
	made := make(chan string, 20)
	for range cap(made) {
		wg.Go(func() {
			token, err := AddToken(path, "ci")
			if err != nil {
				t.Error(err)
			}
			made <- token
		})
	}
	wg.Wait()
	close(made)
	g, _ := open(t, Config{Tokens: path})
	text, _ := os.ReadFile(path)
	for token := range made {
		if w := ask(g.Wrap(whoami), request("GET", "/", header("Authorization", "Bearer "+token))); w.Code != 200 {
			t.Errorf("a token: %d", w.Code)
		}
		if strings.Contains(string(text), token) {
			t.Error("the file has a token in the clear")
		}
	}
}
