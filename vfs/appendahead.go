package vfs

import (
	"context"
	"maps"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// aheadUpload is a multipart upload that was begun for the append that will
// probably follow, while the one before it was on its way: the metadata of an
// upload go with its beginning, and they are known by then if nobody else
// appends.
type aheadUpload struct {
	fs    *FS
	key   string
	seq   uint64 // of the append that it is for
	mtime time.Time
	meta  store.Metadata
	ready chan struct{} // closed when id or err is set
	id    store.UploadID
	err   error
}

// beginAhead begins an upload for the append behind a, after which the object
// has the attributes attr.
func (fs *FS) beginAhead(a *appendCommit, attr *index.Attr) *aheadUpload {
	up := &aheadUpload{fs: fs, key: a.key, seq: fs.appendSeq.Add(1), mtime: fs.now(), ready: make(chan struct{})}
	e := a.entry
	e.Mtime = up.mtime
	e.Attr = withTable(attr, tableOf(attr).with(appendMark{a.session, up.seq}))
	if up.meta, up.err = fs.encode(e); up.err != nil {
		close(up.ready)
		return up
	}
	fs.start(func(ctx context.Context) {
		defer close(up.ready)
		ctx, cancel := fs.withTimeout(ctx)
		defer cancel()
		up.id, up.err = fs.store.CreateUpload(ctx, up.key, store.PutOptions{Meta: up.meta, ContentType: contentType(e)})
		if up.err == nil {
			fs.state.noteUpload(up.key, up.id)
		}
	})
	return up
}

// use returns the id if the upload does for a: it has the metadata that a
// needs, but for a time of change that is not far off, which a takes over.
func (up *aheadUpload) use(a *appendCommit) (store.UploadID, bool) {
	<-up.ready
	if up.err != nil || up.seq != a.seq || up.mtime.Sub(a.entry.Mtime).Abs() > mtimeSlack {
		return "", false
	}
	late := a.entry.Mtime
	a.entry.Mtime = up.mtime
	if meta, _, err := up.fs.encodeAppend(a); err == nil && maps.Equal(meta, up.meta) {
		return up.id, true
	}
	a.entry.Mtime = late
	return "", false
}

// drop aborts the upload in the background.
func (up *aheadUpload) drop() {
	if up == nil {
		return
	}
	up.fs.start(func(ctx context.Context) { up.abort(ctx) })
}

func (up *aheadUpload) abort(ctx context.Context) {
	<-up.ready
	if up.err == nil {
		(&upload{fs: up.fs, key: up.key, id: up.id}).abort(context.WithoutCancel(ctx))
	}
}

// keepAhead leaves an upload with f for a while, in place of the one that is
// there.
func (fs *FS) keepAhead(f *file, up *aheadUpload) {
	if up == nil {
		return
	}
	n := f.node
	n.mu.Lock()
	state := f.appendsLocked()
	old := state.ahead
	state.ahead = up
	n.mu.Unlock()
	old.drop()
	fs.start(func(ctx context.Context) {
		sleep(ctx, mtimeSlack)
		n.mu.Lock()
		unused := state.ahead == up
		if unused {
			state.ahead = nil
		}
		n.mu.Unlock()
		if unused {
			up.abort(ctx)
		}
	})
}
