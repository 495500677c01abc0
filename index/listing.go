package index

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Options configures a Listing. Zero fields take the defaults in brackets.
type Options struct {
	Store store.Store      // required
	Now   func() time.Time // [time.Now]
	Log   *slog.Logger     // [discard]

	DirTTL time.Duration // age at which names are asked for again [1s]
	Verify time.Duration // that age while no other gateway is there [30s]
	Strict bool          // ask S3 every time

	// MaxEntries is about how many names are kept in memory, at about 200
	// bytes each [400,000].
	MaxEntries int
	// Concurrency is how many requests for attributes are made ahead of the
	// caller at the same time [64].
	Concurrency int

	// ModifiedCoversMeta says that the server changes an object's
	// LastModified when a Copy onto itself replaces the metadata, as S3
	// does. A LIST then confirms attributes; else each HEAD is good for
	// DirTTL or Verify only.
	ModifiedCoversMeta bool

	GatewayID string // names this gateway to others; empty: it does not announce itself
	Version   string // of the program, for others to see
	ReadOnly  bool   // changes nothing in S3, and so does not announce itself

	// OnChange is told, without locks held, the path of a name of which S3
	// said something else than was known: it appeared, vanished, or has
	// another version or other attributes. It must not block.
	OnChange func(path string)
	// OnGateways is told, without locks held, that a gateway has appeared, has
	// left, or has been silent for long. It must not block.
	OnGateways func()
}

func (o *Options) setDefaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.DirTTL = cmp.Or(o.DirTTL, time.Second)
	o.Verify = max(cmp.Or(o.Verify, 30*time.Second), o.DirTTL)
	o.MaxEntries = cmp.Or(o.MaxEntries, 400_000)
	o.Concurrency = cmp.Or(o.Concurrency, 64)
}

// Listing is the Index whose names come from LIST requests, one directory at a
// time. See the package documentation. Create it with [Open].
type Listing struct {
	// Dependencies and constant data.
	opt    Options
	ctx    context.Context // of background work; ends in Close
	cancel context.CancelFunc
	turns  chan struct{} // limits prefetching

	// Mutable state; each part has its own lock.
	clock    clock
	reqs     inflight
	dirs     *dirTable
	pres     presence
	attrs    interned
	denials  denials
	holds    holdings
	acquired atomic.Int64 // tick of the last Acquire
	skew     atomic.Int64 // nanoseconds that the server's clock is ahead, at least
	entries  atomic.Int64
	complete atomic.Int64
	hidden   atomic.Int64
	trimming sync.Mutex

	work   sync.WaitGroup
	mu     sync.Mutex // orders spawn and Close
	closed bool       // guarded by mu
}

var _ Index = (*Listing)(nil)

// maxSkew is how far clocks can be apart: S3 refuses requests beyond (AWS
// "RequestTimeTooSkewed", 15 minutes).
const maxSkew = 15 * time.Minute

// Open returns an index of opts.Store. Nothing is asked yet.
func Open(opts Options) *Listing {
	opts.setDefaults()
	l := &Listing{opt: opts, dirs: newDirTable(), turns: make(chan struct{}, opts.Concurrency)}
	l.clock.now, l.clock.start = opts.Now, opts.Now()
	l.reqs.clock = &l.clock
	l.skew.Store(-int64(maxSkew))
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.pres.open(l)
	return l
}

// spawn runs f in the background, unless the index is closed.
func (l *Listing) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.work.Go(f)
	return true
}

var errClosed = errors.New("the index is closed")

func closed(op store.Op, key string) error {
	return &store.Error{Op: op, Key: key, Kind: store.Canceled, Err: errClosed}
}

// Close implements [Index]. It also tells other gateways that this one has
// left.
func (l *Listing) Close(ctx context.Context) error {
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	l.cancel()
	done := make(chan struct{})
	go func() { // ends with the work, which has been cancelled
		l.work.Wait()
		close(done)
	}()
	if err := wait(ctx, done, store.OpList, ""); err != nil || again {
		return err
	}
	return l.pres.leave(ctx)
}

// notify reports changes. No lock is held.
func (l *Listing) notify(paths []string) {
	if l.opt.OnChange == nil {
		return
	}
	for _, p := range paths {
		l.opt.OnChange(p)
	}
}

// Stats implements [Index].
func (l *Listing) Stats() Stats {
	return Stats{
		Entries: int(l.entries.Load()), Dirs: int(l.complete.Load()),
		HiddenKeys: l.hidden.Load(), Gateways: l.pres.others(), Alone: l.pres.alone(),
	}
}

// NegativeTTL implements [Index].
func (l *Listing) NegativeTTL(dirPath string) time.Duration {
	d := l.lockKnown(dirPath)
	if d == nil {
		return 0
	}
	defer d.mu.Unlock()
	if !d.complete || l.opt.Strict {
		return 0
	}
	return max(0, time.Duration(l.until(d.began)-l.clock.at(l.opt.Now())))
}

// answer packs what is known of a name. d.mu is held.
func (l *Listing) answer(d *dir, name string, n *node) Answer {
	until := l.until(n.age())
	if d.held(name) && !l.opt.Strict {
		until = max(until, l.clock.at(l.opt.Now()).add(l.opt.DirTTL))
	}
	return Answer{Entry: n.entry(name), Until: l.clock.time(until)}
}

// root is the answer for the root directory, which always exists.
func (l *Listing) root() Answer {
	return Answer{
		Entry: Entry{Type: TypeDir, Attr: l.intern(&Attr{})},
		Until: l.opt.Now().Add(l.opt.Verify),
	}
}

// List implements [Index].
func (l *Listing) List(ctx context.Context, dirPath string) ([]Answer, error) {
	if dirPath != "" {
		if _, _, ok := split(dirPath); !ok {
			return nil, nil
		}
	}
	q := l.clock.tick()
	l.pres.touch(q)
	d, unpin := l.pin(dirPath, q)
	defer unpin()
	if err := l.refresh(ctx, dirPath, l.oldest(q), true); err != nil {
		return nil, err
	}
	d.mu.Lock()
	all := l.answers(d)
	d.mu.Unlock()
	l.expectWalk(d, all, q)
	return all, nil
}

// PeekList implements [Index].
func (l *Listing) PeekList(dirPath string) ([]Answer, bool) {
	d := l.lockKnown(dirPath)
	if d == nil {
		return nil, false
	}
	defer d.mu.Unlock()
	if !d.whole() {
		return nil, false
	}
	return l.answers(d), true
}

// Whole implements [Index].
func (l *Listing) Whole(dirPath string) bool {
	d := l.lockKnown(dirPath)
	if d == nil {
		return false
	}
	defer d.mu.Unlock()
	return d.whole()
}

// whole reports whether all names of d are known. d.mu is held.
func (d *dir) whole() bool { return d.complete && d.began >= d.doubt }

// answers returns all names of d, sorted. d.mu is held.
func (l *Listing) answers(d *dir) []Answer {
	all := make([]Answer, 0, len(d.names))
	for name, n := range d.names {
		all = append(all, l.answer(d, name, n))
	}
	slices.SortFunc(all, func(a, b Answer) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// expectWalk prepares for the caller asking for the attributes of all.
func (l *Listing) expectWalk(d *dir, all []Answer, q tick) {
	var order []string
	if len(all) >= walkMin && slices.ContainsFunc(all, func(a Answer) bool {
		return a.Attr == nil || l.clock.at(a.Until) < q
	}) {
		order = make([]string, len(all))
		for i := range all {
			order[i] = all[i].Name
		}
	}
	d.mu.Lock()
	d.walk = walk{order: order}
	d.mu.Unlock()
}
