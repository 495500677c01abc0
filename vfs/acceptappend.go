package vfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// appendsFrom tells where the appends that are not in S3 begin.
func (c *content) appendsFrom() *appended {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &appended{From: c.origin.size, Base: c.origin.size}
}

// history changes when the bytes of c move behind those of others.
func (c *content) history() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// base notes what p is based on: what the spool has of its path, or else the
// version that is known. It reports false if the content c has another history
// by now than the one given.
func (s *spool) base(p *parcel, c *content, epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := p.f
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if f.content != c || c.history() != epoch {
		return false
	}
	p.ETag, p.Whole = f.entry.ETag, f.wholeLocked()
	switch {
	case !p.moved && f.onlyAppendsLocked():
		p.Append = c.appendsFrom()
		p.cutRecord(c)
	case p.moved || p.ETag == "":
		p.ETag, p.Whole = s.fs.versionAt(p.Path), p.moved || !f.exclusive
	}
	if sl := s.slots[p.Path]; sl != nil {
		sl.coming = p
		if b := sl.sending; b != nil && !b.landed {
			p.inherit(b)
			p.after = b
		}
		if b := sl.waiting; b != nil {
			p.inherit(b)
			p.after = b.after
		}
	}
	return true
}

// cutRecord takes a record that may not be complete off p.
func (p *parcel) cutRecord(c *content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.record.owner == nil || c.record.lo >= p.Size {
		return
	}
	p.Size, p.state.gen = c.record.lo, c.record.gen
	if p.File == "" {
		p.data = p.data[:p.Size]
	}
}

// sendAppends sends a parcel that has only appended: behind what the key holds
// by then, whoever stored that.
func (fs *FS) sendAppends(ctx context.Context, p *parcel) error {
	data, done, err := fs.parcelBytes(p)
	if err != nil {
		return err
	}
	defer done()
	e := index.Decode(store.Info{Key: p.Path, Size: p.Append.Base, ETag: p.ETag, Modified: p.Time, Meta: p.Meta})
	_, e.Name = splitPath(p.Path)
	from := p.Append.From
	a := &appendCommit{key: p.Path, entry: e, base: appendBase{etag: p.ETag, size: p.Append.Base, table: tableOf(e.Attr)},
		tail: io.NewSectionReader(data, from, p.Size-from), size: p.Size - from, session: p.session, seq: uint64(p.id)}
	for _, t := range p.Append.Tries {
		a.tries = append(a.tries, appendTry{seq: t.Seq, upto: t.Upto})
	}
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(p.Size))
	defer cancel()
	if err := fs.announce(ctx); err != nil {
		return err
	}
	settled, err := fs.claimFor(ctx, p, p.ETag == "")
	if err != nil {
		return err
	}
	err = fs.appendObject(ctx, a)
	a.ahead.drop()
	a.next.drop()
	settled(err == nil)
	if store.IsKind(err, store.NotExist) {
		err = &Error{Op: "commit", Path: p.Path, Kind: Stale, Err: err} // removed by somebody else
	}
	if err != nil {
		fs.spool.keepTries(p, a)
		return err
	}
	fs.appendsSent(ctx, p, a)
	return nil
}

// mayBeDone notes that an earlier run may have carried p out.
func (p *parcel) mayBeDone() {
	if p.Append == nil {
		return
	}
	ap := *p.Append
	ap.Tries = append(slices.Clone(ap.Tries), appendedTry{Seq: uint64(p.id), Upto: p.Size - ap.From})
	p.Append = &ap
}

// keepTries notes that an attempt may have been carried out.
func (s *spool) keepTries(p *parcel, a *appendCommit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ap := appended{From: p.Append.From, Base: p.Append.Base}
	for _, t := range a.tries {
		ap.Tries = append(ap.Tries, appendedTry{Seq: t.seq, Upto: t.upto})
	}
	p.Append = &ap
}

// appendsSent notes that the appends of p are in S3, behind others' perhaps.
func (fs *FS) appendsSent(ctx context.Context, p *parcel, a *appendCommit) {
	f := p.f
	p.result, p.size, p.rebased = a.entry.ETag, a.entry.Size, a.rebased
	s := &shipment{f: f, path: p.Path, key: p.Path, entry: a.entry, attrGen: p.state.attrGen}
	fs.spool.unlessDropped(p, func() {
		s.c, s.gen = f.contentNow(), p.state.gen
		follows, err := fs.rebase(ctx, s, a, tail{lo: s.c.appendsFrom().From, gen: p.state.gen})
		if err != nil { // it is in S3 nevertheless, and must not be sent again
			fs.noteError(fs.fault("commit", p.Path, err))
		}
		if !follows {
			return
		}
		f.node.mu.Lock()
		f.appendsLocked()
		if a.rebased { // it has the attributes that were there
			s.attrGen = f.attrSaved
		}
		f.node.mu.Unlock()
		fs.appended(s, a)
	})
}

// parcelBytes returns the bytes of a parcel.
func (fs *FS) parcelBytes(p *parcel) (io.ReaderAt, func(), error) {
	if p.File == "" {
		it, err := fs.ledger.read(p.id)
		return bytes.NewReader(it.data), func() {}, err
	}
	f, err := os.Open(fs.state.stagedFile(p.File))
	if err != nil {
		return nil, nil, fmt.Errorf("read a file that waits to be sent: %w", err)
	}
	return f, func() { f.Close() }, nil
}
