package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// Sizes that decide how an append is sent, in bytes.
const (
	appendCopy = store.MinPartSize // from here on S3 copies what is there already
	appendPart = 16 << 20          // a part of what is appended
)

// appendBase is the version that an append goes behind.
type appendBase struct {
	etag  store.ETag // empty: there is no object
	size  int64
	table appendTable
	bytes []byte // all of them; nil if they are not at hand
}

// appendCommit is an append on its way: bytes that become the end of an
// object, whatever others append at the same time, once. It does not depend on
// an open file, so that one that a journal has can be sent after a crash.
type appendCommit struct {
	key string
	// entry has the attributes that the object gets, and in the end the
	// version made. Attributes of another version take their place if that
	// turns out to be the current one, except the time of change, unless own
	// is set.
	entry index.Entry
	own   bool

	base appendBase
	// load gets the bytes of the first base; if it is or returns nil, they are
	// asked of S3.
	load func(ctx context.Context) ([]byte, error)
	// look says that base may not be the current version: it is asked for.
	look bool

	tail io.ReaderAt
	size int64 // bytes of tail

	// The name of this append. Those in tries had the first bytes of tail,
	// and may have been carried out; sequence numbers up to latest are known
	// to be of appends to this key.
	session string
	seq     uint64
	latest  uint64
	tries   []appendTry

	ahead *aheadUpload // begun for this append, or nil; taken away when it is used
	// busy says that another append will probably follow at once: an upload is
	// begun for it, which is next then.
	busy bool
	next *aheadUpload

	// Results, also after a failure.
	done    int64         // bytes of tail that are in S3
	skip    int64         // bytes of tail that were there before the version made
	to      int64         // where the others begin in it
	rebased bool          // that version derives from another one than the first base
	losses  int           // how often somebody else was first
	took    time.Duration // of the last write
}

// errUnknown is in the chain of the error of an append that may have been
// carried out, or not, and nobody can tell.
var errUnknown = errors.New("whether an earlier attempt was carried out cannot be told any more; it is not sent again, so that nothing is there twice")

// appendObject carries a out, as often as others are first, until ctx ends.
// After an error a.tries says what may have been carried out nevertheless; the
// same append again, or a longer one with these tries, sends nothing twice.
//
// Kinds: store.NotExist, the object has been removed; errUnknown.
func (fs *FS) appendObject(ctx context.Context, a *appendCommit) error {
	a.look = a.look || len(a.tries) > 0
	for {
		if a.look {
			err := fs.lookAppend(ctx, a)
			if store.IsKind(err, store.PreconditionFailed) { // replaced while its bytes were on their way
				a.losses++
				continue
			}
			if err != nil {
				return err
			}
			// Without bytes it is about attributes, which the base may not have.
			if a.done == a.size && a.base.etag != "" && (a.size > 0 || a.rebased) {
				a.skip, a.to = a.size, a.base.size
				return nil
			}
		}
		a.skip, a.to = a.done, a.base.size
		begin := fs.now()
		err := fs.putAppend(ctx, a)
		if err == nil {
			a.took = fs.now().Sub(begin)
			a.done = a.size
			return nil
		}
		if !isConflict(err) || errors.Is(err, store.ErrUnsettled) {
			a.tries = append(a.tries, appendTry{seq: a.seq, upto: a.size, before: a.base.table})
		}
		if !isConflict(err) {
			return err
		}
		a.losses++
		a.look = true
		if !a.pause(ctx, fs.now().Sub(begin)) {
			return fmt.Errorf("append behind what others append: %w", ctx.Err())
		}
	}
}

// isConflict reports whether somebody else was first, or may have been.
func isConflict(err error) bool {
	k := store.KindOf(err)
	return k == store.PreconditionFailed || k == store.Conflict || k == store.NotExist
}

// pause waits after a loss, longer the more there were, for so many others may
// be at it; trip is what a request takes.
func (a *appendCommit) pause(ctx context.Context, trip time.Duration) bool {
	limit := min(trip, time.Second) * time.Duration(min(a.losses-1, 4)) / 2
	if limit <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(rand.N(limit)): //nolint:gosec // jitter
		return true
	case <-ctx.Done():
		return false
	}
}

// lookAppend makes the current version the base, with its bytes if they are
// few, and decides what became of the tries.
func (fs *FS) lookAppend(ctx context.Context, a *appendCommit) error {
	info, data, err := fs.current(ctx, a)
	switch {
	case store.IsKind(err, store.NotModified):
	case store.IsKind(err, store.NotExist) && a.base.etag == "":
	case err != nil:
		return err
	default:
		e := index.Decode(info)
		if e.Type != TypeFile {
			return &store.Error{Op: store.OpHead, Key: a.key, Kind: store.NotExist, Err: fmt.Errorf("it is a %v now", e.Type)}
		}
		a.rebased = true
		a.base = appendBase{etag: e.ETag, size: e.Size, table: tableOf(e.Attr), bytes: data}
		a.load = nil
		if !a.own {
			a.entry.Attr = e.Attr
		}
		a.entry.ETag, a.entry.Size, a.entry.Modified = e.ETag, e.Size, e.Modified
	}
	a.look = false
	return a.settle()
}

// settle decides by the list of the base what became of the tries.
func (a *appendCommit) settle() error {
	latest := a.latest
	if seq, ok := a.base.table.seqOf(a.session); ok && slices.ContainsFunc(a.tries, func(t appendTry) bool { return t.seq == seq }) {
		latest = max(latest, seq)
	}
	for _, try := range a.tries {
		switch a.base.table.fateOf(a.session, try, latest) {
		case done:
			a.done = max(a.done, try.upto)
		case unknown:
			return errUnknown
		}
	}
	return nil
}

// current asks for the version of the key, with its bytes unless they are many.
func (fs *FS) current(ctx context.Context, a *appendCommit) (store.Info, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(appendCopy))
	defer cancel()
	if a.base.size >= appendCopy {
		info, err := fs.store.Head(ctx, a.key)
		if err == nil && info.ETag == a.base.etag {
			return info, nil, &store.Error{Op: store.OpHead, Key: a.key, Kind: store.NotModified}
		}
		return info, nil, err
	}
	obj, err := fs.store.Get(ctx, a.key, store.GetOptions{Length: appendCopy, IfNoneMatch: a.base.etag})
	if err != nil {
		return store.Info{}, nil, err
	}
	defer obj.Body.Close()
	if obj.Info.Size >= appendCopy {
		return obj.Info, nil, nil
	}
	data := make([]byte, obj.Info.Size)
	_, err = io.ReadFull(obj.Body, data)
	return obj.Info, data, err
}

// putAppend stores the base and the rest of the tail behind it, if the base is
// still what the key holds.
func (fs *FS) putAppend(ctx context.Context, a *appendCommit) error {
	cond := store.IfAbsent()
	if a.base.etag != "" {
		cond = store.IfMatch(a.base.etag)
	}
	meta, attr, err := fs.encodeAppend(a)
	if err != nil {
		return err
	}
	opts := store.PutOptions{Meta: meta, ContentType: contentType(a.entry), If: cond}
	total := a.base.size + a.size - a.done
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(total))
	defer cancel()
	var info store.Info
	switch {
	case !fs.opts.Capabilities.CompleteIf && total > singleCommit:
		info, err = fs.putAppendSlowly(ctx, a, opts)
	case a.base.size >= appendCopy || total > singleCommit:
		info, err = fs.putAppendParts(ctx, a, opts, attr)
	default:
		if err = fs.loadBase(ctx, a); err == nil {
			info, err = fs.store.Put(ctx, a.key, a.body(), opts)
		}
	}
	if err != nil {
		return err
	}
	a.entry.ETag, a.entry.Size, a.entry.Modified, a.entry.Attr = info.ETag, total, info.Modified, attr
	return nil
}

// encodeAppend returns the metadata of the object, with its list of appends as
// far as there is room, and the attributes that they stand for.
func (fs *FS) encodeAppend(a *appendCommit) (store.Metadata, *index.Attr, error) {
	e := a.entry
	table := a.base.table
	if a.done < a.size {
		table = table.with(appendMark{a.session, a.seq})
	}
	for {
		e.Attr = withTable(a.entry.Attr, table)
		meta, err := fs.encode(e)
		if KindOf(err) != AttrTooLarge || err == nil || len(table.marks) == 0 {
			return meta, e.Attr, err
		}
		table = table.shorter()
	}
}

// loadBase makes the bytes of the base be at hand.
func (fs *FS) loadBase(ctx context.Context, a *appendCommit) error {
	if a.base.bytes != nil || a.base.size == 0 {
		return nil
	}
	if a.load != nil {
		data, err := a.load(ctx)
		if a.base.bytes = data; data != nil || err != nil {
			return err
		}
	}
	obj, err := fs.store.Get(ctx, a.key, store.GetOptions{IfMatch: a.base.etag})
	if err != nil {
		return err
	}
	defer obj.Body.Close()
	data := make([]byte, obj.Info.Size)
	_, err = io.ReadFull(obj.Body, data)
	a.base.bytes = data
	return err
}

// body is the new version as one.
func (a *appendCommit) body() store.Body {
	rest := a.size - a.done
	return store.Body{Reader: joined{a.base.bytes, io.NewSectionReader(a.tail, a.done, rest)}, Size: a.base.size + rest}
}

// joined reads some bytes and then others.
type joined struct {
	first []byte
	then  io.ReaderAt
}

func (j joined) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(j.first)) {
		n = copy(p, j.first[off:])
	}
	if n == len(p) {
		return n, nil
	}
	m, err := j.then.ReadAt(p[n:], off+int64(n)-int64(len(j.first)))
	if err == io.EOF && n+m == len(p) {
		err = nil
	}
	return n + m, err
}

var _ io.ReaderAt = joined{}

// unsettledBy adds to err that it may be owed to an attempt that succeeded.
func unsettledBy(err error) error { return errors.Join(err, store.ErrUnsettled) }
