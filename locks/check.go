package locks

import (
	"fmt"
	"slices"
)

// Check tells what is wrong with the table, for tests: it compares everything
// with everything.
func (t *Table) Check() error {
	all := t.allHeld()
	for i, a := range all {
		for _, b := range all[i+1:] {
			if conflict(a.Claim, a.owner, b.Claim, b.owner) {
				return fmt.Errorf("held together: %v by %s, %v by %s", a.Claim, a.owner, b.Claim, b.owner)
			}
			if a.owner == b.owner && a.Space == b.Space && a.Path == b.Path {
				if touches(a.Claim, b.Claim) {
					return fmt.Errorf("twice: %v and %v by %s", a.Claim, b.Claim, a.owner)
				}
				if a.Mode == b.Mode && a.End+1 == b.Start {
					return fmt.Errorf("not merged: %v and %v by %s", a.Claim, b.Claim, a.owner)
				}
			}
		}
	}
	for _, w := range t.queue {
		if w.permitted && !t.blocked(w) {
			return fmt.Errorf("not granted: %v to %s", w.Claim, w.owner)
		}
		if c := t.cycle(w); c != nil {
			return fmt.Errorf("cycle: %v", c)
		}
	}
	return t.checkLinks(all)
}

// checkLinks compares the ways in which the same things are kept.
func (t *Table) checkLinks(all []*held) error {
	holding, waiting, queued := 0, 0, 0
	for _, hs := range t.holding {
		holding += len(hs)
	}
	for _, ws := range t.waiting {
		waiting += len(ws)
	}
	for space, paths := range t.spaces {
		for path, n := range paths {
			queued += len(n.queue)
			if n.path != path {
				return fmt.Errorf("node %q at %q", n.path, path)
			}
			if len(n.held)+len(n.queue)+len(n.children) == 0 {
				return fmt.Errorf("node %q has no use", path)
			}
			if dir, ok := parentOf(path); ok && space == Whole && t.spaces[space][dir].children[path] != n {
				return fmt.Errorf("node %q is not below its directory", path)
			}
			if !slices.IsSortedFunc(n.queue, func(a, b *waiter) int { return int(int64(a.id) - int64(b.id)) }) {
				return fmt.Errorf("queue of %q is out of order", path)
			}
		}
	}
	if holding != len(all) || waiting != len(t.queue) || queued != len(t.queue) {
		return fmt.Errorf("held %d and %d, waiting %d, %d and %d", holding, len(all), waiting, queued, len(t.queue))
	}
	return nil
}
