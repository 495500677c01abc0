package s3

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/causewayfs/causeway/store"
)

// List implements [store.Reader].
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	in := &sdk.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(s.prefix + opts.Prefix), Delimiter: optional(opts.Delimiter),
		ContinuationToken: optional(opts.Token), EncodingType: types.EncodingTypeUrl,
	}
	if opts.After != "" {
		in.StartAfter = aws.String(s.prefix + opts.After)
	}
	if opts.Max > 0 {
		in.MaxKeys = aws.Int32(int32(min(opts.Max, 1000))) //nolint:gosec // at most 1000
	}
	out, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return store.Page{}, s.fail(ctx, store.OpList, opts.Prefix, err)
	}
	page, err := s.page(out)
	if err != nil {
		return store.Page{}, &store.Error{Op: store.OpList, Key: opts.Prefix, Kind: store.Other, Err: err}
	}
	return page, nil
}

func (s *Store) page(out *sdk.ListObjectsV2Output) (store.Page, error) {
	decode := decoder(out.EncodingType)
	var page store.Page
	if n := len(out.Contents); n > 0 {
		page.Objects = make([]store.Info, 0, n)
	}
	for _, o := range out.Contents {
		key, err := decode(o.Key)
		if err != nil {
			return store.Page{}, err
		}
		if key == s.prefix {
			continue // the marker of the prefix itself has no name in it
		}
		page.Objects = append(page.Objects, store.Info{
			Key: strings.TrimPrefix(key, s.prefix), Size: aws.ToInt64(o.Size),
			ETag: etag(o.ETag), Modified: aws.ToTime(o.LastModified),
		})
	}
	for _, p := range out.CommonPrefixes {
		prefix, err := decode(p.Prefix)
		if err != nil {
			return store.Page{}, err
		}
		page.Prefixes = append(page.Prefixes, strings.TrimPrefix(prefix, s.prefix))
	}
	if aws.ToBool(out.IsTruncated) {
		page.Next = aws.ToString(out.NextContinuationToken)
	}
	return page, nil
}

// decoder returns what undoes the encoding that the server says it used. With
// encoding-type=url, keys are encoded like form values (a space is "+"),
// because XML cannot hold all of them.
func decoder(encoding types.EncodingType) func(*string) (string, error) {
	if encoding != types.EncodingTypeUrl {
		return func(p *string) (string, error) { return aws.ToString(p), nil }
	}
	return func(p *string) (string, error) {
		key, err := url.QueryUnescape(aws.ToString(p))
		if err != nil {
			return "", fmt.Errorf("decode key %q: %w", aws.ToString(p), err)
		}
		return key, nil
	}
}
