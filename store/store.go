// Package store is the contract between Causeway and an object store: what a
// request means, which outcomes it has, and what the caller may do after each.
//
// Implementations are [github.com/causewayfs/causeway/store/s3] (any S3
// server, through the AWS SDK) and [github.com/causewayfs/causeway/store/mem]
// (a map, for tests). Concerns are decorators round any Store, each in its own
// package, composed by the command in this order, outermost first:
//
//	retry     repeats what may be repeated; settles lost answers
//	breaker   refuses requests at once while the endpoint is away
//	metrics   counts requests (every attempt), bytes and latency by Op
//	fault     (tests only) makes requests fail on purpose
//	s3 | mem
//
// The suite in package storetest is run on every implementation, on every
// decorator and on real servers.
//
// # Consistency
//
// A Store is linearizable per key: a Get, Head or List that starts after a
// Put, Copy, Delete or Complete has returned observes it. S3 gives this since
// December 2020 (AWS "Amazon S3 data consistency model").
//
// # Errors
//
// Every method returns nil or an *Error whose Kind is one of the constants of
// this package. A Kind says what is known about the object, not what the
// server said: [Unavailable] and [Timeout] mean that the request may or may
// not have been carried out, and only those two (and [Throttled], which means
// that it was not) may be sent again as they are. An error is never to be read
// as absence: only [NotExist] is.
//
// # Cancellation
//
// Every method returns soon after its context ends, with Kind [Canceled] or,
// for a deadline, [Timeout]. No further request is sent from then on, but one
// already under way may still be carried out.
package store

import (
	"context"
	"io"
	"time"
)

// ETag identifies one version of an object's bytes, as an opaque string
// without quotes. Equal ETags mean equal bytes; equal bytes may have different
// ETags. The zero ETag means "not known".
type ETag string

// Metadata is the user metadata of an object (the x-amz-meta-* headers), keys
// in lower case and without that prefix, values any UTF-8 text but the empty
// one. A caller may use [MaxMetadata] bytes; what [CheckMetadata] refuses is
// [Invalid].
type Metadata map[string]string

// Info describes one version of an object. It always comes from one response,
// so ETag, Size and Meta belong together.
type Info struct {
	Key  string
	Size int64 // bytes of the whole object, also after a ranged Get
	ETag ETag
	// Modified is of the server's clock, and its resolution may be 1 s. It is
	// zero in results of Put and Complete, where S3 does not report it.
	Modified time.Time

	// Meta is nil in a List result, where S3 does not report it, and not nil
	// in results of Head and Get. Results of Put, Copy and Complete carry
	// what was sent.
	Meta Metadata
}

// Precondition restricts a write to a state of the key. The zero value is no
// restriction. At most one of the fields is set.
type Precondition struct {
	Absent bool // the key must not exist: If-None-Match: *
	Match  ETag // the key must hold this version: If-Match
}

// Always is the empty precondition.
var Always = Precondition{}

// IfAbsent demands that the key does not exist.
func IfAbsent() Precondition { return Precondition{Absent: true} }

// IfMatch demands that the key holds the version etag.
func IfMatch(etag ETag) Precondition { return Precondition{Match: etag} }

// Set reports whether p restricts anything.
func (p Precondition) Set() bool { return p.Absent || p.Match != "" }

// GetOptions says which bytes Get returns, and when.
type GetOptions struct {
	// Offset and Length choose a range in bytes. Length 0 means up to the
	// end. A range that begins at or behind the end of the object is
	// [OutOfRange], except that Offset 0 of an empty object yields no bytes.
	Offset, Length int64

	IfMatch     ETag // other versions give PreconditionFailed
	IfNoneMatch ETag // this version gives NotModified
}

// Object is an open object. Close must be called. Reading yields exactly
// Length bytes of the version Info describes, or an *Error; a body that the
// connection cut short is an error ([Unavailable]), never a short read.
type Object struct {
	Info   Info
	Offset int64 // of the first byte of Body in the object
	Length int64 // bytes in Body
	Body   io.ReadCloser
}

// Body is what is sent: Size bytes of Reader from offset 0. The Store may read
// it several times and concurrently, until the call returns, and keeps no
// reference afterwards. A nil Reader is an empty body.
type Body struct {
	Reader io.ReaderAt
	Size   int64
}

// PutOptions goes with Put and CreateUpload.
type PutOptions struct {
	Meta        Metadata
	ContentType string // empty: the server's default
	If          Precondition
}

// CopyOptions goes with Copy.
type CopyOptions struct {
	SourceIf ETag     // if set, the source must be this version
	Meta     Metadata // if not nil, replaces the source's metadata and content type
	// ContentType goes with Meta.
	ContentType string
	If          Precondition // on the destination, only if Capabilities.CopyIf
}

// ListOptions chooses keys for List.
type ListOptions struct {
	Prefix    string
	Delimiter string // "/" or empty: group keys that go on behind it
	After     string // only keys behind this one (start-after); not with Delimiter
	Token     string // goes on where the Page with this Next ended
	Max       int    // at most this many keys and prefixes; 0 means the server's 1000
}

// Page is one answer to List. Objects and Prefixes are each sorted by the
// bytes of their keys.
type Page struct {
	Objects  []Info
	Prefixes []string // each ends with the delimiter
	Next     string   // for ListOptions.Token; empty on the last page
}

// Reader is the reading half of a Store. All methods may be repeated freely.
type Reader interface {
	// Get opens an object, or a range of it.
	//
	// Kinds: NotExist, NotModified and PreconditionFailed (as opts says),
	// OutOfRange. The caller must close the body.
	Get(ctx context.Context, key string, opts GetOptions) (*Object, error)

	// Head describes an object without its bytes. Kinds: NotExist.
	Head(ctx context.Context, key string) (Info, error)

	// List returns one page of keys, in order. A prefix that no key has is
	// an empty page and not an error.
	List(ctx context.Context, opts ListOptions) (Page, error)
}

// Writer is the writing half. A write is atomic: readers see the version
// before or the one after, whole.
type Writer interface {
	// Put stores an object. On success Info describes the new version.
	//
	// Kinds: PreconditionFailed (opts.If does not hold; nothing changed),
	// NotExist (opts.If is a Match and the key is absent; nothing changed),
	// Conflict (another conditional write was under way; nothing changed,
	// send it again). After Unavailable or Timeout the object may have been
	// stored. An unconditional Put may be repeated; a conditional one must be
	// settled first, which package retry does.
	Put(ctx context.Context, key string, body Body, opts PutOptions) (Info, error)

	// Copy stores the bytes of src under dst, on the server. src and dst may
	// be the same key when opts.Meta is set. Objects over 5 GiB are
	// [TooLarge]: use CopyPart.
	//
	// Kinds: as Put; NotExist also when src is absent, PreconditionFailed
	// also when src is not the version SourceIf. Info.Size is not known from
	// the response and is -1.
	Copy(ctx context.Context, src, dst string, opts CopyOptions) (Info, error)

	// Delete removes a key. Removing an absent key is success, except with a
	// Match precondition: NotExist. PreconditionFailed: the key holds another
	// version and is still there.
	Delete(ctx context.Context, key string, cond Precondition) error

	// DeleteMany removes up to 1000 keys with one request. Absent keys count
	// as removed. The result has one entry for each key that was not removed;
	// it is nil when all were. The error is for the request as a whole, and
	// then nothing is known about any key. May be repeated.
	DeleteMany(ctx context.Context, keys []string) (map[string]error, error)
}

// UploadID names a multipart upload of one key.
type UploadID string

// Part is one uploaded part.
type Part struct {
	Number int // from 1 to 10,000
	ETag   ETag
	Size   int64
}

// Upload is an unfinished multipart upload.
type Upload struct {
	Key     string
	ID      UploadID
	Started time.Time
}

// Uploader writes large objects in parts. Parts have at least 5 MiB, except
// the last one, and at most 5 GiB (AWS "Amazon S3 multipart upload limits").
// Nothing is visible under the key before Complete.
type Uploader interface {
	// CreateUpload begins an upload. opts.If is ignored: it goes with Complete.
	CreateUpload(ctx context.Context, key string, opts PutOptions) (UploadID, error)

	// UploadPart stores one part; the same number again replaces it. May be
	// repeated. Kinds: NotExist (the upload was completed or aborted).
	UploadPart(ctx context.Context, key string, id UploadID, number int, body Body) (Part, error)

	// CopyPart stores length bytes from offset of the version etag of src as
	// one part. Kinds: NotExist, PreconditionFailed (src is another version
	// now). May be repeated.
	CopyPart(ctx context.Context, key string, id UploadID, number int, src string, etag ETag, offset, length int64) (Part, error)

	// Complete makes the parts, in order of their numbers, the object.
	// Kinds: as Put. After Conflict the upload is gone and must begin anew
	// (AWS CompleteMultipartUpload, 409 ConditionalRequestConflict). NotExist
	// without a Match: the upload is not known, perhaps because an earlier
	// Complete whose answer was lost succeeded.
	Complete(ctx context.Context, key string, id UploadID, parts []Part, opts PutOptions) (Info, error)

	// Abort drops an upload and its parts. An unknown upload is success. May
	// be repeated.
	Abort(ctx context.Context, key string, id UploadID) error
}

// UploadLister finds unfinished uploads below a prefix. It is an optional
// power of a Store, found with [As].
type UploadLister interface {
	ListUploads(ctx context.Context, prefix string) ([]Upload, error)
}

// Store is an object store: one bucket, or one prefix of a bucket.
type Store interface {
	Reader
	Writer
	Uploader
}

// Unwrapper is implemented by decorators.
type Unwrapper interface{ Unwrap() Store }

// As finds the outermost Store of a decorated one that has the power T, or
// reports false.
func As[T any](s Store) (T, bool) {
	for s != nil {
		if t, ok := s.(T); ok {
			return t, true
		}
		u, ok := s.(Unwrapper)
		if !ok {
			break
		}
		s = u.Unwrap()
	}
	var zero T
	return zero, false
}

// Limits of S3 (AWS "Amazon S3 multipart upload limits", "DeleteObjects",
// "Creating object key names").
const (
	MaxDeleteMany = 1000
	MaxParts      = 10000
	MinPartSize   = 5 << 20
	MaxCopySize   = 5 << 30
	MaxPutSize    = 5 << 30
	MaxKeyBytes   = 1024
)
