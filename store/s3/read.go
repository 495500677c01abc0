package s3

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/causewayfs/causeway/store"
)

// Get implements [store.Reader].
func (s *Store) Get(ctx context.Context, key string, opts store.GetOptions) (*store.Object, error) {
	if opts.Offset < 0 || opts.Length < 0 {
		return nil, &store.Error{Op: store.OpGet, Key: key, Kind: store.Invalid, Err: errors.New("negative range")}
	}
	obj, err := s.get(ctx, key, opts, byteRange(opts))
	if opts.Offset == 0 && opts.Length > 0 && store.IsKind(err, store.OutOfRange) {
		// No range is satisfiable in an empty object.
		return s.get(ctx, key, opts, nil)
	}
	return obj, err
}

func byteRange(opts store.GetOptions) *string {
	switch {
	case opts.Length > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", opts.Offset, opts.Offset+opts.Length-1))
	case opts.Offset > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", opts.Offset))
	}
	return nil
}

func (s *Store) get(ctx context.Context, key string, opts store.GetOptions, rng *string) (*store.Object, error) {
	full, err := s.full(store.OpGet, key)
	if err != nil {
		return nil, err
	}
	out, err := s.client.GetObject(ctx, &sdk.GetObjectInput{
		Bucket: &s.bucket, Key: full, Range: rng,
		IfMatch: quoted(opts.IfMatch), IfNoneMatch: quoted(opts.IfNoneMatch),
	})
	if err != nil {
		return nil, s.fail(ctx, store.OpGet, key, err)
	}
	obj := &store.Object{
		Info: store.Info{
			Key: key, Size: aws.ToInt64(out.ContentLength), ETag: etag(out.ETag),
			Modified: aws.ToTime(out.LastModified), Meta: decodeMeta(out.Metadata),
		},
		Length: aws.ToInt64(out.ContentLength),
	}
	if err := placeRange(obj, opts, out.ContentRange); err != nil {
		_ = out.Body.Close()
		return nil, &store.Error{Op: store.OpGet, Key: key, Kind: store.Unsupported, Err: err}
	}
	obj.Body = &body{ctx: ctx, store: s, key: key, r: out.Body, left: obj.Length}
	return obj, nil
}

// placeRange sets Offset, Length and Size of obj by what the server says it
// sent, and refuses bytes that were not asked for.
func placeRange(obj *store.Object, opts store.GetOptions, contentRange *string) error {
	if contentRange == nil {
		// The whole object, perhaps because the server knows no ranges.
		if opts.Offset > 0 {
			return errors.New("the server ignored the range")
		}
		if opts.Length > 0 {
			obj.Length = min(obj.Length, opts.Length)
		}
		return nil
	}
	r, err := parseContentRange(*contentRange)
	if err != nil {
		return err
	}
	if r.first != opts.Offset || r.last-r.first+1 != obj.Length || opts.Length > 0 && obj.Length > opts.Length {
		return fmt.Errorf("the server sent %q, asked for %d bytes from %d", *contentRange, opts.Length, opts.Offset)
	}
	obj.Offset, obj.Info.Size = r.first, r.size
	return nil
}

// contentRange is "bytes first-last/size" (RFC 9110, section 14.4).
type contentRange struct{ first, last, size int64 }

func parseContentRange(text string) (contentRange, error) {
	bad := fmt.Errorf("malformed Content-Range %q", text)
	rest, ok := strings.CutPrefix(text, "bytes ")
	if !ok {
		return contentRange{}, bad
	}
	span, total, ok1 := strings.Cut(rest, "/")
	first, last, ok2 := strings.Cut(span, "-")
	if !ok1 || !ok2 {
		return contentRange{}, bad
	}
	var r contentRange
	for _, f := range []struct {
		to   *int64
		text string
	}{{&r.first, first}, {&r.last, last}, {&r.size, total}} {
		n, err := strconv.ParseUint(f.text, 10, 63)
		if err != nil {
			return contentRange{}, bad
		}
		*f.to = int64(n) //nolint:gosec // 63 bits
	}
	if r.first > r.last || r.last >= r.size {
		return contentRange{}, bad
	}
	return r, nil
}

// Head implements [store.Reader].
func (s *Store) Head(ctx context.Context, key string) (store.Info, error) {
	full, err := s.full(store.OpHead, key)
	if err != nil {
		return store.Info{}, err
	}
	out, err := s.client.HeadObject(ctx, &sdk.HeadObjectInput{Bucket: &s.bucket, Key: full})
	if err != nil {
		if wordless(err) {
			return s.headByGet(ctx, key)
		}
		return store.Info{}, s.fail(ctx, store.OpHead, key, err)
	}
	return store.Info{
		Key: key, Size: aws.ToInt64(out.ContentLength), ETag: etag(out.ETag),
		Modified: aws.ToTime(out.LastModified), Meta: decodeMeta(out.Metadata),
	}, nil
}

// headByGet asks for one byte, because the answer to a GET says why it is
// refused: whether credentials expired or never had the right.
func (s *Store) headByGet(ctx context.Context, key string) (store.Info, error) {
	obj, err := s.Get(ctx, key, store.GetOptions{Length: 1})
	if err != nil {
		var e *store.Error
		if errors.As(err, &e) {
			e.Op = store.OpHead
		}
		return store.Info{}, err
	}
	_ = obj.Body.Close()
	return obj.Info, nil
}
