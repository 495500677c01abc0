package vfs

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// AppendsKey is the metadata key that tells which appends an object has. Its
// value is a list, the newest first, of what each session appended last:
//
//	session.seq,session.seq,...[,-]
//
// A session is one run of a gateway; seq, in base 36, grows with each of its
// commits. A "-" at the end says that entries are missing there for want of
// room. Every append carries the list on, with its own entry in front; what
// else changes an object and is based on what was there keeps it.
const AppendsKey = "causeway-appends"

// maxSessions is how many entries a list has at most; about 20 bytes each.
const maxSessions = 16

// newAppendSession returns a name that no other run of a gateway has.
func newAppendSession() string { return strings.ToLower(rand.Text()[:10]) }

// appendMark names one append.
type appendMark struct {
	session string
	seq     uint64
}

// appendTable is the list of an object.
type appendTable struct {
	marks []appendMark // the newest first
	cut   bool         // entries are missing at the end
}

// parseAppends reads a list. What is malformed counts as missing.
func parseAppends(text string) appendTable {
	var t appendTable
	if text == "" {
		return t
	}
	for entry := range strings.SplitSeq(text, ",") {
		session, num, ok := strings.Cut(entry, ".")
		seq, err := strconv.ParseUint(num, 36, 64)
		if !ok || err != nil || session == "" {
			t.cut = true
			continue
		}
		t.marks = append(t.marks, appendMark{session, seq})
	}
	return t
}

func (t appendTable) String() string {
	var parts []string
	for _, m := range t.marks {
		parts = append(parts, m.session+"."+strconv.FormatUint(m.seq, 36))
	}
	if t.cut {
		parts = append(parts, "-")
	}
	return strings.Join(parts, ",")
}

// tableOf returns the list that an object with the attributes a has.
func tableOf(a *index.Attr) appendTable {
	if a == nil {
		return appendTable{}
	}
	return parseAppends(a.Other[AppendsKey])
}

// withTable returns a with the list t.
func withTable(a *index.Attr, t appendTable) *index.Attr {
	var changed index.Attr
	if a != nil {
		changed = *a
	}
	other := store.Metadata{}
	for k, v := range changed.Other {
		other[k] = v
	}
	delete(other, AppendsKey)
	if text := t.String(); text != "" {
		other[AppendsKey] = text
	}
	changed.Other = nil
	if len(other) > 0 {
		changed.Other = other
	}
	return &changed
}

// with returns t after the append m.
func (t appendTable) with(m appendMark) appendTable {
	next := appendTable{marks: []appendMark{m}, cut: t.cut}
	for _, old := range t.marks {
		if old.session == m.session {
			continue
		}
		if len(next.marks) == maxSessions {
			break // an entry that is missing behind a full list needs no mark
		}
		next.marks = append(next.marks, old)
	}
	return next
}

// shorter returns t without its last entry.
func (t appendTable) shorter() appendTable {
	return appendTable{marks: t.marks[:len(t.marks)-1], cut: true}
}

// seqOf returns what a session appended last.
func (t appendTable) seqOf(session string) (uint64, bool) {
	for _, m := range t.marks {
		if m.session == session {
			return m.seq, true
		}
	}
	return 0, false
}

// fate is what became of an append whose answer was lost.
type fate uint8

const (
	notDone fate = iota
	done
	unknown
)

// appendTry is an attempt of which it is not known whether it was carried
// out: the first bytes of a tail, behind a version that had the list before.
type appendTry struct {
	seq    uint64
	upto   int64 // bytes of the tail that it had
	before appendTable
}

// fateOf tells what became of the attempt, now that the object has the list t.
// Sequence numbers up to latest are known to be of the same file.
//
// The entry of an attempt that was carried out stood in front of those that
// were there before, so it cannot have gone while one of these still stands,
// nor while there is room for more.
func (t appendTable) fateOf(session string, try appendTry, latest uint64) fate {
	seq, there := t.seqOf(session)
	switch {
	case there && seq < try.seq:
		return notDone
	case there && (seq == try.seq || seq <= latest):
		return done
	case there:
		return unknown
	case len(t.marks) < maxSessions && !t.cut:
		return notDone
	case slices.ContainsFunc(try.before.marks, func(m appendMark) bool { return slices.Contains(t.marks, m) }):
		return notDone
	}
	return unknown
}
