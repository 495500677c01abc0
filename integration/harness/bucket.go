package harness

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"golang.org/x/sys/unix"
)

// Object is an object as it lies in the bucket.
type Object struct {
	Key      string
	Size     int64
	ETag     string
	Modified time.Time
	Meta     map[string]string // user metadata; nil in listings
	Body     []byte            // nil in listings
}

// Client returns an SDK client for the bucket's server that bypasses the
// proxy, so that looking counts as nothing.
func (e *Env) Client() *s3.Client { return e.Server.Client(e.Server.URL) }

// Put stores an object as another S3 tool would.
func (e *Env) Put(t T, key string, body []byte, meta map[string]string) {
	t.Helper()
	_, err := e.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &e.Bucket, Key: &key, Body: bytes.NewReader(body), Metadata: meta,
	})
	if err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

// Get returns an object, or nil if there is none.
func (e *Env) Get(t T, key string) *Object {
	t.Helper()
	out, err := e.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &e.Bucket, Key: &key})
	var api smithy.APIError
	if errors.As(err, &api) && (api.ErrorCode() == "NoSuchKey" || api.ErrorCode() == "NotFound") {
		return nil
	}
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	defer out.Body.Close()
	body, err := io.ReadAll(out.Body)
	if err != nil {
		t.Fatalf("get %q: %v", key, err)
	}
	return &Object{
		Key: key, Size: int64(len(body)), ETag: aws.ToString(out.ETag),
		Modified: aws.ToTime(out.LastModified), Meta: out.Metadata, Body: body,
	}
}

// Delete removes an object.
func (e *Env) Delete(t T, key string) {
	t.Helper()
	if _, err := e.Client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &e.Bucket, Key: &key}); err != nil {
		t.Fatalf("delete %q: %v", key, err)
	}
}

// List returns the objects whose keys start with prefix, in order of keys.
func (e *Env) List(t T, prefix string) []Object {
	t.Helper()
	var objects []Object
	pages := s3.NewListObjectsV2Paginator(e.Client(), &s3.ListObjectsV2Input{Bucket: &e.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatalf("list %q: %v", prefix, err)
		}
		for _, o := range page.Contents {
			objects = append(objects, Object{
				Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size),
				ETag: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified),
			})
		}
	}
	return objects
}

// Seed fills the bucket with n small objects, named by key, whose bodies are
// their keys. On versitygw it writes the files that versitygw would have
// written, which is some ten times faster than asking it to.
func (e *Env) Seed(t T, n int, key func(i int) string) {
	t.Helper()
	store := e.seedPut
	if e.Server.Kind == Versity {
		store = e.seedFile
	}
	next := make(chan int)
	errs := make(chan error, 1)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				if err := store(t, key(i)); err != nil {
					select {
					case errs <- err:
					default:
					}
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	select {
	case err := <-errs:
		t.Fatalf("seed: %v", err)
	default:
	}
}

func (e *Env) seedPut(t T, key string) error {
	_, err := e.Client().PutObject(t.Context(), &s3.PutObjectInput{
		Bucket: &e.Bucket, Key: &key, Body: bytes.NewReader([]byte(key)),
	})
	return err
}

// seedFile makes what a PUT through versitygw leaves: the file, and its ETag
// in an extended attribute.
func (e *Env) seedFile(_ T, key string) error {
	path := filepath.Join(e.Server.bucketDir(e.Bucket), filepath.FromSlash(key))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		f, err = os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(key); err != nil {
		return err
	}
	sum := md5.Sum([]byte(key))
	etag := `"` + hex.EncodeToString(sum[:]) + `"`
	if err := unix.Fsetxattr(int(f.Fd()), "user.etag", []byte(etag), 0); err != nil {
		return fmt.Errorf("set %s: %w (the server's directory needs a file system with user attributes)", key, err)
	}
	return nil
}
