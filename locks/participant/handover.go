package participant

import (
	"context"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

// handOver ends deciding alone: what was decided goes to S3, and what is held
// or waited for into records, before anybody else is let in.
func (s *session) handOver(ctx context.Context) error {
	p, b := s.p, &s.bucket
	p.mu.Lock()
	alone := b.alone
	b.sole = false
	p.mu.Unlock()
	if !alone {
		return nil // done before; only the record could not be written
	}
	if err := p.opts.Publish(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	for _, h := range p.holds {
		h.adopt()
	}
	waiting := []*call(nil)
	for _, c := range p.calls {
		if c.s == s && c.nodes == nil {
			p.table.Forbid(c.id)
			waiting = append(waiting, c)
		}
	}
	p.mu.Unlock()
	if err := s.settle(ctx, func() bool { return s.adopted() }); err != nil {
		return err
	}
	p.mu.Lock()
	slices.SortFunc(waiting, func(a, b *call) int { return int(int64(a.id) - int64(b.id)) })
	for _, c := range waiting {
		if p.calls[c.id] == c {
			c.admit()
		}
	}
	p.mu.Unlock()
	return s.settle(ctx, func() bool {
		if !s.adopted() || slices.ContainsFunc(waiting, func(c *call) bool { return p.calls[c.id] == c && !c.allowed() }) {
			return false
		}
		s.turnStale()
		b.alone = false
		return true
	})
}

// turnStale makes what is kept for nobody too old to be used, if there were
// grants without records meanwhile.
func (s *session) turnStale() {
	if !s.bucket.decided {
		return
	}
	s.bucket.stale = s.base()
	for _, n := range s.nodes {
		if n.key != bucketKey {
			n.lostEntries() // nothing that is held: that is adopted
			n.kick()
		}
	}
}

// base is less than the fences of all grants without records in this era.
func (s *session) base() uint64 { return s.bucket.era<<eraBits + 2<<(eraBits-2) }

// settle waits until done.
func (s *session) settle(ctx context.Context, done func() bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s.p.mu.Lock()
		ok := done()
		s.p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// adopted reports whether all that was granted without records is in them.
func (s *session) adopted() bool {
	for _, n := range s.nodes {
		if n.adopt {
			return false
		}
	}
	return true
}

// allowed reports whether all records allow c.
func (c *call) allowed() bool {
	return !slices.ContainsFunc(c.uses, func(u *use) bool { return u == nil || !u.ok })
}

// adopt has the records say what h has, which may have been granted without
// them.
func (h *hold) adopt() {
	s := h.s
	old := h.uses
	h.uses = nil
	for _, o := range s.p.table.HeldOn(h.key.space, h.key.path) {
		if o.Holder.Owner != h.key.owner {
			continue
		}
		for _, step := range chain(o.Claim) {
			n := s.node(step.key)
			n.path, n.space, n.adopt = step.path, h.key.space, true
			if step.path == h.key.path {
				n.lastFence = max(n.lastFence, h.fence)
				if s.bucket.decided {
					n.lastFence = max(n.lastFence, s.base())
				}
			}
			if h.key.space == locks.Whole {
				u := &use{node: n, hold: h, owner: h.key.owner, want: step.want, ok: true}
				n.uses = append(n.uses, u)
				h.uses = append(h.uses, u)
			}
			n.kick()
		}
	}
	for _, u := range old {
		u.node.release(u)
	}
}

// adoptInto writes into the record what is held and is not in it yet. Nobody
// else is in the bucket.
func (n *node) adoptInto(next *record.Record) {
	block := n.lastFence / record.Step * record.Step
	for i, h := range next.Holders {
		if h.Session == n.s.id && h.Fence < block && h.Mode > record.IX {
			next.Holders[i].Fence, next.Fence = block, max(next.Fence, block)
		}
	}
	for _, need := range n.needs() {
		if covered(n.sound(*next), need.Entry) {
			continue
		}
		e := need.Entry
		e.Session, e.Ticket, e.Since = n.s.id, newTicket(), n.p.opts.Now()
		next.Seq++
		fence := n.s.floor() / record.Step * record.Step
		if need.use == nil || need.use == leafOf(need.use.hold) {
			fence = block
		}
		e.Seq, e.Fence = next.Seq, max(fence, next.Fence)
		next.Fence = e.Fence
		next.Holders = append(next.Holders, e)
		if e.Mode > record.IX {
			next.Last = n.s.id
		}
	}
}

// leafOf returns the use of the path itself.
func leafOf(h *hold) *use {
	if h == nil || len(h.uses) == 0 {
		return nil
	}
	return h.uses[len(h.uses)-1]
}
