package s3

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/causewayfs/causeway/store"
)

// fail turns an error of the SDK into one of the contract; nil stays nil.
func (s *Store) fail(ctx context.Context, op store.Op, key string, err error) error {
	if err == nil {
		return nil
	}
	kind := kindOf(ctx, err)
	if kind == store.NotExist && op != store.OpHead && !named(err) {
		kind = store.Unavailable
	}
	if kind == store.BadCredentials {
		s.creds.refuse()
	}
	return &store.Error{Op: op, Key: key, Kind: kind, Err: brief(err)}
}

// named reports whether the answer names what does not exist. A 404 that does
// not, from a proxy perhaps, says nothing about the object; only HEAD has to do
// without.
func named(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && strings.HasPrefix(api.ErrorCode(), "NoSuch")
}

// failSending is fail for a request with a body, which may be what failed.
func (s *Store) failSending(ctx context.Context, op store.Op, key string, src *source, err error) error {
	if cause := src.failure(); cause != nil && ctx.Err() == nil {
		return &store.Error{Op: op, Key: key, Kind: store.Other, Err: cause}
	}
	return s.fail(ctx, op, key, err)
}

// brief drops the layers of the SDK that repeat what store.Error says.
func brief(err error) error {
	var op *smithy.OperationError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// kindOf classifies an error of the SDK.
func kindOf(ctx context.Context, err error) store.Kind {
	switch cause := ctx.Err(); {
	case errors.Is(cause, context.DeadlineExceeded):
		return store.Timeout
	case cause != nil:
		return store.Canceled
	}
	var creds *credentialsError
	if errors.As(err, &creds) {
		if creds.passing {
			return store.Unavailable
		}
		return store.BadCredentials
	}
	status := 0
	var resp *smithyhttp.ResponseError
	if errors.As(err, &resp) {
		status = resp.HTTPStatusCode()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		return kindOfCode(api.ErrorCode(), status)
	}
	if status != 0 {
		return kindOfCode("", status)
	}
	return kindOfNet(err)
}

// kindOfNet classifies an error that came without an answer.
func kindOfNet(err error) store.Kind {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return store.Timeout
	}
	var sent *smithyhttp.RequestSendError
	var decode *smithy.DeserializationError
	if errors.As(err, &sent) || errors.As(err, &decode) || timeout != nil {
		return store.Unavailable
	}
	return store.Other // nothing was sent: the request could not be built
}

// kindOfCode is the table of what servers say. The code decides; an unknown
// one is judged by its status.
func kindOfCode(code string, status int) store.Kind {
	if kind, ok := kindsByCode[code]; ok {
		return kind
	}
	if kind, ok := kindsByStatus[status]; ok {
		return kind
	}
	switch {
	case status >= 500:
		return store.Unavailable
	case status >= 200 && status < 300:
		return store.Unavailable // an answer that makes no sense
	case status >= 300:
		return store.Invalid
	}
	return store.Other
}

// kindsByCode holds the codes of AWS ("Error responses"), and those that
// versitygw (X) and MinIO (XMinio) add.
var kindsByCode = map[string]store.Kind{
	"NoSuchKey":     store.NotExist,
	"NotFound":      store.NotExist, // what the SDK calls a 404 without a body
	"NoSuchUpload":  store.NotExist,
	"NoSuchVersion": store.NotExist,

	"NoSuchBucket": store.NoBucket,

	"NotModified":        store.NotModified,
	"PreconditionFailed": store.PreconditionFailed,

	"ConditionalRequestConflict": store.Conflict,
	"OperationAborted":           store.Conflict,

	"InvalidRange": store.OutOfRange,

	"SlowDown":                   store.Throttled,
	"SlowDownRead":               store.Throttled,
	"SlowDownWrite":              store.Throttled,
	"Throttling":                 store.Throttled,
	"ThrottlingException":        store.Throttled,
	"TooManyRequests":            store.Throttled,
	"RequestLimitExceeded":       store.Throttled,
	"RequestThrottled":           store.Throttled,
	"BandwidthLimitExceeded":     store.Throttled,
	"XMinioServerNotInitialized": store.Unavailable,

	"InternalError":             store.Unavailable,
	"ServiceUnavailable":        store.Unavailable,
	"RequestTimeout":            store.Unavailable,
	"IncompleteBody":            store.Unavailable,
	"BadDigest":                 store.Unavailable,
	"XAmzContentSHA256Mismatch": store.Unavailable,

	"AccessDenied":         store.Denied,
	"AllAccessDisabled":    store.Denied,
	"AccountProblem":       store.Denied,
	"AccessForbidden":      store.Denied,
	"InvalidObjectState":   store.Denied, // archived: it must be restored first
	"UnauthorizedAccess":   store.Denied,
	"MethodNotAllowed":     store.Unsupported,
	"NotImplemented":       store.Unsupported,
	"UnsupportedOperation": store.Unsupported,

	"InvalidAccessKeyId":          store.BadCredentials,
	"SignatureDoesNotMatch":       store.BadCredentials,
	"ExpiredToken":                store.BadCredentials,
	"ExpiredTokenException":       store.BadCredentials,
	"TokenRefreshRequired":        store.BadCredentials,
	"InvalidToken":                store.BadCredentials,
	"RequestExpired":              store.BadCredentials,
	"RequestTimeTooSkewed":        store.BadCredentials, // the SDK corrects the clock for the next request
	"InvalidClientTokenId":        store.BadCredentials,
	"XAdminUserNotFound":          store.BadCredentials,
	"UnrecognizedClientException": store.BadCredentials,

	"EntityTooLarge":           store.TooLarge,
	"MaxMessageLengthExceeded": store.TooLarge,

	"EntityTooSmall":                     store.Invalid,
	"KeyTooLong":                         store.Invalid,
	"KeyTooLongError":                    store.Invalid,
	"InvalidArgument":                    store.Invalid,
	"InvalidRequest":                     store.Invalid,
	"InvalidURI":                         store.Invalid,
	"InvalidPart":                        store.Invalid,
	"InvalidPartOrder":                   store.Invalid,
	"MetadataTooLarge":                   store.Invalid,
	"MalformedXML":                       store.Invalid,
	"InvalidBucketName":                  store.Invalid,
	"PermanentRedirect":                  store.Invalid, // another region's bucket
	"AuthorizationHeaderMalformed":       store.Invalid, // the same, or a malformed region
	"IllegalLocationConstraintException": store.Invalid,
	"ObjectParentIsFile":                 store.Invalid,
	"ExistingObjectIsDirectory":          store.Invalid,
	"DirectoryObjectContainsData":        store.Invalid,
	"XMinioObjectExistsAsDirectory":      store.Invalid,
	"XMinioParentIsObject":               store.Invalid,
	"XMinioInvalidObjectName":            store.Invalid,

	"InsufficientStorage":            store.NoSpace,
	"QuotaExceeded":                  store.NoSpace,
	"XMinioStorageFull":              store.NoSpace,
	"XMinioAdminBucketQuotaExceeded": store.NoSpace,
}

// kindsByStatus judges answers without a known code: those to HEAD requests,
// and those of proxies.
var kindsByStatus = map[int]store.Kind{
	http.StatusNotModified:                  store.NotModified,
	http.StatusBadRequest:                   store.Invalid,
	http.StatusUnauthorized:                 store.BadCredentials,
	http.StatusForbidden:                    store.Denied,
	http.StatusNotFound:                     store.NotExist,
	http.StatusMethodNotAllowed:             store.Unsupported,
	http.StatusRequestTimeout:               store.Unavailable,
	http.StatusConflict:                     store.Other,
	http.StatusPreconditionFailed:           store.PreconditionFailed,
	http.StatusRequestEntityTooLarge:        store.TooLarge,
	http.StatusRequestURITooLong:            store.Invalid,
	http.StatusRequestedRangeNotSatisfiable: store.OutOfRange,
	http.StatusTooManyRequests:              store.Throttled,
	http.StatusNotImplemented:               store.Unsupported,
	http.StatusInsufficientStorage:          store.NoSpace,
}

// wordless reports an answer to HEAD that does not say enough: 400 may mean
// expired credentials, 403 wrong ones.
func wordless(err error) bool {
	var resp *smithyhttp.ResponseError
	if !errors.As(err, &resp) {
		return false
	}
	return resp.HTTPStatusCode() == http.StatusBadRequest || resp.HTTPStatusCode() == http.StatusForbidden
}
