package main

import (
	"slices"
	"strings"
	"testing"
)

func TestKeyScan(t *testing.T) {
	long := strings.Repeat("x", 256)
	for name, c := range map[string]struct {
		keys              []string
		invalid, shadowed int64
		first             string // of the invalid or shadowed ones
	}{
		"ordinary":           {[]string{"a", "b/c", "b/d/", "b/e/f", "bb"}, 0, 0, ""},
		"empty component":    {[]string{"a//b", "/c", "d"}, 2, 0, "/c"},
		"dots":               {[]string{"../a", "./b", "c/..", "c/.x", "..."}, 3, 0, "../a"},
		"too long":           {[]string{long, "a/" + long + "/b", long[1:]}, 2, 0, "a/" + long + "/b"},
		"NUL":                {[]string{"a\x00b"}, 1, 0, "a\x00b"},
		"file and directory": {[]string{"a", "a!", "a/b", "a/c", "a0"}, 0, 1, "a"},
		"nested":             {[]string{"a", "a/b", "a/b/c", "a/b/d"}, 0, 2, "a"},
		"marker beside file": {[]string{"a", "a/"}, 0, 1, "a"},
		"marker is no file":  {[]string{"a/", "a/b", "a/c/", "a/c/d"}, 0, 0, ""},
		"only a prefix":      {[]string{"a", "ab", "ab/c", "b"}, 0, 1, "ab"},
		"reserved":           {[]string{".causeway", ".causeway/x//y", ".causewayx"}, 0, 0, ""},
	} {
		scan := &keyScan{}
		slices.Sort(c.keys)
		for _, k := range c.keys {
			scan.visit(k)
		}
		if scan.invalid != c.invalid || scan.shadowed != c.shadowed {
			t.Errorf("%s: %d invalid, %d shadowed; want %d and %d", name, scan.invalid, scan.shadowed, c.invalid, c.shadowed)
		}
		if got := scan.firstInvalid + scan.firstShadowed; got != c.first {
			t.Errorf("%s: first is %q, want %q", name, got, c.first)
		}
		d := &diagnosis{}
		scan.report(d)
		if clean := c.invalid+c.shadowed == 0; clean != (d.Findings[0].Result == resultOK) {
			t.Errorf("%s: reported as %v", name, d.Findings)
		}
	}
}
