package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// openLedger opens the journal, and brings back what an earlier run of this
// gateway had acknowledged and not sent: names and attributes show it at once,
// and it is sent in the background.
func (fs *FS) openLedger() error {
	j, left, err := journal.Open(fs.state.journalDir(), journal.Options{Log: fs.log})
	if err != nil {
		return fmt.Errorf("open the journal: %w", err)
	}
	fs.ledger = newLedger(j, fs.state, func() bool { return fs.cache.shrink(spaceStep) })
	if fs.session, err = fs.state.stateID(); err != nil {
		return errors.Join(err, j.Close())
	}
	if err := fs.state.bind(fs.opts.Bucket, len(left)); err != nil {
		return errors.Join(err, j.Close())
	}
	for _, damage := range j.Damage() {
		fs.noteError(fmt.Errorf("the journal is damaged: %w", damage))
	}
	its, keep := make([]intent, len(left)), map[string]bool{}
	for i, l := range left {
		its[i], err = decodeIntent(l.Body)
		if err != nil {
			fs.noteError(fmt.Errorf("read the journal: %w", err))
		}
		keep[its[i].File] = true
	}
	if err := fs.state.sweep(keep); err != nil { // before there are files of this run
		return errors.Join(err, j.Close())
	}
	fs.state.cutStaged(its)
	for i, l := range left {
		if err := fs.replay(l.ID, its[i]); err != nil { // stays in the journal
			fs.noteError(fmt.Errorf("take up %s of %s from the journal: %w", its[i].Op, its[i].Path, err))
		}
	}
	return nil
}

// replay takes up one intent.
func (fs *FS) replay(id journal.ID, it intent) error {
	switch it.Op {
	case intentRemove:
		fs.replayRemove(id, it)
		return nil
	case intentMkdir:
		fs.replayMkdir(id, it)
		return nil
	case intentAttr:
		return fs.replayAttr(id, it)
	case intentStaged:
		return fs.replayStaged(id, it)
	case intentPut:
		return fs.replayPut(id, it)
	case intentMove:
		fs.start(func(ctx context.Context) { fs.replayMove(ctx, id, it) })
		return nil
	default:
		return fmt.Errorf("%q is not known", it.Op)
	}
}

// replayRemove hides a name and queues the removal of the version that it had.
func (fs *FS) replayRemove(id journal.ID, it intent) {
	r := &removal{key: it.Key, etag: it.ETag, known: it.Modified, at: it.Time, intent: id, mine: it.Mine, late: true, replay: true}
	r.dir, _ = splitPath(it.Path)
	if n := fs.nodes.find(it.Path); n != nil { // of an intent that ended unnoticed
		fs.ledger.done(n.openIntents()...)
		fs.abandon(n)
		fs.nodes.detach(n)
		fs.settle(n)
	}
	fs.removeObject(r, it.Path, nil)
}

// replayMove ends a rename of which only half may have been carried out: if the
// new name has what was moved, the old one goes. Else both stay as they are,
// for the rename was not acknowledged.
func (fs *FS) replayMove(ctx context.Context, id journal.ID, it intent) {
	unlock, err := fs.locks.lock(ctx, it.Path, it.To)
	if err != nil {
		return
	}
	defer unlock()
	if fs.deleter.settleKey(ctx, it.To) != nil { // an older removal hides it
		return
	}
	src, err1 := fs.store.Head(ctx, it.Path)
	dst, err2 := fs.store.Head(ctx, it.To)
	if err := errors.Join(err1, err2); err != nil && !store.IsKind(err1, store.NotExist) && !store.IsKind(err2, store.NotExist) {
		fs.noteError(fs.fault("rename", it.Path, err)) // tried again at the next start
		return
	}
	half := err1 == nil && err2 == nil && it.ETag != "" && src.ETag == it.ETag && dst.ETag == it.ETag
	if !half {
		fs.ledger.done(id)
		return
	}
	r := &removal{key: it.Path, etag: it.ETag, known: src.Modified, at: it.Time, exact: true}
	r.dir, _ = splitPath(it.Path)
	n := fs.nodes.find(it.Path)
	ids, err := fs.ledger.record(append(n.openIntents(), id), r.toIntent(it.Path))
	if err != nil {
		fs.noteError(err)
		return
	}
	r.intent = ids[0]
	if n != nil { // attributes of the old name
		fs.abandon(n)
		fs.nodes.detach(n)
		fs.settle(n)
	}
	fs.removeObject(r, it.Path, nil)
}

// replayAttr shows attributes that are still to be sent.
func (fs *FS) replayAttr(id journal.ID, it intent) error {
	n, done, err := fs.internPath(it.Path, it.Type)
	if err != nil {
		return err
	}
	defer done()
	e := index.Decode(store.Info{Key: objectKey(it.Path, it.Type), Size: it.Size, ETag: it.ETag, Modified: it.Modified, Meta: it.Meta})
	_, e.Name = splitPath(it.Path)
	e.Marker = it.Marker
	n.mu.Lock()
	defer n.mu.Unlock()
	f := fs.fileLocked(n, e)
	f.entry.Attr, f.entry.Mtime = e.Attr, e.Mtime
	f.ctime, f.attrLeft = it.Time, it.Time
	f.attrGen++
	fs.ledger.done(f.intents.attr)
	f.intents.attr = id
	fs.markLocal(n, true)
	fs.tickAttr()
	return nil
}

// replayStaged shows a temporary file again.
func (fs *FS) replayStaged(id journal.ID, it intent) error {
	n, done, err := fs.internPath(it.Path, TypeFile)
	if err != nil {
		return err
	}
	defer done()
	c, err := fs.restore(id, it)
	if errors.Is(err, os.ErrNotExist) {
		fs.ledger.done(id)
	}
	if err != nil {
		return err
	}
	c.gen = 1
	e := index.Decode(store.Info{Key: it.Path, Size: it.Size, Modified: it.Time, Meta: it.Meta})
	_, e.Name = splitPath(it.Path)
	n.mu.Lock()
	defer n.mu.Unlock()
	f := fs.fileLocked(n, e)
	fs.swapContentLocked(f, c)
	fs.ledger.done(f.intents.staged)
	f.entry, f.intents.staged = e, id
	f.saved = savedState{gen: c.gen, attrGen: f.attrGen}
	f.wholeFrom, f.staged, f.since = c.gen, true, fs.now()
	fs.markLocal(n, true)
	return nil
}

// replayPut shows a file again that waits to be sent, and gives it to the
// spool.
func (fs *FS) replayPut(id journal.ID, it intent) error {
	n, done, err := fs.internPath(it.Path, TypeFile)
	if err != nil {
		return err
	}
	defer done()
	c, err := fs.restore(id, it)
	if errors.Is(err, os.ErrNotExist) {
		fs.ledger.done(id) // it had been sent
	}
	if err == nil {
		c, err = fs.asVersion(c, it, 1)
	}
	if err != nil {
		return err
	}
	e := index.Decode(store.Info{Key: it.Path, Size: it.Size, ETag: it.ETag, Modified: it.Time, Meta: it.Meta})
	_, e.Name = splitPath(it.Path)
	p := &parcel{intent: it, id: id, session: fs.session}
	p.data = nil
	p.mayBeDone()
	n.mu.Lock()
	f := fs.fileLocked(n, e)
	fs.swapContentLocked(f, c)
	if it.Attrs { // appends that are found in S3 are not sent again: the attributes are, then
		f.attrGen++
	}
	p.f, p.state = f, savedState{gen: c.gen, attrGen: f.attrGen}
	f.entry, f.intents.put, f.accepted, f.tried = e, id, p.state, true
	if it.ETag == "" {
		f.wholeFrom = c.gen
	}
	if it.Append != nil {
		f.appendsLocked().isNew = it.ETag == ""
	}
	fs.markLocal(n, true)
	n.mu.Unlock()
	if old, _ := fs.spool.peek(it.Path); old != nil {
		if p.Append == nil { // else it tells itself which attempts its appends begin with
			p.inherit(old)
		}
		fs.ledger.done(old.id)
	}
	fs.spool.put(p)
	return nil
}

// restore makes a content of the bytes of an intent.
func (fs *FS) restore(id journal.ID, it intent) (*content, error) {
	if it.File != "" {
		c, err := openContent(fs, fs.state.stagedFile(it.File), origin{size: it.Size})
		if err != nil {
			return nil, err
		}
		c.cached, c.shared = false, it.Size
		fs.ledger.hold(id, it.File, c)
		return c, nil
	}
	c, err := newContent(fs, fs.state.newStaged())
	if err == nil {
		_, _, err = c.writeAt(context.Background(), it.data, 0, nil)
	}
	return c, err
}

// asVersion makes of c, which has the bytes of a put, the content at the
// generation gen of a file that waits to be sent. Of appends, what is before
// them is the version that they go behind; where that has more than there was
// when they were written, it is asked of S3.
func (fs *FS) asVersion(c *content, it intent, gen uint64) (*content, error) {
	ap := it.Append
	if ap != nil && ap.From != ap.Base {
		moved, err := fs.behindBase(c, it)
		fs.retire(c, "", "", false, time.Time{})
		if err != nil {
			return nil, err
		}
		c = moved
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen, c.edited = gen, gen
	if ap != nil {
		c.edited, c.appended = 0, true
		c.origin = origin{key: it.Path, etag: it.ETag, size: ap.Base}
	}
	return c, nil
}

// behindBase makes a content that has nothing but the appends in c, where they
// are in the new version.
func (fs *FS) behindBase(c *content, it intent) (*content, error) {
	moved, err := newContent(fs, fs.state.newStaged())
	if err != nil {
		return nil, err
	}
	moved.mu.Lock()
	defer moved.mu.Unlock()
	lo, n := it.Append.Base, it.Size-it.Append.From
	if _, err := io.Copy(io.NewOffsetWriter(moved.file, lo), io.NewSectionReader(c.file, it.Append.From, n)); err != nil {
		moved.file.Close()
		fs.state.discard(moved.path)
		return nil, err
	}
	moved.valid.add(lo, lo+n)
	moved.size = lo + n
	return moved, nil
}

// cutStaged cuts local files to what was acknowledged of them. Several intents
// may name one: of versions that grew at the end.
func (s *stateDir) cutStaged(its []intent) {
	sizes := map[string]int64{}
	for _, it := range its {
		if it.File != "" {
			sizes[it.File] = max(sizes[it.File], it.Size)
		}
	}
	for name, size := range sizes {
		_ = os.Truncate(s.stagedFile(name), size) // one that is gone is noticed when it is opened
	}
}

// internPath returns the pinned node of a path, making those above it.
func (fs *FS) internPath(path string, typ FileType) (n *node, done func(), err error) {
	p := fs.nodes.root
	var pinned []*node
	done = func() {
		for _, n := range pinned {
			fs.nodes.unpin(n)
		}
	}
	parts := strings.Split(path, "/")
	for i, part := range parts {
		t := TypeDir
		if i == len(parts)-1 {
			t = typ
		}
		if p = fs.nodes.intern(p, part, t, false); p == nil {
			done()
			return nil, nil, &Error{Op: "open", Path: path, Kind: NotExist}
		}
		pinned = append(pinned, p)
	}
	return p, done, nil
}
