package participant

import (
	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

// note hands out what the table has granted.
func (p *Participant) note(granted []locks.ID) {
	for _, id := range granted {
		c := p.calls[id]
		if c == nil {
			continue
		}
		delete(p.calls, id)
		h := p.holds[c.key()]
		if h == nil {
			h = &hold{key: c.key(), s: c.s, lost: make(chan struct{})}
			p.holds[c.key()] = h
		}
		if len(c.nodes) == 0 {
			h.fence = c.s.nextSole()
			p.table.SetFence(c.Owner, c.Claim, h.fence)
			c.done <- nil
			continue
		}
		leaf := c.nodes[len(c.nodes)-1]
		h.fence = leaf.nextFence(c.uses[len(c.uses)-1].want)
		p.table.SetFence(c.Owner, c.Claim, h.fence)
		if c.Space == locks.Whole {
			old := h.uses
			h.uses = c.uses
			for _, u := range h.uses {
				u.call, u.hold, u.ticket = nil, h, ""
			}
			for _, u := range old {
				u.node.release(u)
			}
		} else {
			leaf.release(c.uses[0]) // what is held is in the table
		}
		p.unpublish(c)
		c.done <- nil
	}
	if len(granted) > 0 {
		p.tellAll()
	}
}

// Unlock is that of locks.Service.
func (p *Participant) Unlock(owner locks.Owner, c locks.Claim) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse()
	granted, lost := p.table.Unlock(owner, c)
	if p.cur != nil {
		p.cur.s.Busy()
	}
	p.afterTable(holdKey{owner, c.Space, c.Path})
	p.note(granted)
	p.dropGuards()
	if lost {
		return &locks.Error{Op: "unlock", Path: c.Path, Kind: locks.Lost}
	}
	return nil
}

// UnlockAll is that of locks.Service.
func (p *Participant) UnlockAll(owner locks.Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lapse()
	if !p.table.Knows(owner) {
		return
	}
	for _, c := range p.calls {
		if c.Owner == owner {
			p.finish(c, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.Canceled})
		}
	}
	granted, _ := p.table.UnlockAll(owner)
	if p.cur != nil {
		p.cur.s.Busy()
	}
	for key := range p.holds {
		if key.owner == owner {
			p.afterTable(key)
		}
	}
	p.note(granted)
	p.dropGuards()
}

// afterTable takes in that an owner may have less of a path than before: what
// it used of the records may go to others.
func (p *Participant) afterTable(key holdKey) {
	h := p.holds[key]
	if h == nil {
		return
	}
	held := false
	for _, o := range p.table.HeldOn(key.space, key.path) {
		held = held || o.Holder.Owner == key.owner
	}
	if !held {
		delete(p.holds, key)
		h.drop()
	}
	p.kickPath(h.s, key.space, key.path)
}

// kickPath lets the records of a path be looked at, if others may want them.
func (p *Participant) kickPath(s *session, space locks.Space, path string) {
	if n := s.nodes[record.Key(space, path)]; n != nil {
		n.freed()
	}
}

// drop ends the use of records.
func (h *hold) drop() {
	for _, u := range h.uses {
		u.node.release(u)
	}
	h.uses = nil
}

// refit makes the uses of a claim those of its mode, which has become weaker.
func (h *hold) refit() {
	for _, o := range h.s.p.table.HeldOn(h.key.space, h.key.path) {
		if o.Holder.Owner != h.key.owner {
			continue
		}
		if len(h.uses) == 0 {
			continue // granted without records
		}
		for i, step := range chain(o.Claim) {
			h.uses[i].want = step.want
			h.uses[i].node.freed()
		}
	}
}

// step is a record that a claim needs something of.
type step struct {
	key, path string
	want      record.Entry
}

// chain returns the records that a claim needs, from the root to its path.
func chain(c locks.Claim) []step {
	if c.Space == locks.Record {
		return []step{{record.Key(c.Space, c.Path), c.Path, record.Entry{Mode: record.Of(c), Start: c.Start, End: c.End}}}
	}
	steps := []step(nil)
	add := func(path string, mode record.Mode) {
		steps = append(steps, step{record.Key(c.Space, path), path, record.Entry{Mode: mode, End: locks.MaxOffset}})
	}
	if c.Path != "" {
		add("", record.Intent(c))
	}
	for i, b := range []byte(c.Path) {
		if b == '/' {
			add(c.Path[:i], record.Intent(c))
		}
	}
	add(c.Path, record.Of(c))
	return steps
}
