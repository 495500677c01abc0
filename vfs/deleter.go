package vfs

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// Removals are acknowledged before they are in S3, and sent in batches.
const (
	removeDelay    = 50 * time.Millisecond  // how long a batch waits for the next removal
	removeGather   = 500 * time.Millisecond // how long it waits for all
	removeRetry    = time.Second            // pause after a batch that failed
	removeParallel = 16                     // requests that remove one version each
	removeStopped  = 5 * time.Second        // a batch so late is that of a gateway that was stopped
	materialLimit  = 30 * time.Second       // time to get the bytes of an open file before its object goes
)

// deleter sends removals to S3.
//
// INVARIANT: a key is in waiting or sending at most once each; while it is in
// either, the index holds its path.
// INVARIANT: a removal's intent is ended, durably, before anything may be
// stored under its key that a repetition of it could take for what it removes.
type deleter struct {
	fs *FS

	mu      sync.Mutex
	waiting map[string]*removal
	sending map[string]*removal
	oldest  time.Time     // when the oldest waiting one came
	newest  time.Time     // when the newest came
	began   time.Time     // when the last batch was begun
	urgent  bool          // somebody waits
	kick    chan struct{} // wakes run
	idle    chan struct{} // closed and replaced when a batch has ended
	ended   chan struct{} // closed by stop
	once    sync.Once
}

func newDeleter(fs *FS) *deleter {
	return &deleter{fs: fs, waiting: map[string]*removal{}, sending: map[string]*removal{},
		kick: make(chan struct{}, 1), idle: make(chan struct{}), ended: make(chan struct{})}
}

// add queues the removal of key. The index already says that it is gone.
func (d *deleter) add(r *removal) {
	r.done = make(chan struct{})
	d.mu.Lock()
	if old := d.waiting[r.key]; old != nil {
		defer old.end()
		d.fs.ledger.done(old.intent)
		r.merge(old)
	}
	d.newest = d.fs.now()
	if len(d.waiting) == 0 {
		d.oldest = d.newest
	}
	d.waiting[r.key] = r
	full := len(d.waiting) >= store.MaxDeleteMany || len(d.waiting) == 1
	d.mu.Unlock()
	if full {
		d.wake()
	}
}

func (d *deleter) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// has reports whether a removal of key is pending.
func (d *deleter) has(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.waiting[key] != nil || d.sending[key] != nil
}

func (d *deleter) pending() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.waiting) + len(d.sending)
}

// claim prepares a PUT of key: a removal under way is awaited, and one that
// waits is taken over, since the PUT replaces the object anyway; the function
// returned must be told whether it did. A PUT that demands absence needs the
// removal to be sent first.
func (d *deleter) claim(ctx context.Context, key string, absent bool) (func(ok bool), error) {
	if absent {
		return func(bool) {}, d.settleKey(ctx, key)
	}
	d.mu.Lock()
	r, busy := d.waiting[key], d.sending[key]
	delete(d.waiting, key)
	d.mu.Unlock()
	if r != nil {
		r.prepare(ctx)
	}
	if busy != nil {
		err := d.awaitBatch(ctx, busy)
		d.mu.Lock()
		if w := d.waiting[key]; w == busy { // failed: taken over too
			delete(d.waiting, key)
			if r == nil {
				r = w
			} else {
				defer w.end()
				d.fs.ledger.done(w.intent)
			}
		}
		d.mu.Unlock()
		if err != nil {
			if r != nil {
				d.add(r)
			}
			return nil, err
		}
	}
	return func(ok bool) {
		switch {
		case r == nil:
		case ok:
			d.endIntents([]*removal{r})
			r.end()
		default:
			d.add(r)
		}
	}, nil
}

// awaitBatch waits until r is no longer being sent.
func (d *deleter) awaitBatch(ctx context.Context, r *removal) error {
	for {
		d.mu.Lock()
		busy, idle := d.sending[r.key] == r, d.idle
		d.mu.Unlock()
		if !busy {
			return nil
		}
		if err := await(ctx, idle); err != nil {
			return err
		}
	}
}

// settleKey waits until no removal of key is pending.
func (d *deleter) settleKey(ctx context.Context, key string) error {
	for {
		d.mu.Lock()
		r := d.sending[key]
		if w := d.waiting[key]; w != nil {
			r = w
			d.urgent = true
		}
		d.mu.Unlock()
		if r == nil {
			return nil
		}
		d.wake()
		if err := await(ctx, r.done); err != nil {
			return err
		}
	}
}

func await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush sends everything now, and waits for what there was at the call.
func (d *deleter) flush(ctx context.Context) error {
	d.mu.Lock()
	all := slices.AppendSeq(slices.Collect(maps.Values(d.sending)), maps.Values(d.waiting))
	d.urgent = d.urgent || len(d.waiting) > 0
	d.mu.Unlock()
	if len(all) > 0 {
		d.wake()
	}
	for _, r := range all {
		if err := await(ctx, r.done); err != nil {
			return err
		}
	}
	return nil
}

func (d *deleter) stop() { d.once.Do(func() { close(d.ended) }) }

// run sends batches until stop.
func (d *deleter) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-d.ended:
			return
		case <-d.kick:
		case <-timer.C:
		}
		batch, wait := d.take()
		if batch == nil {
			if wait > 0 {
				timer.Reset(wait)
			}
			continue
		}
		if !d.send(batch) {
			timer.Reset(removeRetry)
			continue
		}
		d.wake()
	}
}

// take moves what is due from waiting to sending.
func (d *deleter) take() ([]*removal, time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.waiting) == 0 {
		d.urgent = false
		return nil, 0
	}
	now := d.fs.now()
	due := min(removeDelay-now.Sub(d.newest), removeGather-now.Sub(d.oldest))
	if !d.urgent && len(d.waiting) < store.MaxDeleteMany && due > 0 {
		return nil, due
	}
	stale := now.Sub(d.oldest) > removeStopped && now.Sub(d.began) > removeStopped
	d.began = now
	var batch []*removal
	for key, r := range d.waiting {
		if len(batch) == store.MaxDeleteMany {
			break
		}
		if d.sending[key] != nil {
			continue
		}
		r.stale = r.stale || stale
		batch = append(batch, r)
		delete(d.waiting, key)
		d.sending[key] = r
	}
	return batch, 0
}

// send deletes a batch; what fails waits again. It reports whether all went.
func (d *deleter) send(batch []*removal) bool {
	ctx, cancel := context.WithTimeout(d.fs.bg, d.fs.opts.OpTimeout+materialLimit)
	defer cancel()
	d.prepare(ctx, batch)
	failed, err := d.request(ctx, batch)
	return d.sent(batch, failed, err)
}

// endIntents notes that removals were carried out, or taken over.
func (d *deleter) endIntents(over []*removal) {
	ids := make([]journal.ID, 0, len(over))
	for _, r := range over {
		ids = append(ids, r.intent)
	}
	if _, err := d.fs.ledger.record(ids); err != nil {
		d.fs.noteError(err)
	}
}

// request sends a batch to S3 and returns what failed of it. A removal that is
// late, or that others share the bucket with, may meet a version that somebody
// wrote since, and demands its own.
func (d *deleter) request(ctx context.Context, batch []*removal) (map[string]error, error) {
	var keys []string
	var versions, markers []*removal
	crowded := d.fs.crowded()
	for _, r := range batch {
		exact := r.exact && d.fs.opts.Capabilities.DeleteIf // else it costs a look
		switch {
		case !r.replay && !r.stale && !crowded && (!r.late && !exact || r.etag == "" && len(r.mine) == 0):
			keys = append(keys, r.key)
		case strings.HasSuffix(r.key, "/"):
			markers = append(markers, r)
		default:
			versions = append(versions, r)
		}
	}
	err := d.fs.announce(ctx)
	if err != nil {
		d.fs.noteError(d.fs.fault("remove", batch[0].key, err))
		return nil, err
	}
	// What is in a directory goes before its marker: there are servers whose
	// directories stay otherwise.
	failed := d.removeVersions(ctx, versions)
	slices.SortFunc(keys, func(a, b string) int { return strings.Compare(b, a) })
	each, err := d.removeKeys(ctx, keys)
	maps.Copy(failed, each)
	slices.SortFunc(markers, func(a, b *removal) int { return strings.Compare(b.key, a.key) })
	for _, r := range markers {
		if e := d.removeVersion(ctx, r); e != nil {
			failed[r.key] = e
		}
	}
	for key, e := range failed {
		d.fs.noteError(d.fs.fault("remove", key, e))
	}
	return failed, err
}

// sent takes a batch off the books; what failed waits again. It reports
// whether all went.
func (d *deleter) sent(batch []*removal, failed map[string]error, err error) bool {
	ok := err == nil && len(failed) == 0
	var over []*removal
	for _, r := range batch {
		if e := cmp.Or(err, failed[r.key]); e == nil || hopeless(e) {
			over = append(over, r) // what cannot be removed shows again
		} else {
			r.late = true
		}
	}
	d.endIntents(over)
	d.mu.Lock()
	for _, r := range batch {
		delete(d.sending, r.key)
		if r.late && !slices.Contains(over, r) {
			if d.waiting[r.key] == nil {
				d.waiting[r.key] = r
			} else { // a younger one stands for it
				d.fs.ledger.done(r.intent)
				over = append(over, r)
			}
		}
	}
	d.mu.Unlock()
	for _, r := range over {
		r.end()
	}
	d.mu.Lock()
	close(d.idle) // who waits may look at the names at once
	d.idle = make(chan struct{})
	d.mu.Unlock()
	return ok
}

// prepare does what must happen before the objects go: open files get their
// bytes, and directories that would vanish with their last entry a marker.
func (d *deleter) prepare(ctx context.Context, batch []*removal) {
	dirs := map[string]bool{}
	var wg sync.WaitGroup
	for _, r := range batch {
		if r.before != nil || r.parcel != nil {
			wg.Go(func() { r.prepare(ctx) })
		}
		if r.dir != "" && !dirs[r.dir] {
			dirs[r.dir] = true
			wg.Go(func() { d.fs.ensureMarker(ctx, r.dir) })
		}
	}
	wg.Wait()
}
