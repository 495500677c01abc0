package vfs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// treeLook is how often a gateway looks at the records of others while it
// knows that there are any, and at its own that could not be resumed.
const treeLook = 10 * time.Second

// trees are the operations on trees that this gateway knows of. It looks for
// records when it is opened, when gateways come or go, and when an operation
// on a directory has failed; and again while there are any.
type trees struct {
	fs   *FS
	kick chan struct{} // capacity 1; wakes run

	mu       sync.Mutex
	active   map[string]*treeTask // under way here, by id
	sighted  map[string]sighting  // those of others, by id
	reported map[string]bool      // records that cannot be resumed, by id
}

// sighting is when a version of a record was first seen.
type sighting struct {
	etag store.ETag
	at   time.Time // of this gateway's clock
}

func newTrees(fs *FS) *trees {
	return &trees{fs: fs, kick: make(chan struct{}, 1), active: map[string]*treeTask{},
		sighted: map[string]sighting{}, reported: map[string]bool{}}
}

func (r *trees) add(t *treeTask) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active[t.rec.ID] = t
}

func (r *trees) drop(t *treeTask) {
	r.mu.Lock()
	delete(r.active, t.rec.ID)
	r.mu.Unlock()
}

// progress describes what is under way here, oldest first.
func (r *trees) progress() []TreeProgress {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []TreeProgress
	for _, t := range r.active {
		all = append(all, t.progress())
	}
	slices.SortFunc(all, func(a, b TreeProgress) int { return a.Since.Compare(b.Since) })
	return all
}

// lookForTrees has the records looked at soon.
func (fs *FS) lookForTrees() {
	select {
	case fs.trees.kick <- struct{}{}:
	default:
	}
}

// run looks for records until the filesystem is closed, at most once in
// treeLook.
func (r *trees) run() {
	every := r.fs.opts.treeLook
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-r.fs.bg.Done():
			return
		case <-r.kick:
			if wait := every - time.Since(last); wait > 0 {
				timer.Reset(wait)
				continue
			}
		case <-timer.C:
		}
		last = time.Now()
		left, err := r.look(r.fs.bg)
		if err != nil && r.fs.bg.Err() == nil {
			r.fs.log.Warn("look for unfinished operations on trees", "err", err)
		}
		if left || err != nil {
			timer.Reset(every)
		}
	}
}

// look resumes what is this gateway's to resume. It reports whether there are
// records that it must look at again.
func (r *trees) look(ctx context.Context) (left bool, err error) {
	infos, err := r.fs.listTrees(ctx)
	if err != nil {
		return true, err
	}
	state, err := r.fs.state.stateID()
	if err != nil {
		return false, err
	}
	seen := map[string]sighting{}
	for _, info := range infos {
		again, err := r.lookAt(ctx, info, state, seen)
		if err != nil {
			return true, err
		}
		left = left || again
	}
	r.mu.Lock()
	r.sighted = seen
	r.mu.Unlock()
	return left, nil
}

// lookAt looks at one record, and adds it to seen if somebody else has it. It
// reports whether it must be looked at again.
func (r *trees) lookAt(ctx context.Context, info store.Info, state string, seen map[string]sighting) (bool, error) {
	id := strings.TrimPrefix(info.Key, treesPrefix)
	r.mu.Lock()
	_, here := r.active[id]
	was, again := r.sighted[id]
	reported := r.reported[id]
	r.mu.Unlock()
	now := r.fs.now()
	switch {
	case here || reported:
		return here, nil
	case again && was.etag == info.ETag && now.Sub(was.at) < treeStale:
		seen[id] = was
		return true, nil
	}
	rec, got, err := r.fs.readTree(ctx, info.Key)
	switch {
	case store.IsKind(err, store.NotExist):
	case fromStore(err):
		return true, err
	case err != nil:
		r.report(id, err)
		return false, nil
	case rec.State == state || again && was.etag == got.ETag:
		r.resume(rec, got)
	default:
		seen[id] = sighting{etag: got.ETag, at: now}
	}
	return true, nil
}

// report says once that a record cannot be resumed.
func (r *trees) report(id string, err error) {
	r.mu.Lock()
	r.reported[id] = true
	r.mu.Unlock()
	r.fs.noteError(err)
}

// resume takes an operation over and carries it on in the background.
func (r *trees) resume(rec treeRecord, info store.Info) {
	t := r.fs.newTask(rec)
	t.resumed, t.etag = true, info.ETag
	if t.rec.Cut.IsZero() {
		t.rec.Cut = info.Modified
	}
	r.add(t)
	r.fs.start(func(ctx context.Context) {
		err := r.fs.resumeTree(ctx, t)
		r.drop(t)
		if err != nil && !errors.Is(err, errFenced) && ctx.Err() == nil {
			r.fs.noteError(fmt.Errorf("resume the %s of %s: %w", rec.Op, rec.Src, err))
		}
	})
}

func (fs *FS) resumeTree(ctx context.Context, t *treeTask) error {
	state, err := fs.state.stateID()
	if err != nil {
		return err
	}
	dirs := []string{t.rec.Src}
	if t.rec.Dst != "" {
		dirs = append(dirs, t.rec.Dst)
	}
	unlock, err := fs.locks.lockTrees(ctx, dirs...)
	if err != nil {
		return err
	}
	defer unlock()
	if err := fs.sendBelow(ctx, dirs...); err != nil {
		return err
	}
	if err := fs.announce(ctx); err != nil {
		return err
	}
	err = t.swap(ctx, func(r *treeRecord) {
		r.Owner, r.State = fs.opts.GatewayID, state
		r.Epoch++
	})
	if err != nil {
		return err
	}
	fs.log.Info("resume an operation on a tree", "op", t.rec.Op, "src", t.rec.Src, "dst", t.rec.Dst, "phase", t.rec.Phase)
	if t.rec.Op == treeRename {
		t.landed = func() { fs.resumed(t) }
		return t.run(ctx)
	}
	err = t.run(ctx)
	fs.resumed(t)
	return err
}

// resumed tells caches and nodes of what has happened in S3.
func (fs *FS) resumed(t *treeTask) {
	src, dst := t.rec.Src, t.rec.Dst
	n := fs.nodes.find(src)
	to := (*node)(nil)
	dir, name := splitPath(dst)
	if t.rec.Op == treeRename {
		to = fs.nodes.find(dir)
	}
	if n != nil && n.typ == TypeDir && to != nil && fs.nodes.child(to, name) == nil {
		// Open files below go along.
		fs.nodes.pin(n)
		from, was := fs.nodes.parentOf(n)
		if from != nil {
			fs.landed(t, &move{from: from, to: to, name: was, newName: name, src: src, dst: dst, n: n, entry: index.Entry{}})
			fs.invalidator().InvalidateEntry(from.id, was)
			fs.invalidator().InvalidateEntry(to.id, name)
		}
		fs.nodes.unpin(n)
		return
	}
	if n != nil && t.rec.Op == treeRename {
		fs.moveStaged(n, src, dst)
	}
	for _, path := range []string{src, dst} {
		if path == "" {
			continue
		}
		fs.idx.Forget(path)
		dir, name := splitPath(path)
		if p := fs.nodes.find(dir); p != nil {
			fs.touchDir(p)
			fs.invalidator().InvalidateEntry(p.id, name)
		}
	}
}

// moveStaged gives the temporary files below n, whose directory was src, their
// names below dst.
func (fs *FS) moveStaged(n *node, src, dst string) {
	for _, n := range fs.nodes.below(n) {
		path, ok := fs.nodes.path(n)
		f := n.fileState()
		if !ok || f == nil || !f.isStaged() {
			continue
		}
		path = dst + strings.TrimPrefix(path, src)
		dir, name := splitPath(path)
		p, done, err := fs.internPath(dir, TypeDir)
		if err == nil {
			err = fs.keepStagedAt(fs.bg, f, path)
		}
		if err != nil {
			fs.noteError(err)
			continue
		}
		fs.nodes.move(n, p, name)
		done()
		fs.invalidator().InvalidateEntry(p.id, name)
	}
}
