package participant

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// call is a request that waits.
type call struct {
	locks.Request
	s     *session
	id    locks.ID
	start time.Time
	nodes []*node // from the root to the path
	uses  []*use  // of them; nil where it does not ask yet
	had   bool    // its owner has something of the path
	done  chan error
	place chan locks.Position // the latest
	told  locks.Position
	tries int // how often a cycle was found and somebody else should have given up
}

// Lock is that of locks.Service.
func (p *Participant) Lock(ctx context.Context, r locks.Request) (locks.Grant, error) {
	if err := ctx.Err(); err != nil {
		return locks.Grant{}, &locks.Error{Op: "lock", Path: r.Path, Kind: locks.Canceled, Err: err}
	}
	s, err := p.enter(ctx)
	if err != nil {
		return locks.Grant{}, inPath(err, r.Path)
	}
	r.Holder.Owner, r.Holder.Gateway, r.Holder.Host = r.Owner, string(s.id), p.opts.Info.Host
	if r.Holder.Since.IsZero() {
		r.Holder.Since = p.opts.Now()
	}
	c, err := p.begin(s, r)
	if err != nil {
		return locks.Grant{}, err
	}
	if err := p.wait(ctx, c); err != nil {
		return locks.Grant{}, err
	}
	if err := p.refresh(ctx, c); err != nil {
		_ = p.Unlock(r.Owner, r.Claim)
		return locks.Grant{}, err
	}
	return p.granted(c)
}

func inPath(err error, path string) error {
	return &locks.Error{Op: "lock", Path: path, Kind: locks.KindOf(err), Err: err}
}

// begin enters a request.
func (p *Participant) begin(s *session, r locks.Request) (*call, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.lost {
		return nil, &locks.Error{Op: "lock", Path: r.Path, Kind: locks.NoLock}
	}
	s.s.Busy()
	for _, h := range p.table.HeldOn(r.Space, r.Path) {
		r.Tree = r.Tree || h.Tree && h.Holder.Owner == r.Owner // as the table does
	}
	c := &call{Request: r, s: s, start: p.opts.Now(), done: make(chan error, 1), place: make(chan locks.Position, 1)}
	c.had = p.holds[c.key()] != nil
	id, granted, err := p.table.Lock(r, false)
	p.note(granted)
	if err != nil {
		p.afterTable(c.key())
		return nil, err
	}
	if id == 0 {
		if h := p.holds[c.key()]; h != nil && r.Space == locks.Whole {
			h.refit()
		}
		p.kickPath(s, r.Space, r.Path)
		c.done <- nil
		return c, nil
	}
	p.afterTable(c.key())
	c.id = id
	p.calls[id] = c
	if s.bucket.sole && s.Valid() {
		c.advance() // there is nobody to ask
	} else {
		c.admit()
	}
	return c, nil
}

func (c *call) key() holdKey { return holdKey{c.Owner, c.Space, c.Path} }

// admit asks for the records that c needs, all at once: mostly nobody else is
// there.
func (c *call) admit() {
	steps := chain(c.Claim)
	c.nodes, c.uses = make([]*node, len(steps)), make([]*use, len(steps))
	c.ask()
	c.advance()
}

// ask begins to use the records that c does not use yet.
func (c *call) ask() {
	for i, step := range chain(c.Claim) {
		if c.uses[i] == nil {
			n := c.s.node(step.key)
			n.path, n.space = step.path, c.Space
			c.nodes[i], c.uses[i] = n, n.use(c, step.want)
		}
	}
}

// advance goes on when more of the records allow it: it asks for those it had
// stepped back from, and is permitted when all do.
func (c *call) advance() {
	p := c.s.p
	if p.calls[c.id] != c {
		return
	}
	for _, u := range c.uses {
		if u == nil {
			c.ask()
			c.advance()
			return
		}
		if !u.ok {
			return
		}
	}
	p.note(p.table.Permit(c.id))
	if !c.Wait && p.calls[c.id] == c {
		p.finish(c, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.WouldBlock, Holders: p.table.Position(c.id).Holders})
		return
	}
	c.tell()
}

// stepBack gives up what c has of records below n, since it has to wait there:
// whoever holds n may need them. It keeps what is above: it came first.
func (c *call) stepBack(n *node) {
	found := false
	for i, u := range c.uses {
		if found && u != nil {
			c.uses[i] = nil
			u.node.release(u)
		}
		found = found || c.nodes[i] == n
	}
	if c.had && c.Space == locks.Whole && c.Wait {
		p := c.s.p
		c.had = false
		granted := p.table.GiveWay(c.id)
		p.afterTable(c.key())
		p.note(granted)
	}
	c.tell()
}

// finish ends a call that waits with an error.
func (p *Participant) finish(c *call, err error) {
	if p.calls[c.id] != c {
		return
	}
	delete(p.calls, c.id)
	granted := p.table.Cancel(c.id)
	for _, u := range c.uses {
		if u != nil {
			u.node.release(u)
		}
	}
	p.unpublish(c)
	c.done <- err
	p.note(granted)
	p.tellAll()
}

// wait waits until c has ended.
func (p *Participant) wait(ctx context.Context, c *call) error {
	select {
	case err := <-c.done:
		return err
	default:
	}
	tick := time.NewTicker(chaseEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-c.done:
			return err
		case <-ctx.Done():
			return p.abandon(c, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.Canceled, Err: ctx.Err()})
		case place := <-c.place:
			if c.Notify != nil {
				c.Notify(place)
			}
		case <-tick.C:
			if err := p.tick(ctx, c); err != nil {
				return p.abandon(c, err)
			}
		}
	}
}

// abandon ends a call for its caller. If it was granted meanwhile, that is
// given on.
func (p *Participant) abandon(c *call, err error) error {
	p.mu.Lock()
	waiting := p.calls[c.id] == c
	p.finish(c, err)
	p.mu.Unlock()
	if waiting {
		return err
	}
	if <-c.done == nil {
		_ = p.Unlock(c.Owner, c.Claim)
	}
	return err
}

// tick tells whether there is a reason not to wait any longer.
func (p *Participant) tick(ctx context.Context, c *call) error {
	p.mu.Lock()
	if c.s.lost || p.calls[c.id] != c {
		p.mu.Unlock()
		return nil // done tells
	}
	if !c.s.Valid() {
		p.loseLocked(c.s)
		p.mu.Unlock()
		return nil
	}
	c.s.s.Busy()
	now := p.opts.Now()
	for _, u := range c.uses {
		if u != nil && !u.ok && u.ticket == "" && now.Sub(c.start) >= reach && now.Sub(u.node.answered) >= reach {
			p.mu.Unlock()
			return &locks.Error{Op: "lock", Path: c.Path, Kind: locks.NoLock, Err: u.node.err}
		}
	}
	if !c.Wait {
		p.mu.Unlock()
		if now.Sub(c.start) < p.coord.TTL()/3+time.Second { // until its gateway renews its session
			return nil
		}
		return &locks.Error{Op: "lock", Path: c.Path, Kind: locks.WouldBlock}
	}
	p.publishWaits(c)
	p.mu.Unlock()
	return p.chase(ctx, c)
}

// refresh makes this gateway see what others have done under what c was
// granted.
func (p *Participant) refresh(ctx context.Context, c *call) error {
	needed := uint64(0)
	p.mu.Lock()
	for _, n := range c.nodes {
		needed = max(needed, n.foreign)
	}
	ready := p.acquired >= needed
	p.mu.Unlock()
	if ready {
		return nil
	}
	select {
	case <-p.acquire:
		defer func() { p.acquire <- struct{}{} }()
	case <-ctx.Done():
		return &locks.Error{Op: "lock", Path: c.Path, Kind: locks.Canceled, Err: ctx.Err()}
	}
	p.mu.Lock()
	ready = p.acquired >= needed
	p.mu.Unlock()
	if ready {
		return nil
	}
	if err := p.learn(ctx); err != nil {
		kind := locks.NoLock
		if ctx.Err() != nil {
			kind = locks.Canceled
		}
		return &locks.Error{Op: "lock", Path: c.Path, Kind: kind, Err: err}
	}
	return nil
}

// granted returns what c has got, if it has it still.
func (p *Participant) granted(c *call) (locks.Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !c.s.Valid() {
		p.loseLocked(c.s)
	}
	h := p.holds[c.key()]
	if h == nil || h.s != c.s {
		granted, _ := p.table.Unlock(c.Owner, c.Claim)
		p.note(granted)
		return locks.Grant{}, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.NoLock}
	}
	return locks.Grant{Claim: c.Claim, Owner: c.Owner, Fence: h.fence, Lost: h.lost}, nil
}
