package access

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func withLocal(ctx context.Context, addr net.Addr) context.Context {
	return context.WithValue(ctx, http.LocalAddrContextKey, addr)
}

const someRules = `
# everybody who is known reads; some write
*          /                 read
*          /private          none
ann        /                 write
bob        /projects/my app  write
bob        /projects/my app/locked  read
carl       /projects	     none
anonymous  /public           read
`

func TestRules(t *testing.T) {
	r, err := parseRules("rules", []byte(someRules))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		user, path string
		want, tree Level
	}{
		{"ann", "", Write, None}, // the longer path of everybody's wins
		{"ann", "x/y", Write, Write},
		{"ann", "private", None, None},
		{"ann", "private2", Write, Write},
		{"bob", "", Read, None},
		{"bob", "projects", Read, Read},
		{"bob", "projects/my app", Write, Read},
		{"bob", "projects/my app/x", Write, Write},
		{"bob", "projects/my application", Read, Read},
		{"bob", "projects/my app/locked/x", Read, Read},
		{"carl", "projects/my app", None, None},
		{"carl", "other", Read, Read},
		{Anonymous, "", None, None},
		{Anonymous, "public/x", Read, Read},
		{Anonymous, "publicity", None, None},
	} {
		if got := r.level(c.user, c.path); got != c.want {
			t.Errorf("%s on %q: %d, want %d", c.user, c.path, got, c.want)
		}
		if got := r.levelOfTree(c.user, c.path); got != c.tree {
			t.Errorf("%s on the tree %q: %d, want %d", c.user, c.path, got, c.tree)
		}
	}
	if (Rules{}).level(Anonymous, "x") != Write {
		t.Error("without rules not everything is allowed")
	}
	if none, err := parseRules("rules", []byte("# none\n")); err != nil || none.level("ann", "") != None {
		t.Errorf("a file without rules allows something (%v)", err)
	}
}

// TestMethods asks with each method what each level allows.
func TestMethods(t *testing.T) {
	g, _ := open(t, Config{
		Htpasswd: file(t, hashed(t, "u", "p")),
		Rules:    file(t, "u /r read\nu /w write\nu /w/ro read\nu /w/no none\nanonymous /open read\n"),
	})
	readOnly, _ := open(t, Config{ReadOnly: true})
	to := func(dest string) func(*http.Request) { return header("Destination", dest) }
	nothing := func(*http.Request) {}
	for _, c := range []struct {
		method, path string
		set          func(*http.Request)
		status       int
	}{
		{"GET", "/r/f", nothing, 200},
		{"HEAD", "/w", nothing, 200},
		{"GET", "/", nothing, 403},
		{"GET", "/w/no/f", nothing, 403},
		{"OPTIONS", "/", nothing, 200},
		{"OPTIONS", "*", nothing, 200},
		{"PROPFIND", "/r", header("Depth", "infinity"), 200},
		{"PROPFIND", "/w", header("Depth", "1"), 200},
		{"PROPFIND", "/w", header("Depth", "infinity"), 403},
		{"PROPFIND", "/w", nothing, 403},
		{"PUT", "/r/f", nothing, 403},
		{"PUT", "/w/f", nothing, 200},
		{"PUT", "/w/ro/f", nothing, 403},
		{"MKCOL", "/r/d", nothing, 403},
		{"PROPPATCH", "/r/f", nothing, 403},
		{"LOCK", "/r/f", nothing, 403},
		{"LOCK", "/w/f", nothing, 200},
		{"UNLOCK", "/r/f", nothing, 403},
		{"DELETE", "/w/f", nothing, 200},
		{"DELETE", "/w", nothing, 403},
		{"PATCH", "/r/f", nothing, 403},
		{"SOMETHING", "/r/f", nothing, 403},
		{"COPY", "/r/f", to("http://127.0.0.1:1/w/f"), 200},
		{"COPY", "/r/f", to("/w/f"), 200},
		{"COPY", "/r/f", to("/r/g"), 403},
		{"COPY", "/w", to("/w/x"), 403},
		{"COPY", "/r/f", nothing, 400},
		{"COPY", "/r/f", to("/w/../r/f"), 400},
		{"COPY", "/r/f", to("http://127.0.0.1:1/w/%2e%2e/r/f"), 400},
		{"COPY", "/r/f", to("/-/x"), 403},
		{"MOVE", "/r/f", to("/w/f"), 403},
		{"MOVE", "/w/f", to("/w/g"), 200},
		{"MOVE", "/w/f", to("/w/ro/g"), 403},
		{"GET", "/-/", nothing, 403},
		{"GET", "/-/api/status", nothing, 403},
		{"GET", "/-/health", nothing, 200},
	} {
		if w := ask(g.Wrap(whoami), request(c.method, c.path, basic("u", "p"), c.set)); w.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/open/f", 200}, {"PUT", "/open/f", 401}, {"GET", "/r/f", 401}, {"GET", "/-/", 401}, {"GET", "/-/ready", 200},
		{"GET", "/-/assets/x.css", 200}, {"PUT", "/-/assets/x.css", 401},
	} {
		if w := ask(g.Wrap(whoami), request(c.method, c.path)); w.Code != c.status {
			t.Errorf("anonymous %s %s: %d, want %d", c.method, c.path, w.Code, c.status)
		}
	}
	for method, status := range map[string]int{"GET": 200, "PROPFIND": 200, "OPTIONS": 200, "PUT": 403, "DELETE": 403, "LOCK": 403, "COPY": 403, "MKCOL": 403} {
		if w := ask(readOnly.Wrap(whoami), request(method, "/f")); w.Code != status {
			t.Errorf("read-only %s: %d, want %d", method, w.Code, status)
		}
	}
}

func TestPath(t *testing.T) {
	for text, want := range map[string]string{
		"/": "", "/a": "a", "/a/": "a", "/a/b%20c": "a/b c", "/%C3%A4": "ä", "/a%5Cb": `a\b`, "/...": "...", "/a?b": "a",
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Path(u); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{
		"/..", "/../x", "/a/../b", "/a/./b", "/%2e%2e/x", "/a/%2E%2e", "/a%2fb", "/a%2F..%2Fb", "//", "//host/x", "/a//b", "/a//",
		"/a%00b", "/%ff", "/%c0%ae%c0%ae/x", "/" + strings.Repeat("a", 256),
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if text == "//host/x" {
			u = &url.URL{Path: text}
		}
		if got, err := Path(u); !errors.Is(err, ErrPath) {
			t.Errorf("%s: %q, %v, want ErrPath", text, got, err)
		}
	}
}

// FuzzPath wants what is let through to be plain.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/%2e/x", "/a%2Fb", "//", "/a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil {
			return
		}
		p, err := Path(u)
		if err != nil {
			return
		}
		for _, c := range strings.Split(p, "/") {
			if p != "" && (c == "" || c == "." || c == ".." || strings.ContainsAny(c, "\x00")) {
				t.Errorf("%q became %q", text, p)
			}
		}
	})
}

// FuzzFiles wants no file to be fatal.
func FuzzFiles(f *testing.F) {
	f.Add([]byte(someRules))
	f.Add([]byte("ann:$2y$05$" + strings.Repeat("a", 53)))
	f.Add([]byte("ann:" + strings.Repeat("0a", 32)))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = parsePasswords("f", text)
		_, _ = parseTokens("f", text)
		if r, err := parseRules("f", text); err == nil {
			for _, c := range r.list {
				if r.levelOfTree(c.user, c.path) > r.level(c.user, c.path) {
					t.Errorf("the tree %q allows more than its root", c.path)
				}
			}
		}
	})
}
