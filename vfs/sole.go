package vfs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// decideDelay is how long a name that was decided here may be known here only.
const decideDelay = 2 * time.Second

// publishParallel is how many of them are stored at the same time.
const publishParallel = 32

// decisions are the names that this gateway has made exclusively by itself,
// because it had the bucket for itself, and that are not in S3 yet. The package
// documentation, under "Alone on the bucket", says why that is safe.
//
// Lock order: gate, then node.mu, then mu. gate is held for reading from the
// question whether this gateway is alone to the moment at which others here
// can see the name, and never while waiting for S3.
type decisions struct {
	gate sync.RWMutex

	mu    sync.Mutex
	dirs  map[string]*newDir  // guarded by mu
	files map[*file]time.Time // guarded by mu: open, and not stored; since when
	kick  chan struct{}       // capacity 1; wakes run
}

func newDecisions() *decisions {
	return &decisions{dirs: map[string]*newDir{}, files: map[*file]time.Time{}, kick: make(chan struct{}, 1)}
}

// begin begins a decision. It reports whether this gateway may make it alone;
// then end must be called.
func (d *decisions) begin(l locks.Service) bool {
	if l == nil {
		return false
	}
	d.gate.RLock()
	if l.Sole() {
		return true
	}
	d.gate.RUnlock()
	return false
}

func (d *decisions) end() { d.gate.RUnlock() }

// wait returns when the decisions under way are over.
func (d *decisions) wait() {
	d.gate.Lock()
	defer d.gate.Unlock()
}

func (d *decisions) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// openFiles returns files that were decided before the moment due.
func (d *decisions) openFiles(due time.Time) []*file {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []*file
	for f, since := range d.files {
		if !since.After(due) {
			all = append(all, f)
		}
	}
	return all
}

func (d *decisions) addFile(f *file, now time.Time) {
	d.mu.Lock()
	d.files[f] = now
	d.mu.Unlock()
	d.wake()
}

func (d *decisions) dropFile(f *file) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.files, f)
}

// enter must have returned nil before the first change and before anything
// exclusive is decided.
//
// The caller has asked for no lock. So while the coordinator cannot be reached, S3
// is asked whether it is there: if not, that is the error, as it would be of the
// request that the caller is about to send, and the breaker learns of it. If it
// is, the coordinator is asked again until the call has to end.
func (fs *FS) enter(ctx context.Context) error {
	if fs.opts.Locks == nil {
		return nil
	}
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	for {
		err := fs.opts.Locks.Enter(ctx)
		if err == nil {
			return nil
		}
		if locks.KindOf(err) != locks.NoLock {
			break
		}
		if _, there := fs.store.Head(ctx, reachKey); there != nil && !store.IsKind(there, store.NotExist) {
			return there
		}
		select {
		case <-time.After(enterPause):
		case <-ctx.Done():
			return &store.Error{Op: store.OpPut, Kind: store.Unavailable, Err: err}
		}
	}
	kind := Interrupted
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		kind = Timeout
	}
	return &Error{Op: "enter", Kind: kind, Err: context.Cause(ctx)}
}

// reachKey is asked for to find out whether S3 answers; nobody makes it.
const reachKey = index.Reserved + "/reach"

// enterPause is between two tries to reach the coordinator.
const enterPause = 100 * time.Millisecond

// absentHere reports whether a name is certain not to exist, as far as gateways
// are concerned, and nothing of it is on its way to S3. The lock of path is
// held.
func (fs *FS) absentHere(path, key string) bool {
	return fs.idx.Absent(path) && !fs.deleter.has(key) && len(fs.spool.of(path)) == 0
}

// createHere is createNew with O_EXCL for a gateway that is alone: the name is
// made here, and in S3 by the commit, which demands that it is absent. done is
// false if that is not possible.
func (fs *FS) createHere(ctx context.Context, p *node, name, path string, flags int, e index.Entry) (known Known, h *Handle, done bool, err error) {
	waiting := fs.patient(ctx)
	defer waiting.release()
	unlock, err := fs.locks.lock(waiting, path)
	if err != nil {
		return Known{}, nil, true, fs.fault("create", path, waiting.explain(err))
	}
	defer unlock()
	if fs.exists(p, name, path) {
		return Known{}, nil, true, &Error{Op: "create", Path: path, Kind: Exist}
	}
	if !fs.absentHere(path, path) && fs.alone() {
		_, _ = fs.idx.Lookup(waiting, path) // after which it may be known
	}
	if !fs.absentHere(path, path) || !fs.decisions.begin(fs.opts.Locks) {
		return Known{}, nil, false, nil
	}
	known, h, err = fs.createDecided(p, name, path, flags, e)
	still := fs.opts.Locks.Sole()
	fs.decisions.end()
	if err == nil && !still { // somebody else may have decided meanwhile
		if err = fs.claimAt(waiting, h.f, path); err != nil {
			fs.Release(h)
			fs.nodes.forget(known.ID, 1)
			return Known{}, nil, true, fs.fault("create", path, waiting.explain(err))
		}
	}
	return known, h, true, err
}

func (fs *FS) createDecided(p *node, name, path string, flags int, e index.Entry) (Known, *Handle, error) {
	n := fs.nodes.intern(p, name, TypeFile, true)
	if n == nil {
		return Known{}, nil, &Error{Op: "create", Path: path, Kind: NotExist}
	}
	n.mu.Lock()
	if n.file != nil {
		n.mu.Unlock()
		fs.nodes.forget(n.id, 1)
		return Known{}, nil, &Error{Op: "create", Path: path, Kind: Exist}
	}
	h := newHandle(n, nil, flags)
	f := fs.fileLocked(n, e)
	f.exclusive = true
	known, err := fs.openNewLocked(h, f, path)
	n.mu.Unlock()
	if err != nil {
		fs.Release(h)
		fs.nodes.forget(n.id, 1)
		return Known{}, nil, fs.fault("create", path, err)
	}
	fs.decisions.addFile(f, fs.now())
	fs.exclusive.Add(path, struct{}{})
	fs.touchDir(p)
	return known, h, nil
}

// claim makes the name of f, which was made here, in S3, if it is not there
// yet. What f holds follows when it is closed.
func (fs *FS) claim(ctx context.Context, f *file) error {
	return fs.underName(ctx, f, func(ctx context.Context, f *file, path string) error { return fs.claimAt(ctx, f, path) })
}

// claimAt is claim with the lock of path, the name of f, held. Kind Exist:
// somebody else has made the name.
func (fs *FS) claimAt(ctx context.Context, f *file, path string) error {
	n := f.node
	n.mu.Lock()
	e, wanted := f.entry, f.exclusive && !f.removed && !f.superseded && n.file == f
	n.mu.Unlock()
	if !wanted || len(fs.spool.of(path)) > 0 {
		fs.decisions.dropFile(f)
		return nil
	}
	e.Size = 0
	etag, err := fs.putNew(ctx, path, e, store.Body{})
	if store.IsKind(err, store.PreconditionFailed) {
		fs.idx.Forget(path)
		fs.supersede(n)
		fs.decisions.dropFile(f)
		return &Error{Op: "create", Path: path, Kind: Exist, Err: err}
	}
	if err != nil {
		return err
	}
	n.mu.Lock()
	f.exclusive = false
	f.entry.ETag = etag
	f.checked = fs.now()
	f.committed = f.wholeFrom // as of the moment at which it was made
	f.content.rebase(origin{key: path, etag: etag}, f.committed)
	fs.markLocal(n, f.localLocked())
	e.ETag = etag
	fs.idx.Put(path, e, fs.now())
	n.mu.Unlock()
	fs.decisions.dropFile(f)
	return nil
}

// Publish makes known to all what this gateway has decided by itself, and
// returns when that and all else that was acknowledged here is in S3. It is
// called before another gateway may decide anything; by then Locks.Sole must be
// false. It may be called again if it fails.
func (fs *FS) Publish(ctx context.Context) error {
	fs.decisions.wait()
	fs.lendNothing()
	if err := fs.storeDecided(ctx, "", fs.now()); err != nil {
		return err
	}
	return fs.Sync(ctx, "")
}

// storeDecided stores what was decided below dir before the moment due. A name
// that somebody else has taken is theirs, and no error.
func (fs *FS) storeDecided(ctx context.Context, dir string, due time.Time) error {
	in := below(dir)
	group := errgroup.Group{}
	group.SetLimit(publishParallel)
	for _, f := range fs.decisions.openFiles(due) {
		if path, ok := fs.nodes.path(f.node); !ok || !in(path) {
			continue
		}
		group.Go(func() error {
			if err := fs.claim(ctx, f); err != nil && KindOf(err) != Exist {
				return fs.fault("create", fs.pathOf(f.node), err)
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), fs.storeDirs(ctx, dir, due, fs.storeDir))
}

// publishLoop stores what was decided here some time ago, and tries again what
// could not be stored.
func (fs *FS) publishLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-fs.bg.Done():
			return
		case <-fs.decisions.kick:
		case <-timer.C:
			if err := fs.storeDecided(fs.bg, "", fs.now().Add(-decideDelay)); err != nil && fs.bg.Err() == nil {
				fs.noteError(err)
			}
		}
		if fs.decisions.any() {
			timer.Reset(decideDelay / 4)
		}
	}
}
