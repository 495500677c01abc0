package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/causewayfs/causeway/store"
)

// body is what a Get reads from. It yields exactly the promised bytes or an
// error.
type body struct {
	ctx   context.Context
	store *Store
	key   string
	r     io.ReadCloser
	left  int64
}

func (b *body) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	if err := b.ctx.Err(); err != nil {
		return 0, b.broken(err) // even if the bytes are here already
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		if b.left > 0 {
			return n, b.broken(io.ErrUnexpectedEOF)
		}
		return n, io.EOF
	case b.left > 0:
		return n, b.broken(err)
	}
	return n, nil
}

func (b *body) broken(err error) error {
	kind := store.Unavailable
	if k := kindOf(b.ctx, err); k == store.Canceled || k == store.Timeout {
		kind = k
	}
	return &store.Error{Op: store.OpGet, Key: b.key, Kind: kind, Err: fmt.Errorf("read body, %d bytes missing: %w", b.left, err)}
}

func (b *body) Close() error { return b.r.Close() }

// source hands a [store.Body] to the SDK and remembers whether reading it
// failed, because the transport reports that like a broken connection, and
// sending a file again that cannot be read helps nobody.
type source struct {
	*io.SectionReader
	err atomic.Pointer[error]
}

func newSource(b store.Body) *source {
	if b.Size == 0 || b.Reader == nil {
		return nil
	}
	return &source{SectionReader: io.NewSectionReader(b.Reader, 0, b.Size)}
}

func (s *source) Read(p []byte) (int, error) {
	before, _ := s.Seek(0, io.SeekCurrent)
	n, err := s.SectionReader.Read(p)
	if errors.Is(err, io.EOF) && before+int64(n) < s.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		s.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

// reader returns the source as what the SDK wants: nil for an empty body.
func (s *source) reader() io.Reader {
	if s == nil {
		return nil
	}
	return s
}

// failure returns why the body could not be read, or nil.
func (s *source) failure() error {
	if s == nil {
		return nil
	}
	if err := s.err.Load(); err != nil {
		return fmt.Errorf("read body: %w", *err)
	}
	return nil
}
