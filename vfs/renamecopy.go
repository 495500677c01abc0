package vfs

import (
	"context"
	"errors"
	"slices"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// renameTries bounds how often a rename follows a source that others change.
const renameTries = 5

// copyTo makes the committed object of m.src the one of m.dst.
func (fs *FS) copyTo(ctx context.Context, m *move, cond store.Precondition) error {
	if err := fs.announce(ctx); err != nil {
		return err
	}
	e := m.entry
	m.n.mu.Lock()
	if f := m.n.file; f != nil {
		e, m.attrGen = f.entry, f.attrGen
	}
	m.n.mu.Unlock()
	ids, err := fs.ledger.record(nil, intent{Op: intentMove, Path: m.src, To: m.dst, ETag: e.ETag, Time: fs.now()})
	if err != nil && kindOfFault(err) != NoSpace {
		return err
	}
	m.intent = firstID(ids)
	if err := fs.copyFollowing(ctx, m, e, cond); err != nil {
		fs.ledger.done(m.intent)
		return err
	}
	return nil
}

// copyFollowing copies the version e of m.src, or if others replace it
// meanwhile, what is there then.
func (fs *FS) copyFollowing(ctx context.Context, m *move, e index.Entry, cond store.Precondition) error {
	for try := 1; ; try++ {
		settled, err := fs.deleter.claim(ctx, m.dst, cond.Absent)
		if err != nil {
			return err
		}
		info, err := fs.copyOnce(ctx, m, e, cond)
		settled(err == nil)
		if err == nil {
			fs.copied(m, e, info)
			return nil
		}
		changed := store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist)
		if changed && cond.Absent {
			_, there := fs.store.Head(ctx, m.dst)
			changed = store.IsKind(there, store.NotExist) // else the target is what was in the way
		}
		if !changed || try == renameTries {
			return err
		}
		// Somebody replaced the source: what is there now moves.
		fs.idx.Forget(m.src)
		ans, err := fs.idx.Stat(ctx, m.src)
		if err != nil {
			return err
		}
		e = ans.Entry
	}
}

func (fs *FS) copyOnce(ctx context.Context, m *move, e index.Entry, cond store.Precondition) (store.Info, error) {
	waiting := fs.patient(context.WithoutCancel(ctx))
	defer waiting.release()
	ctx, cancel := context.WithTimeout(waiting, copyLimit)
	defer cancel()
	var meta store.Metadata
	m.n.mu.Lock()
	pending := m.n.file != nil && m.n.file.attrDirtyLocked()
	m.n.mu.Unlock()
	if pending {
		var err error
		if meta, err = fs.encode(e); err != nil {
			return store.Info{}, err
		}
	}
	info, err := fs.copyObject(ctx, m.src, m.dst, e, meta, cond)
	return info, waiting.explain(err)
}

// copied notes that m.dst is now a copy of e.
func (fs *FS) copied(m *move, e index.Entry, info store.Info) {
	old := e.ETag
	m.moved = old
	e.Name, e.ETag, e.Modified = m.newName, info.ETag, info.Modified
	n := m.n
	n.mu.Lock()
	if f := n.file; f != nil && f.entry.ETag == old {
		f.entry.ETag, f.entry.Modified = e.ETag, e.Modified
		f.attrSaved = max(f.attrSaved, m.attrGen) // what changed since is still to be sent
		if f.content != nil {
			f.content.moved(m.dst, e.ETag)
		}
		fs.markLocal(n, f.localLocked())
	}
	if n.pageETag == old {
		n.pageETag = e.ETag
	}
	n.mu.Unlock()
	fs.cache.rename(m.src, m.dst, old, e.ETag)
	fs.idx.Put(m.dst, e, fs.now())
}

// copyObject copies the version e of src to dst on the server; meta, if not
// nil, replaces the metadata. Objects over store.MaxCopySize, and a demand for
// absence that CopyObject cannot make on this server, go through a multipart
// upload.
func (fs *FS) copyObject(ctx context.Context, src, dst string, e index.Entry, meta store.Metadata, cond store.Precondition) (store.Info, error) {
	if e.Size <= store.MaxCopySize && (!cond.Set() || fs.opts.Capabilities.CopyIf) {
		info, err := fs.store.Copy(ctx, src, dst, store.CopyOptions{SourceIf: e.ETag, Meta: meta, ContentType: contentType(e), If: cond})
		info.Size = e.Size
		return info, err
	}
	if meta == nil {
		var err error
		if meta, err = fs.encode(e); err != nil {
			return store.Info{}, err
		}
	}
	opts := store.PutOptions{Meta: meta, ContentType: contentType(e), If: cond}
	if e.Size == 0 {
		return fs.store.Put(ctx, dst, store.Body{}, opts)
	}
	id, err := fs.store.CreateUpload(ctx, dst, opts)
	if err != nil {
		return store.Info{}, err
	}
	fs.state.noteUpload(dst, id)
	info, err := fs.copyParts(ctx, src, dst, e, id, opts)
	if err != nil {
		err = errors.Join(err, fs.store.Abort(context.WithoutCancel(ctx), dst, id))
	}
	fs.state.forgetUpload(id)
	return info, err
}

// copyParts copies an object in parts of copyRun bytes.
func (fs *FS) copyParts(ctx context.Context, src, dst string, e index.Entry, id store.UploadID, opts store.PutOptions) (store.Info, error) {
	count := int((e.Size + copyRun - 1) / copyRun)
	parts := make([]store.Part, count)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadParallel)
	for i := range count {
		group.Go(func() (err error) {
			off := int64(i) * copyRun
			parts[i], err = fs.store.CopyPart(gctx, dst, id, i+1, src, e.ETag, off, min(copyRun, e.Size-off))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return store.Info{}, err
	}
	return fs.store.Complete(ctx, dst, id, slices.Clone(parts), opts)
}
