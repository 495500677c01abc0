// Package s3 is a [store.Store] over one bucket of an S3 server, or one prefix
// of a bucket, through the AWS SDK for Go v2. It is the only package that
// imports the SDK.
//
// One method call is one HTTP request, with these exceptions: a Get of the
// first bytes of an empty object, which S3 refuses as a range, is sent again
// without one; a Head that is refused without a reason (HEAD answers have no
// body) is sent again as a GET of one byte to learn it; a DeleteMany with keys
// that XML cannot hold deletes those one by one; ListUploads reads all pages.
// Nothing is repeated here: that is package retry's business. Every body is
// protected so that half of one is not stored; see integrity.go.
//
// Keys are relative to the prefix, in arguments and results. Metadata values
// that a header cannot carry are encoded as RFC 2047 says, which is also how
// S3 itself reports them.
package s3

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/causewayfs/causeway/store"
)

// Requests that are not part of the contract have Ops too, for errors.
const (
	opOpen        store.Op = "OPEN"
	opCheckBucket store.Op = "CHECK-BUCKET"
)

// Store is a bucket or a prefix of one. Create it with [Open].
type Store struct {
	client    *sdk.Client
	creds     *chain
	bucket    string
	prefix    string
	integrity integrity
	closeIdle func()
}

var (
	_ store.Store        = (*Store)(nil)
	_ store.UploadLister = (*Store)(nil)
)

// Bucket returns the bucket's name.
func (s *Store) Bucket() string { return s.bucket }

// Prefix returns what is put before every key.
func (s *Store) Prefix() string { return s.prefix }

// Close closes idle connections. The Store can be used further.
func (s *Store) Close() error {
	s.closeIdle()
	return nil
}

// CheckBucket finds out with one LIST whether the bucket can be used at all.
// Kinds: NoBucket, BadCredentials, Denied, Unavailable, Timeout, Invalid (for
// instance another region's bucket).
func (s *Store) CheckBucket(ctx context.Context) error {
	_, err := s.client.ListObjectsV2(ctx, &sdk.ListObjectsV2Input{
		Bucket: &s.bucket, Prefix: aws.String(s.prefix), MaxKeys: aws.Int32(1),
	})
	return s.fail(ctx, opCheckBucket, "", err)
}

// CreateBucket makes the bucket. That it exists and is the caller's already is
// success.
func (s *Store) CreateBucket(ctx context.Context) error {
	in := &sdk.CreateBucketInput{Bucket: &s.bucket}
	if region := s.client.Options().Region; region != defaultRegion {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(region),
		}
	}
	_, err := s.client.CreateBucket(ctx, in)
	var owned *types.BucketAlreadyOwnedByYou
	if errors.As(err, &owned) {
		return nil
	}
	return s.fail(ctx, opCheckBucket, "", err)
}

// full returns the key in the bucket, and refuses one that cannot be.
func (s *Store) full(op store.Op, key string) (*string, error) {
	full := s.prefix + key
	err := store.CheckKey(key)
	if err == nil {
		err = store.CheckKey(full)
	}
	if err != nil {
		return nil, &store.Error{Op: op, Key: key, Kind: store.Invalid, Err: err}
	}
	return &full, nil
}

// etag removes the quotes of a header's ETag.
func etag(p *string) store.ETag {
	return store.ETag(strings.Trim(aws.ToString(p), `"`))
}

// quoted puts them back; no ETag is no header.
func quoted(e store.ETag) *string {
	if e == "" {
		return nil
	}
	return aws.String(`"` + string(e) + `"`)
}

// conditions returns the If-None-Match and If-Match headers of a write.
func conditions(p store.Precondition) (ifNoneMatch, ifMatch *string) {
	if p.Absent {
		return aws.String("*"), nil
	}
	return nil, quoted(p.Match)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
