package participant

import (
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

// withdraw removes our tickets that nobody needs any more.
func (n *node) withdraw(next *record.Record) {
	next.Queue = slices.DeleteFunc(next.Queue, func(e record.Entry) bool {
		return e.Session == n.s.id && !slices.ContainsFunc(n.uses, func(u *use) bool { return !u.ok && u.ticket == e.Ticket })
	})
}

// silence takes back the permission of uses that were let in without asking
// while somebody who came earlier was in the record already. They wait for the
// local holder still.
func (n *node) silence() {
	for _, u := range n.uses {
		if !u.ok || !u.silent || u.pass || u.call == nil {
			continue
		}
		earlier := slices.ContainsFunc(n.rec.Queue, func(e record.Entry) bool {
			return e.Session != n.s.id && e.Seq > u.known && e.Since.Before(u.arrived) && record.Conflict(e, u.want)
		})
		if earlier {
			u.ok, u.silent, u.late = false, false, true
			n.p.table.Forbid(u.call.id)
		}
	}
}

// assign gives uses that wait a place in the queue, or lets them in if they
// need none. It returns false if the record has to be read for that.
func (n *node) assign(next *record.Record) bool {
	for _, u := range slices.Clone(n.uses) {
		if u.ok || u.ticket != "" {
			continue
		}
		has := covered(n.sound(*next), u.want)
		tail := n.tail(*next, u)
		isFresh := n.fresh >= u.gen
		if (has || tail != "") && !isFresh {
			return false
		}
		pass := n.usedBy(u.owner)
		switch {
		case has && !u.late && !n.unsure && (pass || len(next.Queue) == 0):
			n.admit(u, pass)
		case n.refuse(*next, u) || n.lingering(*next, u) > 0:
		case tail != "" && !pass:
			u.ticket = tail
		default:
			n.queue(next, u, pass)
		}
	}
	return true
}

// tail returns the last ticket of the queue if it is one that u may share:
// nobody has come in between, also not on a gateway that holds the lock and has
// not noticed yet that others wait.
func (n *node) tail(next record.Record, u *use) string {
	if len(next.Queue) == 0 {
		return ""
	}
	e := next.Queue[len(next.Queue)-1]
	if e.Session != n.s.id || e.Mode != u.want.Mode || !e.Covers(u.want) {
		return ""
	}
	for _, h := range next.InTheWay(e, 0) {
		if !h.Used {
			return ""
		}
	}
	return e.Ticket
}

// admit lets u in.
func (n *node) admit(u *use, pass bool) {
	u.ok, u.pass, u.ticket = true, pass, ""
	if u.call != nil {
		u.call.advance()
	}
}

// refuse ends the call of u if it does not wait and others are known to use what
// it needs.
func (n *node) refuse(next record.Record, u *use) bool {
	who := n.users(next, u)
	if len(who) == 0 || n.lingering(next, u) > 0 {
		return false
	}
	c := u.call
	n.p.finish(c, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.WouldBlock, Holders: who})
	return true
}

// lingering returns for how long the call of u, which does not wait, is not
// refused yet though somebody uses what it needs: the gateway there may have
// been told to let go, and be about to write that.
func (n *node) lingering(next record.Record, u *use) time.Duration {
	if len(n.users(next, u)) == 0 {
		return 0
	}
	return n.p.grace() - n.p.opts.Now().Sub(u.call.start)
}

// grace is how long a record may take to say that a lock was given up.
func (p *Participant) grace() time.Duration { return 20*time.Millisecond + 4*p.rtt }

// lingers returns the longest time that a call without a ticket lingers.
func (n *node) lingers(next record.Record) time.Duration {
	longest := time.Duration(0)
	for _, u := range n.uses {
		if !u.ok && u.ticket == "" {
			longest = max(longest, n.lingering(next, u))
		}
	}
	return longest
}

// users returns who uses what u needs, if its call does not wait.
func (n *node) users(next record.Record, u *use) []locks.Holder {
	who := []locks.Holder(nil)
	if u.call == nil || u.call.Wait {
		return nil
	}
	for _, e := range next.InTheWay(record.Entry{Session: n.s.id, Mode: u.want.Mode, Start: u.want.Start, End: u.want.End}, len(next.Queue)) {
		if n.s.ended[e.Session] || e.Fence != 0 && !e.Used {
			continue
		}
		who = append(who, people(e)...)
	}
	return who
}

// queue gives u a ticket. When nobody else is there, one of a range is a ticket
// for all, so that more of it costs nothing.
func (n *node) queue(next *record.Record, u *use, pass bool) {
	e := u.want
	e.Session, e.Ticket, e.Since = n.s.id, newTicket(), u.arrived
	if n.space == locks.Record && len(next.Sessions(n.s.id)) == 0 {
		e.Mode, e.Start, e.End = record.X, 0, locks.MaxOffset
	}
	if u.call != nil {
		e.Owners = []record.Party{{Holder: u.call.Holder}}
	}
	u.ticket, u.pass = e.Ticket, pass
	switch {
	case pass:
		next.EnqueueFirst(e)
	case u.late:
		next.Enqueue(e, u.known)
	default:
		next.Enqueue(e, next.Seq)
	}
}

// tickets lets in whose turn has come, and sends those whose place is gone to
// the end.
func (n *node) tickets(waited bool) {
	ready := []*use(nil)
	for _, u := range n.uses {
		switch {
		case u.ok || u.ticket == "":
		case slices.ContainsFunc(n.rec.Holders, func(e record.Entry) bool { return e.Ticket == u.ticket }):
			u.ok, u.ticket = true, ""
			if waited {
				n.hotUntil = n.p.opts.Now().Add(heat)
			}
			ready = append(ready, u)
		case n.rec.Waiting(u.ticket) < 0:
			u.ticket = ""
		}
	}
	for _, u := range ready {
		if u.call != nil {
			u.call.advance()
		}
	}
	for _, u := range slices.Clone(n.uses) {
		if u.call != nil && !u.ok && u.ticket != "" && slices.Contains(n.uses, u) && !n.refuse(n.before(u.ticket), u) {
			u.call.stepBack(n)
		}
	}
}

// before returns the record as it is for a ticket: with those in front of it.
func (n *node) before(ticket string) record.Record {
	r := n.rec
	r.Queue = r.Queue[:max(r.Waiting(ticket), 0)]
	return r
}
