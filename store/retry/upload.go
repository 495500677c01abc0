package retry

import (
	"context"

	"github.com/causewayfs/causeway/store"
)

// CreateUpload implements [store.Uploader]. A lost answer may leave an upload
// behind that nobody knows; [store.UploadLister] finds such.
func (s *Store) CreateUpload(ctx context.Context, key string, opts store.PutOptions) (store.UploadID, error) {
	nonce := s.nonces.next()
	opts.Meta = mark(opts.Meta, nonce)
	var id store.UploadID
	err := s.repeat(ctx, store.OpCreateUpload, key, 1, 0, func(ctx context.Context) (err error) {
		id, err = s.next.CreateUpload(ctx, key, opts)
		return err
	})
	if err == nil {
		s.nonces.uploads.Store(id, nonce)
	}
	return id, err
}

// UploadPart implements [store.Uploader].
func (s *Store) UploadPart(ctx context.Context, key string, id store.UploadID, number int, body store.Body) (store.Part, error) {
	var part store.Part
	err := s.repeat(ctx, store.OpUploadPart, key, 1, body.Size, func(ctx context.Context) (err error) {
		part, err = s.next.UploadPart(ctx, key, id, number, body)
		return err
	})
	return part, err
}

// CopyPart implements [store.Uploader].
func (s *Store) CopyPart(ctx context.Context, key string, id store.UploadID, number int, src string, etag store.ETag, offset, length int64) (store.Part, error) {
	var part store.Part
	err := s.repeat(ctx, store.OpCopyPart, key, 1, length, func(ctx context.Context) (err error) {
		part, err = s.next.CopyPart(ctx, key, id, number, src, etag, offset, length)
		return err
	})
	return part, err
}

// Complete implements [store.Uploader].
func (s *Store) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	info, err := s.begin(store.OpComplete, key).guarded(ctx, slowFactor, 0, s.nonces.upload(id), opts.If, func(ctx context.Context) (store.Info, error) {
		return s.next.Complete(ctx, key, id, parts, opts)
	})
	if err == nil || store.IsKind(err, store.Conflict) {
		s.nonces.uploads.Delete(id)
	}
	return info, err
}

// Abort implements [store.Uploader].
func (s *Store) Abort(ctx context.Context, key string, id store.UploadID) error {
	err := s.repeat(ctx, store.OpAbort, key, 1, 0, func(ctx context.Context) error {
		return s.next.Abort(ctx, key, id)
	})
	if err == nil {
		s.nonces.uploads.Delete(id)
	}
	return err
}
