package fault

import (
	"context"
	"io"

	"github.com/causewayfs/causeway/store"
)

var (
	_ store.Store     = (*Store)(nil)
	_ store.Unwrapper = (*Store)(nil)
)

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	var obj *store.Object
	f, err := s.strike(ctx, store.OpGet, key, func() (err error) {
		obj, err = s.next.Get(ctx, key, opts)
		return err
	})
	if err != nil {
		if obj != nil {
			_ = obj.Body.Close()
		}
		return nil, err
	}
	if f.Moment == Torn {
		obj.Body = &torn{ReadCloser: obj.Body, ctx: ctx, key: key, fault: f, left: f.Bytes, total: obj.Length}
	}
	return obj, nil
}

// torn is a body that breaks, if there are more bytes than are to arrive.
type torn struct {
	io.ReadCloser
	ctx         context.Context
	key         string
	fault       Fault
	left, total int64
}

func (t *torn) Read(p []byte) (int, error) {
	if t.fault.Bytes >= t.total {
		return t.ReadCloser.Read(p)
	}
	if t.left == 0 {
		if err := pause(t.ctx, store.OpGet, t.key, t.fault.Delay); err != nil {
			return 0, err
		}
		return 0, injected(store.OpGet, t.key, t.fault)
	}
	n, err := t.ReadCloser.Read(p[:min(int64(len(p)), t.left)])
	t.left -= int64(n)
	return n, err
}

// Head implements [store.Reader].
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	return value(s, ctx, store.OpHead, key, func() (store.Info, error) { return s.next.Head(ctx, key) })
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	return value(s, ctx, store.OpList, opts.Prefix, func() (store.Page, error) { return s.next.List(ctx, opts) })
}

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	return value(s, ctx, store.OpPut, key, func() (store.Info, error) { return s.next.Put(ctx, key, body, opts) })
}

// Copy implements [store.Writer].
func (s *Store) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	return value(s, ctx, store.OpCopy, dst, func() (store.Info, error) { return s.next.Copy(ctx, src, dst, opts) })
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, key string, cond store.Precondition) error {
	_, err := s.strike(ctx, store.OpDelete, key, func() error { return s.next.Delete(ctx, key, cond) })
	return err
}

// DeleteMany implements [store.Writer].
func (s *Store) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	first := ""
	if len(keys) > 0 {
		first = keys[0]
	}
	return value(s, ctx, store.OpDeleteMany, first, func() (map[string]error, error) { return s.next.DeleteMany(ctx, keys) })
}

// CreateUpload implements [store.Uploader].
func (s *Store) CreateUpload(ctx context.Context, key string, opts store.PutOptions) (store.UploadID, error) {
	return value(s, ctx, store.OpCreateUpload, key, func() (store.UploadID, error) { return s.next.CreateUpload(ctx, key, opts) })
}

// UploadPart implements [store.Uploader].
func (s *Store) UploadPart(ctx context.Context, key string, id store.UploadID, number int, body store.Body) (store.Part, error) {
	return value(s, ctx, store.OpUploadPart, key, func() (store.Part, error) { return s.next.UploadPart(ctx, key, id, number, body) })
}

// CopyPart implements [store.Uploader].
func (s *Store) CopyPart(ctx context.Context, key string, id store.UploadID, number int, src string, etag store.ETag, offset, length int64) (store.Part, error) {
	return value(s, ctx, store.OpCopyPart, key, func() (store.Part, error) {
		return s.next.CopyPart(ctx, key, id, number, src, etag, offset, length)
	})
}

// Complete implements [store.Uploader].
func (s *Store) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	return value(s, ctx, store.OpComplete, key, func() (store.Info, error) { return s.next.Complete(ctx, key, id, parts, opts) })
}

// Abort implements [store.Uploader].
func (s *Store) Abort(ctx context.Context, key string, id store.UploadID) error {
	_, err := s.strike(ctx, store.OpAbort, key, func() error { return s.next.Abort(ctx, key, id) })
	return err
}

// value is strike for requests that answer something, which is lost with the
// answer.
func value[T any](s *Store, ctx context.Context, op store.Op, key string, carryOut func() (T, error)) (T, error) {
	var v, none T
	_, err := s.strike(ctx, op, key, func() (err error) {
		v, err = carryOut()
		return err
	})
	if err != nil {
		return none, err
	}
	return v, nil
}
