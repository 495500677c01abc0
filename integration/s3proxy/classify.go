package s3proxy

import (
	"net/http"
	"net/url"
	"strings"
)

// Names of the S3 operations that requests are counted under. A request that
// is none of them counts as Other.
const (
	ListBuckets             = "ListBuckets"
	HeadBucket              = "HeadBucket"
	CreateBucket            = "CreateBucket"
	DeleteBucket            = "DeleteBucket"
	ListObjects             = "ListObjects"
	ListObjectsV2           = "ListObjectsV2"
	ListMultipartUploads    = "ListMultipartUploads"
	BucketSettings          = "BucketSettings"
	GetObject               = "GetObject"
	HeadObject              = "HeadObject"
	PutObject               = "PutObject"
	CopyObject              = "CopyObject"
	RenameObject            = "RenameObject"
	DeleteObject            = "DeleteObject"
	DeleteObjects           = "DeleteObjects"
	CreateMultipartUpload   = "CreateMultipartUpload"
	UploadPart              = "UploadPart"
	UploadPartCopy          = "UploadPartCopy"
	CompleteMultipartUpload = "CompleteMultipartUpload"
	AbortMultipartUpload    = "AbortMultipartUpload"
	ListParts               = "ListParts"
	ObjectSettings          = "ObjectSettings"
	Other                   = "Other"
)

// mutators are the operations whose success changes what is stored.
var mutators = map[string]bool{
	PutObject: true, CopyObject: true, RenameObject: true,
	DeleteObject: true, DeleteObjects: true,
	CreateMultipartUpload: true, UploadPart: true, UploadPartCopy: true,
	CompleteMultipartUpload: true, AbortMultipartUpload: true,
}

// Mutates says whether a successful request of this operation changes what is
// stored in a bucket.
func Mutates(op string) bool { return mutators[op] }

// target names the operation of a request, and the key it is about: for a
// listing the prefix. Requests are understood path-style, /bucket/key.
func target(r *http.Request) (op, key string) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	switch {
	case bucket == "":
		return ListBuckets, ""
	case key == "":
		return bucketOp(r.Method, query), query.Get("prefix")
	}
	return objectOp(r.Method, query, r.Header), key
}

// bucketOp names an operation on a bucket as a whole.
func bucketOp(method string, q url.Values) string {
	switch {
	case method == http.MethodGet && q.Get("list-type") == "2":
		return ListObjectsV2
	case method == http.MethodGet && q.Has("uploads"):
		return ListMultipartUploads
	case method == http.MethodPost && q.Has("delete"):
		return DeleteObjects
	case method == http.MethodHead:
		return HeadBucket
	case settings(q):
		return BucketSettings
	}
	switch method {
	case http.MethodGet:
		return ListObjects
	case http.MethodPut:
		return CreateBucket
	case http.MethodDelete:
		return DeleteBucket
	}
	return Other
}

// objectOp names an operation on one object.
func objectOp(method string, q url.Values, h http.Header) string {
	fromObject := h.Get("X-Amz-Copy-Source") != ""
	upload := q.Has("uploadId")
	switch method {
	case http.MethodHead:
		return HeadObject
	case http.MethodGet:
		return pick(upload, ListParts, pick(settings(q), ObjectSettings, GetObject))
	case http.MethodPost:
		return pick(q.Has("uploads"), CreateMultipartUpload, pick(upload, CompleteMultipartUpload, Other))
	case http.MethodDelete:
		return pick(upload, AbortMultipartUpload, pick(settings(q), ObjectSettings, DeleteObject))
	case http.MethodPut:
		switch {
		case upload:
			return pick(fromObject, UploadPartCopy, UploadPart)
		case fromObject:
			return CopyObject
		case q.Has("renameObject"):
			return RenameObject
		}
		return pick(settings(q), ObjectSettings, PutObject)
	}
	return Other
}

func pick(cond bool, yes, no string) string {
	if cond {
		return yes
	}
	return no
}

// settings says whether a query asks about configuration and not about data.
func settings(q url.Values) bool {
	for name := range q {
		switch name {
		case "acl", "attributes", "cors", "encryption", "legal-hold", "lifecycle",
			"location", "logging", "notification", "object-lock", "ownershipControls",
			"policy", "policyStatus", "publicAccessBlock", "replication", "retention",
			"tagging", "torrent", "versioning", "versions", "website":
			return true
		}
	}
	return false
}
