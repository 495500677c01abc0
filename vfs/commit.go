package vfs

import (
	"bytes"
	"context"
	"errors"
	"mime"
	"path"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// Sizes that decide how a file is sent, in bytes.
const (
	memoryCommit = 1 << 20  // up to here, the file is copied and writers go on meanwhile
	singleCommit = 16 << 20 // up to here, one PUT
)

// errMoved says that the file was renamed before its commit began.
var errMoved = errors.New("renamed meanwhile")

// commitFile makes what f holds the object of its name, and returns when all
// that was written before the call is in S3. Concurrent callers share commits.
func (fs *FS) commitFile(ctx context.Context, f *file) error {
	return fs.atName(ctx, f, func(ctx context.Context, f *file, path string) error {
		if err := fs.quiet(ctx, path); err != nil {
			return err
		}
		return fs.send(ctx, f, path, path, store.Precondition{})
	})
}

// atName does something with f under the lock of its name. Concurrent callers
// share runs.
func (fs *FS) atName(ctx context.Context, f *file, do func(ctx context.Context, f *file, path string) error) error {
	err := f.commits.do(ctx, fs.start, func(ctx context.Context) error { return fs.underName(ctx, f, do) })
	return fs.fault("commit", fs.pathOf(f.node), err)
}

// underName does something with f under the lock of its name, or nothing if
// this gateway has removed that.
func (fs *FS) underName(ctx context.Context, f *file, do func(ctx context.Context, f *file, path string) error) error {
	for {
		path, ok := fs.nodes.path(f.node)
		if !ok {
			var unlinked bool
			if path, unlinked = f.lostName(); unlinked {
				return nil // goes nowhere
			}
		}
		if err := fs.atPath(ctx, f, path, do); err != errMoved {
			return err
		}
	}
}

// lostName tells where a file was that has no name any more, and whether this
// gateway took the name from it. If it did not, a commit is Stale.
func (f *file) lostName() (was string, unlinked bool) {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.superseded = f.superseded || !f.removed && !f.revived
	return f.was, f.removed
}

// atPath does something with f, whose name is path, under the lock of that.
func (fs *FS) atPath(ctx context.Context, f *file, path string, do func(ctx context.Context, f *file, path string) error) error {
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	if now, ok := fs.nodes.path(f.node); ok && now != path {
		return errMoved
	}
	return do(ctx, f, path)
}

// send commits f, whose name is path, as the object at key, which differs from
// path when a rename commits the new name directly. The locks of both are
// held. A precondition given replaces the one that f asks for.
func (fs *FS) send(ctx context.Context, f *file, path, key string, cond store.Precondition) error {
	n := f.node
	n.mu.Lock()
	if !f.dirtyLocked() && key == path {
		n.mu.Unlock()
		return nil
	}
	s := shipment{f: f, c: f.content, path: path, key: key, entry: f.entry, attrGen: f.attrGen, base: f.committed, cond: cond}
	exclusive := f.exclusive && !cond.Set() && key == path
	if exclusive {
		s.cond = store.IfAbsent()
	}
	if !cond.Set() && !f.wholeLocked() && f.entry.ETag != "" && key == path {
		s.cond = store.IfMatch(f.entry.ETag)
	}
	_, s.entry.Name = splitPath(key)
	appends := key == path && !cond.Set() && !fs.opts.CommitLocal && f.onlyAppendsLocked()
	stale, full := f.superseded, f.full
	f.superseded = f.superseded || full
	f.tried = f.tried || key == path
	n.mu.Unlock()
	if full {
		fs.giveUp(f)
		return &Error{Op: "commit", Path: path, Kind: NoSpace, Err: errors.New("a write failed since the disk of the state directory is full")}
	}

	fs.committing.Add(1)
	defer fs.committing.Add(-1)
	var err error
	if stale {
		err = &Error{Op: "commit", Path: path, Kind: Stale, Err: errors.New("somebody else replaced or removed the file")}
	} else {
		if appends {
			if sent, err := fs.sendAppend(ctx, &s); sent {
				return err
			}
		}
		err = fs.underLock(ctx, key, func(ctx context.Context) error { return fs.ship(ctx, &s) })
	}
	if err != nil {
		return fs.notCommitted(f, path, s.cond, err)
	}
	fs.committed(f, &s)
	if f.attrDirty() { // changed meanwhile, and in the journal anew
		if err := fs.ledger.sync(); err != nil {
			fs.noteError(err)
		}
	}
	return nil
}

// shipment is one commit on its way.
type shipment struct {
	f       *file
	c       *content
	path    string      // the file's name
	key     string      // differs from path when a rename sends the new name
	entry   index.Entry // attributes and, when sent, the version
	attrGen uint64
	cond    store.Precondition
	base    uint64         // generation that entry.ETag has
	gen     uint64         // of the bytes that were sent
	meta    store.Metadata // if set, goes in place of entry's attributes
	lateTag bool           // the attributes sent are older than entry's
}

// metadata is what the object gets.
func (s *shipment) metadata(fs *FS) (store.Metadata, error) {
	if s.meta != nil {
		return s.meta, nil
	}
	return fs.encode(s.entry)
}

// ship sends the bytes and attributes.
func (fs *FS) ship(ctx context.Context, s *shipment) error {
	if err := fs.announce(ctx); err != nil {
		return err
	}
	settled, err := fs.deleter.claim(ctx, s.key, s.cond.Absent)
	if err != nil {
		return err
	}
	size := s.c.length()
	if size > singleCommit {
		err = fs.shipParts(ctx, s)
	} else {
		s.f.node.mu.Lock()
		up := s.f.takeUploadLocked()
		s.f.node.mu.Unlock()
		fs.dropUpload(up)
		err = fs.shipWhole(ctx, s)
	}
	settled(err == nil)
	return err
}

// shipWhole sends a file with one PUT. A small one is copied first, so that
// writers do not wait for S3.
func (fs *FS) shipWhole(ctx context.Context, s *shipment) error {
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(s.c.length()))
	defer cancel()
	if err := s.c.ensure(ctx, 0, s.c.length()); err != nil {
		return err
	}
	s.c.freeze()
	thaw := s.c.thaw
	defer func() { thaw() }()
	var body store.Body
	if size := s.c.length(); size <= memoryCommit {
		p, gen, err := s.c.snapshot()
		if err != nil {
			return err
		}
		s.c.thaw()
		thaw = func() {}
		body, s.gen = store.Body{Reader: bytes.NewReader(p), Size: size}, gen
	} else {
		body, s.gen = store.Body{Reader: s.c.file, Size: size}, s.c.generation()
	}
	meta, err := s.metadata(fs)
	if err != nil {
		return err
	}
	info, err := fs.store.Put(ctx, s.key, body, store.PutOptions{Meta: meta, ContentType: contentType(s.entry), If: s.cond})
	if err != nil {
		return err
	}
	s.entry.ETag, s.entry.Size, s.entry.Modified = info.ETag, body.Size, info.Modified
	return nil
}

// committed notes that a shipment has arrived.
func (fs *FS) committed(f *file, s *shipment) {
	n := f.node
	n.mu.Lock()
	if n.pageETag == f.entry.ETag {
		n.pageETag = s.entry.ETag
	}
	s.c.rebase(origin{key: s.key, etag: s.entry.ETag, size: s.entry.Size}, s.gen)
	f.committed = s.gen
	f.staged, f.lost = false, false
	if f.exclusive {
		f.exclusive = false
		defer fs.decisions.dropFile(f)
	}
	if f.appending != nil {
		f.appending.isNew, f.appending.tries = false, nil
	}
	f.entry.ETag, f.entry.Size, f.entry.Modified = s.entry.ETag, s.entry.Size, s.entry.Modified
	if s.lateTag {
		f.attrGen++
		f.attrDue = fs.now().Add(attrDelay)
	} else {
		f.attrSaved = max(f.attrSaved, s.attrGen)
	}
	fs.endAttrLocked(f)
	if s.gen == f.accepted.gen {
		f.intents.put = 0 // the spool ends it
	}
	if s.key == s.path {
		fs.ledger.done(f.intents.staged) // else the rename ends it
		f.intents.staged = 0
	}
	e := f.entry
	e.Name = s.entry.Name
	kept := f.keptID
	f.keptID = ""
	f.checked = fs.now()
	pending := f.attrDirtyLocked()
	if err := fs.recordAttrLocked(f, s.key); err != nil { // changed meanwhile: of this version now
		fs.noteError(err)
	}
	if n.file == f { // else it was settled, and the node may have another
		fs.markLocal(n, f.localLocked())
	}
	fs.idx.Put(s.key, e, fs.now())
	n.mu.Unlock()
	fs.commits.Add(1)
	if pending {
		fs.tickAttr()
	}
	if kept != "" {
		fs.unkeep(kept)
	}
}

// notCommitted keeps the bytes of a commit that failed, and says why it did.
func (fs *FS) notCommitted(f *file, path string, cond store.Precondition, err error) error {
	fs.commitErrors.Add(1)
	f.node.mu.Lock()
	exclusive := f.exclusive // if it was refused: somebody else has made the name
	f.node.mu.Unlock()
	refused := store.IsKind(err, store.PreconditionFailed)
	if cond.Absent && refused && !exclusive {
		return &Error{Op: "commit", Path: path, Kind: Exist, Err: err}
	}
	conflict := cond.Absent && refused || cond.Match != "" && (refused || store.IsKind(err, store.NotExist))
	if conflict {
		err = &Error{Op: "commit", Path: path, Kind: Stale, Err: err}
	}
	err = fs.fault("commit", path, err)
	if keepErr := fs.keep(f, path, err.Error()); keepErr != nil {
		err = errors.Join(err, keepErr)
	}
	if conflict {
		fs.idx.Forget(path)
		fs.supersede(f.node)
	}
	fs.noteError(err)
	return err
}

// encode turns attributes into metadata; Kind AttrTooLarge if they do not fit.
func (fs *FS) encode(e index.Entry) (store.Metadata, error) {
	meta, err := index.Encode(e, index.Defaults{UID: fs.opts.UID, GID: fs.opts.GID, FileMode: 0o666 &^ fs.opts.Umask, DirMode: 0o777 &^ fs.opts.Umask})
	if err != nil {
		return nil, &Error{Op: "commit", Path: e.Name, Kind: AttrTooLarge, Err: err}
	}
	return meta, nil
}

// announce tells other gateways of this one before its first change.
func (fs *FS) announce(ctx context.Context) error {
	if err := fs.enter(ctx); err != nil {
		return err
	}
	a, ok := fs.idx.(Announcer)
	if !ok {
		return nil
	}
	return a.Announce(ctx)
}

// contentType guesses the type from the name, as other S3 tools do, so that
// browsers can show what is in the bucket.
func contentType(e index.Entry) string {
	switch e.Type {
	case TypeFile:
		return mime.TypeByExtension(path.Ext(e.Name))
	case TypeDir:
		return "application/x-directory"
	default:
		return "application/octet-stream"
	}
}

// objectKey is the key of a path: a directory's is that of its marker.
func objectKey(path string, typ FileType) string {
	if typ == TypeDir {
		return path + "/"
	}
	return path
}
