package vfs

import (
	"context"
	"io"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// putAppendParts stores the new version as a multipart upload: S3 copies what
// is there already, if it is enough for a part, and the rest is sent, all at
// the same time. Nothing of the base has to be at hand for that.
func (fs *FS) putAppendParts(ctx context.Context, a *appendCommit, opts store.PutOptions, attr *index.Attr) (store.Info, error) {
	if a.base.size < appendCopy {
		if err := fs.loadBase(ctx, a); err != nil {
			return store.Info{}, err
		}
	}
	if a.busy && a.next == nil {
		a.next = fs.beginAhead(a, attr)
	}
	id, err := fs.beginAppend(ctx, a, &opts)
	if err != nil {
		return store.Info{}, uncertain(err)
	}
	parts, err := fs.appendParts(ctx, a, id)
	if err != nil {
		fs.dropUpload(&upload{fs: fs, key: a.key, id: id})
		return store.Info{}, err
	}
	info, err := fs.store.Complete(ctx, a.key, id, parts, opts)
	if err != nil {
		fs.dropUpload(&upload{fs: fs, key: a.key, id: id})
		if store.IsKind(err, store.NotExist) || store.IsKind(err, store.Conflict) {
			// Perhaps the upload is not known because it was completed.
			err = &store.Error{Op: store.OpComplete, Key: a.key, Kind: store.KindOf(err), Err: unsettledBy(err)}
		}
		return store.Info{}, err
	}
	fs.state.forgetUpload(id)
	return info, nil
}

// beginAppend begins the upload, or takes the one that was begun ahead.
func (fs *FS) beginAppend(ctx context.Context, a *appendCommit, opts *store.PutOptions) (store.UploadID, error) {
	if up := a.ahead; up != nil {
		a.ahead = nil
		if id, ok := up.use(a); ok {
			opts.Meta = up.meta
			return id, nil
		}
		up.drop()
	}
	id, err := fs.store.CreateUpload(ctx, a.key, *opts)
	if err == nil {
		fs.state.noteUpload(a.key, id)
	}
	return id, err
}

// appendParts copies and sends the parts of the new version.
func (fs *FS) appendParts(ctx context.Context, a *appendCommit, id store.UploadID) ([]store.Part, error) {
	copies, body := a.copies(), a.body()
	if len(copies) > 0 {
		rest := a.size - a.done
		body = store.Body{Reader: io.NewSectionReader(a.tail, a.done, rest), Size: rest}
	}
	size := max(int64(appendPart), body.Size/(store.MaxParts-int64(len(copies))-1)+1)
	sends := int((body.Size + size - 1) / size)
	parts := make([]store.Part, len(copies)+sends)
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadParallel)
	for i, run := range copies {
		group.Go(func() (err error) {
			parts[i], err = fs.store.CopyPart(gctx, a.key, id, i+1, a.key, a.base.etag, run.lo, run.hi-run.lo)
			return err
		})
	}
	for i := range sends {
		group.Go(func() error {
			lo := int64(i) * size
			n := min(size, body.Size-lo)
			k := len(copies) + i
			part, err := fs.store.UploadPart(gctx, a.key, id, k+1, store.Body{Reader: io.NewSectionReader(body.Reader, lo, n), Size: n})
			parts[k] = part
			return uncertain(err)
		})
	}
	return parts, group.Wait()
}

// copies are the parts that S3 copies: none if the base is too small for one.
// The last one takes what would be too little for a part of its own.
func (a *appendCommit) copies() []extent {
	if a.base.size < appendCopy {
		return nil
	}
	var runs []extent
	for lo := int64(0); lo < a.base.size; {
		hi := min(lo+copyRun, a.base.size)
		if a.base.size-hi < store.MinPartSize {
			hi = a.base.size
		}
		runs = append(runs, extent{lo, hi})
		lo = hi
	}
	return runs
}

// uncertain makes of an answer that is about the upload, and tells nothing
// about the object, one that is not taken for a conflict.
func uncertain(err error) error {
	if err == nil || !isConflict(err) {
		return err
	}
	return &store.Error{Op: store.OpUploadPart, Kind: store.Unavailable, Err: err}
}

// putAppendSlowly is for servers that do not complete uploads under a
// condition: the whole version is fetched and sent as one.
func (fs *FS) putAppendSlowly(ctx context.Context, a *appendCommit, opts store.PutOptions) (store.Info, error) {
	rest := a.size - a.done
	if a.base.bytes != nil || a.base.size == 0 {
		return fs.store.Put(ctx, a.key, a.body(), opts)
	}
	c, err := newContent(fs, fs.state.newStaged())
	if err != nil {
		return store.Info{}, err
	}
	defer fs.state.discard(c.path)
	defer c.done()
	c.setOrigin(origin{key: a.key, etag: a.base.etag, size: a.base.size})
	if err := c.ensure(ctx, 0, a.base.size); err != nil {
		return store.Info{}, err
	}
	body := afterFile{section{c, 0}, a.base.size, io.NewSectionReader(a.tail, a.done, rest)}
	return fs.store.Put(ctx, a.key, store.Body{Reader: body, Size: a.base.size + rest}, opts)
}

// afterFile reads the bytes of a file and then others.
type afterFile struct {
	first io.ReaderAt
	size  int64
	then  io.ReaderAt
}

var _ io.ReaderAt = afterFile{}

func (j afterFile) ReadAt(p []byte, off int64) (n int, err error) {
	if off < j.size {
		if n, err = j.first.ReadAt(p[:min(int64(len(p)), j.size-off)], off); err != nil || n == len(p) {
			return n, err
		}
	}
	m, err := j.then.ReadAt(p[n:], off+int64(n)-j.size)
	if err == io.EOF && n+m == len(p) {
		err = nil
	}
	return n + m, err
}
