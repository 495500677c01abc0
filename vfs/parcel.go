package vfs

import (
	"context"
	"slices"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// parcel is a version of a file that is durable here and on its way to S3.
// Fields are set before it enters the spool, or guarded by spool.mu.
type parcel struct {
	intent
	id      journal.ID
	session string
	f       *file
	state   savedState // what it holds of f

	moved   bool            // it gets another name with this
	landed  bool            // its file knows what became of it
	dropped bool            // somebody removed, renamed or replaced what it is about
	after   *parcel         // the one that was being sent when p was made, if p is based on it
	next    *parcel         // the one that stands for it
	result  store.ETag      // the version that it became
	size    int64           // and the size of that
	rebased bool            // that version has more than p and what p is based on
	err     error           // why S3 did not take it
	over    chan struct{}   // closed when it is in S3, refused or dropped
	lost    <-chan struct{} // closed when a lock that its path had is lost; may be nil
	live    context.Context // ends when dropped becomes true
	drop    context.CancelFunc
}

func (p *parcel) dropLocked() {
	p.dropped = true
	p.drop()
}

// inherit makes p the successor of one that may have been carried out. Of one
// that was dropped only the name counts: what it was based on may be gone with
// it.
//
// Where the appends of p begin, and behind which version, is p's own: what it has
// was made from the file as it is, and its bytes may lie elsewhere than in old,
// since another parcel went behind others' appends meanwhile. They begin with
// those of old, which was told at the same moment as the file what is in S3.
func (p *parcel) inherit(old *parcel) {
	if old.dropped {
		p.Mine = append(p.Mine, old.names()...)
		return
	}
	p.Whole = p.Whole || old.Whole
	if p.Append != nil && old.Append != nil {
		tries := append(slices.Clone(old.Append.Tries), appendedTry{Seq: uint64(old.id), Upto: old.Size - old.Append.From})
		p.Append = &appended{From: p.Append.From, Base: p.Append.Base, Tries: tries}
		return
	}
	p.ETag, p.Append = old.ETag, nil
	p.Mine = append(p.Mine, old.names()...)
}

// names are those of p, and of all that may have been carried out before it.
func (p *parcel) names() []string {
	names := append(slices.Clone(p.Mine), p.name())
	if p.Append != nil {
		for _, t := range p.Append.Tries {
			names = append(names, appendMark{p.session, t.Seq}.parcelName())
		}
	}
	return names
}

// ownLayout reports whether the bytes before the appends of p are those of the
// version that these go behind. They are not if others' appends got between
// while p waited: then p has the bytes of before, and its appends.
func (p *parcel) ownLayout() bool { return p.Append == nil || p.Append.From == p.Append.Base }

// behind is a without the appends of p, which are in S3.
func (a *appended) behind(p *parcel) *appended {
	sent := p.Size - p.Append.From
	rest := &appended{From: a.From + sent, Base: p.size}
	for _, t := range a.Tries {
		if t.Seq > uint64(p.id) {
			rest.Tries = append(rest.Tries, appendedTry{Seq: t.Seq, Upto: t.Upto - sent})
		}
	}
	return rest
}

// passOn tells next, if it was based on p, that p was carried out.
func (p *parcel) passOn(next *parcel) {
	switch {
	case next == nil || next.after != p:
	case p.Append != nil && next.Append != nil:
		next.Append = next.Append.behind(p)
		next.ETag = p.result
	case !p.rebased: // else next was made from something else
		next.Append = nil
		next.ETag = p.result
	}
}
