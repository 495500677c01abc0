package participant

import (
	"cmp"
	"crypto/rand"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/record"
)

// heat is how long a record is handed back at once, and not kept, after somebody
// else was seen to want it.
const heat = 10 * time.Second

// node is what is known of a record, and what this gateway wants of it. Its
// agent, a goroutine that runs while there is something to do, makes the record
// agree with that. Everything is guarded by Participant.mu.
type node struct {
	s     *session
	p     *Participant
	key   string
	path  string
	space locks.Space

	rec    record.Record // as it was last read or written
	ver    locks.Version
	known  bool
	reread bool // it is known to be older than something
	// unsure says that something written may or may not have arrived, or may
	// arrive yet. What the record says is not relied on until another write has
	// succeeded, after which that one cannot any more.
	unsure bool
	busy   bool   // the agent is reading or writing
	fresh  uint64 // Participant.gen when the last read began

	hotUntil  time.Time
	uses      []*use // in the order in which they came; of waiting calls, and with Whole of what is held
	adopt     bool   // what is held is to be written into it, granted before without it
	publish   bool   // what its owners wait for has changed
	swept     bool   // sessions that left something there long ago were looked for
	lastFence uint64
	foreign   uint64 // what Acquired must have been called for
	wishes    map[locks.SessionID]wish

	running   bool
	interrupt func() // ends what the agent waits for
	failures  int
	err       error     // of the last failure
	answered  time.Time // when the coordinator last answered
}

// use is what a call or something held needs of a record.
type use struct {
	node    *node
	call    *call // nil once it is held
	hold    *hold
	owner   locks.Owner
	want    record.Entry // mode and range
	gen     uint64
	arrived time.Time
	known   uint64 // the last arrival in the record that was known then
	silent  bool   // was let in without asking
	late    bool   // that was taken back, since others were there already
	pass    bool   // was let in past those who wait for its owner
	ticket  string // its place in the queue of the record
	ok      bool   // the record allows it
}

// use registers that c needs want of the record.
func (n *node) use(c *call, want record.Entry) *use {
	n.p.gen++
	u := &use{node: n, call: c, owner: c.Owner, want: want, gen: n.p.gen, arrived: n.p.opts.Now(), known: n.rec.Seq}
	if n.sure() && covered(n.own(), want) {
		u.pass = n.contested() && n.usedBy(c.Owner)
		u.silent = u.pass || !n.contested()
		u.ok = u.silent
	}
	n.uses = append(n.uses, u)
	if !u.ok {
		n.kick()
	}
	return u
}

// sure reports whether what the record gave us is ours at this moment.
func (n *node) sure() bool { return n.known && !n.busy && !n.unsure && !n.reread }

// release ends a use.
func (n *node) release(u *use) {
	n.uses = slices.DeleteFunc(n.uses, func(o *use) bool { return o == u })
	n.freed()
}

// freed lets the agent see whether something can be given to others.
func (n *node) freed() {
	if n.running || n.hot() || len(n.rec.Queue) > 0 || n.unsure {
		n.kick()
	}
}

// own returns what the session has of the record.
func (n *node) own() []record.Entry { return n.sound(n.rec) }

// sound returns what the session holds in r, without what it was told to give
// up, and what is too old to be given to anybody here.
func (n *node) sound(r record.Record) []record.Entry {
	return slices.DeleteFunc(r.Of(n.s.id), func(e record.Entry) bool {
		return e.Broken != 0 || e.Mode > record.IX && e.Fence < n.s.bucket.stale && n.key != bucketKey
	})
}

// hot reports whether others are likely to want the record: they did lately, or
// have been told that it is in use, which has to be taken back when it is not.
func (n *node) hot() bool {
	if n.p.opts.Now().Before(n.hotUntil) {
		return true
	}
	return slices.ContainsFunc(n.rec.Holders, func(e record.Entry) bool { return e.Session == n.s.id && e.Used })
}

// contested reports whether somebody waits for the record, or may.
func (n *node) contested() bool {
	return len(n.rec.Queue) > 0 || n.hot() || slices.ContainsFunc(n.uses, func(u *use) bool { return !u.ok })
}

// usedBy reports whether the owner has something that needs the record.
func (n *node) usedBy(owner locks.Owner) bool {
	if n.space == locks.Record {
		return slices.ContainsFunc(n.p.table.HeldOn(n.space, n.path), func(h locks.Held) bool { return h.Holder.Owner == owner })
	}
	return slices.ContainsFunc(n.uses, func(u *use) bool { return u.hold != nil && u.owner == owner })
}

// need is what somebody needs of what the session holds of the record.
type need struct {
	record.Entry
	owner locks.Owner
	use   *use // nil for what is held of ranges
}

// needs returns what has to be kept.
func (n *node) needs() []need {
	all := []need(nil)
	for _, u := range n.uses {
		if u.ok {
			all = append(all, need{u.want, u.owner, u})
		}
	}
	if n.space == locks.Record {
		for _, h := range n.p.table.HeldOn(n.space, n.path) {
			all = append(all, need{record.Entry{Mode: record.Of(h.Claim), Start: h.Start, End: h.End}, h.Holder.Owner, nil})
		}
	}
	return all
}

// nextFence returns the fence of the next grant on this gateway.
func (n *node) nextFence(want record.Entry) uint64 {
	if b := &n.s.bucket; b.alone && b.decided {
		n.lastFence = n.s.nextSole()
		return n.lastFence
	}
	base := uint64(0)
	for _, e := range n.own() {
		if e.Mode.Covers(want.Mode) && e.Start <= want.End && want.Start <= e.End {
			base = max(base, e.Fence)
		}
	}
	if n.lastFence < base {
		n.lastFence = base + 1
	} else if n.lastFence < base+record.Step-1 {
		n.lastFence++
	}
	return n.lastFence
}

// covered reports whether entries give all of want.
func covered(entries []record.Entry, want record.Entry) bool {
	left := []record.Entry{want}
	for _, e := range entries {
		if e.Mode.Covers(want.Mode) {
			left = cutAll(left, e)
		}
	}
	return len(left) == 0
}

// outside returns what is left of the range of e without that of cut.
func outside(e, cut record.Entry) []record.Entry {
	if e.End < cut.Start || cut.End < e.Start {
		return []record.Entry{e}
	}
	rest := []record.Entry(nil)
	if e.Start < cut.Start {
		left := e
		left.End = cut.Start - 1
		rest = append(rest, left)
	}
	if e.End > cut.End {
		right := e
		right.Start = cut.End + 1
		rest = append(rest, right)
	}
	return rest
}

// trim returns what of own is needed, and no entry that another one includes.
// What it returns depends on the needs alone, but for the fences.
func trim(own []record.Entry, needs []need) []record.Entry {
	kept := []record.Entry(nil)
	for mode := record.TX + 1; mode > 0; {
		mode--
		pieces := []record.Entry(nil)
		for _, need := range needs {
			if need.Mode == mode {
				pieces = append(pieces, need.Entry)
			}
		}
		for _, k := range kept {
			if k.Mode.Covers(mode) {
				pieces = cutAll(pieces, k)
			}
		}
		for _, piece := range union(pieces) {
			if e, ok := newest(own, piece); ok && covered(own, piece) {
				e.Mode, e.Start, e.End = mode, piece.Start, piece.End
				kept = append(kept, e)
			}
		}
	}
	return kept
}

// cutAll takes the range of cut out of the pieces.
func cutAll(pieces []record.Entry, cut record.Entry) []record.Entry {
	left := []record.Entry(nil)
	for _, p := range pieces {
		left = append(left, outside(p, cut)...)
	}
	return left
}

// union joins pieces that overlap or touch, and sorts them.
func union(pieces []record.Entry) []record.Entry {
	slices.SortFunc(pieces, func(a, b record.Entry) int { return cmp.Compare(a.Start, b.Start) })
	joined := []record.Entry(nil)
	for _, p := range pieces {
		if last := len(joined) - 1; last >= 0 && (joined[last].End == locks.MaxOffset || p.Start <= joined[last].End+1) {
			joined[last].End = max(joined[last].End, p.End)
			continue
		}
		joined = append(joined, p)
	}
	return joined
}

// newest returns the entry with the largest fence that gives something of want.
func newest(own []record.Entry, want record.Entry) (record.Entry, bool) {
	found := record.Entry{}
	for _, e := range own {
		if e.Mode.Covers(want.Mode) && e.Start <= want.End && want.Start <= e.End && e.Fence > found.Fence {
			found = e
		}
	}
	return found, found.Fence != 0
}

func newTicket() string { return rand.Text() }
