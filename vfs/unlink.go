package vfs

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// Unlink implements Directories.
func (fs *FS) Unlink(ctx context.Context, parent NodeID, name string) error {
	p, path, err := fs.target("unlink", parent, name)
	if err != nil {
		return err
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	ctx = waiting
	if err := fs.release(ctx, path); err != nil {
		return waiting.explain(err)
	}
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return fs.fault("unlink", path, waiting.explain(err))
	}
	defer unlock()
	n := fs.nodes.child(p, name)
	if n != nil {
		if n.typ == TypeDir {
			return &Error{Op: "unlink", Path: path, Kind: IsDir}
		}
	} else if e, err := fs.idx.Lookup(ctx, path); err != nil {
		return fs.fault("unlink", path, waiting.explain(err))
	} else if e.Type == TypeDir {
		return &Error{Op: "unlink", Path: path, Kind: IsDir}
	}
	err = fs.lookAtLock(ctx, path)
	if err == nil {
		err = fs.mayRemove(ctx, "unlink", path)
	}
	if KindOf(err) == Busy {
		unlock()
		return refuseLater(ctx, err)
	}
	if err != nil {
		return fs.fault("unlink", path, waiting.explain(err))
	}
	if err := fs.checkLock("unlink", path); err != nil {
		return err
	}
	if err := fs.removeName(ctx, n, path, path); err != nil {
		return fs.fault("unlink", path, waiting.explain(err))
	}
	fs.exclusive.Remove(path)
	fs.touchDir(p)
	return nil
}

// removeName removes a name, here at once and in S3 soon: that is in the
// journal when it returns nil, and not begun when it fails. When there is no
// room for the journal, it is in S3 when it returns nil: a full disk must not
// keep people from removing things. n, which may be
// nil, is the node that has the name.
func (fs *FS) removeName(ctx context.Context, n *node, path, key string) error {
	var r *removal
	var add []intent
	there := fs.mayBeInS3(n, path)
	if there {
		var err error
		if there, err = fs.learnVersion(ctx, n, path, key); err != nil {
			return err
		}
	}
	if there {
		r = fs.newRemoval(path, key)
		fs.forgetAttempts(r, n)
		add = append(add, r.toIntent(path))
	}
	done := append(n.openIntents(), fs.spool.intents(path)...)
	ids, err := fs.ledger.record(done, add...)
	full := r != nil && kindOfFault(err) == NoSpace
	if err != nil && !full {
		return err
	}
	_, sending := fs.spool.take(path)
	fs.abandon(n)
	if r != nil {
		r.intent = firstID(ids)
		r.after(sending)
		fs.removeObject(r, path, n)
	}
	if n != nil {
		fs.nodes.detach(n)
		fs.settle(n)
	}
	if !full {
		return nil
	}
	fs.ledger.done(done...)
	return fs.deleter.settleKey(ctx, key)
}

// firstID is 0 if nothing could be recorded.
func firstID(ids []journal.ID) journal.ID {
	if len(ids) == 0 {
		return 0
	}
	return ids[0]
}

// mayBeInS3 reports whether there may be an object at the path of n.
func (fs *FS) mayBeInS3(n *node, path string) bool {
	if n == nil {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.file
	if f == nil || f.entry.ETag != "" || f.tried {
		return true
	}
	// New here; but the name may have had an object that it was to replace.
	_, ok := fs.idx.Peek(path)
	return ok || f.wholeFrom > 1
}

// abandon marks the file of n as removed.
func (fs *FS) abandon(n *node) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.file; f != nil {
		f.removed = true
		f.intents = intentIDs{}
		f.ctime = fs.now()
		fs.markLocal(n, false)
	}
}

// newRemoval is the removal of the object that path has now.
func (fs *FS) newRemoval(path, key string) *removal {
	mine := fs.spool.attempts(path) // before the index is asked, which has those that have arrived
	known, _ := fs.idx.Peek(path)
	dir, _ := splitPath(path)
	r := &removal{key: key, etag: known.ETag, dir: dir, at: fs.now(), mine: mine}
	if r.etag != "" {
		r.known = known.Modified
	}
	return r
}

// learnVersion makes sure that the index knows the version that a removal is
// about, where others may have stored another one. It reports whether there is
// one: if somebody else has removed it, what is stored from now on is not ours
// to remove. n, which may be nil, is the node that has the name.
func (fs *FS) learnVersion(ctx context.Context, n *node, path, key string) (bool, error) {
	if path != key || !fs.crowded() {
		return true, nil
	}
	ans, err := fs.ask(ctx, path, fs.idx.Lookup)
	if err == nil && !ans.Until.After(fs.now()) {
		_, err = fs.ask(ctx, path, fs.idx.Stat) // while S3 is away, what is known: the removal demands it
	}
	if store.IsKind(err, store.NotExist) {
		return n.attempted() || len(fs.spool.attempts(path)) > 0, nil
	}
	return err == nil, err
}

// attempted reports whether an attempt to commit the file of n, which may be
// nil, may have left a version that is not known.
func (n *node) attempted() bool {
	if n == nil {
		return false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file != nil && n.file.tried && n.file.dirtyLocked()
}

// forgetAttempts: the version that an attempt to commit may have left is not
// known, unless it was one of the spool, which has a name.
func (fs *FS) forgetAttempts(r *removal, n *node) {
	if len(r.mine) == 0 && n.attempted() {
		r.etag, r.known = "", time.Time{}
	}
}

// toIntent is r as the journal has it.
func (r *removal) toIntent(path string) intent {
	return intent{Op: intentRemove, Path: path, Key: r.key, ETag: r.etag, Modified: r.known, Time: r.at, Mine: r.mine}
}

// removeObject takes a name out of the index and queues the removal of its
// object. n, which may be nil, is the node that lived there.
func (fs *FS) removeObject(r *removal, path string, n *node) {
	r.release = fs.idx.Hold(path)
	fs.idx.Remove(path)
	if n != nil && fs.needsBytes(n) {
		r.before = func(ctx context.Context) { fs.materialize(ctx, n) }
	}
	fs.deleter.add(r)
}
