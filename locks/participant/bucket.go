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
	s.goIn()
	inside := s.bucket.inside
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
			if err := s.outside(begun); err != nil {
				return nil, err
			}
		}
	}
}

// goIn asks for the bucket, once.
func (s *session) goIn() {
	b := &s.bucket
	if b.use != nil || s.lost {
		return
	}
	b.node = s.node(bucketKey)
	b.use = &use{node: b.node, want: record.Entry{Mode: record.S, End: locks.MaxOffset}, arrived: s.p.opts.Now()}
	b.node.uses = append(b.node.uses, b.use)
	b.node.kick()
}

// outside tells whether who waits for the bucket since begun should give up,
// since the coordinator does not answer.
func (s *session) outside(begun time.Time) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.s.Busy()
	if s.bucket.use == nil || s.bucket.use.ticket != "" {
		return nil
	}
	now, n := s.p.opts.Now(), s.bucket.node
	if now.Sub(begun) < reach || now.Sub(n.answered) < reach {
		return nil
	}
	return &locks.Error{Op: "enter", Kind: locks.NoLock, Err: n.err}
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
	if !n.known || n.reread {
		p.action = read
		return p
	}
	next := n.rec.Clone()
	if next.V == 0 {
		next = record.New(locks.Whole, "")
	}
	for _, id := range next.Sessions(n.s.id) {
		if n.s.ended[id] {
			next.Drop(id)
		}
	}
	others := next.Sessions(n.s.id)
	if len(others) > 0 && !n.swept {
		n.swept = true
		p.action, p.sweep = sweep, others
		return p
	}
	n.askBucket(&next, others, &p)
	n.grant(&next)
	if n.unsure || n.changed(next) {
		p.action, p.next = write, next
		return p
	}
	return n.idle(p)
}

// askBucket asks for the bucket, for all of it, or gives that up.
func (n *node) askBucket(next *record.Record, others []locks.SessionID, p *plan) {
	b, me := &n.s.bucket, n.s.id
	mine := n.sound(*next)
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
}

// absorbBucket takes in what the record of the bucket is.
func (n *node) absorbBucket() {
	b := &n.s.bucket
	mine, entered := n.own(), false
	if u := b.use; u != nil && !u.ok && u.ticket != "" {
		switch {
		case slices.ContainsFunc(mine, func(e record.Entry) bool { return e.Ticket == u.ticket }):
			u.ok = true
			b.tried = n.p.opts.Now()
			entered = true
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
	default:
		sole = 0
	}
	if entered || sole != 0 {
		n.p.wg.Go(func() { n.s.learn(entered, sole) })
	}
}

// learn makes sure that nothing that is known here is from before: others may
// have decided alone until now. Then the gateway may go to work, if it has just
// entered, and decide alone, if the fence is that with which it is alone still.
func (s *session) learn(entered bool, fence uint64) {
	p := s.p
	for wait := 100 * time.Millisecond; p.learn(s.ctx) != nil; wait = min(2*wait, 10*time.Second) {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.ctx.Done():
			t.Stop()
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if entered {
		close(s.bucket.inside)
	}
	if fence != 0 && s.bucket.alone && s.bucket.since == fence && s.Valid() {
		s.bucket.sole, s.bucket.decided = true, true
	}
}

// learn calls Acquired, and notes for which grants.
func (p *Participant) learn(ctx context.Context) error {
	p.mu.Lock()
	begun := p.foreign
	p.mu.Unlock()
	if err := p.opts.Acquired(ctx); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acquired = max(p.acquired, begun)
	return nil
}
