package vfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// Times of operations on trees. Heartbeats and staleness hold for all
// gateways, so they must not change.
const (
	treeParallel = 32
	treePasses   = 100 // listings of the sources, before what arrives goes on to stay there
	treeTimeout  = 24 * time.Hour
	treeBeat     = 10 * time.Second // between heartbeats
	treeProof    = 20 * time.Second // a request needs a heartbeat not older
	treeStale    = 30 * time.Second // without a heartbeat, by the observer's clock: others take over
)

// treeTask is an operation on a tree that this gateway carries out. The
// package documentation, under "Trees", says how and why.
type treeTask struct {
	fs      *FS
	since   time.Time
	resumed bool
	cancel  context.CancelCauseFunc
	landed  func()              // called when a rename is done, while its record is still there
	known   map[string]treeFact // by key below the source; used by the goroutine of run, and under mu by its helpers
	parts   int                 // objects with facts that there may be
	pass    int                 // listings of the sources so far
	done    atomic.Int64
	total   atomic.Int64

	proving  sync.Mutex // held while somebody proves that the record is still this gateway's
	beating  sync.Mutex // held over a change of the record
	finished bool       // guarded by beating

	mu     sync.Mutex // guards what follows
	rec    treeRecord
	etag   store.ETag
	proven time.Time // when the last change of the record that succeeded began
}

// TreeProgress is an operation on a directory tree that is under way here.
type TreeProgress struct {
	Op      string    `json:"op"` // "rename" or "remove"
	Src     string    `json:"src"`
	Dst     string    `json:"dst,omitempty"`
	Phase   string    `json:"phase"`
	Done    int64     `json:"done"`  // objects copied, or removed in a removal
	Total   int64     `json:"total"` // objects found so far
	Since   time.Time `json:"since"`
	Resumed bool      `json:"resumed"` // begun by an earlier run, or by another gateway
}

func (t *treeTask) progress() TreeProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TreeProgress{Op: t.rec.Op, Src: t.rec.Src, Dst: t.rec.Dst, Phase: t.rec.Phase, Done: t.done.Load(),
		Total: max(t.total.Load(), t.done.Load()), Since: t.since, Resumed: t.resumed}
}

// fence stops the operation here.
func (t *treeTask) fence() { t.cancel(errFenced) }

// hold is called before a request that changes something: it returns nil if
// the operation is this gateway's.
func (t *treeTask) hold(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if t.isProven() {
		return nil
	}
	t.proving.Lock()
	defer t.proving.Unlock()
	if t.isProven() {
		return nil
	}
	return t.beat(ctx)
}

func (t *treeTask) isProven() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fs.now().Sub(t.proven) < treeProof
}

func (t *treeTask) beat(ctx context.Context) error {
	return t.swap(ctx, func(r *treeRecord) { r.Beat++ })
}

// heartbeat runs until ctx ends or the record is gone.
func (t *treeTask) heartbeat(ctx context.Context) {
	tick := time.NewTicker(treeBeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		t.beating.Lock()
		over := t.finished
		t.beating.Unlock()
		if over {
			return
		}
		if err := t.beat(ctx); err != nil && ctx.Err() == nil {
			t.fs.log.Warn("tell others that an operation on a tree goes on", "dir", t.rec.Src, "err", err)
		}
	}
}

// sendBelow returns when all that was acknowledged here below directories whose
// locks the caller holds is in S3: an operation on a tree knows objects only.
func (fs *FS) sendBelow(ctx context.Context, dirs ...string) error {
	for _, dir := range dirs {
		if _, err := fs.spool.wait(ctx, below(dir)); err != nil {
			return err
		}
		if err := fs.storeDirs(ctx, dir, fs.now(), fs.storeDirAt); err != nil {
			return err
		}
		for _, n := range fs.localNodes() {
			if path, ok := fs.nodes.path(n); ok && path != dir && below(dir)(path) {
				if err := fs.flushAttrAt(ctx, n, path); err != nil {
					return err
				}
			}
		}
	}
	return fs.deleter.flush(ctx)
}

// newTask is an operation that others do not know of yet.
func (fs *FS) newTask(rec treeRecord) *treeTask {
	return &treeTask{fs: fs, rec: rec, since: fs.now(), known: map[string]treeFact{}, landed: func() {}, cancel: func(error) {}}
}

// beginTree records a new operation, unless another one touches the same
// trees. The caller holds their locks.
func (fs *FS) beginTree(ctx context.Context, rec treeRecord) (*treeTask, error) {
	state, err := fs.state.stateID()
	if err != nil {
		return nil, err
	}
	rec.Version, rec.ID, rec.Nonce = treeVersion, rand.Text(), rand.Text()
	rec.Owner, rec.State = fs.opts.GatewayID, state
	t := fs.newTask(rec)
	t.proven = fs.now()
	fs.trees.add(t)
	if t.etag, err = fs.putJSON(ctx, treesPrefix+rec.ID, rec, store.IfAbsent()); err != nil {
		fs.trees.drop(t)
		fs.lookForTrees() // if it was stored all the same, it is resumed
		return nil, err
	}
	other, err := fs.overlapping(ctx, t)
	if err == nil && other == nil {
		return t, nil
	}
	err = errors.Join(err, t.finish(ctx))
	fs.trees.drop(t)
	fs.lookForTrees()
	if other != nil {
		return nil, &Error{Op: rec.Op, Path: rec.Src, Kind: Busy, Err: fmt.Errorf("%s of %s by %s is under way", other.Op, other.Src, other.Owner)}
	}
	return nil, err
}

// overlapping returns another operation on the trees of t. Whoever begins
// records itself first, and looks then: of two, at least one sees the other.
func (fs *FS) overlapping(ctx context.Context, t *treeTask) (*treeRecord, error) {
	infos, err := fs.listTrees(ctx)
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		id := strings.TrimPrefix(info.Key, treesPrefix)
		if id == t.rec.ID {
			t.rec.Cut = info.Modified
			continue
		}
		rec, _, err := fs.readTree(ctx, info.Key)
		switch {
		case store.IsKind(err, store.NotExist):
		case fromStore(err):
			return nil, err
		case err != nil:
			fs.noteError(err) // of a newer program, or damaged
		case rec.overlaps(&t.rec):
			return &rec, nil
		}
	}
	return nil, nil
}

// fromStore reports whether err says nothing about the record that was asked
// for, but about the store.
func fromStore(err error) bool {
	var se *store.Error
	return errors.As(err, &se)
}

// listTrees returns the records that there are.
func (fs *FS) listTrees(ctx context.Context) ([]store.Info, error) {
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	var all []store.Info
	opts := store.ListOptions{Prefix: treesPrefix}
	for {
		page, err := fs.store.List(ctx, opts)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Objects...)
		if page.Next == "" {
			return all, nil
		}
		opts.Token = page.Next
	}
}

// run carries the operation out, from wherever it is. After an error the
// record is still there if the operation is to go on later.
func (t *treeTask) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, treeTimeout)
	defer cancel()
	ctx, t.cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.fs.bg, func() { t.cancel(context.Canceled) })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { t.heartbeat(ctx) })
	err := t.work(ctx)
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errFenced) {
		err = cause
	}
	t.cancel(context.Canceled)
	wg.Wait()
	t.fs.trees.drop(t)
	if err != nil && !t.resumed {
		t.fs.lookForTrees()
	}
	return err
}

func (t *treeTask) work(ctx context.Context) error {
	if t.rec.Op == treeRemove {
		return t.remove(ctx)
	}
	if t.resumed {
		if err := t.loadFacts(ctx); err != nil {
			return err
		}
	}
	err := t.rename(ctx)
	if err != nil && t.rec.Phase == phaseCopying && hopeless(err) {
		if e := t.undo(ctx); e != nil {
			return errors.Join(err, e)
		}
	}
	return err
}

// deleteMany removes objects, whatever they are.
func (t *treeTask) deleteMany(ctx context.Context, objs []store.Info) error {
	for len(objs) > 0 {
		n := min(len(objs), store.MaxDeleteMany)
		keys := make([]string, n)
		for i, o := range objs[:n] {
			keys[i] = o.Key
		}
		objs = objs[n:]
		if err := t.hold(ctx); err != nil {
			return err
		}
		failed, err := t.fs.store.DeleteMany(ctx, keys)
		if err != nil {
			return err
		}
		for key, err := range failed {
			return fmt.Errorf("remove %s: %w", key, err)
		}
	}
	return nil
}

// deleteAs removes objects that are still the versions given, where the server
// can tell; markers, which are all alike, and elsewhere all, by their keys.
func (t *treeTask) deleteAs(ctx context.Context, objs []store.Info) error {
	if !t.fs.opts.Capabilities.DeleteIf {
		return t.deleteMany(ctx, objs)
	}
	var markers []store.Info
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(treeParallel)
	for _, obj := range objs {
		if strings.HasSuffix(obj.Key, "/") {
			markers = append(markers, obj)
			continue
		}
		group.Go(func() error {
			if err := t.hold(gctx); err != nil {
				return err
			}
			err := t.fs.store.Delete(gctx, obj.Key, store.IfMatch(obj.ETag))
			if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
				return nil // the next listing shows
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return t.deleteMany(ctx, markers)
}
