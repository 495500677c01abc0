package participant

import (
	"context"
	"errors"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

const (
	// slowest is the longest time between two looks at a record that is waited
	// for.
	slowest = time.Second
	// watchEvery is how often who waits looks whether those in front live.
	watchEvery = 1500 * time.Millisecond
	// wishEvery is after which time a holder that has not said that it uses what
	// it has is told again that it is wanted; it doubles.
	wishEvery = 2 * time.Second
)

// kick makes the agent look at what there is to do.
func (n *node) kick() {
	if n.s.lost {
		return
	}
	if !n.running {
		n.running = true
		n.p.wg.Go(n.run)
	} else if n.interrupt != nil {
		n.interrupt()
	}
}

// run makes the record agree with what is wanted of it, until it does.
func (n *node) run() {
	for {
		n.p.mu.Lock()
		if n.s.lost {
			n.running = false
			n.p.mu.Unlock()
			return
		}
		p := n.plan()
		if p.action == rest {
			n.running = false
			n.forget()
			n.p.mu.Unlock()
			return
		}
		n.busy = p.action == read || p.action == write
		ctx, cancel := context.WithCancel(n.s.ctx)
		if !n.busy {
			n.interrupt = cancel
		}
		n.p.mu.Unlock()
		err := n.act(ctx, p)
		n.p.mu.Lock()
		n.busy, n.interrupt = false, nil
		cancel()
		pause := n.outcome(err)
		n.p.mu.Unlock()
		n.pause(pause)
	}
}

// outcome counts failures, and returns how long to wait before the next
// attempt.
func (n *node) outcome(err error) time.Duration {
	if err == nil {
		n.failures = 0
		return 0
	}
	n.err = err
	n.failures++
	return min(20*time.Millisecond<<min(n.failures, 6), slowest)
}

func (n *node) pause(d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-n.s.ctx.Done():
	}
}

// forget drops the node if nothing is known or wanted of it.
func (n *node) forget() {
	if len(n.uses) == 0 && len(n.rec.Of(n.s.id)) == 0 && !n.hot() && n.s.nodes[n.key] == n {
		delete(n.s.nodes, n.key)
	}
}

func (n *node) act(ctx context.Context, p plan) error {
	switch p.action {
	case read:
		return n.read(ctx, p)
	case write:
		return n.write(ctx, p)
	case await:
		return n.await(ctx, p)
	case sweep:
		for _, id := range p.sweep {
			n.s.hasEnded(ctx, id)
		}
	}
	return nil
}

// read reads the record.
func (n *node) read(ctx context.Context, p plan) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	begun := n.p.opts.Now()
	state, err := n.p.coord.Get(ctx, n.key)
	if err != nil {
		return err
	}
	n.p.measure(n.p.opts.Now().Sub(begun))
	return n.take(state, p.gen)
}

// take takes in what was read.
func (n *node) take(state locks.RecordState, gen uint64) error {
	rec := record.Record{}
	if state.Data != nil {
		var err error
		if rec, err = record.Decode(state.Data); err != nil {
			return err
		}
	}
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	if n.s.lost {
		return nil
	}
	n.reread, n.fresh, n.answered, n.busy = false, gen, n.p.opts.Now(), false
	n.absorb(rec, state.Version, false, false)
	return nil
}

// write replaces the record, after everything acknowledged here is in S3 if
// something is given away.
func (n *node) write(ctx context.Context, p plan) error {
	if p.gives {
		release := n.p.opts.Releasing
		if n.key == bucketKey {
			release = n.s.handOver
		}
		if err := release(ctx); err != nil {
			return err
		}
	}
	p.next.Nonce = newTicket()
	data, err := p.next.Encode()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n.p.mu.Lock()
	ver := n.ver
	n.p.mu.Unlock()
	begun := n.p.opts.Now()
	ver, err = n.p.coord.Put(limited, n.key, data, ver)
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	switch {
	case n.s.lost:
		return nil
	case isConflict(err):
		n.known, n.answered = false, n.p.opts.Now()
		return nil
	case err != nil:
		n.known, n.unsure = false, true
		return err
	}
	n.answered, n.unsure, n.publish = n.p.opts.Now(), false, false
	n.fresh, n.adopt, n.busy = p.gen, n.adopt && !p.adopts, false
	n.p.rtt += (n.answered.Sub(begun) - n.p.rtt) / 8
	n.absorb(p.next, ver, true, p.foreign)
	return nil
}

// await waits until the record changes, after it has told those that hold it,
// and looks now and then whether they live.
func (n *node) await(ctx context.Context, p plan) error {
	for _, id := range n.dueWishes(p) {
		limited, cancel := context.WithTimeout(ctx, patience)
		err := n.p.coord.Want(limited, id, n.key)
		cancel()
		if err != nil && ctx.Err() == nil {
			n.p.opts.Log.Debug("ask for a lock", "path", n.path, "err", err)
		}
	}
	n.p.mu.Lock()
	rtt, ver := n.p.rtt, n.ver
	n.p.mu.Unlock()
	pace := func(int) time.Duration {
		return max(min(3*rtt*time.Duration(1+p.place), slowest), time.Millisecond)
	}
	limit := watchEvery
	if p.limit > 0 {
		limit = min(limit, p.limit)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	gen := p.gen
	state, err := n.p.coord.Await(limited, n.key, ver, pace)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		return n.take(state, gen)
	}
	if limited.Err() == nil {
		return err
	}
	for _, e := range p.inWay {
		n.s.hasEnded(ctx, e.Session)
	}
	return nil
}

// dueWishes returns whom to tell that the record is wanted. Who is not the first
// to wait relies on that one at first.
func (n *node) dueWishes(p plan) []locks.SessionID {
	n.p.mu.Lock()
	defer n.p.mu.Unlock()
	now := n.p.opts.Now()
	due := []locks.SessionID(nil)
	for _, e := range p.inWay {
		if e.Fence == 0 || e.Used {
			continue
		}
		w, known := n.wishes[e.Session]
		if !known {
			w = wish{due: now, delay: wishEvery}
			if n.othersWait(e.Session, p.place) {
				w.due = now.Add(wishEvery)
			}
		}
		if !now.Before(w.due) {
			due = append(due, e.Session)
			w = wish{due: now.Add(w.delay), delay: min(2*w.delay, 30*time.Second)}
		}
		n.wishes[e.Session] = w
	}
	for id := range n.wishes {
		if !n.holds(id) {
			delete(n.wishes, id)
		}
	}
	return due
}

// othersWait reports whether somebody in front waits for this holder, too.
func (n *node) othersWait(holder locks.SessionID, place int) bool {
	for _, e := range n.rec.Queue[:min(place, len(n.rec.Queue))] {
		if e.Session != holder && e.Session != n.s.id {
			return true
		}
	}
	return false
}

func (n *node) holds(id locks.SessionID) bool { return len(n.rec.Of(id)) > 0 }

func isConflict(err error) bool { return errors.Is(err, locks.ErrConflict) }
