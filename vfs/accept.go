package vfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// commit makes what f holds durable where Options.CommitLocal says: in S3, or
// in the spool.
func (fs *FS) commit(ctx context.Context, f *file) error {
	if !fs.opts.CommitLocal {
		return fs.commitFile(ctx, f)
	}
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(f.length()))
	defer cancel()
	return fs.fault("commit", fs.pathOf(f.node), fs.underName(ctx, f, fs.accept))
}

// accept takes the bytes and attributes of f, whose name is path, into the
// spool. The lock of path is held.
func (fs *FS) accept(ctx context.Context, f *file, path string) error {
	for {
		p, err := fs.pack(ctx, f, path)
		if p == nil || err != nil {
			return err
		}
		it, ok := fs.spool.recorded(p)
		if !ok {
			fs.spool.refuse(p)
			fs.ledger.unreserve([]intent{it})
			continue
		}
		old := []journal.ID{f.intentsNow().staged}
		if waiting, _ := fs.spool.peek(path); waiting != nil {
			old = append(old, waiting.id)
		}
		ids, err := fs.ledger.record(old, it)
		if err != nil {
			fs.spool.refuse(p)
			return err
		}
		fs.accepted(p, ids[0])
		return nil
	}
}

// pack makes a parcel of f for path; nil if there is nothing to send. What a
// full disk has spoilt, and what somebody else has superseded, is an error as
// for any commit. The lock of path is held.
func (fs *FS) pack(ctx context.Context, f *file, path string) (*parcel, error) {
	n := f.node
	if f.isLost() {
		fs.bringBack(f)
	}
	for {
		n.mu.Lock()
		c, attrGen, attrs, e := f.content, f.attrGen, f.attrDirtyLocked(), f.entry
		moving := fs.pathOf(n) != path
		stop := f.superseded || f.full
		idle := f.removed || c == nil || !moving && (!f.dirtyLocked() || c.generation() == f.accepted.gen && attrGen == f.accepted.attrGen)
		n.mu.Unlock()
		switch {
		case stop:
			return nil, fs.send(ctx, f, path, path, store.Precondition{}) // fails
		case idle:
			return nil, nil
		}
		if err := fs.spool.room(ctx, c.length()); err != nil {
			return nil, err
		}
		lost, err := fs.guard(path)
		if err != nil {
			return nil, fs.notCommitted(f, path, store.Precondition{}, err)
		}
		p := &parcel{f: f, lost: lost, session: fs.session, moved: moving, intent: intent{Op: intentPut, Path: path, Time: fs.now(), Attrs: attrs}}
		_, e.Name = splitPath(path)
		if p.Meta, err = fs.encode(e); err != nil {
			return nil, err
		}
		epoch := c.history()
		p.state.attrGen = attrGen
		if p.state.gen, err = fs.preserve(ctx, &p.intent, c); err != nil {
			return nil, err
		}
		if fs.spool.base(p, c, epoch) {
			return p, nil
		}
		fs.ledger.unreserve([]intent{p.intent}) // its bytes moved behind others' meanwhile
	}
}

// versionAt is the version that this gateway knows at path; empty for none.
func (fs *FS) versionAt(path string) store.ETag {
	e, _ := fs.idx.Peek(path)
	return e.ETag
}

// accepted gives a parcel that is in the journal to the spool.
func (fs *FS) accepted(p *parcel, id journal.ID) {
	f := p.f
	f.node.mu.Lock()
	p.id = id
	if p.moved { // nothing of it is in S3 under this name
		f.entry.ETag = p.ETag
		f.committed = min(f.committed, p.state.gen-1)
	}
	f.accepted = p.state
	f.intents.put, f.intents.staged = id, 0
	f.staged, f.tried = false, true
	fs.ledger.done(f.intents.attr) // the attributes are in the parcel
	f.intents.attr = 0
	fs.markLocal(f.node, true)
	f.node.mu.Unlock()
	fs.spool.put(p)
}

// isWaiting reports whether the spool holds f as it is, but perhaps for its
// attributes.
func (f *file) isWaiting() bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.dirtyLocked() && !f.superseded && f.content.generation() == f.accepted.gen
}

func (f *file) intentsNow() intentIDs {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.intents
}

// keyCommit is the metadata key that tells which parcel an object was.
const keyCommit = "causeway-commit"

// name tells a parcel from all others, of any gateway.
func (p *parcel) name() string { return fmt.Sprintf("%s.%d", p.session, p.id) }

// sendParcel makes a parcel the object of its path. It demands the version
// that the parcel is based on, so that one which comes late overwrites nothing
// that is newer.
func (fs *FS) sendParcel(ctx context.Context, p *parcel) error {
	if p.Append != nil {
		return fs.sendAppends(ctx, p)
	}
	cond := store.IfAbsent()
	if p.ETag != "" {
		cond = store.IfMatch(p.ETag)
	}
	for {
		s, err := fs.shipParcel(ctx, p, cond)
		if err == nil {
			fs.parcelSent(p, s)
			return nil
		}
		if !store.IsKind(err, store.PreconditionFailed) && !store.IsKind(err, store.NotExist) {
			return err
		}
		info, herr := fs.store.Head(ctx, p.Path)
		if herr != nil && !store.IsKind(herr, store.NotExist) {
			return herr
		}
		switch {
		case herr != nil && cond.Absent:
			continue // gone since
		case herr != nil:
			return &Error{Op: "commit", Path: p.Path, Kind: Stale, Err: err}
		case info.Meta[keyCommit] == p.name():
			s.entry.ETag, s.entry.Modified = info.ETag, info.Modified
			fs.parcelSent(p, s)
			return nil
		case !p.follows(info):
			return &Error{Op: "commit", Path: p.Path, Kind: Stale, Err: err}
		}
		cond = store.IfMatch(info.ETag)
	}
}

// follows reports whether p may replace a version that is not the one which it
// is based on: an earlier parcel of the same path, or, for a file that was
// written anew, one that was stored well before: the last close wins.
func (p *parcel) follows(info store.Info) bool {
	if isOneOf(p.Mine, info) && (p.Whole || p.hasAppends(info)) {
		return true
	}
	return p.Whole && info.Modified.Before(p.Time.Add(-clockSlack))
}

// hasAppends reports whether p has all appends that an object has: each is one
// of Mine, or was there in the version that p is based on.
func (p *parcel) hasAppends(info store.Info) bool {
	base := parseAppends(p.Meta[AppendsKey])
	for _, m := range parseAppends(info.Meta[AppendsKey]).marks {
		if !slices.Contains(base.marks, m) && !slices.Contains(p.Mine, m.parcelName()) {
			return false
		}
	}
	return true
}

// parcelName is the name of the parcel whose append m is, if it is of one.
func (m appendMark) parcelName() string {
	return (&parcel{session: m.session, id: journal.ID(m.seq)}).name()
}

// isOneOf reports whether an object is one of the parcels named, or was
// appended to by one.
func isOneOf(names []string, info store.Info) bool {
	if slices.Contains(names, info.Meta[keyCommit]) {
		return true
	}
	for _, m := range parseAppends(info.Meta[AppendsKey]).marks {
		if slices.Contains(names, m.parcelName()) {
			return true
		}
	}
	return false
}

// shipParcel sends a parcel once.
func (fs *FS) shipParcel(ctx context.Context, p *parcel, cond store.Precondition) (*shipment, error) {
	e := index.Decode(store.Info{Key: p.Path, Size: p.Size, Modified: p.Time, Meta: p.Meta})
	_, e.Name = splitPath(p.Path)
	s := &shipment{f: p.f, path: p.Path, key: p.Path, entry: e, attrGen: p.state.attrGen, cond: cond}
	meta := maps.Clone(p.Meta)
	if meta == nil {
		meta = store.Metadata{}
	}
	if meta[keyCommit] = p.name(); metaSize(meta) > store.MaxMetadata {
		delete(meta, keyCommit)
	}
	s.meta = meta
	if err := fs.announce(ctx); err != nil {
		return s, err
	}
	settled, err := fs.claimFor(ctx, p, cond.Absent)
	if err != nil {
		return s, err
	}
	if p.File == "" {
		err = fs.shipInline(ctx, p, s)
	} else {
		err = fs.shipFile(ctx, p, s)
	}
	settled(err == nil)
	return s, err
}

// claimFor is deleter.claim, but gives up when the parcel is dropped: who
// dropped it may be the removal that a claim would wait for.
func (fs *FS) claimFor(ctx context.Context, p *parcel, absent bool) (func(bool), error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.live, cancel)()
	settled, err := fs.deleter.claim(ctx, p.Path, absent)
	if err == nil && p.live.Err() != nil {
		settled(false) // it may be the removal that comes after p
		return nil, p.live.Err()
	}
	return settled, err
}

func metaSize(m store.Metadata) int {
	sum := 0
	for k, v := range m {
		sum += len(k) + len(v)
	}
	return sum
}

// shipInline sends bytes from the journal.
func (fs *FS) shipInline(ctx context.Context, p *parcel, s *shipment) error {
	it, err := fs.ledger.read(p.id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(p.Size))
	defer cancel()
	info, err := fs.store.Put(ctx, s.key, store.Body{Reader: bytes.NewReader(it.data), Size: p.Size},
		store.PutOptions{Meta: s.meta, ContentType: contentType(s.entry), If: s.cond})
	if err == nil {
		s.entry.ETag, s.entry.Modified = info.ETag, info.Modified
	}
	return err
}

// shipFile sends bytes from a local file, which nobody changes.
func (fs *FS) shipFile(ctx context.Context, p *parcel, s *shipment) error {
	c, err := openContent(fs, fs.state.stagedFile(p.File), origin{size: p.Size})
	if err != nil {
		return err
	}
	defer c.done()
	s.c = c
	if p.Size > singleCommit {
		return fs.shipParts(ctx, s)
	}
	return fs.shipWhole(ctx, s)
}

// parcelSent notes that a parcel is in S3, unless it was dropped meanwhile.
func (fs *FS) parcelSent(p *parcel, s *shipment) {
	p.result, p.size = s.entry.ETag, p.Size
	fs.spool.unlessDropped(p, func() {
		s.c, s.gen = p.f.contentNow(), p.state.gen
		fs.committed(p.f, s)
	})
}

func (f *file) contentNow() *content {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.content
}

// refusedForGood reports whether sending a parcel again will not help.
func refusedForGood(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind == Stale || e.Kind == AttrTooLarge
	}
	switch store.KindOf(err) {
	case store.Invalid, store.TooLarge, store.Unsupported:
		return true
	}
	return errors.Is(err, errUnknown) || errors.Is(err, os.ErrNotExist) // its local file is gone
}

// parcelRefused keeps a version that S3 did not take: because somebody else
// stored another one, which stands, or because it never will.
func (fs *FS) parcelRefused(p *parcel) {
	fs.commitErrors.Add(1)
	fs.noteError(p.err)
	if err := fs.keepParcel(p); err != nil {
		fs.noteError(fs.fault("keep", p.Path, err))
		return
	}
	fs.kept.Add(1)
	f, n := p.f, p.f.node
	n.mu.Lock()
	newer := f.content.generation() > p.state.gen && !f.lost // somebody is writing: told at close
	f.lost = false
	if !newer {
		f.committed = p.state.gen
		f.attrSaved = f.attrGen
		f.superseded = true
	}
	n.mu.Unlock()
	fs.idx.Forget(p.Path)
	fs.supersede(n)
	fs.settle(n)
}

// keepParcel stores the bytes of a parcel where recover finds them.
func (fs *FS) keepParcel(p *parcel) error {
	k := KeptVersion{ID: fs.newKeptID(), Path: p.Path, Size: p.Size, Time: fs.now(), Reason: p.err.Error(), Base: string(p.ETag)}
	if p.File != "" {
		return fs.state.keep(k, fs.state.stagedFile(p.File))
	}
	it, err := fs.ledger.read(p.id)
	if err != nil {
		return err
	}
	file := fs.state.newStaged()
	defer fs.state.discard(file)
	if err := os.WriteFile(file, it.data, 0o600); err != nil {
		return err
	}
	return fs.state.keep(k, file)
}
