package breaker

import (
	"context"
	"errors"
	"io"

	"github.com/causewayfs/causeway/store"
)

// pass sends one request unless the endpoint is away.
func pass[T any](s *Store, ctx context.Context, op store.Op, key string, send func(context.Context, *flight) (T, error)) (T, error) {
	var none T
	cuttable, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	f, err := s.begin(op, key, cut)
	if err != nil {
		return none, err
	}
	v, err := send(cuttable, f)
	err = explain(ctx, cuttable, op, key, err)
	s.end(f, err)
	return v, err
}

// explain turns a cancellation by the breaker into the silence that it is.
func explain(ctx, cuttable context.Context, op store.Op, key string, err error) error {
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(cuttable), errStill) {
		return &store.Error{Op: op, Key: key, Kind: store.Timeout, Err: errStill}
	}
	return err
}

// moving is a body whose reading counts as progress: bytes on their way.
type moving struct {
	io.ReaderAt
	s *Store
	f *flight
}

func (m *moving) ReadAt(p []byte, off int64) (int, error) {
	m.s.moves(m.f)
	return m.ReaderAt.ReadAt(p, off)
}

// watched returns body with progress noted. A small one is sent at once, and
// then silence is silence.
func (s *Store) watched(body store.Body, f *flight) store.Body {
	const small = 1 << 20
	if body.Reader != nil && body.Size > small {
		body.Reader = &moving{body.Reader, s, f}
	}
	return body
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	cuttable, cut := context.WithCancelCause(ctx)
	f, err := s.begin(store.OpGet, key, cut)
	if err != nil {
		cut(nil)
		return nil, err
	}
	obj, err := s.next.Get(cuttable, key, opts)
	err = explain(ctx, cuttable, store.OpGet, key, err)
	s.end(f, err)
	if err != nil {
		cut(nil)
		return nil, err
	}
	obj.Body = &body{ReadCloser: obj.Body, s: s, ctx: ctx, cuttable: cuttable, cut: cut, key: key}
	return obj, nil
}

// body is the body of a Get. Each Read counts as a request under way, since it
// may be the one that waits.
type body struct {
	io.ReadCloser
	s             *Store
	ctx, cuttable context.Context
	cut           context.CancelCauseFunc
	key           string
}

func (b *body) Read(p []byte) (int, error) {
	b.s.mu.Lock()
	f := b.s.flyLocked(b.cut)
	b.s.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // the contract of io.Reader
		err = explain(b.ctx, b.cuttable, store.OpGet, b.key, err)
	}
	if n > 0 || err == io.EOF { //nolint:errorlint // the contract of io.Reader
		b.s.end(f, nil)
	} else {
		b.s.end(f, err)
	}
	return n, err
}

func (b *body) Close() error {
	defer b.cut(nil)
	return b.ReadCloser.Close()
}

// Head implements [store.Reader].
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	return pass(s, ctx, store.OpHead, key, func(ctx context.Context, _ *flight) (store.Info, error) { return s.next.Head(ctx, key) })
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return pass(s, ctx, store.OpList, opts.Prefix, func(ctx context.Context, _ *flight) (store.Page, error) { return s.next.List(ctx, opts) })
}

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	return pass(s, ctx, store.OpPut, key, func(ctx context.Context, f *flight) (store.Info, error) {
		return s.next.Put(ctx, key, s.watched(body, f), opts)
	})
}

// Copy implements [store.Writer].
func (s *Store) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	return pass(s, ctx, store.OpCopy, dst, func(ctx context.Context, _ *flight) (store.Info, error) { return s.next.Copy(ctx, src, dst, opts) })
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, key string, cond store.Precondition) error {
	_, err := pass(s, ctx, store.OpDelete, key, func(ctx context.Context, _ *flight) (struct{}, error) {
		return struct{}{}, s.next.Delete(ctx, key, cond)
	})
	return err
}

// DeleteMany implements [store.Writer].
func (s *Store) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	return pass(s, ctx, store.OpDeleteMany, "", func(ctx context.Context, _ *flight) (map[string]error, error) {
		return s.next.DeleteMany(ctx, keys)
	})
}

// CreateUpload implements [store.Uploader].
func (s *Store) CreateUpload(ctx context.Context, key string, opts store.PutOptions) (store.UploadID, error) {
	return pass(s, ctx, store.OpCreateUpload, key, func(ctx context.Context, _ *flight) (store.UploadID, error) {
		return s.next.CreateUpload(ctx, key, opts)
	})
}

// UploadPart implements [store.Uploader].
func (s *Store) UploadPart(ctx context.Context, key string, id store.UploadID, number int, body store.Body) (store.Part, error) {
	return pass(s, ctx, store.OpUploadPart, key, func(ctx context.Context, f *flight) (store.Part, error) {
		return s.next.UploadPart(ctx, key, id, number, s.watched(body, f))
	})
}

// CopyPart implements [store.Uploader].
func (s *Store) CopyPart(ctx context.Context, key string, id store.UploadID, number int, src string, etag store.ETag, offset, length int64) (store.Part, error) {
	return pass(s, ctx, store.OpCopyPart, key, func(ctx context.Context, _ *flight) (store.Part, error) {
		return s.next.CopyPart(ctx, key, id, number, src, etag, offset, length)
	})
}

// Complete implements [store.Uploader].
func (s *Store) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	return pass(s, ctx, store.OpComplete, key, func(ctx context.Context, _ *flight) (store.Info, error) {
		return s.next.Complete(ctx, key, id, parts, opts)
	})
}

// Abort implements [store.Uploader].
func (s *Store) Abort(ctx context.Context, key string, id store.UploadID) error {
	_, err := pass(s, ctx, store.OpAbort, key, func(ctx context.Context, _ *flight) (struct{}, error) {
		return struct{}{}, s.next.Abort(ctx, key, id)
	})
	return err
}

// ListUploads implements [store.UploadLister] where the decorated Store does;
// else the error's Kind is Unsupported.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]store.Upload, error) {
	lister, ok := store.As[store.UploadLister](s.next)
	if !ok {
		return nil, &store.Error{Op: store.OpListUploads, Key: prefix, Kind: store.Unsupported}
	}
	return pass(s, ctx, store.OpListUploads, prefix, func(ctx context.Context, _ *flight) ([]store.Upload, error) {
		return lister.ListUploads(ctx, prefix)
	})
}
