package record

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"slices"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// Prefix is what the keys of all records of paths begin with.
const Prefix = "p/"

// longest is how long a readable key may be, so that it is a file name
// everywhere.
const longest = 200

// Key returns the key of the record of a path: readable where it fits.
func Key(space locks.Space, path string) string {
	kind := map[locks.Space]string{locks.Whole: "w-", locks.Record: "r-"}[space]
	if key := Prefix + kind + url.PathEscape(path); len(key) <= longest {
		return key
	}
	sum := sha256.Sum256([]byte(path))
	return Prefix + kind + "sha256=" + hex.EncodeToString(sum[:])
}

// Step is the distance between the fences of grants in a record. The gateway
// gives out the numbers between to those that hold the path there one behind
// the other.
const Step = 1 << 10

// Record is the record of a path. The zero value is one that does not exist.
type Record struct {
	V       int             `json:"v"`
	Path    string          `json:"path"`
	Space   locks.Space     `json:"space"`
	Fence   uint64          `json:"fence"`
	Seq     uint64          `json:"seq"`
	Nonce   string          `json:"nonce"`
	Last    locks.SessionID `json:"last,omitempty"`
	Holders []Entry         `json:"holders,omitempty"`
	Queue   []Entry         `json:"queue,omitempty"`
}

// Entry is something that a session holds or waits for.
type Entry struct {
	Session locks.SessionID `json:"session"`
	Ticket  string          `json:"ticket"`
	Mode    Mode            `json:"mode"`
	Start   uint64          `json:"start,omitempty"`
	End     uint64          `json:"end"`
	Seq     uint64          `json:"seq"`
	Fence   uint64          `json:"fence,omitempty"`
	Since   time.Time       `json:"since"`
	Owners  []Party         `json:"owners,omitempty"`
	Used    bool            `json:"used,omitempty"`
	Broken  uint64          `json:"broken,omitempty"`
	Spared  uint64          `json:"spared,omitempty"`
}

// Party is an owner behind an entry, and its own fence. Waits are the keys of records in which it
// waits, directly or through others of its gateway.
type Party struct {
	locks.Holder
	Fence uint64   `json:"fence,omitempty"`
	Waits []string `json:"waits,omitempty"`
}

// New returns the record of a path that nobody holds.
func New(space locks.Space, path string) Record {
	return Record{V: Version, Space: space, Path: path}
}

// Clone returns a copy that can be changed.
func (r Record) Clone() Record {
	r.Holders, r.Queue = slices.Clone(r.Holders), slices.Clone(r.Queue)
	return r
}

// Conflict reports whether two entries cannot be held by different sessions.
func Conflict(a, b Entry) bool {
	return a.Start <= b.End && b.Start <= a.End && !compatible[a.Mode][b.Mode]
}

// Covers reports whether who has a needs nothing more to have b.
func (a Entry) Covers(b Entry) bool {
	return a.Start <= b.Start && b.End <= a.End && a.Mode.Covers(b.Mode)
}

// Enqueue lets e wait behind all others; or, if known is less than the number
// of the last arrival, in front of those of other sessions which have arrived
// since then and came later by their hosts' clocks. A gateway that holds the
// lock learns a moment late that others wait, and had waiters meanwhile.
func (r *Record) Enqueue(e Entry, known uint64) {
	at := len(r.Queue)
	for at > 0 {
		o := r.Queue[at-1]
		if o.Session == e.Session || o.Seq <= known || !o.Since.After(e.Since) {
			break
		}
		at--
	}
	r.insert(e, at)
}

// EnqueueFirst lets e wait in front of all tickets of other sessions. It is for
// an owner who has something here for which they wait.
func (r *Record) EnqueueFirst(e Entry) {
	at := len(r.Queue)
	for at > 0 && r.Queue[at-1].Session != e.Session {
		at--
	}
	r.insert(e, at)
}

func (r *Record) insert(e Entry, at int) {
	r.Seq++
	e.Seq, e.Fence = r.Seq, 0
	r.Queue = slices.Insert(r.Queue, at, e)
}

// Grant moves into Holders what can be held now, first come first served, and
// returns it. Whoever has changed a record calls it.
func (r *Record) Grant(floor uint64) []Entry {
	granted, left := []Entry(nil), []Entry(nil)
	for _, e := range r.Queue {
		if slices.ContainsFunc(left, func(o Entry) bool { return Conflict(o, e) }) || r.excluded(e) {
			left = append(left, e)
			continue
		}
		r.Fence = (max(r.Fence, floor)/Step + 1) * Step
		e.Fence = r.Fence
		r.Holders = append(r.Holders, e)
		granted = append(granted, e)
		if e.Mode > IX {
			r.Last = e.Session
		}
	}
	r.Queue = left
	return granted
}

// excluded reports whether somebody else holds what e conflicts with.
func (r *Record) excluded(e Entry) bool {
	return slices.ContainsFunc(r.Holders, func(h Entry) bool { return h.Session != e.Session && Conflict(h, e) })
}

// Keep replaces what a session holds by entries, which must be covered by it.
func (r *Record) Keep(session locks.SessionID, entries []Entry) {
	r.Holders = slices.DeleteFunc(r.Holders, func(h Entry) bool { return h.Session == session })
	r.Holders = append(r.Holders, entries...)
}

// Withdraw removes a ticket that waits.
func (r *Record) Withdraw(ticket string) {
	r.Queue = slices.DeleteFunc(r.Queue, func(e Entry) bool { return e.Ticket == ticket })
}

// Drop removes everything of a session, which has ended.
func (r *Record) Drop(session locks.SessionID) {
	is := func(e Entry) bool { return e.Session == session }
	r.Holders = slices.DeleteFunc(r.Holders, is)
	r.Queue = slices.DeleteFunc(r.Queue, is)
}

// Break marks what is held with this fence, or a number that its gateway gave
// out under it, and returns whose it is; "" if there is none.
func (r *Record) Break(fence uint64) locks.SessionID {
	found := locks.SessionID("")
	for i, h := range r.Holders {
		if h.Fence/Step == fence/Step && h.Mode > IX {
			r.Holders[i].Broken, found = fence, h.Session
		}
	}
	return found
}

// Of returns what a session holds.
func (r Record) Of(session locks.SessionID) []Entry {
	own := []Entry(nil)
	for _, h := range r.Holders {
		if h.Session == session {
			own = append(own, h)
		}
	}
	return own
}

// Waiting returns the place of a ticket in the queue, or -1.
func (r Record) Waiting(ticket string) int {
	return slices.IndexFunc(r.Queue, func(e Entry) bool { return e.Ticket == ticket })
}

// InTheWay returns what a session would have to wait for if it asked for e: what
// others hold, and tickets in front of place in the queue.
func (r Record) InTheWay(e Entry, place int) []Entry {
	found := []Entry(nil)
	for _, h := range r.Holders {
		if h.Session != e.Session && Conflict(h, e) {
			found = append(found, h)
		}
	}
	for _, q := range r.Queue[:place] {
		if q.Session != e.Session && Conflict(q, e) {
			found = append(found, q)
		}
	}
	return found
}

// Sessions returns whose entries there are, without the given one.
func (r Record) Sessions(without locks.SessionID) []locks.SessionID {
	all := []locks.SessionID(nil)
	for _, e := range slices.Concat(r.Holders, r.Queue) {
		if e.Session != without && !slices.Contains(all, e.Session) {
			all = append(all, e.Session)
		}
	}
	return all
}
