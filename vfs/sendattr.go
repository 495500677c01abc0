package vfs

import (
	"context"
	"errors"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// attrLoop sends attribute changes when they are due.
func (fs *FS) attrLoop() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-fs.bg.Done():
			return
		case <-fs.attrTick:
		case <-timer.C:
		}
		timer.Reset(fs.sendDueAttrs())
	}
}

func (fs *FS) tickAttr() {
	select {
	case fs.attrTick <- struct{}{}:
	default:
	}
}

// sendDueAttrs starts to send what is due and returns when the next will be.
func (fs *FS) sendDueAttrs() time.Duration {
	now, next := fs.now(), time.Hour
	for _, n := range fs.localNodes() {
		n.mu.Lock()
		f := n.file
		due := f != nil && f.attrDirtyLocked() && !f.dirtyLocked() && !f.sending
		if due {
			if wait := f.attrDue.Sub(now); wait > 0 {
				next, due = min(next, wait), false
			} else {
				f.sending = true
			}
		}
		n.mu.Unlock()
		if due {
			fs.start(func(ctx context.Context) { fs.sendAttrSoon(ctx, n, f) })
		}
	}
	return next
}

// sendAttrSoon sends the attributes of n in the background; a failure is
// tried again in a while.
func (fs *FS) sendAttrSoon(ctx context.Context, n *node, f *file) {
	err := fs.flushAttr(ctx, n)
	n.mu.Lock()
	f.sending = false
	if err != nil {
		f.attrDue = fs.now().Add(removeRetry)
	}
	n.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		fs.noteError(err)
	}
	fs.tickAttr()
}

// flushAttr returns when all attributes of n are in S3.
func (fs *FS) flushAttr(ctx context.Context, n *node) error {
	path, ok := fs.nodes.path(n)
	if f := n.fileState(); f == nil || !ok {
		if f != nil {
			fs.dropAttr(f, f.attrGen) // it has no name, and so no object
		}
		return nil
	}
	if !n.onlyAttr() {
		return nil // nothing to do, or the commit will take them along
	}
	// A parcel of the same bytes may still be in the spool: it must find the
	// version that it is based on, with its own name.
	if err := fs.quiet(ctx, path); err != nil {
		return fs.fault("setattr", path, err)
	}
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return fs.fault("setattr", path, err)
	}
	defer unlock()
	now, ok := fs.nodes.path(n)
	if !ok || now != path || len(fs.spool.of(path)) > 0 {
		unlock()
		return fs.flushAttr(ctx, n)
	}
	return fs.flushAttrAt(ctx, n, path)
}

// flushAttrAt is flushAttr with the lock of path, the name of n, held.
func (fs *FS) flushAttrAt(ctx context.Context, n *node, path string) error {
	n.mu.Lock()
	f := n.file
	if f == nil || !f.attrDirtyLocked() || f.dirtyLocked() || f.superseded {
		n.mu.Unlock()
		return nil // nothing to do, or the commit will take them along
	}
	e, gen, left := f.entry, f.attrGen, f.attrLeft
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fs.transferTime(e.Size))
	defer cancel()
	err := fs.checkLeft(ctx, objectKey(path, e.Type), left)
	var info store.Info
	if err == nil {
		info, err = fs.sendAttr(ctx, path, e)
	}
	if store.IsKind(err, store.NotExist) || store.IsKind(err, store.PreconditionFailed) {
		fs.idx.Forget(path)
		fs.dropAttr(f, gen) // somebody else replaced or removed it: theirs stands
		return nil
	}
	if err != nil {
		return fs.fault("setattr", path, err)
	}
	fs.attrSent(f, path, e, gen, info)
	return nil
}

// onlyAttr reports whether attributes of n are not in S3, but its bytes are.
func (n *node) onlyAttr() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.file
	return f != nil && f.attrDirtyLocked() && !f.dirtyLocked() && !f.superseded
}

// checkLeft is a PreconditionFailed if an object was stored after the moment
// left, at which an earlier run acknowledged attributes of it: somebody may have
// changed those since, which an ETag does not tell.
func (fs *FS) checkLeft(ctx context.Context, key string, left time.Time) error {
	if left.IsZero() {
		return nil
	}
	info, err := fs.store.Head(ctx, key)
	switch {
	case store.IsKind(err, store.NotExist):
		return nil // what follows finds that too
	case err == nil && info.Modified.After(left.Add(clockSlack)):
		return &store.Error{Op: store.OpHead, Key: key, Kind: store.PreconditionFailed, Err: errors.New("changed since")}
	}
	return err
}

// dropAttr gives up attribute changes up to gen.
func (fs *FS) dropAttr(f *file, gen uint64) {
	f.node.mu.Lock()
	f.attrSaved = max(f.attrSaved, gen)
	fs.endAttrLocked(f)
	fs.markLocal(f.node, f.localLocked())
	f.node.mu.Unlock()
	fs.settle(f.node)
}

// attrSent notes that the attributes of the version e are in S3.
func (fs *FS) attrSent(f *file, path string, e index.Entry, gen uint64, info store.Info) {
	n := f.node
	n.mu.Lock()
	f.attrSaved = gen
	if e.ETag != "" && f.entry.ETag == e.ETag {
		if n.pageETag == e.ETag {
			n.pageETag = info.ETag
		}
		f.entry.ETag, f.entry.Modified = info.ETag, info.Modified
		if f.content != nil {
			f.content.moved(path, info.ETag)
		}
	}
	if n.typ == TypeDir {
		f.entry.Marker = true
	}
	fs.endAttrLocked(f)
	if err := fs.recordAttrLocked(f, path); err != nil { // changed meanwhile: of this version now
		fs.noteError(err)
	}
	fs.markLocal(n, f.localLocked())
	fs.idx.Put(path, f.entry, fs.now())
	n.mu.Unlock()
	if n.typ == TypeDir {
		fs.dirStored(path)
	}
	fs.settle(n)
}

// sendAttr stores attributes with the object: a marker is written anew, any
// other object is copied onto itself.
func (fs *FS) sendAttr(ctx context.Context, path string, e index.Entry) (store.Info, error) {
	meta, err := fs.encode(e)
	if err != nil {
		return store.Info{}, err
	}
	if err := fs.announce(ctx); err != nil {
		return store.Info{}, err
	}
	if e.Type == TypeDir {
		return fs.sendDirAttr(ctx, path, e, meta)
	}
	return fs.copyObject(ctx, path, path, e, meta, store.Precondition{})
}

// sendDirAttr replaces a directory's marker, or makes the first one. It does
// not bring back a directory that somebody else has removed.
func (fs *FS) sendDirAttr(ctx context.Context, path string, e index.Entry, meta store.Metadata) (store.Info, error) {
	opts := store.PutOptions{Meta: meta, ContentType: contentType(e), If: store.IfAbsent()}
	info, err := fs.store.Head(ctx, path+"/")
	switch {
	case err == nil:
		opts.If = store.IfMatch(info.ETag)
	case !store.IsKind(err, store.NotExist) || e.Marker:
		return store.Info{}, err
	}
	return fs.store.Put(ctx, path+"/", store.Body{}, opts)
}
