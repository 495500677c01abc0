package locks

import (
	"slices"
)

// ID names a request in a Table while it waits.
type ID uint64

// Table is the queue of one gateway: who holds what, and who waits in which
// order. It is a state machine without goroutines, I/O and clock; the caller
// serializes the calls.
//
// A request waits until no claim that is held by another owner conflicts with
// it, nor one that waits in front of it. Readers therefore cannot starve
// writers, nor the other way round. There is one exception: who waits in front
// is passed if it waits, directly or through others, for the very owner that
// asks, since it could not go first anyway. So a cycle is a true one, of claims
// that are held, and is refused.
//
// A request is not granted before it is permitted, which is for what the
// gateway must have from others first. Meanwhile those behind it that are
// permitted go first: what the gateway has for them may be what others wait for
// before they let it have the rest.
type Table struct {
	spaces  map[Space]map[string]*node // by path
	holding map[Owner][]*held
	waiting map[Owner][]*waiter // ascending by id
	queue   map[ID]*waiter
	lost    []*held
	last    ID
}

// held is a claim that is held. With Whole an owner has one on a path; with
// Record those of an owner on a path are disjoint, and those that touch differ
// in mode.
type held struct {
	Claim
	owner  Owner
	holder Holder
	fence  uint64
}

// waiter is a request that waits.
type waiter struct {
	Claim
	id        ID
	owner     Owner
	holder    Holder
	permitted bool
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{
		spaces:  map[Space]map[string]*node{Whole: {}, Record: {}},
		holding: map[Owner][]*held{},
		waiting: map[Owner][]*waiter{},
		queue:   map[ID]*waiter{},
	}
}

// Lock enters a request. It returns its ID, and who has been granted something
// by this call, which may be the request itself; it waits otherwise. A request
// for what the owner has already is granted at once, permitted or not, with the
// ID 0; so is one for less, and what it gives up may be granted to others. The
// claim of a tree stays one of the tree when its owner asks for the path alone.
//
// A request with Wait for more than the owner has of a path gives up what it
// has if another owner is in the way, as flock(2) does; with Record it keeps
// it, as fcntl(2) does. Without Wait it fails, and keeps it.
//
// Kinds: Invalid, Lost, WouldBlock, Deadlock; nothing was entered then. But
// with Deadlock, what was given up for the request stays given up.
func (t *Table) Lock(r Request, permitted bool) (ID, []ID, error) {
	if !valid(r) {
		return 0, nil, &Error{Op: "lock", Path: r.Path, Kind: Invalid}
	}
	if t.isLost(r.Owner, r.Claim) {
		return 0, nil, &Error{Op: "lock", Path: r.Path, Kind: Lost}
	}
	had := t.own(r.Owner, r.Claim)
	if had != nil {
		r.Tree = r.Tree || had.Tree
		if r.Tree == had.Tree && (r.Mode == Shared || had.Mode == Exclusive) {
			changed := had.Mode != r.Mode
			had.Mode = r.Mode
			if !changed {
				return 0, nil, nil
			}
			return 0, t.schedule(had.Claim), nil
		}
	}
	if r.Space == Record && t.covered(r.Owner, r.Claim) {
		return 0, nil, nil
	}
	w := &waiter{Claim: r.Claim, id: t.last + 1, owner: r.Owner, holder: r.Holder, permitted: permitted}
	if !r.Wait {
		if blockers := t.blockers(w); len(blockers) > 0 {
			return 0, nil, &Error{Op: "lock", Path: r.Path, Kind: WouldBlock, Holders: blockers}
		}
	}
	t.last++
	t.enqueue(w)
	granted := []ID(nil)
	if had != nil && t.blocked(w) {
		granted = t.GiveWay(w.id)
	}
	if cycle := t.cycle(w); cycle != nil {
		granted = append(granted, t.Cancel(w.id)...)
		return 0, granted, &Error{Op: "lock", Path: r.Path, Kind: Deadlock, Cycle: cycle}
	}
	return w.id, append(granted, t.settle(w)...), nil
}

// settle grants w if that is possible. If it has to wait, others may be able to
// pass those that wait for its owner now.
func (t *Table) settle(w *waiter) []ID {
	granted := t.schedule(w.Claim)
	if t.queue[w.id] == nil || len(t.holding[w.owner]) == 0 {
		return granted
	}
	return append(granted, t.scheduleAll()...)
}

// GiveWay gives up what the owner of a request that waits has of its path, as
// the change of a Whole lock does that cannot be granted at once. It returns
// who was granted something.
func (t *Table) GiveWay(id ID) []ID {
	w := t.queue[id]
	if w == nil || w.Space != Whole {
		return nil
	}
	had := t.own(w.owner, w.Claim)
	if had == nil {
		return nil
	}
	t.remove(had)
	return t.schedule(had.Claim)
}

// Permit allows a request to be granted. It returns who was granted something.
func (t *Table) Permit(id ID) []ID {
	w := t.queue[id]
	if w == nil {
		return nil
	}
	w.permitted = true
	return t.schedule(w.Claim)
}

// Forbid takes the permission of a request that waits back.
func (t *Table) Forbid(id ID) {
	if w := t.queue[id]; w != nil {
		w.permitted = false
	}
}

// Cancel removes a request that waits. It returns who was granted something.
func (t *Table) Cancel(id ID) []ID {
	w := t.queue[id]
	if w == nil {
		return nil
	}
	t.dequeue(w)
	return t.schedule(w.Claim)
}

// Unlock gives up what owner has of c.Path in c.Space; with Record, of the
// range. It returns who was granted something, and whether something of it had
// been lost.
func (t *Table) Unlock(owner Owner, c Claim) (granted []ID, lost bool) {
	lost = t.forget(owner, c)
	n := t.spaces[c.Space][c.Path]
	if n == nil {
		return nil, lost
	}
	given := []Claim(nil)
	for _, h := range slices.Clone(n.held) {
		if h.owner != owner || !touches(h.Claim, c) {
			continue
		}
		given = append(given, h.Claim)
		t.remove(h)
		for _, rest := range outside(h.Claim, c) {
			t.add(&held{Claim: rest, owner: h.owner, holder: h.holder, fence: h.fence})
		}
	}
	for _, g := range given {
		granted = append(granted, t.schedule(g)...)
	}
	return granted, lost
}

// UnlockAll gives up all that owner holds, and removes its requests. It returns
// those, and who was granted something.
func (t *Table) UnlockAll(owner Owner) (granted, removed []ID) {
	changed := []Claim(nil)
	for _, w := range slices.Clone(t.waiting[owner]) {
		t.dequeue(w)
		removed = append(removed, w.id)
		changed = append(changed, w.Claim)
	}
	t.lost = slices.DeleteFunc(t.lost, func(h *held) bool { return h.owner == owner })
	for _, h := range slices.Clone(t.holding[owner]) {
		t.remove(h)
		changed = append(changed, h.Claim)
	}
	for _, c := range changed {
		granted = append(granted, t.schedule(c)...)
	}
	return granted, removed
}

// Knows reports whether an owner holds, waits for or has lost anything.
func (t *Table) Knows(owner Owner) bool {
	return len(t.holding[owner])+len(t.waiting[owner]) > 0 || slices.ContainsFunc(t.lost, func(h *held) bool { return h.owner == owner })
}

// Lose turns claims that are held into lost ones: they are in nobody's way any
// more, and stay known until their owners give them up. It returns them, and
// who was granted something.
func (t *Table) Lose(which func(Held) bool) (lost []Held, granted []ID) {
	for _, h := range t.allHeld() {
		if which(h.report()) {
			t.remove(h)
			t.lost = append(t.lost, h)
			lost = append(lost, h.report())
		}
	}
	for _, h := range lost {
		granted = append(granted, t.schedule(h.Claim)...)
	}
	return lost, granted
}

// Lost reports whether a claim that covers path was lost and not yet given up.
func (t *Table) Lost(path string) bool {
	return slices.ContainsFunc(t.lost, func(h *held) bool { return h.Covers(path) })
}

// Covered reports whether a claim that is held covers path.
func (t *Table) Covered(path string) bool {
	for dir, up := path, true; up; dir, up = parentOf(dir) {
		for _, paths := range t.spaces {
			if n := paths[dir]; n != nil && slices.ContainsFunc(n.held, func(h *held) bool { return h.Covers(path) }) {
				return true
			}
		}
	}
	return false
}

// Covers reports whether a claim says anything about path.
func (c Claim) Covers(path string) bool {
	return c.Path == path || c.Tree && below(path, c.Path)
}

// Test tells who is in the way of c for owner; nil if nobody is. It does not
// consider who waits, as F_GETLK does not.
func (t *Table) Test(owner Owner, c Claim) *Held {
	var found *Held
	t.eachHeld(c, func(h *held) bool {
		if conflict(h.Claim, h.owner, c, owner) {
			r := h.report()
			found = &r
		}
		return found == nil
	})
	return found
}

// schedule grants what a change of c has made possible: a claim was given up,
// or a request came, went or was permitted. The first come is the first served.
func (t *Table) schedule(c Claim) []ID {
	candidates := []*waiter(nil)
	t.eachQueued(c, func(w *waiter) bool {
		candidates = append(candidates, w)
		return true
	})
	return t.grant(candidates)
}

func (t *Table) scheduleAll() []ID {
	candidates := make([]*waiter, 0, len(t.queue))
	for _, w := range t.queue {
		candidates = append(candidates, w)
	}
	return t.grant(candidates)
}

func (t *Table) grant(candidates []*waiter) []ID {
	slices.SortFunc(candidates, func(a, b *waiter) int { return int(int64(a.id) - int64(b.id)) })
	granted := []ID(nil)
	again := []Claim(nil)
	for _, w := range candidates {
		if t.queue[w.id] != w || !w.permitted || t.blocked(w) {
			continue
		}
		t.dequeue(w)
		again = append(again, t.hold(w)...)
		granted = append(granted, w.id)
	}
	for _, c := range again {
		granted = append(granted, t.schedule(c)...)
	}
	return granted
}

// hold gives w what it asked for, in place of what its owner had of it. It
// returns claims which that has made weaker.
func (t *Table) hold(w *waiter) (weaker []Claim) {
	h := &held{Claim: w.Claim, owner: w.owner, holder: w.holder}
	for _, old := range slices.Clone(t.at(w.Space, w.Path).held) {
		if old.owner != w.owner || !touches(old.Claim, w.Claim) {
			continue
		}
		if old.Mode == Exclusive && w.Mode == Shared || old.Tree && !w.Tree {
			weaker = append(weaker, old.Claim)
		}
		t.remove(old)
		for _, rest := range outside(old.Claim, w.Claim) {
			t.add(&held{Claim: rest, owner: old.owner, holder: old.holder, fence: old.fence})
		}
	}
	if w.Space == Record {
		t.merge(h)
	}
	t.add(h)
	return weaker
}

// SetFence notes the fence of what was just granted.
func (t *Table) SetFence(owner Owner, c Claim, fence uint64) {
	for _, h := range t.at(c.Space, c.Path).held {
		if h.owner == owner && h.Mode == c.Mode && touches(h.Claim, c) {
			h.fence = max(h.fence, fence)
		}
	}
	t.prune(c.Space, t.at(c.Space, c.Path))
}

// Held returns what is held, sorted by path; Waiting who waits, in order.
func (t *Table) Held() []Held {
	all := t.allHeld()
	r := make([]Held, len(all))
	for i, h := range all {
		r[i] = h.report()
	}
	return r
}

// HeldOn returns what is held of one path.
func (t *Table) HeldOn(space Space, path string) []Held {
	n := t.spaces[space][path]
	if n == nil {
		return nil
	}
	r := make([]Held, len(n.held))
	for i, h := range n.held {
		r[i] = h.report()
	}
	return r
}

// Waiting returns who waits, in order.
func (t *Table) Waiting() []Waiting {
	ids := make([]ID, 0, len(t.queue))
	for id := range t.queue {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	r := make([]Waiting, len(ids))
	for i, id := range ids {
		w := t.queue[id]
		r[i] = Waiting{Claim: w.Claim, Place: t.Position(id).Place, Holder: w.person()}
	}
	return r
}

// Position tells the place of a request in its queue, and who holds what it
// waits for.
func (t *Table) Position(id ID) Position {
	w := t.queue[id]
	if w == nil {
		return Position{}
	}
	p := Position{Place: 1, Holders: t.holders(w)}
	t.eachQueued(w.Claim, func(v *waiter) bool {
		if v.id < w.id && conflict(v.Claim, v.owner, w.Claim, w.owner) {
			p.Place++
		}
		return true
	})
	return p
}

func (h *held) report() Held {
	return Held{Claim: h.Claim, Fence: h.fence, Holder: h.person()}
}

func (h *held) person() Holder {
	p := h.holder
	p.Owner = h.owner
	return p
}

func (w *waiter) person() Holder {
	p := w.holder
	p.Owner = w.owner
	return p
}
