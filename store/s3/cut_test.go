package s3_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
	"github.com/causewayfs/causeway/store/storetest/servers"
)

// cutter is a transport whose client dies in the middle of every large body.
// It also sends to the server what is addressed to the name "s3.test".
type cutter struct {
	next http.RoundTripper
	host string
	cut  atomic.Bool
}

var errCut = errors.New("the client died")

func (c *cutter) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	if r.Host == "" {
		r.Host = r.URL.Host
	}
	r.URL.Host = c.host
	if c.cut.Load() && r.ContentLength > 1000 {
		r.Body = &cutBody{ReadCloser: r.Body, left: r.ContentLength / 2}
		r.GetBody = nil
	}
	return c.next.RoundTrip(r)
}

type cutBody struct {
	io.ReadCloser
	left int64
}

func (b *cutBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errCut
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// TestCutBodyIsNotStored demands that no server stores the half of a body, in
// each of the ways in which bodies are protected.
func TestCutBodyIsNotStored(t *testing.T) {
	for _, kind := range servers.Kinds() {
		for _, name := range []string{"by checksum", "by signature"} {
			t.Run(string(kind)+"/"+name, func(t *testing.T) {
				cfg := servers.Config(t, kind)
				c := &cutter{host: strings.TrimPrefix(cfg.Endpoint, "http://")}
				if name == "by signature" {
					cfg.Endpoint = "http://s3.test"
				}
				cfg.WrapTransport = func(next http.RoundTripper) http.RoundTripper { c.next = next; return c }
				st, err := s3.Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = st.Close() }()
				cutBodies(t, st, c)
			})
		}
	}
}

func cutBodies(t *testing.T, st *s3.Store, c *cutter) {
	ctx := t.Context()
	if _, err := st.Put(ctx, "k", store.Body{Reader: strings.NewReader("old"), Size: 3}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	id, err := st.CreateUpload(ctx, "u", store.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := st.UploadPart(ctx, "u", id, 1, store.Body{Reader: strings.NewReader("old"), Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{1001, 50_000, 3 << 20} {
		body := store.Body{Reader: bytes.NewReader(make([]byte, size)), Size: int64(size)}
		c.cut.Store(true)
		_, err := st.Put(ctx, "k", body, store.PutOptions{})
		if !store.IsKind(err, store.Unavailable) {
			t.Errorf("put of %d bytes, cut: got %v, want unavailable", size, err)
		}
		_, err = st.UploadPart(ctx, "u", id, 1, body)
		if !store.IsKind(err, store.Unavailable) {
			t.Errorf("upload of %d bytes, cut: got %v, want unavailable", size, err)
		}
		c.cut.Store(false)
	}
	if _, err := st.Complete(ctx, "u", id, []store.Part{part}, store.PutOptions{}); err != nil {
		t.Errorf("complete: %v", err)
	}
	for _, key := range []string{"k", "u"} {
		if info, err := st.Head(ctx, key); err != nil || info.Size != 3 {
			t.Errorf("after cut bodies: %s is %+v, %v, want the old 3 bytes", key, info, err)
		}
	}
}

func TestCheckBucket(t *testing.T) {
	for _, kind := range servers.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			good := servers.Config(t, kind)
			for name, tc := range map[string]struct {
				change func(*s3.Config)
				want   store.Kind
			}{
				"no bucket":    {func(c *s3.Config) { c.Bucket = "not-there" }, store.NoBucket},
				"unknown key":  {func(c *s3.Config) { c.Credentials.AccessKeyID = "unknown" }, store.BadCredentials},
				"wrong secret": {func(c *s3.Config) { c.Credentials.SecretAccessKey = "wrong" }, store.BadCredentials},
				"no server":    {func(c *s3.Config) { c.Endpoint = "http://127.0.0.1:1" }, store.Unavailable},
				"no name":      {func(c *s3.Config) { c.Endpoint = "http://no-such-host.invalid" }, store.Unavailable},
			} {
				cfg := good
				creds := *good.Credentials
				cfg.Credentials = &creds
				tc.change(&cfg)
				st, err := s3.Open(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if err := st.CheckBucket(t.Context()); !store.IsKind(err, tc.want) {
					t.Errorf("%s: got %v, want %v", name, err, tc.want)
				} else {
					t.Log(err)
				}
			}
			st, err := s3.Open(t.Context(), good)
			if err != nil {
				t.Fatal(err)
			}
			if err := st.CheckBucket(t.Context()); err != nil {
				t.Errorf("good configuration: %v", err)
			}
			if err := st.CreateBucket(t.Context()); err != nil {
				t.Errorf("create a bucket that exists: %v", err)
			}
		})
	}
}
