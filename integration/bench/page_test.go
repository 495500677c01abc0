package main

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPage(t *testing.T) {
	var p page
	p.text("## Part\n")
	p.table([]string{"", "got"}, [][]string{{"x", "1"}})
	p.claim("fast", "2 ms", "1 ms", false)
	p.claim("right", "yes", "yes", true)
	var b strings.Builder
	if err := p.write(&b, quick); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| fast | 2 ms | 1 ms | MISSED |\n| right | yes | yes | ok |\n",
		"## Part\n\n|  | got |\n| --- | --- |\n| x | 1 |\n",
		"**A quick run**",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("got\n%s\nwant in it\n%s", &b, want)
		}
	}
	b.Reset()
	if err := p.write(&b, full); err != nil || strings.Contains(b.String(), "quick") {
		t.Errorf("a full run says it is a quick one: %v", err)
	}
}

// TestSectionsCleanUp lets a section fail halfway.
func TestSectionsCleanUp(t *testing.T) {
	var order []string
	var dir string
	var p page
	b := newBench("test", quick, &p)
	ok := b.do(func(b *bench) {
		dir = b.TempDir()
		b.Cleanup(func() { order = append(order, "first") })
		b.Cleanup(func() {
			order = append(order, "last")
			if _, err := os.Stat(dir); err != nil {
				t.Errorf("the directory went before what may use it: %v", err)
			}
		})
		b.must(os.ErrNotExist)
		t.Error("must went on")
	})
	if ok || !slices.Equal(order, []string{"last", "first"}) {
		t.Errorf("do: %v, cleaned up %v", ok, order)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory is left")
	}
	if !strings.Contains(p.body.String(), "failed") {
		t.Error("the page does not say that the section failed")
	}
	if !newBench("test", quick, &p).do(func(*bench) {}) {
		t.Error("an empty section failed")
	}
}

func TestFigures(t *testing.T) {
	if got := median([]int{9, 1, 5}); got != 5 {
		t.Errorf("median: got %d", got)
	}
	w := writes{ok: 2, each: []time.Duration{time.Millisecond, 3 * time.Millisecond}, wall: time.Second}
	if w.spread() != 3 {
		t.Errorf("spread: got %v", w.spread())
	}
	if got, want := strings.Join(w.row("x", 2), " "), "x 2 2 0 1.0 ms 3.0 ms 3.0 ms 1.0 s"; got != want {
		t.Errorf("row: got %s, want %s", got, want)
	}
	for x, want := range map[float64]string{1738: "1740", 0.98765: "0.988", 42: "42", 1: "1"} {
		if got := digits(x); got != want {
			t.Errorf("digits(%v): got %s, want %s", x, got, want)
		}
	}
	if got := counts(map[string]int{"B": 1, "A": 2}); got != "2 A, 1 B" {
		t.Errorf("counts: got %s", got)
	}
}
