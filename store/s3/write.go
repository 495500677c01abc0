package s3

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/causewayfs/causeway/store"
)

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	full, meta, err := s.begin(store.OpPut, key, opts.Meta)
	if err != nil {
		return store.Info{}, err
	}
	ifNoneMatch, ifMatch := conditions(opts.If)
	src := newSource(body)
	crc, err := s.checksum(src)
	if err != nil {
		return store.Info{}, &store.Error{Op: store.OpPut, Key: key, Kind: store.Other, Err: err}
	}
	out, err := s.client.PutObject(ctx, &sdk.PutObjectInput{
		Bucket: &s.bucket, Key: full, Body: src.reader(), ContentLength: aws.Int64(body.Size), ChecksumCRC32: crc,
		Metadata: meta, ContentType: optional(opts.ContentType),
		IfNoneMatch: ifNoneMatch, IfMatch: ifMatch,
	})
	if err != nil {
		return store.Info{}, s.failSending(ctx, store.OpPut, key, src, err)
	}
	return store.Info{Key: key, Size: body.Size, ETag: etag(out.ETag), Meta: maps.Clone(opts.Meta)}, nil
}

// begin checks and encodes what a write names.
func (s *Store) begin(op store.Op, key string, meta store.Metadata) (*string, map[string]string, error) {
	if err := store.CheckMetadata(meta); err != nil {
		return nil, nil, &store.Error{Op: op, Key: key, Kind: store.Invalid, Err: err}
	}
	full, err := s.full(op, key)
	return full, encodeMeta(meta), err
}

// Copy implements [store.Writer].
func (s *Store) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	full, meta, err := s.begin(store.OpCopy, dst, opts.Meta)
	if err != nil {
		return store.Info{}, err
	}
	from, err := s.full(store.OpCopy, src)
	if err != nil {
		return store.Info{}, err
	}
	ifNoneMatch, ifMatch := conditions(opts.If)
	in := &sdk.CopyObjectInput{
		Bucket: &s.bucket, Key: full, CopySource: s.copySource(*from),
		CopySourceIfMatch: quoted(opts.SourceIf),
		IfNoneMatch:       ifNoneMatch, IfMatch: ifMatch,
	}
	if opts.Meta != nil {
		in.MetadataDirective = types.MetadataDirectiveReplace
		in.Metadata = meta
		in.ContentType = optional(opts.ContentType)
	}
	out, err := s.client.CopyObject(ctx, in)
	if err != nil {
		return store.Info{}, s.fail(ctx, store.OpCopy, dst, err)
	}
	info := store.Info{Key: dst, Size: -1, Meta: maps.Clone(opts.Meta)}
	if r := out.CopyObjectResult; r != nil {
		info.ETag, info.Modified = etag(r.ETag), aws.ToTime(r.LastModified)
	}
	return info, nil
}

// copySource names an object in the x-amz-copy-source header, which servers
// decode like a query: so everything that is not plain is escaped.
func (s *Store) copySource(full string) *string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	b.WriteString(s.bucket)
	b.WriteByte('/')
	for i := range len(full) {
		c := full[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return aws.String(b.String())
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, key string, cond store.Precondition) error {
	if cond.Absent {
		return &store.Error{Op: store.OpDelete, Key: key, Kind: store.Invalid, Err: errors.New("delete of an absent key")}
	}
	full, err := s.full(store.OpDelete, key)
	if err != nil {
		return err
	}
	_, err = s.client.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &s.bucket, Key: full, IfMatch: quoted(cond.Match)})
	err = s.fail(ctx, store.OpDelete, key, err)
	if !cond.Set() && store.IsKind(err, store.NotExist) {
		return nil // some servers say so
	}
	return err
}

// DeleteMany implements [store.Writer].
func (s *Store) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	if len(keys) > store.MaxDeleteMany {
		return nil, &store.Error{Op: store.OpDeleteMany, Kind: store.Invalid, Err: fmt.Errorf("%d keys in one request", len(keys))}
	}
	ids := make([]types.ObjectIdentifier, 0, len(keys))
	var alone []string
	for _, key := range keys {
		full, err := s.full(store.OpDeleteMany, key)
		if err != nil {
			return nil, err
		}
		if !inXML(*full) {
			alone = append(alone, key)
			continue
		}
		ids = append(ids, types.ObjectIdentifier{Key: full})
	}
	var failed map[string]error
	if len(ids) > 0 {
		out, err := s.client.DeleteObjects(ctx, &sdk.DeleteObjectsInput{
			Bucket: &s.bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
		})
		if err != nil {
			return nil, s.fail(ctx, store.OpDeleteMany, "", err)
		}
		failed = s.notDeleted(out.Errors)
	}
	return s.deleteAlone(ctx, alone, failed), nil
}

// inXML reports whether XML 1.0 can hold the key. The SDK would put U+FFFD in
// place of other characters, and so name another key.
func inXML(key string) bool {
	for _, r := range key {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF || r == utf8.RuneError {
			return false
		}
	}
	return true
}

// notDeleted turns the errors of a DeleteObjects answer into ours.
func (s *Store) notDeleted(errs []types.Error) map[string]error {
	var failed map[string]error
	for _, e := range errs {
		kind := kindOfCode(aws.ToString(e.Code), http.StatusOK)
		if kind == store.NotExist {
			continue
		}
		if failed == nil {
			failed = make(map[string]error, len(errs))
		}
		key := strings.TrimPrefix(aws.ToString(e.Key), s.prefix)
		failed[key] = &store.Error{
			Op: store.OpDeleteMany, Key: key, Kind: kind,
			Err: fmt.Errorf("%s: %s", aws.ToString(e.Code), aws.ToString(e.Message)),
		}
	}
	return failed
}

// deleteAlone deletes keys one by one, eight at a time, and adds what fails.
func (s *Store) deleteAlone(ctx context.Context, keys []string, failed map[string]error) map[string]error {
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		gate = make(chan struct{}, 8)
	)
	for _, key := range keys {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			if err := s.Delete(ctx, key, store.Always); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failed == nil {
					failed = map[string]error{}
				}
				failed[key] = err
			}
		})
	}
	wg.Wait()
	return failed
}
