package locks

import (
	"cmp"
	"slices"
	"strings"
)

// node is what a Table has of one path. It exists while something is held or
// waited for there, or below.
type node struct {
	path     string
	parent   *node            // nil at the root, and with Record
	children map[string]*node // by path
	held     []*held
	queue    []*waiter // ascending by id
}

// parentOf returns the directory that a path is in, and false for the root.
func parentOf(path string) (string, bool) {
	if path == "" {
		return "", false
	}
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], true
}

// below reports whether path is in the tree under dir, and not dir itself.
func below(path, dir string) bool {
	if dir == "" {
		return path != ""
	}
	return len(path) > len(dir) && path[len(dir)] == '/' && strings.HasPrefix(path, dir)
}

// at returns the node of a path, which it makes.
func (t *Table) at(space Space, path string) *node {
	if n := t.spaces[space][path]; n != nil {
		return n
	}
	n := &node{path: path, children: map[string]*node{}}
	t.spaces[space][path] = n
	if dir, ok := parentOf(path); ok && space == Whole {
		n.parent = t.at(space, dir)
		n.parent.children[path] = n
	}
	return n
}

// prune removes n if nothing needs it, and its ancestors likewise.
func (t *Table) prune(space Space, n *node) {
	for n != nil && len(n.held) == 0 && len(n.queue) == 0 && len(n.children) == 0 {
		delete(t.spaces[space], n.path)
		if n.parent != nil {
			delete(n.parent.children, n.path)
		}
		n = n.parent
	}
}

func (t *Table) add(h *held) {
	n := t.at(h.Space, h.Path)
	n.held = append(n.held, h)
	t.holding[h.owner] = append(t.holding[h.owner], h)
	slices.SortFunc(n.held, func(a, b *held) int {
		return cmp.Or(strings.Compare(string(a.owner), string(b.owner)), cmp.Compare(a.Start, b.Start))
	})
}

func (t *Table) remove(h *held) {
	is := func(o *held) bool { return o == h }
	n := t.spaces[h.Space][h.Path]
	n.held = slices.DeleteFunc(n.held, is)
	t.holding[h.owner] = slices.DeleteFunc(t.holding[h.owner], is)
	if len(t.holding[h.owner]) == 0 {
		delete(t.holding, h.owner)
	}
	t.prune(h.Space, n)
}

func (t *Table) enqueue(w *waiter) {
	n := t.at(w.Space, w.Path)
	n.queue = append(n.queue, w)
	t.queue[w.id] = w
	t.waiting[w.owner] = append(t.waiting[w.owner], w)
}

func (t *Table) dequeue(w *waiter) {
	is := func(o *waiter) bool { return o == w }
	n := t.spaces[w.Space][w.Path]
	n.queue = slices.DeleteFunc(n.queue, is)
	delete(t.queue, w.id)
	t.waiting[w.owner] = slices.DeleteFunc(t.waiting[w.owner], is)
	if len(t.waiting[w.owner]) == 0 {
		delete(t.waiting, w.owner)
	}
	t.prune(w.Space, n)
}

// related calls fn with the nodes on which a claim could conflict with c until
// it returns false.
func (t *Table) related(c Claim, fn func(*node) bool) {
	path := c.Path
	for {
		if n := t.spaces[c.Space][path]; n != nil && !fn(n) {
			return
		}
		dir, ok := parentOf(path)
		if !ok || c.Space != Whole {
			break
		}
		path = dir
	}
	if n := t.spaces[c.Space][c.Path]; n != nil && c.Tree {
		n.descend(fn)
	}
}

func (n *node) descend(fn func(*node) bool) bool {
	for _, child := range n.children {
		if !fn(child) || !child.descend(fn) {
			return false
		}
	}
	return true
}

// eachHeld calls fn with what is held and overlaps c until it returns false.
func (t *Table) eachHeld(c Claim, fn func(*held) bool) {
	t.related(c, func(n *node) bool {
		for _, h := range n.held {
			if overlap(h.Claim, c) && !fn(h) {
				return false
			}
		}
		return true
	})
}

// eachQueued does it with requests that wait; those of one path in order.
func (t *Table) eachQueued(c Claim, fn func(*waiter) bool) {
	t.related(c, func(n *node) bool {
		for _, w := range n.queue {
			if overlap(w.Claim, c) && !fn(w) {
				return false
			}
		}
		return true
	})
}

// allHeld returns what is held, sorted.
func (t *Table) allHeld() []*held {
	all := []*held(nil)
	for _, space := range []Space{Whole, Record} {
		for _, n := range t.spaces[space] {
			all = append(all, n.held...)
		}
	}
	slices.SortFunc(all, func(a, b *held) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Space, b.Space),
			strings.Compare(string(a.owner), string(b.owner)), cmp.Compare(a.Start, b.Start))
	})
	return all
}

// own returns what the owner has of the path of a Whole claim.
func (t *Table) own(owner Owner, c Claim) *held {
	n := t.spaces[c.Space][c.Path]
	if n == nil || c.Space != Whole {
		return nil
	}
	for _, h := range n.held {
		if h.owner == owner {
			return h
		}
	}
	return nil
}

// isLost reports whether the owner had something of the path that was lost.
func (t *Table) isLost(owner Owner, c Claim) bool {
	return slices.ContainsFunc(t.lost, func(h *held) bool {
		return h.owner == owner && h.Space == c.Space && h.Path == c.Path
	})
}

// forget forgets what the owner has lost of c, and reports whether there was
// any.
func (t *Table) forget(owner Owner, c Claim) bool {
	lost := t.isLost(owner, c)
	kept := []*held(nil)
	for _, h := range t.lost {
		if h.owner != owner || h.Space != c.Space || h.Path != c.Path || !touches(h.Claim, c) {
			kept = append(kept, h)
			continue
		}
		for _, rest := range outside(h.Claim, c) {
			kept = append(kept, &held{Claim: rest, owner: h.owner, holder: h.holder, fence: h.fence})
		}
	}
	t.lost = kept
	return lost
}
