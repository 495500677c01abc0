package participant

import (
	"context"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

const (
	// chaseEvery is after which time, and how often, a call that waits looks
	// whether it waits for itself.
	chaseEvery = 300 * time.Millisecond
	// chaseFar bounds how many records are read for that.
	chaseFar = 32
	// chaseTries is how often a cycle is left to a younger waiter.
	chaseTries = 8
)

// waits returns the keys of the records in which an owner waits, directly or
// through others of this gateway, if that has lasted.
func (p *Participant) waits(owner locks.Owner) []string {
	keys := []string(nil)
	now := p.opts.Now()
	for _, id := range p.table.WaitsFor(owner) {
		c := p.calls[id]
		if c == nil || now.Sub(c.start) < chaseEvery {
			continue
		}
		if u := c.blocked(); u != nil && !slices.Contains(keys, u.node.key) {
			keys = append(keys, u.node.key)
		}
	}
	slices.Sort(keys)
	return keys
}

// blocked returns the use for which c waits in the queue of a record.
func (c *call) blocked() *use {
	for _, u := range c.uses {
		if u != nil && !u.ok {
			if u.ticket == "" {
				return nil
			}
			return u
		}
	}
	return nil
}

// publishWaits writes into the records of what is held here by those that wait
// for c that they do.
func (p *Participant) publishWaits(c *call) {
	if c.blocked() == nil {
		return
	}
	for key, h := range p.holds {
		if h.s == c.s && slices.Contains(p.table.WaitsFor(key.owner), c.id) {
			p.publishHold(h)
		}
	}
}

// publishHold has the record of h describe it anew, if that is different.
func (p *Participant) publishHold(h *hold) {
	n := h.s.nodes[record.Key(h.key.space, h.key.path)]
	if n == nil || n.publish {
		return
	}
	for _, e := range n.own() {
		if slices.EqualFunc(e.Owners, n.parties(e), func(a, b record.Party) bool {
			return a.Owner == b.Owner && slices.Equal(a.Waits, b.Waits)
		}) {
			continue
		}
		n.publish = true
		n.kick()
		return
	}
}

// unpublish takes back what publishWaits has written about a call that has
// ended.
func (p *Participant) unpublish(c *call) {
	if p.opts.Now().Sub(c.start) < chaseEvery {
		return
	}
	for key, h := range p.holds {
		if key.owner == c.Owner {
			p.publishHold(h)
		}
	}
}

// chaser follows who waits for whom from record to record.
type chaser struct {
	p     *Participant
	c     *call
	path  []link
	read  map[string]record.Record
	seen  map[string]bool // tickets
	local map[locks.Owner]bool
}

// link is a ticket on the way, of which somebody waits.
type link struct {
	record.Entry
	path string
}

// chase returns an error of the kind Deadlock if c waits for itself by way of
// other gateways, and is the one to give up: the youngest.
func (p *Participant) chase(ctx context.Context, c *call) error {
	p.mu.Lock()
	u := c.blocked()
	if u == nil || p.opts.Now().Sub(c.start) < chaseEvery {
		p.mu.Unlock()
		return nil
	}
	ch := &chaser{p: p, c: c, read: map[string]record.Record{u.node.key: u.node.rec}, seen: map[string]bool{}, local: map[locks.Owner]bool{}}
	for key := range p.holds {
		if key.owner == c.Owner || slices.Contains(p.table.WaitsFor(key.owner), c.id) {
			ch.local[key.owner] = true
		}
	}
	key, ticket := u.node.key, u.ticket
	p.mu.Unlock()
	if len(ch.local) == 0 { // nobody can wait for who holds nothing
		return nil
	}
	if !ch.follow(ctx, key, ticket) || !ch.confirmed(ctx) {
		return nil
	}
	youngest := slices.MaxFunc(ch.path, func(a, b link) int {
		if d := a.Since.Compare(b.Since); d != 0 {
			return d
		}
		return slices.Compare([]byte(a.Ticket), []byte(b.Ticket))
	})
	c.tries++
	if youngest.Ticket != ticket && c.tries < chaseTries {
		return nil
	}
	return &locks.Error{Op: "lock", Path: c.Path, Kind: locks.Deadlock, Cycle: ch.cycle()}
}

// follow reports whether the ticket waits for c, and leaves the way there in
// path.
func (ch *chaser) follow(ctx context.Context, key, ticket string) bool {
	if ch.seen[ticket] {
		return false
	}
	ch.seen[ticket] = true
	r, ok := ch.get(ctx, key)
	place := r.Waiting(ticket)
	if !ok || place < 0 {
		return false
	}
	e := r.Queue[place]
	ch.path = append(ch.path, link{e, r.Path})
	for _, o := range r.InTheWay(e, place) {
		if o.Fence == 0 {
			if o.Session != ch.c.s.id && ch.follow(ctx, key, o.Ticket) {
				return true
			}
		} else if ch.holder(ctx, o) {
			return true
		}
	}
	ch.path = ch.path[:len(ch.path)-1]
	return false
}

// holder reports whether somebody who holds e waits for c.
func (ch *chaser) holder(ctx context.Context, e record.Entry) bool {
	for _, o := range e.Owners {
		if e.Session == ch.c.s.id {
			if ch.local[o.Owner] {
				return true
			}
			continue
		}
		for _, key := range o.Waits {
			r, ok := ch.get(ctx, key)
			if !ok {
				continue
			}
			for _, q := range r.Queue {
				if q.Session == e.Session && ch.follow(ctx, key, q.Ticket) {
					return true
				}
			}
		}
	}
	return false
}

// get reads a record, once.
func (ch *chaser) get(ctx context.Context, key string) (record.Record, bool) {
	if r, ok := ch.read[key]; ok {
		return r, true
	}
	if len(ch.read) >= chaseFar {
		return record.Record{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	state, err := ch.p.coord.Get(ctx, key)
	if err != nil || state.Data == nil {
		return record.Record{}, false
	}
	r, err := record.Decode(state.Data)
	if err != nil {
		return record.Record{}, false
	}
	ch.read[key] = r
	return r, true
}

// confirmed reads everything again: what was read one behind the other may
// never have been true at the same time. Who still waits with the same ticket
// for the same holder has done so all the time.
func (ch *chaser) confirmed(ctx context.Context) bool {
	again := &chaser{p: ch.p, c: ch.c, read: map[string]record.Record{}, seen: map[string]bool{}, local: ch.local}
	first := ch.path[0]
	key := ""
	for k, r := range ch.read {
		if r.Waiting(first.Ticket) >= 0 {
			key = k
		}
	}
	if !again.follow(ctx, key, first.Ticket) || len(again.path) != len(ch.path) {
		return false
	}
	for i, l := range again.path {
		if l.Ticket != ch.path[i].Ticket {
			return false
		}
	}
	return true
}

// cycle describes the way, beginning with the caller.
func (ch *chaser) cycle() []locks.Edge {
	edges := []locks.Edge(nil)
	for i, l := range ch.path {
		who := people(l.Entry)[0]
		if i == 0 {
			who = ch.c.Holder
		}
		edges = append(edges, locks.Edge{Waiter: who, Path: l.path})
	}
	return edges
}
