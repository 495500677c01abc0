package locks

import "slices"

// valid reports whether a request makes sense.
func valid(r Request) bool {
	switch {
	case r.Owner == "" || r.Mode > Exclusive || r.Space > Record || r.Start > r.End:
		return false
	case r.Space == Record:
		return !r.Tree
	default:
		return r.Start == 0 && r.End == MaxOffset
	}
}

// overlap reports whether two claims are about something in common.
func overlap(a, b Claim) bool {
	switch {
	case a.Space != b.Space:
		return false
	case a.Path == b.Path:
		return touches(a, b)
	default:
		return a.Tree && below(b.Path, a.Path) || b.Tree && below(a.Path, b.Path)
	}
}

// touches reports whether the ranges of two claims on one path have a byte in
// common.
func touches(a, b Claim) bool { return a.Start <= b.End && b.Start <= a.End }

// conflict reports whether two claims cannot be held together.
func conflict(a Claim, ao Owner, b Claim, bo Owner) bool {
	return ao != bo && (a.Mode == Exclusive || b.Mode == Exclusive) && overlap(a, b)
}

// outside returns what is left of the range of c when that of cut is taken out.
// Nothing is left of a Whole claim.
func outside(c, cut Claim) []Claim {
	rest := []Claim(nil)
	if c.Space == Whole {
		return nil
	}
	if c.Start < cut.Start {
		left := c
		left.End = cut.Start - 1
		rest = append(rest, left)
	}
	if c.End > cut.End {
		right := c
		right.Start = cut.End + 1
		rest = append(rest, right)
	}
	return rest
}

// merge makes h include what its owner has in the same mode to the left and to
// the right of it.
func (t *Table) merge(h *held) {
	for _, o := range slices.Clone(t.at(h.Space, h.Path).held) {
		if o.owner != h.owner || o.Mode != h.Mode {
			continue
		}
		if o.End != MaxOffset && o.End+1 == h.Start {
			h.Start = o.Start
		} else if h.End != MaxOffset && h.End+1 == o.Start {
			h.End = o.End
		} else {
			continue
		}
		h.fence = max(h.fence, o.fence)
		t.remove(o)
	}
}

// covered reports whether the owner has every byte of c in its mode.
func (t *Table) covered(owner Owner, c Claim) bool {
	n := t.spaces[c.Space][c.Path]
	if n == nil {
		return false
	}
	left := []Claim{c}
	for _, h := range n.held {
		if h.owner != owner || h.Mode != c.Mode {
			continue
		}
		next := []Claim(nil)
		for _, l := range left {
			if touches(l, h.Claim) {
				next = append(next, outside(l, h.Claim)...)
			} else {
				next = append(next, l)
			}
		}
		left = next
	}
	return len(left) == 0
}
