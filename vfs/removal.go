package vfs

import (
	"context"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
	"golang.org/x/sync/errgroup"
)

// removal is one object to delete.
type removal struct {
	key     string
	etag    store.ETag                // the version that was removed; empty: not known
	intent  journal.ID                // 0: not in the journal
	at      time.Time                 // when it was acknowledged
	known   time.Time                 // the version's LastModified; zero: not known
	mine    []string                  // parcels that may have become the object meanwhile, by name
	exact   bool                      // only this version goes
	late    bool                      // a first attempt failed
	stale   bool                      // this gateway was stopped since, and others went on perhaps
	replay  bool                      // from the journal of an earlier run
	dir     string                    // directory that must outlive its last entry
	release func()                    // gives the index's hold back
	parcel  <-chan struct{}           // closed when nothing is on its way to the key any more; may be nil
	before  func(ctx context.Context) // runs before it is sent; may be nil
	done    chan struct{}             // closed when it is in S3, or given up
}

// after makes r wait for a parcel that is being sent to the same key.
func (r *removal) after(sending *parcel) {
	if sending != nil {
		r.parcel = sending.over
	}
}

// prepare does what must happen before the object goes.
func (r *removal) prepare(ctx context.Context) {
	if r.parcel != nil {
		_ = await(ctx, r.parcel) // later than ctx nothing goes
	}
	if r.before == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, materialLimit)
	defer cancel()
	r.before(ctx)
}

// merge makes r remove what an older removal of the key, which it stands for,
// was to remove.
func (r *removal) merge(old *removal) {
	if r.etag == "" {
		r.etag, r.known = old.etag, old.known
		r.exact = r.exact && old.exact
	}
	r.mine = append(r.mine, old.mine...)
	r.replay = r.replay || old.replay
}

// end gives the path of a removal free.
func (r *removal) end() {
	r.release()
	close(r.done)
}

// removeKeys deletes what keys hold, whatever it is.
func (d *deleter) removeKeys(ctx context.Context, keys []string) (failed map[string]error, err error) {
	switch len(keys) {
	case 0:
		return nil, nil
	case 1:
		err = d.fs.store.Delete(ctx, keys[0], store.Always)
	default:
		if failed, err = d.fs.store.DeleteMany(ctx, keys); store.IsKind(err, store.Invalid) {
			failed, err = d.sendEach(ctx, keys), nil // one key must not hold up the others
		}
	}
	if err != nil {
		d.fs.noteError(d.fs.fault("remove", keys[0], err))
	}
	return failed, err
}

// removeVersions deletes versions, several at a time, and returns what failed.
func (d *deleter) removeVersions(ctx context.Context, batch []*removal) map[string]error {
	var mu sync.Mutex
	failed := map[string]error{}
	group := errgroup.Group{}
	group.SetLimit(removeParallel)
	for _, r := range batch {
		group.Go(func() error {
			if err := d.removeVersion(ctx, r); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[r.key] = err
			}
			return nil
		})
	}
	_ = group.Wait() // each says itself how it went
	return failed
}

// removeVersion deletes the version that was removed, and no other: with a
// precondition where the server honours it, else after a look.
func (d *deleter) removeVersion(ctx context.Context, r *removal) error {
	cond := store.Always
	if d.fs.opts.Capabilities.DeleteIf {
		cond = store.IfMatch(r.etag)
	}
	if r.replay || r.etag == "" || len(r.mine) > 0 || !cond.Set() {
		info, err := d.fs.store.Head(ctx, r.key)
		switch {
		case store.IsKind(err, store.NotExist):
			return nil
		case err != nil:
			return err
		case r.replaced(info) && (r.exact || r.replay):
			return nil
		case r.replaced(info):
			return d.removeOlder(ctx, r)
		}
		if d.fs.opts.Capabilities.DeleteIf {
			cond = store.IfMatch(info.ETag)
		}
		if r.etag == "" && len(r.mine) == 0 { // an attempt that must be repeated is about no other
			r.etag, r.known = info.ETag, info.Modified
		}
	}
	err := d.fs.store.Delete(ctx, r.key, cond)
	if store.IsKind(err, store.PreconditionFailed) && !r.exact && !r.replay {
		return d.removeOlder(ctx, r)
	}
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return nil
	}
	return err
}

// removeOlder deletes a version that this gateway did not know when it removed
// the name, if that was stored before.
func (d *deleter) removeOlder(ctx context.Context, r *removal) error {
	info, err := d.fs.store.Head(ctx, r.key)
	if err == nil && (r.wasMine(info) || info.Modified.Before(r.at.Add(-clockSlack))) {
		cond := store.Always
		if d.fs.opts.Capabilities.DeleteIf {
			cond = store.IfMatch(info.ETag)
		}
		err = d.fs.store.Delete(ctx, r.key, cond)
	}
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return nil
	}
	return err
}

// crowded reports whether there may be other gateways on the bucket.
func (fs *FS) crowded() bool { return !fs.alone() }

// clockSlack is by how much the clocks of this gateway and of S3 may differ.
const clockSlack = 2 * time.Second

// replaced reports whether somebody stored what is there after r removed the
// name. Equal bytes have equal ETags, also where they are another file.
func (r *removal) replaced(info store.Info) bool {
	switch {
	case r.wasMine(info):
		return false
	case r.etag != "" && info.ETag != r.etag, r.etag == "" && r.exact && len(r.mine) > 0:
		return true
	case !r.replay && r.etag != "":
		return false
	case !r.known.IsZero():
		return info.Modified.Unix() != r.known.Unix()
	default:
		return info.Modified.After(r.at.Add(clockSlack))
	}
}

// wasMine reports whether an object is a parcel that was on its way when r
// removed the name, however late it arrived.
func (r *removal) wasMine(info store.Info) bool {
	return isOneOf(r.mine, info)
}

// sendEach deletes keys one by one and returns what failed.
func (d *deleter) sendEach(ctx context.Context, keys []string) map[string]error {
	failed := map[string]error{}
	for _, key := range keys {
		if err := d.fs.store.Delete(ctx, key, store.Always); err != nil {
			failed[key] = err
		}
	}
	return failed
}

// hopeless reports whether trying again will not help.
func hopeless(err error) bool {
	switch store.KindOf(err) {
	case store.Invalid, store.Denied, store.Unsupported:
		return true
	}
	return false
}
