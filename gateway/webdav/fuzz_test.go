package webdav

import (
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"golang.org/x/net/webdav"
)

// FuzzPath: whatever a URL is, its path is none or one without tricks, and its
// href leads back to it.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "/a/b", "/a%2fb", "/../a", "/a//b", "/%00", "/%ff", "/a/", "//", "*", "/a%20b", "/%e2%98%83"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := url.Parse(s)
		if err != nil {
			return
		}
		path, _, err := parsePath(u)
		if err != nil {
			return
		}
		if !utf8.ValidString(path) || strings.ContainsRune(path, 0) || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
			t.Errorf("%q: got %q", s, path)
		}
		if path != "" {
			for _, name := range strings.Split(path, "/") {
				if name == "" || name == "." || name == ".." {
					t.Errorf("%q: got %q", s, path)
				}
			}
		}
		back, err := url.Parse(href(path, true))
		if err != nil {
			t.Fatalf("href of %q: %v", path, err)
		}
		if again, _, err := parsePath(back); err != nil || again != path {
			t.Errorf("href of %q leads to %q, %v", path, again, err)
		}
	})
}

// FuzzIf: what is understood has conditions, and no more than the limits.
func FuzzIf(f *testing.F) {
	for _, s := range []string{`(<urn:uuid:1>)`, `(<a> ["e"]) (Not <b>)`, `<http://x/y> (["e"]) <z> (Not ["f"])`, `([W/"e"])`, `(`, `()`, `<x>`, `(<a>) <x> (<b>)`, `(["e)`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		lists, err := parseIf(s)
		if err != nil {
			return
		}
		if len(lists) == 0 || len(lists) > maxIfLists {
			t.Fatalf("%q: %d lists", s, len(lists))
		}
		for _, l := range lists {
			if len(l.conditions) == 0 || (l.resource != "") != (lists[0].resource != "") {
				t.Errorf("%q: got %+v", s, lists)
			}
			for _, c := range l.conditions {
				if (c.Token == "") == (c.ETag == "") {
					t.Errorf("%q: got %+v", s, c)
				}
			}
		}
	})
}

// FuzzTimeout: what is understood is between a second and the limit.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"", "Infinite", "Second-5", "Infinite, Second-4100000000", "Second-99999999999999999999", "Second--1", "x, Second-0", "x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := parseTimeout(s, time.Hour)
		if err == nil && (d < time.Second || d > time.Hour) {
			t.Errorf("%q: got %v", s, d)
		}
	})
}

// FuzzXML: what is read can be written and read again with the same meaning.
func FuzzXML(f *testing.F) {
	for _, s := range []string{lockBody, setProps, getProps, `<a xmlns="x" xmlns:b="y"><b:c d="e" b:f="g&lt;">t<![CDATA[<u>]]></b:c></a>`, `<a/>`, `<a`, `<a>&x;</a>`, `<!DOCTYPE a><a/>`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := parseXML([]byte(s))
		if err != nil {
			return
		}
		var once, twice strings.Builder
		e.writeTo(&once)
		again, err := parseXML([]byte(once.String()))
		if err != nil {
			t.Fatalf("%q is written as %q: %v", s, once.String(), err)
		}
		again.writeTo(&twice)
		if once.String() != twice.String() || again.name != e.name {
			t.Errorf("%q is written as %q and then as %q", s, once.String(), twice.String())
		}
	})
}

// FuzzDead: stored properties are read as they were, and others not at all.
func FuzzDead(f *testing.F) {
	good, err := encodeDead([]webdav.Property{{InnerXML: []byte(strings.Repeat("text ", 100))}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{"s":"urn:x","n":"a","v":"<b xmlns=\"\"/>"}]`))
	f.Add([]byte(`[{"n":"a","v":"</a><b>"}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		props, err := decodeDead(b)
		if err != nil {
			return
		}
		stored, err := encodeDead(props)
		if err != nil {
			return
		}
		again, err := decodeDead(stored)
		if err != nil || len(again) != len(props) {
			t.Errorf("%q: got %v, %v", b, again, err)
		}
	})
}
