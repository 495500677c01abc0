package participant

import (
	"reflect"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

// action is what an agent does next.
type action uint8

const (
	rest  action = iota // nothing
	read                // read the record
	write               // replace it
	await               // wait until it changes
	sweep               // look whether sessions with entries there have ended
)

// plan is what an agent does next.
type plan struct {
	action
	next    record.Record // with write
	gives   bool          // it gives something away
	foreign bool          // it takes what others may have had
	adopts  bool          // it writes what was granted without it
	gen     uint64
	inWay   []record.Entry // with await: what our tickets wait for
	place   int
	limit   time.Duration // with await: not longer, if it is not 0
	sweep   []locks.SessionID
}

// plan decides what to do. It may let uses in that need no request.
func (n *node) plan() plan {
	if n.key == bucketKey {
		return n.planBucket()
	}
	p := plan{gen: n.p.gen, adopts: n.adopt}
	if !n.known || n.reread {
		p.action = read
		return p
	}
	next := n.rec.Clone()
	if next.V == 0 {
		next = record.New(n.space, n.path)
	}
	me := n.s.id
	for _, id := range next.Sessions(me) {
		if n.s.ended[id] || n.s.bucket.alone {
			next.Drop(id)
		}
	}
	if n.adopt {
		n.adoptInto(&next)
	}
	n.withdraw(&next)
	n.silence()
	if !n.assign(&next) {
		p.action = read
		return p
	}
	p.limit = n.lingers(next)
	p.gives = n.trimInto(&next)
	before := next.Last
	for _, g := range n.grant(&next) {
		p.foreign = p.foreign || g.Session == me && before != me
	}
	n.describe(&next)
	if n.unsure || n.adopt || n.changed(next) {
		p.action, p.next = write, next
		return p
	}
	return n.idle(p)
}

// grant grants what has become possible. Others are told in their entries that
// these are used: by those that have waited. So are our own if others want them;
// what these include of older ones goes.
func (n *node) grant(next *record.Record) []record.Entry {
	floor := n.s.floor()
	if n.key == bucketKey {
		floor = 0 // its fences are the eras
	}
	granted := next.Grant(floor)
	me := n.s.id
	contested := n.hot() || slices.ContainsFunc(next.Queue, func(e record.Entry) bool { return e.Session != me })
	isNew := func(h record.Entry) bool {
		return slices.ContainsFunc(granted, func(g record.Entry) bool { return g.Fence == h.Fence })
	}
	for i, h := range next.Holders {
		if isNew(h) {
			next.Holders[i].Used = len(h.Owners) > 0 && (h.Session != me || contested)
		}
	}
	holders := slices.Clone(next.Holders)
	next.Holders = slices.DeleteFunc(next.Holders, func(old record.Entry) bool {
		return old.Session == me && !isNew(old) && old.Broken == 0 && slices.ContainsFunc(holders, func(h record.Entry) bool {
			return h.Session == me && isNew(h) && h.Covers(old)
		})
	})
	return granted
}

// idle is the plan when the record is as it should be.
func (n *node) idle(p plan) plan {
	for i, e := range n.rec.Queue {
		if e.Session != n.s.id {
			continue
		}
		if p.action != await {
			p.action, p.place = await, i
		}
		p.inWay = append(p.inWay, n.rec.InTheWay(e, i)...)
	}
	if p.action != await && p.limit > 0 {
		p.action = await
	}
	if p.action != await && !n.swept {
		n.swept = true
		if others := n.rec.Sessions(n.s.id); len(others) > fewSessions {
			p.action, p.sweep = sweep, others
		}
	}
	return p
}

// fewSessions is how many others may be in a record without anybody looking
// whether they have ended.
const fewSessions = 4

// changed reports whether next is to be written.
func (n *node) changed(next record.Record) bool {
	same := func(a, b []record.Entry) bool {
		return slices.EqualFunc(a, b, func(a, b record.Entry) bool { return reflect.DeepEqual(a, b) })
	}
	return !same(n.rec.Holders, next.Holders) || !same(n.rec.Queue, next.Queue)
}

// trimInto gives up what we hold and do not need, if somebody wants it, and
// reports whether there was any.
func (n *node) trimInto(next *record.Record) bool {
	all := next.Of(n.s.id)
	kept := n.sound(*next)
	if len(next.Queue) > 0 || n.hot() {
		kept = trim(kept, n.needs())
	}
	if len(kept) == len(all) && !slices.ContainsFunc(kept, func(k record.Entry) bool {
		return !slices.ContainsFunc(all, func(a record.Entry) bool { return reflect.DeepEqual(a, k) })
	}) {
		return false // but perhaps for the order
	}
	next.Keep(n.s.id, kept)
	return true
}

// describe writes down who holds what we hold, if others want to know: they
// wait, or did lately. It is written again only when what the owners wait for
// has changed, or something else is written anyway.
func (n *node) describe(next *record.Record) {
	wanted := n.hot() || slices.ContainsFunc(next.Queue, func(e record.Entry) bool { return e.Session != n.s.id })
	if !wanted && !n.publish {
		return
	}
	anyway := n.changed(*next)
	for i, e := range next.Holders {
		if e.Session != n.s.id || e.Broken != 0 {
			continue
		}
		owners := n.parties(e)
		if len(owners) == 0 || e.Used && !anyway && !n.publish {
			continue
		}
		next.Holders[i].Owners, next.Holders[i].Used = owners, true
	}
}

// parties returns the owners of what is held under e.
func (n *node) parties(e record.Entry) []record.Party {
	all := []record.Party(nil)
	add := func(h *hold) {
		if h == nil || slices.ContainsFunc(all, func(o record.Party) bool { return o.Owner == h.key.owner }) {
			return
		}
		who := n.p.holder(h.key)
		who.Since = who.Since.Round(0).UTC()
		all = append(all, record.Party{Holder: who, Fence: h.fence, Waits: n.p.waits(h.key.owner)})
	}
	for _, need := range n.needs() {
		if !e.Mode.Covers(need.Mode) || need.End < e.Start || e.End < need.Start {
			continue
		}
		if need.use != nil {
			add(need.use.hold)
		} else {
			add(n.p.holds[holdKey{need.owner, n.space, n.path}])
		}
	}
	slices.SortFunc(all, func(a, b record.Party) int { return a.Since.Compare(b.Since) })
	return all
}

// holder returns the description of who has something.
func (p *Participant) holder(key holdKey) locks.Holder {
	for _, h := range p.table.HeldOn(key.space, key.path) {
		if h.Holder.Owner == key.owner {
			return h.Holder
		}
	}
	return locks.Holder{Owner: key.owner}
}

// people returns who is behind an entry.
func people(e record.Entry) []locks.Holder {
	who := []locks.Holder(nil)
	for _, o := range e.Owners {
		who = append(who, o.Holder)
	}
	if len(who) == 0 {
		who = append(who, locks.Holder{Gateway: string(e.Session), Since: e.Since})
	}
	return who
}

// absorb takes in what the record is. Asked says that we have written it.
func (n *node) absorb(rec record.Record, ver locks.Version, written, foreign bool) {
	known := map[uint64]bool{}
	for _, e := range n.rec.Of(n.s.id) {
		known[e.Fence] = true
	}
	for _, e := range rec.Of(n.s.id) {
		foreign = foreign || !written && !known[e.Fence]
	}
	if foreign {
		n.p.foreign++
		n.foreign = n.p.foreign
	}
	n.rec, n.ver, n.known = rec, ver, true
	if n.key == bucketKey {
		n.absorbBucket()
		return
	}
	n.breakOne()
	if rec.V != 0 {
		n.path, n.space = rec.Path, rec.Space
	}
	if slices.ContainsFunc(rec.Queue, func(e record.Entry) bool { return e.Session != n.s.id }) {
		n.hotUntil = n.p.opts.Now().Add(heat)
	}
	n.lostEntries()
	n.tickets(!written)
}

// breakOne takes away what somebody has asked for by its fence, and keeps the
// rest of the entry.
func (n *node) breakOne() {
	n.rec = n.rec.Clone()
	for i, e := range n.rec.Holders {
		if e.Session != n.s.id || e.Broken == 0 {
			continue
		}
		n.rec.Holders[i].Broken = 0
		n.unsure = true // so that it is written
		if !n.p.breakOwnLocked(n.path, n.space, e.Broken) {
			n.rec.Holders[i].Spared = e.Broken
		}
	}
}

// lostEntries marks as lost what the record does not give us any more, because
// somebody broke it.
func (n *node) lostEntries() {
	if n.adopt {
		return
	}
	have := n.own()
	gone := map[holdKey]bool{}
	for _, need := range n.needs() {
		switch u := need.use; {
		case covered(have, need.Entry):
		case u != nil && u.call != nil:
			u.ok, u.ticket = false, ""
			n.p.table.Forbid(u.call.id)
		case u != nil:
			gone[u.hold.key] = true
		default:
			gone[holdKey{need.owner, n.space, n.path}] = true
		}
	}
	if len(gone) == 0 {
		return
	}
	lost, granted := n.p.table.Lose(func(h locks.Held) bool { return gone[holdKey{h.Holder.Owner, h.Space, h.Path}] })
	n.p.opts.Log.Warn("locks were broken", "path", n.path, "locks", len(lost))
	n.p.markLost(lost)
	n.p.note(granted)
}

// wish is when to tell a holder again that its record is wanted.
type wish struct {
	due   time.Time
	delay time.Duration
}
