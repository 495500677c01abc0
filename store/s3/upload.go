package s3

import (
	"context"
	"fmt"
	"maps"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/causewayfs/causeway/store"
)

// CreateUpload implements [store.Uploader].
func (s *Store) CreateUpload(ctx context.Context, key string, opts store.PutOptions) (store.UploadID, error) {
	full, meta, err := s.begin(store.OpCreateUpload, key, opts.Meta)
	if err != nil {
		return "", err
	}
	out, err := s.client.CreateMultipartUpload(ctx, &sdk.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: full, Metadata: meta, ContentType: optional(opts.ContentType),
	})
	if err != nil {
		return "", s.fail(ctx, store.OpCreateUpload, key, err)
	}
	return store.UploadID(aws.ToString(out.UploadId)), nil
}

// UploadPart implements [store.Uploader].
func (s *Store) UploadPart(ctx context.Context, key string, id store.UploadID, number int, body store.Body) (store.Part, error) {
	full, err := s.part(store.OpUploadPart, key, number)
	if err != nil {
		return store.Part{}, err
	}
	src := newSource(body)
	crc, err := s.checksum(src)
	if err != nil {
		return store.Part{}, &store.Error{Op: store.OpUploadPart, Key: key, Kind: store.Other, Err: err}
	}
	out, err := s.client.UploadPart(ctx, &sdk.UploadPartInput{
		Bucket: &s.bucket, Key: full, UploadId: aws.String(string(id)), PartNumber: aws.Int32(int32(number)), //nolint:gosec // part checks it
		Body: src.reader(), ContentLength: aws.Int64(body.Size), ChecksumCRC32: crc,
	})
	if err != nil {
		return store.Part{}, s.failSending(ctx, store.OpUploadPart, key, src, err)
	}
	return store.Part{Number: number, ETag: etag(out.ETag), Size: body.Size}, nil
}

func (s *Store) part(op store.Op, key string, number int) (*string, error) {
	if number < 1 || number > store.MaxParts {
		return nil, &store.Error{Op: op, Key: key, Kind: store.Invalid, Err: fmt.Errorf("part number %d", number)}
	}
	return s.full(op, key)
}

// CopyPart implements [store.Uploader].
func (s *Store) CopyPart(ctx context.Context, key string, id store.UploadID, number int, src string, version store.ETag, offset, length int64) (store.Part, error) {
	const op = store.OpCopyPart
	full, err := s.part(op, key, number)
	if err != nil {
		return store.Part{}, err
	}
	from, err := s.full(op, src)
	if err != nil {
		return store.Part{}, err
	}
	if offset < 0 || length <= 0 {
		return store.Part{}, &store.Error{Op: op, Key: src, Kind: store.OutOfRange, Err: fmt.Errorf("%d bytes from %d", length, offset)}
	}
	out, err := s.client.UploadPartCopy(ctx, &sdk.UploadPartCopyInput{
		Bucket: &s.bucket, Key: full, UploadId: aws.String(string(id)), PartNumber: aws.Int32(int32(number)), //nolint:gosec // part checks it
		CopySource: s.copySource(*from), CopySourceIfMatch: quoted(version),
		CopySourceRange: aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)),
	})
	if err != nil {
		return store.Part{}, s.fail(ctx, op, key, err)
	}
	p := store.Part{Number: number, Size: length}
	if out.CopyPartResult != nil {
		p.ETag = etag(out.CopyPartResult.ETag)
	}
	return p, nil
}

// Complete implements [store.Uploader].
func (s *Store) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	full, err := s.full(store.OpComplete, key)
	if err != nil {
		return store.Info{}, err
	}
	size := int64(0)
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		size += p.Size
		done[i] = types.CompletedPart{ETag: quoted(p.ETag), PartNumber: aws.Int32(int32(p.Number))} //nolint:gosec // at most 10,000
	}
	ifNoneMatch, ifMatch := conditions(opts.If)
	out, err := s.client.CompleteMultipartUpload(ctx, &sdk.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: full, UploadId: aws.String(string(id)),
		MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
		IfNoneMatch:     ifNoneMatch, IfMatch: ifMatch,
	})
	if err != nil {
		return store.Info{}, s.fail(ctx, store.OpComplete, key, err)
	}
	return store.Info{Key: key, Size: size, ETag: etag(out.ETag), Meta: maps.Clone(opts.Meta)}, nil
}

// Abort implements [store.Uploader].
func (s *Store) Abort(ctx context.Context, key string, id store.UploadID) error {
	full, err := s.full(store.OpAbort, key)
	if err != nil {
		return err
	}
	_, err = s.client.AbortMultipartUpload(ctx, &sdk.AbortMultipartUploadInput{
		Bucket: &s.bucket, Key: full, UploadId: aws.String(string(id)),
	})
	err = s.fail(ctx, store.OpAbort, key, err)
	if store.IsKind(err, store.NotExist) {
		return nil
	}
	return err
}

// ListUploads implements [store.UploadLister]. MinIO takes the prefix for a
// whole key, so when nothing is found the whole bucket is looked through; not
// being allowed to is no error then.
func (s *Store) ListUploads(ctx context.Context, prefix string) ([]store.Upload, error) {
	full := s.prefix + prefix
	found, err := s.listUploads(ctx, full, full)
	if err != nil || len(found) > 0 || full == "" {
		return found, err
	}
	found, err = s.listUploads(ctx, "", full)
	if store.IsKind(err, store.Denied) {
		return nil, nil
	}
	return found, err
}

// listUploads asks for the uploads below ask and returns those below full.
func (s *Store) listUploads(ctx context.Context, ask, full string) ([]store.Upload, error) {
	in := &sdk.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: optional(ask), EncodingType: types.EncodingTypeUrl}
	var all []store.Upload
	for {
		out, err := s.client.ListMultipartUploads(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, store.OpListUploads, strings.TrimPrefix(ask, s.prefix), err)
		}
		decode := decoder(out.EncodingType)
		for _, u := range out.Uploads {
			key, err := decode(u.Key)
			if err != nil {
				return nil, &store.Error{Op: store.OpListUploads, Kind: store.Other, Err: err}
			}
			if !strings.HasPrefix(key, full) {
				continue
			}
			all = append(all, store.Upload{
				Key: strings.TrimPrefix(key, s.prefix), ID: store.UploadID(aws.ToString(u.UploadId)), Started: aws.ToTime(u.Initiated),
			})
		}
		next, err := decode(out.NextKeyMarker)
		if err != nil {
			return nil, &store.Error{Op: store.OpListUploads, Kind: store.Other, Err: err}
		}
		if !aws.ToBool(out.IsTruncated) || next == "" {
			return all, nil
		}
		in.KeyMarker, in.UploadIdMarker = &next, out.NextUploadIdMarker
	}
}
