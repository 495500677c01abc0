package locks

import "slices"

// blocked reports whether w has to wait.
func (t *Table) blocked(w *waiter) bool { return len(t.inTheWay(w, true)) > 0 }

// blockers returns who is in the way of w.
func (t *Table) blockers(w *waiter) []Holder { return t.inTheWay(w, false) }

// inTheWay returns who is in the way of w; only the first if one is enough.
func (t *Table) inTheWay(w *waiter, one bool) []Holder {
	found := []Holder(nil)
	t.eachHeld(w.Claim, func(h *held) bool {
		if conflict(h.Claim, h.owner, w.Claim, w.owner) {
			found = append(found, h.person())
		}
		return !one || len(found) == 0
	})
	if one && len(found) > 0 {
		return found
	}
	var waits map[ID]bool // for the owner of w; made when needed
	t.eachQueued(w.Claim, func(v *waiter) bool {
		if !t.isBefore(v, w) || w.permitted && !v.permitted {
			return true
		}
		if waits == nil {
			waits = t.waitersFor(w.owner)
		}
		if !waits[v.id] {
			found = append(found, v.person())
		}
		return !one || len(found) == 0
	})
	return found
}

// isBefore reports whether w has to let v go first, if nothing else is to be
// considered. A request that is not in the queue yet is behind all.
func (t *Table) isBefore(v, w *waiter) bool {
	return v.id < w.id && conflict(v.Claim, v.owner, w.Claim, w.owner)
}

// holders returns who holds what w waits for.
func (t *Table) holders(w *waiter) []Holder {
	found := []Holder(nil)
	t.eachHeld(w.Claim, func(h *held) bool {
		if conflict(h.Claim, h.owner, w.Claim, w.owner) {
			found = append(found, h.person())
		}
		return true
	})
	return found
}

// waitersFor returns the requests that wait for an owner, directly or through
// others that wait: for what it holds, or behind what it waits for.
func (t *Table) waitersFor(owner Owner) map[ID]bool {
	found := map[ID]bool{}
	seen := map[Owner]bool{owner: true}
	for todo := []Owner{owner}; len(todo) > 0; {
		o := todo[0]
		todo = todo[1:]
		add := func(v *waiter) {
			found[v.id] = true
			if !seen[v.owner] {
				seen[v.owner] = true
				todo = append(todo, v.owner)
			}
		}
		for _, h := range t.holding[o] {
			t.eachQueued(h.Claim, func(v *waiter) bool {
				if conflict(h.Claim, o, v.Claim, v.owner) {
					add(v)
				}
				return true
			})
		}
		for _, u := range t.waiting[o] {
			t.eachQueued(u.Claim, func(v *waiter) bool {
				if t.isBefore(u, v) {
					add(v)
				}
				return true
			})
		}
	}
	return found
}

// cycle returns the cycle of claims that are held which w closes, beginning
// with w; nil if there is none.
func (t *Table) cycle(w *waiter) []Edge {
	return t.chase(w, w.owner, map[ID]bool{})
}

func (t *Table) chase(w *waiter, owner Owner, seen map[ID]bool) []Edge {
	if seen[w.id] {
		return nil
	}
	seen[w.id] = true
	step := []Edge{{Waiter: w.person(), Path: w.Path}}
	var found []Edge
	t.eachHeld(w.Claim, func(h *held) bool {
		if !conflict(h.Claim, h.owner, w.Claim, w.owner) {
			return true
		}
		if h.owner == owner {
			found = step
			return false
		}
		for _, next := range t.waiting[h.owner] {
			if rest := t.chase(next, owner, seen); rest != nil {
				found = append(step, rest...)
				return false
			}
		}
		return true
	})
	return found
}

// WaitsFor returns the requests for which an owner waits, directly or through
// others of this table: its own, and those of the owners that are in its way.
func (t *Table) WaitsFor(owner Owner) []ID {
	seen := map[ID]bool{}
	t.follow(owner, seen)
	ids := make([]ID, 0, len(seen))
	for id := range seen {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (t *Table) follow(owner Owner, seen map[ID]bool) {
	for _, w := range t.waiting[owner] {
		if seen[w.id] {
			continue
		}
		seen[w.id] = true
		t.eachHeld(w.Claim, func(h *held) bool {
			if conflict(h.Claim, h.owner, w.Claim, w.owner) {
				t.follow(h.owner, seen)
			}
			return true
		})
		t.eachQueued(w.Claim, func(v *waiter) bool {
			if t.isBefore(v, w) {
				t.follow(v.owner, seen)
			}
			return true
		})
	}
}
