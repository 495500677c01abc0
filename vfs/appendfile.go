package vfs

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// appending is the state of a file that is appended to. It is guarded by
// node.mu.
type appending struct {
	// isNew says that the file was made by an open for appending, so that it
	// goes behind what somebody else may have made under its name meanwhile.
	isNew bool
	tries []appendTry // attempts of which it is not known whether they were carried out
	moved uint64      // grows when bytes have moved behind those of others

	ahead *aheadUpload // for the next append, or nil

	trip   time.Duration // what a commit takes, on average
	sent   time.Time     // when the last one ended
	lostAt time.Time     // when another gateway was last seen to be first
}

// appendsLocked returns the state of f, making it if needed.
func (f *file) appendsLocked() *appending {
	if f.appending == nil {
		f.appending = &appending{}
	}
	return f.appending
}

func (f *file) newLocked() bool { return f.appending != nil && f.appending.isNew }

// madeByAppendLocked notes that an open for appending has made the file.
func (f *file) madeByAppendLocked() {
	f.content.mu.Lock()
	f.content.edited = 0
	f.content.mu.Unlock()
	f.appendsLocked().isNew = true
}

// addLocked counts the handle. n.mu is held.
func (h *Handle) addLocked() {
	h.f.handles++
	if h.appends && h.writable {
		h.f.appenders++
	}
}

// removeLocked takes it off again.
func (h *Handle) removeLocked() {
	h.f.handles--
	if h.given {
		h.f.given--
	}
	if h.appends && h.writable {
		h.f.appenders--
	}
}

// Moved reports whether the bytes of the file of h have moved since the last
// call, because others appended too: what a front end believes of its size is
// wrong then.
func (fs *FS) Moved(h *Handle) bool {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	if h.f.appending == nil || h.f.appending.moved == h.moved {
		return false
	}
	h.moved = h.f.appending.moved
	return true
}

// onlyAppendsLocked reports whether what f holds is a version, or nothing,
// with appends behind it, and nothing else.
func (f *file) onlyAppendsLocked() bool {
	switch {
	case f.content == nil || f.staged || f.removed || f.superseded || !f.dirtyLocked():
		return false
	case f.wholeLocked():
		return f.newLocked() && f.content.onlyAppends(f.committed)
	}
	return f.entry.ETag != "" && f.entry.Attr != nil && f.content.onlyAppends(f.committed)
}

// sendAppend commits the appends of f under the lock of its path. It reports
// false if f has other changes too.
func (fs *FS) sendAppend(ctx context.Context, s *shipment) (sent bool, err error) {
	t, ok, err := s.c.tail(s.base)
	if !ok {
		return false, nil
	}
	thaw := func() {}
	if t.frozen {
		thaw = sync.OnceFunc(s.c.thaw)
	}
	defer thaw()
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(t.hi))
	defer cancel()
	a := fs.newAppend(s, t)
	if a.size == 0 && a.base.etag != "" {
		return true, nil // only a record that is not complete
	}
	if err == nil {
		err = fs.underLock(ctx, s.key, func(ctx context.Context) error { return fs.carryOut(ctx, s, a) })
	}
	if err != nil {
		return true, fs.notCommitted(s.f, s.key, s.cond, fmt.Errorf("append of %d bytes behind the first %d: %w", a.size, t.lo, err))
	}
	thaw()
	if follows, err := fs.rebase(ctx, s, a, t); err != nil || !follows {
		return true, fs.fault("commit", s.key, err)
	}
	fs.appended(s, a)
	return true, nil
}

// rebase makes the content what S3 has, after an append went behind another
// version than the one that it derives from. It reports false if the content
// was edited in place meanwhile: then the name has a new node.
func (fs *FS) rebase(ctx context.Context, s *shipment, a *appendCommit, t tail) (bool, error) {
	if !a.rebased {
		return true, nil
	}
	follows, err := s.c.shift(ctx, shift{keep: t.lo + a.skip, to: a.to, gen: t.gen, base: a.base.bytes,
		o: origin{key: s.key, etag: a.entry.ETag, size: a.entry.Size}})
	if err != nil || !follows {
		fs.idx.Put(s.key, a.entry, fs.now())
		fs.supersede(s.f.node)
	}
	return follows, err
}

// newAppend describes the tail t as an append to the version that f has.
func (fs *FS) newAppend(s *shipment, t tail) *appendCommit {
	s.gen = t.gen
	f := s.f
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	state := f.appendsLocked()
	a := &appendCommit{key: s.key, entry: s.entry, own: f.attrDirtyLocked(), tail: t.bytes, size: t.hi - t.lo,
		session: fs.appendSession, seq: fs.appendSeq.Add(1), tries: state.tries}
	now := fs.now()
	if a.ahead, state.ahead = state.ahead, nil; a.ahead != nil {
		a.seq = a.ahead.seq
	}
	a.busy = now.Sub(state.sent) < mtimeSlack
	a.look = now.Sub(state.lostAt) < contended*state.trip && now.Sub(latest(state.sent, f.checked)) > state.trip*3/2
	if f.wholeLocked() {
		return a
	}
	s.cond = store.IfMatch(s.entry.ETag)
	a.base = appendBase{etag: s.entry.ETag, size: t.lo, table: tableOf(s.entry.Attr)}
	a.load = func(ctx context.Context) ([]byte, error) {
		if err := s.c.ensure(ctx, 0, t.lo); err != nil {
			return nil, err
		}
		return s.c.baseBytes(t.lo, t.gen)
	}
	return a
}

// carryOut brings an append to S3, and notes in f what is known after it.
func (fs *FS) carryOut(ctx context.Context, s *shipment, a *appendCommit) error {
	defer func() { a.ahead.drop() }()
	if err := fs.announce(ctx); err != nil {
		return err
	}
	settled, err := fs.deleter.claim(ctx, s.key, a.base.etag == "")
	if err != nil {
		return err
	}
	err = fs.appendObject(ctx, a)
	settled(err == nil)
	f := s.f
	if a.losses > 0 || err != nil {
		a.next.drop() // it goes behind another version
	} else {
		fs.keepAhead(f, a.next)
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	state := f.appendsLocked()
	now := fs.now()
	if state.sent = now; a.losses > 0 || a.rebased {
		state.lostAt = now
	}
	if err != nil {
		state.tries = a.tries
		return err
	}
	state.tries = nil
	if state.trip == 0 {
		state.trip = a.took
	} else if a.took > 0 {
		state.trip += (a.took - state.trip) / 4
	}
	return nil
}

// appended notes that an append has arrived.
func (fs *FS) appended(s *shipment, a *appendCommit) {
	f, n := s.f, s.f.node
	s.entry.ETag, s.entry.Size, s.entry.Modified = a.entry.ETag, a.entry.Size, a.entry.Modified
	n.mu.Lock()
	f.appending.isNew = false
	if f.entry.Mtime.Equal(s.entry.Mtime) {
		f.entry.Mtime = a.entry.Mtime
	}
	if f.attrGen == s.attrGen {
		f.entry.Attr = a.entry.Attr
	} else {
		f.entry.Attr = withTable(f.entry.Attr, tableOf(a.entry.Attr))
	}
	if a.rebased {
		f.appending.moved++
	}
	n.mu.Unlock()
	fs.committed(f, s)
	if a.rebased {
		n.mu.Lock()
		n.pageETag, n.told = "", toldMany
		n.mu.Unlock()
		fs.invalidator().InvalidateNode(n.id)
	}
}

// firstRead is how many bytes come with a check of f: for an append all that
// it will go behind, unless S3 copies that.
func (f *file) firstRead() int64 {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	switch {
	case f.appenders == 0 || f.appenders < f.handles:
		return firstRead
	case f.entry.Size >= appendCopy:
		return 1
	}
	return appendCopy
}

// follow makes the version of obj the one that the open handles of f show,
// since some of them append, and what they append goes behind what the name
// holds. It reports false if there are none.
func (fs *FS) follow(f *file, path string, e index.Entry, obj *store.Object, asOf time.Time) (bool, error) {
	n := f.node
	n.mu.Lock()
	if f.appenders == 0 || f.superseded || f.removed {
		n.mu.Unlock()
		return false, nil
	}
	if err := fs.writableLocked(f); err != nil {
		n.mu.Unlock()
		return true, err
	}
	c, tag := f.content, f.entry.ETag
	whole := f.wholeLocked()
	n.mu.Unlock()
	if whole {
		return true, nil // it needs nothing of any version
	}
	data, err := io.ReadAll(obj.Body)
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return true, errOutdated // replaced once more
	}
	if err != nil {
		return true, err
	}
	ctx, cancel := fs.withTimeout(fs.bg)
	defer cancel()
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return true, err
	}
	defer unlock()
	n.mu.Lock()
	same, gen := f.entry.ETag == tag && f.content == c, f.committed
	n.mu.Unlock()
	if !same {
		return true, nil // by a commit, which went behind it or before it
	}
	if waiting, sending := fs.spool.peek(path); waiting != nil || sending != nil {
		return true, nil // the version may have what is on its way, and so the content would have it twice
	}
	followed, err := c.shift(ctx, shift{keep: -1, to: e.Size, gen: gen, base: data,
		o: origin{key: path, etag: e.ETag, size: e.Size}})
	if err != nil || !followed {
		return true, err // edited meanwhile, so that it stays as it is
	}
	n.mu.Lock()
	if f.attrDirtyLocked() {
		e.Attr, e.Mtime = withTable(f.entry.Attr, tableOf(e.Attr)), f.entry.Mtime
	} else if f.dirtyLocked() {
		e.Mtime = f.entry.Mtime
	}
	f.entry, f.checked = e, asOf
	n.pageETag, n.told = "", toldMany
	f.appendsLocked().moved++
	n.mu.Unlock()
	fs.invalidator().InvalidateNode(n.id)
	return true, nil
}

// catchUp makes f follow the name, after a read has found that the version is
// gone from which it needs bytes. It reports whether to read again.
func (fs *FS) catchUp(ctx context.Context, f *file, err error) bool {
	if err == nil || KindOf(err) != Stale {
		return false
	}
	path, named := fs.nodes.path(f.node)
	f.node.mu.Lock()
	follows := f.appenders > 0 && f.content != nil && f.content.onlyAppends(f.committed)
	tag := f.entry.ETag
	f.node.mu.Unlock()
	if !named || !follows {
		return false
	}
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	asOf := fs.now()
	obj, err := fs.store.Get(ctx, path, store.GetOptions{Length: f.firstRead(), IfNoneMatch: tag})
	if err != nil {
		return store.IsKind(err, store.NotModified) // a commit was quicker
	}
	defer obj.Body.Close()
	e := index.Decode(obj.Info)
	_, e.Name = splitPath(path)
	if e.Type != TypeFile {
		return false
	}
	followed, err := fs.follow(f, path, e, obj, asOf)
	return followed && (err == nil || err == errOutdated)
}

// soleIndex is implemented by an index that knows whether other gateways can
// have changed a path.
type soleIndex interface {
	Sole(path string) (index.Entry, bool)
}

// soleLocked prepares the file of h, which only appends, without a request: if
// no other gateway is there, the version that is known is the current one. n.mu
// is held.
func (fs *FS) soleLocked(h *Handle, path string) bool {
	idx, ok := fs.idx.(soleIndex)
	if !ok || !h.appends || !h.writable || h.readable {
		return false
	}
	e, ok := idx.Sole(path)
	f := h.f
	if !ok || e.Type != TypeFile || e.ETag == "" || f.attrDirtyLocked() {
		return false
	}
	if f.shownLocked() {
		h.keep = e.ETag == f.node.pageETag
		return f.entry.ETag == e.ETag
	}
	if f.content == nil {
		c, etag, _ := fs.cache.open(fs, path)
		if c != nil && etag != e.ETag {
			c.done()
			c = nil
		}
		if c == nil {
			var err error
			if c, err = newContent(fs, fs.state.newStaged()); err != nil {
				return false
			}
			c.setOrigin(origin{key: path, etag: e.ETag, size: e.Size})
		}
		c.gen = f.committed
		f.content = c
	} else if f.entry.ETag != e.ETag {
		return false
	}
	f.entry, f.checked = e, time.Unix(1, 0) // shown, and to be checked by who reads
	h.keep = e.ETag == f.node.pageETag
	return true
}
