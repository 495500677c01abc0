package vfs

import (
	"math/rand/v2"
	"testing"
)

// TestExtentsAgainstBitmap compares random operations with a plain bitmap and
// checks the invariant of extents after each.
func TestExtentsAgainstBitmap(t *testing.T) {
	const size = 64
	rng := rand.New(rand.NewPCG(1, 2))
	var s extents
	var bits [size]bool
	for step := range 20000 {
		lo := rng.Int64N(size)
		hi := lo + rng.Int64N(size-lo+1)
		set := rng.IntN(3) > 0
		if set {
			s.add(lo, hi)
		} else {
			s.cut(lo, hi)
		}
		for i := lo; i < hi; i++ {
			bits[i] = set
		}
		checkExtents(t, step, s, bits[:])
		gap, missing := s.gap(lo, size)
		want := lo
		for want < size && bits[want] {
			want++
		}
		if missing != (want < size) || (missing && gap.lo != want) {
			t.Fatalf("step %d: gap(%d) = %v %v, want start %d of %v", step, lo, gap, missing, want, s)
		}
		if missing {
			for i := gap.lo; i < gap.hi; i++ {
				if bits[i] {
					t.Fatalf("step %d: gap %v has byte %d of %v", step, gap, i, s)
				}
			}
		}
	}
}

func checkExtents(t *testing.T, step int, s extents, bits []bool) {
	t.Helper()
	n := 0
	for i, e := range s {
		if e.lo >= e.hi || (i > 0 && s[i-1].hi >= e.lo) {
			t.Fatalf("step %d: not sorted, disjoint and apart: %v", step, s)
		}
		for b := e.lo; b < e.hi; b++ {
			if !bits[b] {
				t.Fatalf("step %d: has byte %d: %v", step, b, s)
			}
			n++
		}
	}
	want := 0
	for _, b := range bits {
		if b {
			want++
		}
	}
	if n != want || s.total() != int64(want) {
		t.Fatalf("step %d: %d bytes, want %d: %v", step, n, want, s)
	}
}
