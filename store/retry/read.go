package retry

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Head implements [store.Reader].
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	info, err := s.head(ctx, key)
	return strip(info), err
}

// head is Head with the nonce.
func (s *Store) head(ctx context.Context, key string) (store.Info, error) {
	var info store.Info
	err := s.repeat(ctx, store.OpHead, key, 1, 0, func(ctx context.Context) (err error) {
		info, err = s.next.Head(ctx, key)
		return err
	})
	return info, err
}

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	var page store.Page
	err := s.repeat(ctx, store.OpList, opts.Prefix, 3, 0, func(ctx context.Context) (err error) {
		page, err = s.next.List(ctx, opts)
		return err
	})
	return page, err
}

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	b := &body{s: s, ctx: ctx, key: key}
	obj, err := b.open(s.begin(store.OpGet, key), opts)
	if err != nil {
		return nil, err
	}
	b.etag, b.offset, b.left = obj.Info.ETag, obj.Offset, obj.Length
	obj.Info = strip(obj.Info)
	obj.Body = b
	return obj, nil
}

// errStalled cancels a request that makes no progress.
var errStalled = errors.New("no progress")

// body reads from one connection after the other until all of the object, or
// of the range, is there. It is used by one goroutine at a time.
type body struct {
	s    *Store
	ctx  context.Context // the caller's
	key  string
	etag store.ETag

	offset, left int64 // what is still to be read
	broken       error // met after bytes that had to be returned first
	call         *call // of the attempts since the last progress; nil if none

	// Of the current connection.
	r       io.ReadCloser
	watched context.Context // ends when the watchdog bites
	stop    context.CancelCauseFunc
	dog     *time.Timer
}

// open sends a Get until it has an answer, and watches over its connection.
func (b *body) open(c *call, opts store.GetOptions) (*store.Object, error) {
	for {
		b.watched, b.stop = context.WithCancelCause(b.ctx)
		stop := b.stop
		b.dog = time.AfterFunc(c.timeout(b.ctx, 1, 0), func() { stop(errStalled) })
		obj, err := b.s.next.Get(b.watched, b.key, opts)
		b.dog.Stop()
		if err == nil {
			b.s.succeeded()
			b.r = obj.Body
			return obj, nil
		}
		err = b.explain(err)
		stop(nil)
		if !c.again(b.ctx, err) {
			return nil, c.over(b.ctx, err)
		}
	}
}

// explain turns a cancellation by the watchdog into the timeout that it is.
func (b *body) explain(err error) error {
	if b.ctx.Err() == nil && context.Cause(b.watched) == errStalled { //nolint:errorlint // Cause returns it as it is
		return &store.Error{Op: store.OpGet, Key: b.key, Kind: store.Timeout, Err: errStalled}
	}
	return err
}

func (b *body) Read(p []byte) (int, error) {
	for {
		if b.left == 0 {
			return 0, io.EOF
		}
		if b.broken != nil {
			if err := b.resume(b.broken); err != nil {
				return 0, err
			}
		}
		b.dog.Reset(b.s.cfg.RequestTimeout)
		n, err := b.r.Read(p)
		b.dog.Stop()
		b.offset, b.left = b.offset+int64(n), b.left-int64(n)
		if n > 0 {
			b.call = nil
		}
		if errors.Is(err, io.EOF) && b.left > 0 {
			err = &store.Error{Op: store.OpGet, Key: b.key, Kind: store.Unavailable, Err: io.ErrUnexpectedEOF}
		}
		if err != nil && b.left > 0 {
			b.broken = b.explain(err)
		}
		if n > 0 || len(p) == 0 {
			return n, nil
		}
	}
}

// resume opens the rest of the version anew, after a pause.
func (b *body) resume(cause error) error {
	if b.etag == "" {
		return cause
	}
	if b.call == nil {
		b.call = b.s.begin(store.OpGet, b.key)
	}
	if !b.call.again(b.ctx, cause) {
		return b.call.over(b.ctx, cause)
	}
	b.release()
	obj, err := b.open(b.call, store.GetOptions{Offset: b.offset, Length: b.left, IfMatch: b.etag})
	if err == nil && (obj.Info.ETag != b.etag || obj.Offset != b.offset || obj.Length != b.left) {
		err = &store.Error{Op: store.OpGet, Key: b.key, Kind: store.Unsupported, Err: errors.New("the server sent other bytes than the rest of the version")}
	}
	b.broken = err
	return err
}

// release gives up the current connection.
func (b *body) release() {
	if b.r != nil {
		_ = b.r.Close()
	}
	b.stop(nil)
}

func (b *body) Close() error {
	b.dog.Stop()
	b.release()
	return nil
}
