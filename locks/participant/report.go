package participant

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

// Test is that of locks.Service. It asks the gateways that hold what is in the
// way whether they use it, and waits for their answers for as long as Lock
// without Wait does.
func (p *Participant) Test(ctx context.Context, owner locks.Owner, c locks.Claim) (*locks.Held, error) {
	s, err := p.enter(ctx)
	if err != nil {
		return nil, inPath(err, c.Path)
	}
	p.mu.Lock()
	local := p.table.Test(owner, c)
	p.mu.Unlock()
	if local != nil {
		return local, nil
	}
	until := p.opts.Now().Add(p.coord.TTL()/3 + time.Second)
	for _, step := range chain(c) {
		h, err := p.testRecord(ctx, s, step, until)
		if err != nil {
			return nil, &locks.Error{Op: "test", Path: c.Path, Kind: locks.NoLock, Err: err}
		}
		if h != nil {
			return h, nil
		}
	}
	return nil, nil
}

// testRecord tells whether another session holds and uses what the step needs.
func (p *Participant) testRecord(ctx context.Context, s *session, step step, until time.Time) (*locks.Held, error) {
	p.mu.Lock()
	n := s.nodes[step.key]
	ours := s.bucket.alone || n != nil && n.sure() && covered(n.own(), step.want)
	p.mu.Unlock()
	if ours {
		return nil, nil
	}
	wish := step.want
	wish.Session = s.id
	wanted := map[locks.SessionID]bool{}
	begun := p.opts.Now()
	p.mu.Lock()
	grace := p.grace()
	p.mu.Unlock()
	for {
		r, ver, err := p.get(ctx, step.key)
		if err != nil {
			return nil, err
		}
		var doubtful *record.Entry
		for _, e := range r.InTheWay(wish, 0) {
			if s.hasEnded(ctx, e.Session) {
				continue
			}
			now := p.opts.Now()
			if e.Used && now.Sub(begun) >= grace || !now.Before(until) {
				h := held(r, e)[0]
				return &h, nil
			}
			doubtful = &e
			if !e.Used && !wanted[e.Session] {
				wanted[e.Session] = true
				_ = p.coord.Want(ctx, e.Session, step.key)
			}
		}
		if doubtful == nil {
			return nil, nil
		}
		limited, stop := context.WithDeadline(ctx, minTime(until, p.opts.Now().Add(grace)))
		_, err = p.coord.Await(limited, step.key, ver, func(int) time.Duration { return slowest / 10 })
		stop()
		if err != nil && limited.Err() == nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// get reads a record.
func (p *Participant) get(ctx context.Context, key string) (record.Record, locks.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	state, err := p.coord.Get(ctx, key)
	if err != nil || state.Data == nil {
		return record.Record{}, state.Version, err
	}
	r, err := record.Decode(state.Data)
	return r, state.Version, err
}

// held describes what an entry says that is held: by each of its owners.
func held(r record.Record, e record.Entry) []locks.Held {
	c := locks.Claim{Path: r.Path, Space: r.Space, Start: e.Start, End: e.End, Tree: e.Mode >= record.TS}
	if e.Mode == record.X || e.Mode == record.TX {
		c.Mode = locks.Exclusive
	}
	// The first one there has the next number, and may have been written down
	// before it got it. If somebody else has the lock by now, only its gateway
	// knows.
	if !e.Used || len(e.Owners) == 0 {
		return []locks.Held{{Claim: c, Fence: e.Fence + 1, Holder: people(e)[0], Cached: !e.Used}}
	}
	all := []locks.Held(nil)
	for _, o := range e.Owners {
		all = append(all, locks.Held{Claim: c, Fence: max(o.Fence, e.Fence+1), Holder: o.Holder})
	}
	return all
}

// Report is that of locks.Service.
func (p *Participant) Report(ctx context.Context, all bool) (locks.Report, error) {
	own, me := p.reportOwn()
	if !all {
		return own, nil
	}
	s, err := p.enter(ctx)
	if err != nil {
		return own, inPath(err, "")
	}
	p.mu.Lock()
	alone := s.bucket.alone
	p.mu.Unlock()
	if alone {
		return own, nil
	}
	keys, err := p.coord.List(ctx, record.Prefix)
	for _, key := range keys {
		var r record.Record
		if r, _, err = p.get(ctx, key); err != nil {
			break
		}
		for _, id := range r.Sessions(me) {
			if s.hasEnded(ctx, id) {
				r.Drop(id)
			}
		}
		p.ask(ctx, key, r, me)
		own.Held = append(own.Held, heldBy(r, me)...)
		own.Waiting = append(own.Waiting, waiting(r, me)...)
	}
	if err != nil {
		return own, &locks.Error{Op: "report", Kind: locks.NoLock, Err: err}
	}
	slices.SortStableFunc(own.Held, func(a, b locks.Held) int { return strings.Compare(a.Path, b.Path) })
	slices.SortStableFunc(own.Waiting, func(a, b locks.Waiting) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Place, b.Place))
	})
	return own, nil
}

// ask makes other gateways write into a record who has the lock there, if they
// have not, so that the next report knows. One where nobody has it gives it up.
func (p *Participant) ask(ctx context.Context, key string, r record.Record, me locks.SessionID) {
	for _, e := range r.Holders {
		if e.Session != me && e.Mode > record.IX && !e.Used {
			_ = p.coord.Want(ctx, e.Session, key) // a report must not fail for it
		}
	}
}

// reportOwn returns what this gateway knows without asking, and its session.
func (p *Participant) reportOwn() (locks.Report, locks.SessionID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	own := locks.Report{Held: p.table.Held(), Waiting: p.table.Waiting()}
	for i, w := range own.Waiting {
		for _, c := range p.calls {
			if c.Owner == w.Holder.Owner && c.Claim == w.Claim {
				own.Waiting[i].Place = c.position().Place
			}
		}
	}
	if p.cur == nil {
		return own, ""
	}
	own.Held = append(own.Held, p.cur.cached(own.Held)...)
	return own, p.cur.id
}

// heldBy describes what others than me hold in a record.
func heldBy(r record.Record, me locks.SessionID) []locks.Held {
	all := []locks.Held(nil)
	for _, e := range r.Holders {
		if e.Session != me && e.Mode > record.IX {
			all = append(all, held(r, e)...)
		}
	}
	return all
}

// waiting describes the tickets of others in a record.
func waiting(r record.Record, me locks.SessionID) []locks.Waiting {
	all := []locks.Waiting(nil)
	for i, e := range r.Queue {
		if e.Session == me || e.Mode <= record.IX {
			continue
		}
		for _, h := range held(r, e) {
			all = append(all, locks.Waiting{Claim: h.Claim, Place: i + 1, Holder: h.Holder})
		}
	}
	return all
}

// cached returns what the session keeps for nobody.
func (s *session) cached(used []locks.Held) []locks.Held {
	all := []locks.Held(nil)
	for _, n := range s.nodes {
		if n.key == bucketKey {
			continue
		}
		for _, e := range n.own() {
			if e.Mode <= record.IX || slices.ContainsFunc(used, func(h locks.Held) bool { return h.Space == n.space && h.Path == n.path }) {
				continue
			}
			e.Used, e.Owners = false, nil
			h := held(n.rec, e)[0]
			h.Holder.Host, h.Holder.PID = s.p.opts.Info.Host, s.p.opts.Info.PID
			all = append(all, h)
		}
	}
	slices.SortFunc(all, func(a, b locks.Held) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// Break is that of locks.Service. A gateway that lives gives the lock up itself,
// and Break waits for that; one that does not answer loses all it has when its
// session ends. Nobody else is let in before. Kinds: also NoLock, and Canceled if
// ctx ended first; the lock is taken away nevertheless then, as soon as possible.
func (p *Participant) Break(ctx context.Context, path string, space locks.Space, fence uint64) error {
	fail := func(kind locks.Kind, err error) error {
		return &locks.Error{Op: "break", Path: path, Kind: kind, Err: err}
	}
	if p.breakOwn(path, space, fence) {
		return nil
	}
	s, err := p.enter(ctx)
	if err != nil {
		return fail(locks.KindOf(err), err)
	}
	key := record.Key(space, path)
	holder, err := p.mark(ctx, key, fence)
	if err != nil {
		return fail(locks.NoLock, err)
	}
	if holder == "" {
		return fail(locks.NotHeld, nil)
	}
	for {
		_ = p.coord.Want(ctx, holder, key)
		r, ver, err := p.get(ctx, key)
		switch {
		case ctx.Err() != nil:
			return fail(locks.Canceled, ctx.Err())
		case err != nil:
			return fail(locks.NoLock, err)
		}
		has := func(which func(record.Entry) bool) bool { return slices.ContainsFunc(r.Of(holder), which) }
		if has(func(e record.Entry) bool { return e.Spared == fence && e.Broken != fence }) {
			return fail(locks.NotHeld, nil)
		}
		if !has(func(e record.Entry) bool { return e.Broken == fence }) || s.hasEnded(ctx, holder) {
			return nil
		}
		limited, cancel := context.WithTimeout(ctx, watchEvery)
		_, _ = p.coord.Await(limited, key, ver, func(int) time.Duration { return slowest / 10 })
		cancel()
	}
}

// mark writes into a record that a lock is to be taken away, and returns whose it
// is; "" if nobody has it with this fence.
func (p *Participant) mark(ctx context.Context, key string, fence uint64) (locks.SessionID, error) {
	for {
		state, err := p.coord.Get(ctx, key)
		if err != nil || state.Data == nil {
			return "", err
		}
		r, err := record.Decode(state.Data)
		if err != nil {
			return "", err
		}
		holder := r.Break(fence)
		if holder == "" {
			return "", nil
		}
		r.Nonce = newTicket()
		data, err := r.Encode()
		if err != nil {
			return "", err
		}
		if _, err = p.coord.Put(ctx, key, data, state.Version); err == nil {
			return holder, nil
		} else if !isConflict(err) {
			return "", err
		}
	}
}

// breakOwn takes a lock away that is held here with this fence.
func (p *Participant) breakOwn(path string, space locks.Space, fence uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.breakOwnLocked(path, space, fence)
}

func (p *Participant) breakOwnLocked(path string, space locks.Space, fence uint64) bool {
	lost, granted := p.table.Lose(func(h locks.Held) bool { return h.Path == path && h.Space == space && h.Fence == fence })
	p.markLost(lost)
	if s := p.cur; s != nil {
		p.kickPath(s, space, path)
	}
	p.note(granted)
	return len(lost) > 0
}
