package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
)

// answers is a server that gives the same answer to every request.
func answers(t *testing.T, status int, code string) *Store {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code == "" || r.Method == http.MethodHead || status == http.StatusNotModified {
			w.WriteHeader(status)
			return
		}
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>said so</Message></Error>", code)
	}))
	t.Cleanup(srv.Close)
	return openAt(t, srv.URL)
}

func openAt(t *testing.T, url string) *Store {
	t.Helper()
	st, err := Open(t.Context(), Config{
		Bucket: "b", Endpoint: url, Region: "us-east-1",
		Credentials: &Credentials{AccessKeyID: "id", SecretAccessKey: "secret"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st
}

// TestKinds is the table of what servers say and what is known then, through
// the SDK and the network.
func TestKinds(t *testing.T) {
	for _, tc := range []struct {
		status int
		code   string
		want   store.Kind
	}{
		{404, "NoSuchKey", store.NotExist},
		{404, "NoSuchBucket", store.NoBucket},
		{404, "", store.Unavailable}, // a proxy's: it says nothing about the key
		{404, "NoSuchUpload", store.NotExist},
		{304, "", store.NotModified},
		{412, "PreconditionFailed", store.PreconditionFailed},
		{412, "", store.PreconditionFailed},
		{409, "ConditionalRequestConflict", store.Conflict},
		{409, "OperationAborted", store.Conflict},
		{409, "BucketNotEmpty", store.Other},
		{416, "InvalidRange", store.OutOfRange},
		{429, "", store.Throttled},
		{503, "SlowDown", store.Throttled},
		{503, "SlowDownWrite", store.Throttled},
		{503, "ServiceUnavailable", store.Unavailable},
		{503, "", store.Unavailable},
		{500, "InternalError", store.Unavailable},
		{502, "", store.Unavailable},
		{400, "RequestTimeout", store.Unavailable},
		{400, "BadDigest", store.Unavailable},
		{403, "AccessDenied", store.Denied},
		{403, "", store.Denied},
		{403, "InvalidAccessKeyId", store.BadCredentials},
		{403, "SignatureDoesNotMatch", store.BadCredentials},
		{400, "ExpiredToken", store.BadCredentials},
		{400, "TokenRefreshRequired", store.BadCredentials},
		{403, "RequestTimeTooSkewed", store.BadCredentials},
		{404, "XAdminUserNotFound", store.BadCredentials},
		{400, "EntityTooLarge", store.TooLarge},
		{413, "", store.TooLarge},
		{400, "KeyTooLongError", store.Invalid},
		{400, "InvalidArgument", store.Invalid},
		{400, "XMinioInvalidObjectName", store.Invalid},
		{409, "ObjectParentIsFile", store.Invalid},
		{301, "PermanentRedirect", store.Invalid},
		{501, "NotImplemented", store.Unsupported},
		{405, "MethodNotAllowed", store.Unsupported},
		{507, "InsufficientStorage", store.NoSpace},
		{507, "XMinioStorageFull", store.NoSpace},
		{403, "QuotaExceeded", store.NoSpace},
		{400, "NeverHeardOf", store.Invalid},
		{599, "NeverHeardOf", store.Unavailable},
	} {
		t.Run(fmt.Sprintf("%d %s", tc.status, tc.code), func(t *testing.T) {
			st := answers(t, tc.status, tc.code)
			_, err := st.Get(t.Context(), "k", store.GetOptions{})
			wantKind(t, "get", err, tc.want)
			_, err = st.Put(t.Context(), "k", store.Body{Reader: strings.NewReader("x"), Size: 1}, store.PutOptions{})
			wantKind(t, "put", err, tc.want)
			_, err = st.List(t.Context(), store.ListOptions{})
			wantKind(t, "list", err, tc.want)
			_, err = st.Copy(t.Context(), "k", "l", store.CopyOptions{})
			wantKind(t, "copy", err, tc.want)
			_, err = st.DeleteMany(t.Context(), []string{"k"})
			wantKind(t, "delete many", err, tc.want)
		})
	}
}

func wantKind(t *testing.T, what string, err error, want store.Kind) {
	t.Helper()
	if !store.IsKind(err, want) {
		t.Errorf("%s: got %v (%v), want %v", what, store.KindOf(err), err, want)
	}
}

// TestHead has answers without words: 404 is absence, and 400 and 403 are
// asked about with a GET.
func TestHead(t *testing.T) {
	_, err := answers(t, 404, "").Head(t.Context(), "k")
	wantKind(t, "404", err, store.NotExist)
	_, err = answers(t, 400, "ExpiredToken").Head(t.Context(), "k")
	wantKind(t, "400", err, store.BadCredentials)
	_, err = answers(t, 403, "AccessDenied").Head(t.Context(), "k")
	wantKind(t, "403", err, store.Denied)
	_, err = answers(t, 503, "").Head(t.Context(), "k")
	wantKind(t, "503", err, store.Unavailable)
}

// TestErrorWithStatus200 has errors that come late, when S3 has begun to answer.
func TestErrorWithStatus200(t *testing.T) {
	st := answers(t, 200, "InternalError")
	_, err := st.Complete(t.Context(), "k", "id", []store.Part{{Number: 1, ETag: "e"}}, store.PutOptions{})
	wantKind(t, "complete", err, store.Unavailable)
	_, err = st.Copy(t.Context(), "k", "l", store.CopyOptions{})
	wantKind(t, "copy", err, store.Unavailable)
	st = answers(t, 200, "SlowDown")
	_, err = st.CopyPart(t.Context(), "k", "id", 1, "l", "e", 0, 1)
	wantKind(t, "copy part", err, store.Throttled)
}

func TestDeleteManyPartly(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `<?xml version="1.0"?><DeleteResult>
			<Error><Key>a b</Key><Code>AccessDenied</Code><Message>no</Message></Error>
			<Error><Key>c</Key><Code>InternalError</Code><Message>oops</Message></Error>
			<Error><Key>d</Key><Code>NoSuchKey</Code><Message>gone</Message></Error></DeleteResult>`)
	}))
	defer srv.Close()
	failed, err := openAt(t, srv.URL).DeleteMany(t.Context(), []string{"a b", "c", "d", "e"})
	if err != nil || len(failed) != 2 {
		t.Fatalf("got %v, %v, want two failures", failed, err)
	}
	wantKind(t, "a b", failed["a b"], store.Denied)
	wantKind(t, "c", failed["c"], store.Unavailable)
}

// TestNetwork has servers that do not answer, or not to the end.
func TestNetwork(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	_, err := openAt(t, gone.URL).Get(t.Context(), "k", store.GetOptions{})
	wantKind(t, "connection refused", err, store.Unavailable)

	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/b/reset":
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		case "/b/short":
			w.Header().Set("Content-Length", "100")
			w.Header().Set("ETag", `"e"`)
			_, _ = w.Write(make([]byte, 60))
		case "/b/garbage":
			_, _ = fmt.Fprint(w, "<html>login please")
		case "/b/stall":
			<-release
		}
	}))
	defer srv.Close()
	defer close(release)
	st := openAt(t, srv.URL)
	_, err = st.Head(t.Context(), "reset")
	wantKind(t, "reset", err, store.Unavailable)

	obj, err := st.Get(t.Context(), "short", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 200)
	n := 0
	for err == nil {
		var m int
		m, err = obj.Body.Read(buf[n:])
		n += m
	}
	if n != 60 {
		t.Errorf("short body: %d bytes, want 60", n)
	}
	wantKind(t, "short body", err, store.Unavailable)

	_, err = st.Copy(t.Context(), "k", "garbage", store.CopyOptions{})
	wantKind(t, "garbage", err, store.Unavailable)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = st.Get(ctx, "stall", store.GetOptions{})
	wantKind(t, "stall until the deadline", err, store.Timeout)
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	_, err = st.Put(ctx, "stall", store.Body{}, store.PutOptions{})
	wantKind(t, "stall until canceled", err, store.Canceled)
}

func TestNoCredentials(t *testing.T) {
	st := answers(t, 200, "")
	st.creds.mu.Lock()
	st.creds.current = failingProvider{}
	st.creds.mu.Unlock()
	_, err := st.Get(t.Context(), "k", store.GetOptions{})
	wantKind(t, "get", err, store.BadCredentials)
	var c *credentialsError
	if !errors.As(err, &c) {
		t.Errorf("error %v does not tell that credentials are missing", err)
	}
}
