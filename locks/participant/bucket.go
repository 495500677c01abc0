package participant

import (
	"context"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

const (
	// bucketKey is the key of the record that says who is in the bucket: with X,
	// who has it for itself.
	bucketKey = "bucket"
	// eraBits is how many bits of a fence count the grants of an era: the time
	// between two grants in the record of the bucket.
	eraBits = 40
	// idleFor is after which time without work a gateway stops having the bucket
	// for itself, so that the next one need not wait for it.
	idleFor = time.Minute
	// soleEvery is after which time a gateway at work tries to have the bucket
	// for itself; it doubles, up to soleSlowest, while others are there.
	soleEvery   = 5 * time.Second
	soleSlowest = 5 * time.Minute
)

// bucket is what a session has of the bucket. It is guarded by Participant.mu.
type bucket struct {
	node   *node
	use    *use
	inside chan struct{} // closed when the session is in the bucket
	era    uint64
	// alone says that the bucket is ours by the record: entries of other
	// sessions are of the dead. It ends before that is given up.
	alone   bool
	sole    bool   // alone, and everything of before is known here
	decided bool   // something may have been granted in this era without a record
	grants  uint64 // without a record, in this era
	yield   bool   // nobody uses it
	want    bool   // to have it alone, if nobody else is there
	since   uint64 // the fence with which alone began last
	// stale is the fence below which what is kept for nobody must be asked for
	// anew: of the same paths more was granted since, without records.
	stale uint64

	worked time.Time // when it was last used
	tried  time.Time // when it was last tried to have it alone
	every  time.Duration
}

// Sole is that of locks.Service.
func (p *Participant) Sole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.cur
	if s == nil || !s.bucket.sole || !s.Valid() {
		return false
	}
	s.work()
	return true
}

// Enter is that of locks.Service.
func (p *Participant) Enter(ctx context.Context) error {
	_, err := p.enter(ctx)
	return err
}

// enter returns a session that is in the bucket.
func (p *Participant) enter(ctx context.Context) (*session, error) {
	s, err := p.session(ctx)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	begun := p.opts.Now()
	s.work()
	b := &s.bucket
	if b.use == nil && !s.lost {
		b.node = s.node(bucketKey)
		b.use = &use{node: b.node, want: record.Entry{Mode: record.S, End: locks.MaxOffset}, arrived: begun}
		b.node.uses = append(b.node.uses, b.use)
		b.node.kick()
	}
	inside := b.inside
	p.mu.Unlock()
	select {
	case <-inside:
		return s, nil
	default:
	}
	tick := time.NewTicker(chaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-inside:
			return s, nil
		case <-s.ctx.Done():
			return nil, &locks.Error{Op: "enter", Kind: locks.NoLock}
		case <-ctx.Done():
			return nil, &locks.Error{Op: "enter", Kind: locks.Canceled, Err: ctx.Err()}
		case <-tick.C:
			p.mu.Lock()
			now, n := p.opts.Now(), b.node
			failed := b.use.ticket == "" && now.Sub(begun) >= reach && now.Sub(n.answered) >= reach
			err := n.err
			s.s.Busy()
			p.mu.Unlock()
			if failed {
				return nil, &locks.Error{Op: "enter", Kind: locks.NoLock, Err: err}
			}
		}
	}
}

// work notes that the bucket is in use, and tries to have it alone now and then.
func (s *session) work() {
	b, now := &s.bucket, s.p.opts.Now()
	s.s.Busy()
	b.worked, b.yield = now, false
	if b.use == nil || !b.use.ok || b.alone || s.p.opts.Shared || now.Sub(b.tried) < b.every {
		return
	}
	b.tried, b.every = now, min(2*b.every, soleSlowest)
	b.want, b.node.reread, b.node.swept = true, true, false
	b.node.kick()
}

// rest gives the bucket up if nobody has used it for long.
func (s *session) rest() {
	b := &s.bucket
	if b.alone && len(s.p.holds)+len(s.p.calls) == 0 && s.p.opts.Now().Sub(b.worked) >= idleFor {
		b.yield = true
		b.node.kick()
	}
}

// floor is what fences of records begin behind.
func (s *session) floor() uint64 {
	f := s.bucket.era << eraBits
	if s.bucket.decided {
		f += 3 << (eraBits - 2)
	}
	return f
}

// nextSole returns the fence of a grant without a record.
func (s *session) nextSole() uint64 {
	s.bucket.grants++
	return s.base() + s.bucket.grants
}

// planBucket decides what to do with the record of the bucket.
func (n *node) planBucket() plan {
	p := plan{gen: n.p.gen}
	b, me := &n.s.bucket, n.s.id
	if !n.known || n.reread {
		p.action = read
		return p
	}
	next := n.rec.Clone()
	if next.V == 0 {
		next = record.New(locks.Whole, "")
	}
	for _, id := range next.Sessions(me) {
		if n.s.ended[id] {
			next.Drop(id)
		}
	}
	others := next.Sessions(me)
	if len(others) > 0 && !n.swept {
		n.swept = true
		p.action, p.sweep = sweep, others
		return p
	}
	mine := n.sound(next)
	has := slices.ContainsFunc(mine, func(e record.Entry) bool { return e.Mode == record.X })
	waited := slices.ContainsFunc(next.Queue, func(e record.Entry) bool { return e.Session != me })
	ask := func(mode record.Mode) record.Entry {
		return record.Entry{Session: me, Ticket: newTicket(), Mode: mode, End: locks.MaxOffset, Since: n.p.opts.Now()}
	}
	want := b.want
	b.want = false
	switch {
	case b.use != nil && !b.use.ok && b.use.ticket == "":
		e := ask(record.S)
		if len(others) == 0 && !n.p.opts.Shared {
			e.Mode = record.X
		}
		b.use.ticket = e.Ticket
		next.Enqueue(e, next.Seq)
	case want && len(mine) > 0 && !has && len(others) == 0:
		next.Enqueue(ask(record.X), next.Seq)
	case has && (waited || b.yield):
		p.gives = true
		next.Keep(me, nil)
		next.EnqueueFirst(ask(record.S))
	}
	n.grant(&next)
	if n.unsure || n.changed(next) {
		p.action, p.next = write, next
		return p
	}
	return n.idle(p)
}

// absorbBucket takes in what the record of the bucket is.
func (n *node) absorbBucket() {
	b := &n.s.bucket
	mine := n.own()
	if u := b.use; u != nil && !u.ok && u.ticket != "" {
		switch {
		case slices.ContainsFunc(mine, func(e record.Entry) bool { return e.Ticket == u.ticket }):
			u.ok = true
			b.tried = n.p.opts.Now()
			close(b.inside)
		case n.rec.Waiting(u.ticket) < 0:
			u.ticket = ""
		}
	} else if u != nil && u.ok && len(mine) == 0 {
		n.p.loseLocked(n.s) // somebody took us for dead
		return
	}
	era, sole := uint64(0), uint64(0)
	for _, e := range mine {
		era = max(era, e.Fence/record.Step)
		if e.Mode == record.X {
			sole = e.Fence
		}
	}
	if era != b.era {
		b.era, b.decided, b.grants = era, false, 0
	}
	switch {
	case sole == 0:
		b.alone, b.sole = false, false
	case b.since != sole:
		b.since, b.alone, b.every = sole, true, soleEvery
		n.p.wg.Go(func() { n.s.becomeSole(sole) })
	}
}

// becomeSole lets the gateway decide alone, once it knows what others have done.
func (s *session) becomeSole(fence uint64) {
	p := s.p
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := p.opts.Acquired(s.ctx)
		p.mu.Lock()
		current := s.bucket.alone && s.bucket.since == fence && !s.lost
		if current && err == nil && s.Valid() {
			s.bucket.sole, s.bucket.decided = true, true
		}
		p.mu.Unlock()
		if !current || err == nil {
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.ctx.Done():
			t.Stop()
			return
		}
	}
}

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
