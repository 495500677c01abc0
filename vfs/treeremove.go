package vfs

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// RemoveTree removes a directory with everything below it. Open files below
// keep their bytes, as those that Unlink removes do, and what was written
// below and not committed is dropped. What somebody else puts there after the
// removal has begun may stay, and the directory with it; what was there goes,
// if need be after a crash and by another gateway. Kinds: NotDir, NotExist,
// Busy (another gateway is renaming or removing a tree that has parts in
// common).
func (fs *FS) RemoveTree(ctx context.Context, parent NodeID, name string) error {
	p, path, err := fs.target("rmdir", parent, name)
	if err != nil {
		return err
	}
	unlock, err := fs.locks.lockTrees(ctx, path)
	if err != nil {
		return fs.fault("rmdir", path, err)
	}
	defer unlock()
	release, err := fs.claimTrees(ctx, "rmdir", path)
	if err != nil {
		return err
	}
	defer release()
	n := fs.nodes.child(p, name)
	if err := fs.readyToRemove(ctx, n, path); err != nil {
		return fs.fault("rmdir", path, err)
	}
	tctx := context.WithoutCancel(ctx)
	t, err := fs.beginTree(tctx, treeRecord{Op: treeRemove, Src: path, Phase: phaseRemoving})
	if err != nil {
		return fs.fault("rmdir", path, err)
	}
	if n != nil {
		fs.bury(n)
		if err := fs.abandonBelow(tctx, n); err != nil {
			fs.noteError(err) // temporary files may come back after a crash
		}
	}
	if err := t.run(tctx); err != nil {
		fs.idx.Forget(path)
		return fs.fault("rmdir", path, err)
	}
	fs.idx.Forget(path)
	fs.idx.Remove(path)
	if n != nil {
		fs.nodes.detach(n)
	}
	fs.touchDir(p)
	return nil
}

// readyToRemove prepares the removal of the directory path, whose node is n if
// it has one.
func (fs *FS) readyToRemove(ctx context.Context, n *node, path string) error {
	e, err := fs.idx.Lookup(ctx, path)
	if err != nil && (n == nil || n.typ == TypeDir) {
		return err
	}
	if n != nil && n.typ != TypeDir || e.Type != TypeDir {
		return &Error{Op: "rmdir", Path: path, Kind: NotDir}
	}
	if err := fs.sendBelow(ctx, path); err != nil {
		return err
	}
	if err := fs.announce(ctx); err != nil {
		return err
	}
	dir, _ := splitPath(path)
	fs.ensureMarker(ctx, dir)
	return nil
}

// abandonBelow takes the files of a tree that goes: open ones get their bytes,
// and nothing of them is committed any more, or brought back by the journal.
func (fs *FS) abandonBelow(ctx context.Context, top *node) error {
	all := fs.nodes.below(top)
	for _, n := range all {
		fs.nodes.pin(n)
	}
	for _, n := range all {
		if fs.needsBytes(n) {
			ctx, cancel := context.WithTimeout(ctx, materialLimit)
			fs.materialize(ctx, n)
			cancel()
		}
	}
	var intents []journal.ID
	for _, n := range all {
		intents = append(intents, n.openIntents()...)
		fs.abandon(n)
	}
	_, err := fs.ledger.record(intents)
	for _, n := range all {
		if n != top && n.typ != TypeDir {
			fs.nodes.detach(n)
		}
		fs.settle(n)
		fs.nodes.unpin(n)
	}
	return err
}

// sameMoment is how far a server's times of two objects may differ although
// the one was stored when the other was.
const sameMoment = time.Second

// remove deletes what is below the directory. The first owner deletes all that
// a listing shows; later ones only what is not younger than the record.
func (t *treeTask) remove(ctx context.Context) error {
	opts := store.ListOptions{Prefix: t.rec.Src + "/"}
	for {
		page, err := t.fs.store.List(ctx, opts)
		if err != nil {
			return err
		}
		objs := page.Objects
		if t.resumed {
			objs = nil
			for _, obj := range page.Objects {
				if !obj.Modified.After(t.rec.Cut.Add(sameMoment)) {
					objs = append(objs, obj)
				}
			}
		}
		t.total.Add(int64(len(objs)))
		if err := t.deleteMany(ctx, objs); err != nil {
			if hopeless(err) {
				t.end(ctx) // trying again would not help
			}
			return err
		}
		t.done.Add(int64(len(objs)))
		if page.Next == "" {
			t.end(ctx)
			return nil
		}
		opts.Token = page.Next
	}
}
