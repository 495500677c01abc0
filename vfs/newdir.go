package vfs

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
	"golang.org/x/sync/errgroup"
)

// newDir is a directory that was made here and has no marker in S3 yet. It is
// in the journal, and the index holds its path.
type newDir struct {
	path    string
	entry   index.Entry
	meta    store.Metadata
	plain   bool // as good without a marker, if there is something in it
	intent  journal.ID
	since   time.Time
	release func() // gives the index's hold back
}

func (d *decisions) any() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.dirs)+len(d.files) > 0
}

// dir returns what was decided about a directory, or nil.
func (d *decisions) dir(path string) *newDir {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirs[path]
}

func (d *decisions) addDir(nd *newDir) {
	d.mu.Lock()
	d.dirs[nd.path] = nd
	d.mu.Unlock()
	d.wake()
}

// takeDir takes nd off the books and reports whether it was there.
func (d *decisions) takeDir(nd *newDir) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dirs[nd.path] != nd {
		return false
	}
	delete(d.dirs, nd.path)
	return true
}

// dirsBelow returns directories decided before the moment due, the deepest
// first.
func (d *decisions) dirsBelow(dir string, due time.Time) []*newDir {
	in := below(dir)
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*newDir
	for path, nd := range d.dirs {
		if in(path) && !nd.since.After(due) {
			all = append(all, nd)
		}
	}
	slices.SortFunc(all, func(a, b *newDir) int { return cmp.Compare(depth(b.path), depth(a.path)) })
	return all
}

func depth(path string) int { return strings.Count(path, "/") }

// mkdirHere makes a directory for a gateway that is alone: it is in the
// journal when it returns true. The lock of path is held.
func (fs *FS) mkdirHere(path string, e *index.Entry) (bool, error) {
	dir, _ := splitPath(path)
	if fs.nodes.find(dir) == nil || fs.decisions.dir(path) != nil || !fs.absentHere(path, objectKey(path, TypeDir)) {
		return false, nil
	}
	meta, err := fs.encode(*e)
	if err != nil {
		return false, err
	}
	if !fs.decisions.begin(fs.opts.Locks) {
		return false, nil
	}
	defer fs.decisions.end()
	nd := &newDir{path: path, entry: *e, meta: meta, plain: fs.isPlain(*e), since: fs.now()}
	ids, err := fs.ledger.record(nil, intent{Op: intentMkdir, Path: path, Type: TypeDir, Meta: meta, Time: nd.since})
	if err != nil || !fs.opts.Locks.Sole() { // no room, or somebody else may have decided meanwhile
		fs.ledger.done(ids...)
		return false, nil
	}
	nd.intent = firstID(ids)
	nd.release = fs.idx.Hold(path)
	fs.idx.Made(path, *e)
	fs.decisions.addDir(nd)
	return true, nil
}

// isPlain reports whether a directory has no attributes but those that one
// without a marker is shown with.
func (fs *FS) isPlain(e index.Entry) bool {
	a := e.Attr
	return a == nil || a.Mode == 0o777&^fs.opts.Umask && a.UID == fs.opts.UID && a.GID == fs.opts.GID && len(a.XAttrs)+len(a.Other) == 0
}

// storeDirs stores the new directories in dir and below. Those above one that
// was stored are implied by it.
func (fs *FS) storeDirs(ctx context.Context, dir string, due time.Time, each func(context.Context, *newDir) error) error {
	all := fs.decisions.dirsBelow(dir, due)
	for len(all) > 0 {
		n := 1
		for n < len(all) && depth(all[n].path) == depth(all[0].path) {
			n++
		}
		group := errgroup.Group{}
		group.SetLimit(publishParallel)
		for _, nd := range all[:n] {
			group.Go(func() error { return fs.fault("mkdir", nd.path, each(ctx, nd)) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
		all = all[n:]
	}
	return nil
}

// storeDir stores the marker of a new directory, unless that can do without.
func (fs *FS) storeDir(ctx context.Context, nd *newDir) error {
	unlock, err := fs.locks.lock(ctx, nd.path)
	if err != nil {
		return err
	}
	defer unlock()
	return fs.storeDirAt(ctx, nd)
}

// storeDirAt is storeDir with the lock of the path held.
func (fs *FS) storeDirAt(ctx context.Context, nd *newDir) error {
	if fs.decisions.dir(nd.path) != nd {
		return nil
	}
	if nd.plain && fs.hasStored(nd.path) {
		// Off the books before the second look: whoever takes the last entry
		// away from now on makes the marker.
		fs.decisions.takeDir(nd)
		if fs.hasStored(nd.path) {
			return fs.endDir(nd, nd.entry)
		}
		fs.decisions.addDir(nd)
	}
	e := nd.entry
	_, err := fs.putNew(ctx, objectKey(nd.path, TypeDir), e, store.Body{})
	taken := store.IsKind(err, store.PreconditionFailed)
	if err != nil && !taken {
		return err
	}
	fs.decisions.takeDir(nd)
	e.Marker = true
	if err := fs.endDir(nd, e); err != nil || !taken {
		return err
	}
	fs.lostDir(nd.path)
	return nil
}

// endDir ends what was decided about a directory, which is e now.
func (fs *FS) endDir(nd *newDir, e index.Entry) error {
	if n := fs.nodes.find(nd.path); n != nil {
		if f := n.fileState(); f != nil && f.attrDirty() { // newer ones are on their way
			e.Attr, e.Mtime = fs.entryNow(f).Attr, fs.entryNow(f).Mtime
		}
	}
	fs.idx.Put(nd.path, e, fs.now())
	nd.release()
	_, err := fs.ledger.record([]journal.ID{nd.intent})
	return err
}

// dirStored tells that the marker of a directory is in S3 by other means. The
// lock of path is held.
func (fs *FS) dirStored(path string) {
	if nd := fs.decisions.dir(path); nd != nil && fs.decisions.takeDir(nd) {
		nd.release()
		fs.ledger.done(nd.intent)
	}
}

// lostDir is called when somebody else has made the marker of a directory that
// was made here. Another tool's is as good as ours. Another gateway's means that
// this one was stopped for longer than its lease, and that two programs were
// told that they had made the directory: what is open below ours goes nowhere,
// and from now on theirs is shown.
func (fs *FS) lostDir(path string) {
	if fs.alone() {
		return
	}
	fs.idx.Forget(path)
	if n := fs.nodes.find(path); n != nil {
		fs.supersede(n)
	}
}

// hasStored reports whether a directory is known to have something in S3.
func (fs *FS) hasStored(dir string) bool {
	list, ok := fs.idx.PeekList(dir)
	return ok && slices.ContainsFunc(list, func(a index.Answer) bool {
		return a.ETag != "" || a.Type == TypeDir && fs.decisions.dir(joinPath(dir, a.Name)) == nil
	})
}

// rmdirHere removes a directory that S3 does not know of. It reports false if
// that is not possible. Its tree is locked.
func (fs *FS) rmdirHere(n *node, path string) (bool, error) {
	nd := fs.decisions.dir(path)
	if nd == nil || !fs.alone() {
		return false, nil
	}
	list, ok := fs.idx.PeekList(path)
	if !ok {
		return false, nil
	}
	if len(list) > 0 || n != nil && len(fs.uncommittedIn(n, nil)) > 0 {
		return false, &Error{Op: "rmdir", Path: path, Kind: NotEmpty}
	}
	if _, err := fs.ledger.record(append(n.openIntents(), nd.intent)); err != nil {
		return false, fs.fault("rmdir", path, err)
	}
	fs.decisions.takeDir(nd)
	fs.idx.Remove(path)
	nd.release()
	if n != nil {
		fs.bury(n)
		fs.abandon(n)
		fs.nodes.detach(n)
		fs.settle(n)
	}
	return true, nil
}

// replayMkdir shows a directory that an earlier run had made, and stores it.
func (fs *FS) replayMkdir(id journal.ID, it intent) {
	e := index.Decode(store.Info{Key: objectKey(it.Path, TypeDir), Meta: it.Meta})
	_, e.Name = splitPath(it.Path)
	nd := &newDir{path: it.Path, entry: e, meta: it.Meta, intent: id, since: it.Time}
	nd.release = fs.idx.Hold(it.Path)
	fs.idx.Put(it.Path, e, fs.now())
	fs.decisions.addDir(nd)
}

// claimDir makes a directory without a request if that is possible. Otherwise
// it makes sure that what this gateway knows of the name is not from before
// others were let in, for a directory need not have a marker: Exist if there is
// one. The lock of path is held.
func (fs *FS) claimDir(ctx context.Context, path string, e *index.Entry) (done bool, err error) {
	if fs.opts.Locks == nil {
		return false, nil
	}
	if err := fs.enter(ctx); err != nil {
		return false, err
	}
	if done, err = fs.mkdirHere(path, e); done || err != nil {
		return done, err
	}
	_, err = fs.idx.Lookup(ctx, path)
	switch {
	case err == nil:
		return false, &Error{Op: "mkdir", Path: path, Kind: Exist}
	case store.IsKind(err, store.NotExist):
		return fs.mkdirHere(path, e) // it may be known now
	}
	return false, err
}
