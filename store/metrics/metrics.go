// Package metrics is a decorator that counts requests, errors, bytes and
// latency by kind of request. It costs a request a few atomic additions and two
// readings of the clock.
//
// The latency of a Get is the time until its body begins. A request under
// retries is counted once by a decorator outside of package retry, and once for
// each attempt inside of it; Causeway's requests to S3 are those inside.
package metrics

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Store is the decorator.
type Store struct {
	next store.Store
	ops  map[store.Op]*counters // never changes
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Unwrapper = (*Store)(nil)
)

// counters are those of one Op.
type counters struct {
	inFlight  atomic.Int64
	kinds     []atomic.Uint64 // errors, by Kind
	ok        atomic.Uint64
	bytesUp   atomic.Uint64
	bytesDown atomic.Uint64
	latency   histogram
}

// Wrap decorates next.
func Wrap(next store.Store) *Store {
	s := &Store{next: next, ops: map[store.Op]*counters{}}
	for _, op := range store.Ops() {
		s.ops[op] = &counters{kinds: make([]atomic.Uint64, len(store.Kinds()))}
	}
	return s
}

// Unwrap implements [store.Unwrapper].
func (s *Store) Unwrap() store.Store { return s.next }

// span is one request under way.
type span struct {
	c     *counters
	start time.Time
}

func (s *Store) begin(op store.Op) span {
	c := s.ops[op]
	c.inFlight.Add(1)
	return span{c, time.Now()}
}

// end counts the request, and the bytes that it sent if it succeeded.
func (sp span) end(err error, up int64) {
	sp.c.latency.observe(time.Since(sp.start))
	sp.c.inFlight.Add(-1)
	if err != nil {
		sp.c.kinds[store.KindOf(err)].Add(1)
		return
	}
	sp.c.ok.Add(1)
	if up > 0 {
		sp.c.bytesUp.Add(uint64(up))
	}
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	sp := s.begin(store.OpGet)
	obj, err := s.next.Get(ctx, key, opts)
	sp.end(err, 0)
	if err != nil {
		return nil, err
	}
	obj.Body = &countingBody{obj.Body, sp.c}
	return obj, nil
}

// countingBody counts what is read, and a body that breaks as an error.
type countingBody struct {
	io.ReadCloser
	c *counters
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.c.bytesDown.Add(uint64(n))
	}
	if err != nil && err != io.EOF { //nolint:errorlint // the contract of io.Reader
		b.c.kinds[store.KindOf(err)].Add(1)
	}
	return n, err
}

// Head implements [store.Reader].
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	sp := s.begin(store.OpHead)
	info, err := s.next.Head(ctx, key)
	sp.end(err, 0)
	return info, err
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	sp := s.begin(store.OpList)
	page, err := s.next.List(ctx, opts)
	sp.end(err, 0)
	return page, err
}

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	sp := s.begin(store.OpPut)
	info, err := s.next.Put(ctx, key, body, opts)
	sp.end(err, body.Size)
	return info, err
}

// Copy implements [store.Writer].
func (s *Store) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	sp := s.begin(store.OpCopy)
	info, err := s.next.Copy(ctx, src, dst, opts)
	sp.end(err, 0)
	return info, err
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, key string, cond store.Precondition) error {
	sp := s.begin(store.OpDelete)
	err := s.next.Delete(ctx, key, cond)
	sp.end(err, 0)
	return err
}

// DeleteMany implements [store.Writer].
func (s *Store) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	sp := s.begin(store.OpDeleteMany)
	failed, err := s.next.DeleteMany(ctx, keys)
	sp.end(err, 0)
	return failed, err
}

// CreateUpload implements [store.Uploader].
func (s *Store) CreateUpload(ctx context.Context, key string, opts store.PutOptions) (store.UploadID, error) {
	sp := s.begin(store.OpCreateUpload)
	id, err := s.next.CreateUpload(ctx, key, opts)
	sp.end(err, 0)
	return id, err
}

// UploadPart implements [store.Uploader].
func (s *Store) UploadPart(ctx context.Context, key string, id store.UploadID, number int, body store.Body) (store.Part, error) {
	sp := s.begin(store.OpUploadPart)
	part, err := s.next.UploadPart(ctx, key, id, number, body)
	sp.end(err, body.Size)
	return part, err
}

// CopyPart implements [store.Uploader].
func (s *Store) CopyPart(ctx context.Context, key string, id store.UploadID, number int, src string, etag store.ETag, offset, length int64) (store.Part, error) {
	sp := s.begin(store.OpCopyPart)
	part, err := s.next.CopyPart(ctx, key, id, number, src, etag, offset, length)
	sp.end(err, 0)
	return part, err
}

// Complete implements [store.Uploader].
func (s *Store) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	sp := s.begin(store.OpComplete)
	info, err := s.next.Complete(ctx, key, id, parts, opts)
	sp.end(err, 0)
	return info, err
}

// Abort implements [store.Uploader].
func (s *Store) Abort(ctx context.Context, key string, id store.UploadID) error {
	sp := s.begin(store.OpAbort)
	err := s.next.Abort(ctx, key, id)
	sp.end(err, 0)
	return err
}

// ListUploads implements [store.UploadLister] where the decorated Store does;
// else the error's Kind is Unsupported.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]store.Upload, error) {
	lister, ok := store.As[store.UploadLister](s.next)
	if !ok {
		return nil, &store.Error{Op: store.OpListUploads, Key: prefix, Kind: store.Unsupported}
	}
	sp := s.begin(store.OpListUploads)
	uploads, err := lister.ListUploads(ctx, prefix)
	sp.end(err, 0)
	return uploads, err
}
