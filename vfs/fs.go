package vfs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	lru "github.com/hashicorp/golang-lru/v2"
)

// FS is the filesystem on one bucket or prefix. See the package documentation.
type FS struct {
	// Dependencies.
	store  store.Store
	health store.Health // nil: S3 is never known to be away
	idx    index.Index
	now    func() time.Time
	log    *slog.Logger
	opts   Options

	// Set once, in Open.
	staged       globs
	state        *stateDir
	ledger       *ledger // nil on a read-only mount
	cache        *diskCache
	spares       *spares
	deleter      *deleter
	decisions    *decisions
	programLocks *programLocks
	spool        *spool
	session      string // tells what this state directory has sent from what others have
	trees        *trees
	copies       copies
	locks        *pathLocks
	fileLocks    fileLocks // taken through handles
	nodes        *nodeTable
	links        *lru.Cache[store.ETag, string] // targets of symbolic links
	removed      *lru.Cache[NodeID, Attr]       // directories that may still be open
	started      time.Time
	retries      retries
	lending      lending
	acquired     atomic.Int64                 // see Acquired; in ns since 1970
	exclusive    *lru.Cache[string, struct{}] // names that O_EXCL made here
	window       *window
	buffers      sync.Pool // *[]byte of blockSize bytes, for what is not in the window
	bg           context.Context
	endBG        context.CancelFunc
	wg           sync.WaitGroup // background goroutines
	attrTick     chan struct{}  // wakes the attribute flusher

	inv atomic.Pointer[Invalidator]

	appendSession string        // names this run in the lists of objects that it appends to
	appendSeq     atomic.Uint64 // the last append of this run

	// Counters for Stats.
	committing, handles         atomic.Int64
	commits, commitErrors, kept atomic.Int64
	recalled                    atomic.Int64 // answers given without S3, since it was away

	mu        sync.Mutex
	local     map[*node]struct{} // nodes with changes that are not in S3
	lastErr   string
	lastErrAt time.Time
}

// Announcer is implemented by an index that must tell other gateways of this
// one before its first change.
type Announcer interface {
	Announce(ctx context.Context) error
}

// Open takes the state directory and starts the filesystem. The context bounds
// the opening only. Errors are about the state directory; S3 is first asked by
// the first operation.
func Open(ctx context.Context, opts Options) (*FS, error) {
	opts.setDefaults()
	staged, err := parseGlobs(append(slices.Clone(opts.Staged), opts.StagedOnly...))
	if err != nil {
		return nil, err
	}
	lockFiles, err := newProgramLocks(opts.LockFiles, opts.Processes)
	if err != nil {
		return nil, err
	}
	state, err := openStateDir(opts.StateDir, opts.Now())
	if err != nil {
		return nil, err
	}
	links, err1 := lru.New[store.ETag, string](4096)
	removed, err2 := lru.New[NodeID, Attr](1024)
	exclusive, err3 := lru.New[string, struct{}](madeExclusively)
	if err := errors.Join(err1, err2, err3); err != nil {
		state.close()
		return nil, err
	}
	fs := &FS{store: opts.Store, now: opts.Now, log: opts.Log, opts: opts, staged: staged, state: state,
		locks: newPathLocks(), nodes: newNodeTable(), links: links, removed: removed, exclusive: exclusive, started: opts.Now(),
		attrTick: make(chan struct{}, 1), local: map[*node]struct{}{}, appendSession: newAppendSession()}
	fs.locks.patience = opts.OpTimeout
	fs.programLocks = lockFiles
	fs.health, _ = store.As[store.Health](opts.Store)
	fs.window = newWindow(opts.Memory/4, opts.Now)
	fs.buffers.New = func() any { b := make([]byte, blockSize); return &b }
	fs.bg, fs.endBG = context.WithCancel(context.WithoutCancel(ctx))
	fs.cache = openCache(state.cacheDir(), opts.CacheSize)
	fs.trees = newTrees(fs)
	fs.idx = index.Open(index.Options{Store: opts.Store, Now: opts.Now, Log: opts.Log, DirTTL: opts.DirTTL,
		Verify: opts.Verify, Strict: opts.Strict, MaxEntries: int(opts.Memory / bytesPerEntry),
		GatewayID: opts.GatewayID, ReadOnly: opts.ReadOnly, OnChange: fs.remoteChange, OnGateways: fs.lookForTrees})
	fs.spares = newSpares(state)
	fs.deleter, fs.spool, fs.decisions = newDeleter(fs), newSpool(fs), newDecisions()
	fs.kept.Store(int64(state.countKept()))
	if !opts.ReadOnly {
		if err := fs.openLedger(); err != nil {
			return nil, errors.Join(err, fs.abandonOpen())
		}
	}
	fs.wg.Go(fs.deleter.run)
	fs.wg.Go(fs.attrLoop)
	fs.wg.Go(fs.publishLoop)
	fs.wg.Go(fs.housekeeping)
	fs.start(fs.spares.fill)
	if !opts.ReadOnly {
		fs.wg.Go(fs.trees.run)
	}
	if left := state.leftUploads(); len(left) > 0 && !opts.ReadOnly {
		fs.start(func(ctx context.Context) { fs.abortLeft(ctx, left) })
	}
	return fs, nil
}

// abandonOpen ends what an Open that fails has begun.
func (fs *FS) abandonOpen() error {
	fs.spool.stop()
	fs.endBG()
	fs.deleter.stop()
	fs.wg.Wait()
	return errors.Join(fs.idx.Close(context.Background()), fs.state.close())
}

// bytesPerEntry is what an entry of the index and a node take in memory,
// rounded up; measured by the benchmarks of package index.
const bytesPerEntry = 640

func (o *Options) setDefaults() {
	def := func(p *time.Duration, d time.Duration) {
		if *p == 0 {
			*p = d
		}
	}
	if o.GatewayID == "" {
		host, _ := os.Hostname()
		o.GatewayID = host + "-" + rand.Text()[:10]
	}
	if o.LockFiles == nil {
		o.LockFiles = DefaultLockFiles
	}
	if o.Processes == nil {
		o.Processes = newProcesses()
	}
	if o.Staged == nil {
		o.Staged = DefaultStaged
	}
	if o.SpoolFiles == 0 {
		o.SpoolFiles = 20000
	}
	if o.SpoolBytes == 0 {
		o.SpoolBytes = 10 << 30
	}
	def(&o.StagedTTL, time.Hour)
	def(&o.DirTTL, time.Second)
	def(&o.Verify, 30*time.Second)
	def(&o.OpTimeout, 30*time.Second)
	def(&o.treeLook, treeLook)
	if o.CacheSize == 0 {
		o.CacheSize = 10 << 30
	}
	if o.Memory == 0 {
		o.Memory = 256 << 20
	}
	if o.MaxNodes == 0 {
		o.MaxNodes = int(o.Memory / bytesPerEntry)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// SetInvalidator names who must be told of changes. Call it before the first
// operation.
func (fs *FS) SetInvalidator(inv Invalidator) { fs.inv.Store(&inv) }

func (fs *FS) invalidator() Invalidator {
	if p := fs.inv.Load(); p != nil {
		return *p
	}
	return nobody{}
}

// nobody is the Invalidator of a filesystem without front ends.
type nobody struct{}

func (nobody) InvalidateEntry(NodeID, string) {}
func (nobody) InvalidateNode(NodeID)          {}
func (nobody) Prune([]NodeID)                 {}

var _ Invalidator = nobody{}

// start implements fetcher.
func (fs *FS) start(fn func(ctx context.Context)) {
	fs.wg.Go(func() { fn(fs.bg) })
}

// Close sends what is acknowledged and not yet in S3, ends all goroutines and
// gives the state directory back. When ctx ends first, the rest stays in the
// state directory and the error says how much. progress, which may be nil, is
// called about twice a second while there is work.
func (fs *FS) Close(ctx context.Context, progress func(Stats)) error {
	done := make(chan struct{})
	var drained error
	go func() {
		defer close(done)
		drained = fs.drain(ctx)
	}()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-done:
			waiting = false
		case <-tick.C:
			if progress != nil {
				progress(fs.Stats())
			}
		}
	}
	fs.spool.stop()
	fs.endBG()
	fs.deleter.stop()
	fs.wg.Wait()
	keepErr := fs.keepLocal()
	if fs.ledger != nil {
		keepErr = errors.Join(keepErr, fs.ledger.j.Close())
	}
	patience := 5 * time.Second
	if ctx.Err() != nil { // nobody wants to wait for S3 any more
		patience = 200 * time.Millisecond
	}
	cctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	return errors.Join(drained, keepErr, fs.idx.Close(cctx), fs.state.close())
}

// drain commits what is dirty, except temporary names, and sends removals and
// attributes.
func (fs *FS) drain(ctx context.Context) error {
	var errs []error
	for _, n := range fs.localNodes() {
		if f := n.fileState(); f != nil && !f.isStaged() {
			if err := fs.commit(ctx, f); err != nil {
				errs = append(errs, err)
			}
			if err := fs.flushAttr(ctx, n); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if err := fs.Sync(ctx, ""); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Sync returns when all that was acknowledged of path and of what is below it
// is in S3: files that wait in the spool, attributes and removals. It does not
// commit what no close or fsync has asked for.
func (fs *FS) Sync(ctx context.Context, path string) error {
	in := below(path)
	var errs []error
	refused, err := fs.spool.wait(ctx, in)
	if refused > 0 {
		errs = append(errs, &Error{Op: "sync", Path: path, Kind: Stale,
			Err: fmt.Errorf("S3 did not take %d of the files; `causeway recover` lists them", refused)})
	}
	errs = append(errs, fs.fault("sync", path, err), fs.storeDirs(ctx, path, fs.now(), fs.storeDir))
	for _, n := range fs.localNodes() {
		if p, ok := fs.nodes.path(n); ok && in(p) {
			errs = append(errs, fs.flushAttr(ctx, n))
		}
	}
	errs = append(errs, fs.fault("sync", path, fs.deleter.flush(ctx)))
	return errors.Join(errs...)
}

// markLocal notes whether n has changes that are not in S3.
func (fs *FS) markLocal(n *node, local bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if local {
		fs.local[n] = struct{}{}
	} else {
		delete(fs.local, n)
	}
}

func (fs *FS) localNodes() []*node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	all := make([]*node, 0, len(fs.local))
	for n := range fs.local {
		all = append(all, n)
	}
	return all
}

// housekeeping uploads temporary files that nobody renamed, and asks the
// kernel to forget nodes when there are too many.
func (fs *FS) housekeeping() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-fs.bg.Done():
			return
		case <-tick.C:
		}
		if over := fs.nodes.size() - fs.opts.MaxNodes; over > 0 {
			fs.invalidator().Prune(fs.nodes.idle(over + fs.opts.MaxNodes/8))
		}
		fs.uploadOldStaged()
	}
}

// uploadOldStaged commits temporary files under their own names when they are
// older than StagedTTL.
func (fs *FS) uploadOldStaged() {
	for _, n := range fs.localNodes() {
		f := n.fileState()
		if _, name := fs.nodes.parentOf(n); f == nil || globs(fs.opts.StagedOnly).match(name) || !f.stagedBefore(fs.now().Add(-fs.opts.StagedTTL)) {
			continue
		}
		if err := fs.commit(fs.bg, f); err != nil {
			fs.noteError(err)
		}
		fs.settle(n)
	}
}

// noteError remembers an error for Stats and logs it.
func (fs *FS) noteError(err error) {
	fs.log.Warn("background work", "err", err)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.lastErr, fs.lastErrAt = err.Error(), fs.now()
}

// Stats returns a snapshot of what the filesystem is doing.
func (fs *FS) Stats() Stats {
	ix := fs.idx.Stats()
	cacheFiles, cacheBytes := fs.cache.usage()
	s := Stats{Nodes: fs.nodes.size(), OpenHandles: int(fs.handles.Load()), Committing: int(fs.committing.Load()),
		Commits: fs.commits.Load(), CommitErrors: fs.commitErrors.Load(), PendingUnlink: fs.deleter.pending(),
		KeptVersions: int(fs.kept.Load()), Recalled: fs.recalled.Load(), CacheFiles: cacheFiles, CacheBytes: cacheBytes,
		IndexEntries: ix.Entries, IndexDirs: ix.Dirs, HiddenKeys: ix.HiddenKeys, Gateways: ix.Gateways,
		Trees: append(fs.trees.progress(), fs.copies.progress()...)}
	s.SpoolFiles, s.SpoolBytes, s.SpoolOldest = fs.spool.usage()
	if fs.ledger != nil {
		j := fs.ledger.j.Stats()
		s.JournalIntents, s.JournalBytes = j.Live, j.TotalBytes
	}
	for _, n := range fs.localNodes() {
		n.mu.Lock()
		if f := n.file; f != nil {
			f.countLocked(&s)
		}
		n.mu.Unlock()
	}
	fs.mu.Lock()
	s.LastError, s.LastErrorTime = fs.lastErr, fs.lastErrAt
	fs.mu.Unlock()
	return s
}

// StatFS implements Lookups. S3 has no size: the figures are large constants
// so that programs which check for space before they write go on.
func (fs *FS) StatFS(context.Context) (StatFS, error) {
	const block, blocks, files = 4096, 1 << 38, 1 << 40
	return StatFS{BlockSize: block, Blocks: blocks, BlocksFree: blocks, Files: files, FilesFree: files, NameLen: maxName}, nil
}

// globs are patterns of file names.
type globs []string

func parseGlobs(patterns []string) (globs, error) {
	for _, p := range patterns {
		if _, err := filepath.Match(p, ""); err != nil {
			return nil, fmt.Errorf("pattern %q of names: %w", p, err)
		}
	}
	return patterns, nil
}

func (g globs) match(name string) bool {
	for _, p := range g {
		if ok, _ := filepath.Match(p, name); ok {
			return true
		}
	}
	return false
}
