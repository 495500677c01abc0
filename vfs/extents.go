package vfs

import "slices"

// extent is the byte range [lo, hi).
type extent struct{ lo, hi int64 }

// extents is a set of bytes: sorted, disjoint and not adjacent ranges.
type extents []extent

// find returns the index of the first range that ends at or behind off.
func (s extents) find(off int64) int {
	i, _ := slices.BinarySearchFunc(s, off, func(e extent, off int64) int {
		if e.hi < off {
			return -1
		}
		if e.hi > off {
			return 1
		}
		return 0
	})
	return i
}

// add puts [lo, hi) into the set.
func (s *extents) add(lo, hi int64) {
	if lo >= hi {
		return
	}
	i := s.find(lo)
	j := i
	for j < len(*s) && (*s)[j].lo <= hi {
		lo, hi = min(lo, (*s)[j].lo), max(hi, (*s)[j].hi)
		j++
	}
	*s = slices.Replace(*s, i, j, extent{lo, hi})
}

// cut removes [lo, hi) from the set.
func (s *extents) cut(lo, hi int64) {
	if lo >= hi {
		return
	}
	var out extents
	for _, e := range *s {
		if e.hi <= lo || e.lo >= hi {
			out = append(out, e)
			continue
		}
		if e.lo < lo {
			out = append(out, extent{e.lo, lo})
		}
		if e.hi > hi {
			out = append(out, extent{hi, e.hi})
		}
	}
	*s = out
}

// gap returns the first range of [lo, hi) that is not in the set.
func (s extents) gap(lo, hi int64) (extent, bool) {
	for i := s.find(lo); lo < hi; i++ {
		if i >= len(s) || s[i].lo >= hi {
			return extent{lo, hi}, true
		}
		if s[i].lo > lo {
			return extent{lo, s[i].lo}, true
		}
		lo = max(lo, s[i].hi)
	}
	return extent{}, false
}

// has reports whether all of [lo, hi) is in the set.
func (s extents) has(lo, hi int64) bool {
	_, missing := s.gap(lo, hi)
	return !missing
}

// total is the number of bytes in the set.
func (s extents) total() (n int64) {
	for _, e := range s {
		n += e.hi - e.lo
	}
	return n
}
