package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/causewayfs/causeway/store"
)

type failingProvider struct{}

func (failingProvider) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("nothing configured")
}

func TestOpenRefuses(t *testing.T) {
	for _, cfg := range []Config{
		{},
		{Bucket: "b", Prefix: "no-slash"},
		{Bucket: "b", Prefix: "/"},
		{Bucket: "b", Prefix: "/p/"},
		{Bucket: "b", Endpoint: "localhost:9000"},
		{Bucket: "b", Endpoint: "ftp://host"},
		{Bucket: "b", Endpoint: "unix:"},
		{Bucket: "b", Endpoint: "http://%zz"},
	} {
		_, err := Open(t.Context(), cfg)
		wantKind(t, fmt.Sprintf("%+v", cfg), err, store.Invalid)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	cfg := Config{Credentials: &Credentials{AccessKeyID: "id", SecretAccessKey: "hidden", SessionToken: "hidden"}}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format, *cfg.Credentials); strings.Contains(text, "hidden") {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func TestEndpoints(t *testing.T) {
	for text, want := range map[string]endpoint{
		"":                                   {},
		"http://127.0.0.1:9000/":             {url: "http://127.0.0.1:9000", bare: true, loopback: true},
		"http://localhost:1":                 {url: "http://localhost:1", bare: true, loopback: true},
		"https://[::1]:1":                    {url: "https://[::1]:1", bare: true, loopback: true},
		"http://10.0.0.1":                    {url: "http://10.0.0.1", bare: true},
		"http://minio:9000":                  {url: "http://minio:9000", bare: true},
		"https://s3.example.com":             {url: "https://s3.example.com"},
		"https://s3.eu-west-1.amazonaws.com": {url: "https://s3.eu-west-1.amazonaws.com", amazon: true},
		"unix:/run/s3":                       {url: "http://localhost", socket: "/run/s3", bare: true, loopback: true},
	} {
		got, err := parseEndpoint(text)
		if err != nil || got != want {
			t.Errorf("parseEndpoint(%q) = %+v, %v, want %+v", text, got, err, want)
		}
	}
}

// TestIntegrity looks at what protects a body on its way.
func TestIntegrity(t *testing.T) {
	var sent atomic.Pointer[http.Header]
	record := func(http.RoundTripper) http.RoundTripper {
		return roundTrip(func(r *http.Request) (*http.Response, error) {
			h := r.Header.Clone()
			sent.Store(&h)
			rec := httptest.NewRecorder()
			rec.Header().Set("ETag", `"e"`)
			return rec.Result(), nil
		})
	}
	for endpoint, want := range map[string]struct {
		sha string
		crc string
	}{
		"http://127.0.0.1:1":                 {"UNSIGNED-PAYLOAD", "NhCmhg=="},
		"https://127.0.0.1:1":                {"UNSIGNED-PAYLOAD", "NhCmhg=="},
		"http://s3.example.com":              {"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", ""},
		"https://s3.example.com":             {"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", ""},
		"https://s3.us-east-1.amazonaws.com": {"UNSIGNED-PAYLOAD", ""},
	} {
		st, err := Open(t.Context(), Config{
			Bucket: "b", Endpoint: endpoint, Credentials: &Credentials{AccessKeyID: "id", SecretAccessKey: "s"}, WrapTransport: record,
		})
		if err != nil {
			t.Fatal(err)
		}
		body := store.Body{Reader: strings.NewReader("hello"), Size: 5}
		if _, err := st.Put(t.Context(), "k", body, store.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		h := *sent.Load()
		if got := h.Get("X-Amz-Content-Sha256"); got != want.sha {
			t.Errorf("%s: content hash %q, want %q", endpoint, got, want.sha)
		}
		if got := h.Get("X-Amz-Checksum-Crc32"); got != want.crc {
			t.Errorf("%s: checksum %q, want %q", endpoint, got, want.crc)
		}
		if h.Get("Expect") != "" || h.Get("Content-Encoding") != "" {
			t.Errorf("%s: headers %v cost a round trip or change the body", endpoint, h)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestOneRequestEach counts what calls cost: nothing is repeated here.
func TestOneRequestEach(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer srv.Close()
	st := openAt(t, srv.URL)
	ctx := t.Context()
	for what, call := range map[string]func() error{
		"get":    func() error { _, err := st.Get(ctx, "k", store.GetOptions{Length: 1}); return err },
		"head":   func() error { _, err := st.Head(ctx, "k"); return err },
		"put":    func() error { _, err := st.Put(ctx, "k", store.Body{}, store.PutOptions{}); return err },
		"list":   func() error { _, err := st.List(ctx, store.ListOptions{}); return err },
		"delete": func() error { return st.Delete(ctx, "k", store.Always) },
	} {
		n.Store(0)
		if err := call(); err == nil || n.Load() != 1 {
			t.Errorf("%s: %v after %d requests, want one", what, err, n.Load())
		}
	}
}

// TestReloadsCredentials has a server that refuses the first credentials.
func TestReloadsCredentials(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), "Credential=old/") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, "<Error><Code>ExpiredToken</Code></Error>")
			return
		}
		w.Header().Set("ETag", `"e"`)
	}))
	defer srv.Close()
	t.Setenv("AWS_ACCESS_KEY_ID", "old")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "old")
	t.Setenv("AWS_CONFIG_FILE", "/nonexistent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
	st, err := Open(t.Context(), Config{Bucket: "b", Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	st.creds.now = func() time.Time { return now }
	put := func() error {
		_, err := st.Put(t.Context(), "k", store.Body{}, store.PutOptions{})
		return err
	}
	wantKind(t, "put with old keys", put(), store.BadCredentials)
	t.Setenv("AWS_ACCESS_KEY_ID", "new")
	if err := put(); err != nil {
		t.Errorf("put after new keys were laid out: %v", err)
	}
	// A further refusal is looked into again, but not more than once a second.
	st.creds.refuse()
	t.Setenv("AWS_ACCESS_KEY_ID", "old")
	if err := put(); err != nil {
		t.Errorf("put within the pause: %v", err)
	}
	now = now.Add(2 * reloadPause)
	wantKind(t, "put after the pause", put(), store.BadCredentials)
}

func TestIgnoredRange(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, "0123456789")
	}))
	defer srv.Close()
	st := openAt(t, srv.URL)
	_, err := st.Get(t.Context(), "k", store.GetOptions{Offset: 3, Length: 2})
	wantKind(t, "get from 3", err, store.Unsupported)
	obj, err := st.Get(t.Context(), "k", store.GetOptions{Length: 4})
	if err != nil || obj.Length != 4 || obj.Info.Size != 10 {
		t.Errorf("get of the first 4: %+v, %v", obj, err)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-5/6", "bytes */10", "bytes 0-9/*", "bytes 9-0/10", "bytes -1-0/1", "", "bytes 0-9223372036854775807/9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := parseContentRange(s)
		if err != nil {
			return
		}
		if r.first < 0 || r.first > r.last || r.last >= r.size {
			t.Errorf("parseContentRange(%q) = %+v", s, r)
		}
		again, err := parseContentRange(fmt.Sprintf("bytes %d-%d/%d", r.first, r.last, r.size))
		if err != nil || again != r {
			t.Errorf("round trip of %q: %+v, %v", s, again, err)
		}
	})
}

func FuzzKeyDecoding(f *testing.F) {
	for _, s := range []string{"a b", "a+b", "%41", "é", "\n", "a%", "\xff"} {
		f.Add(s)
	}
	decode := decoder(types.EncodingTypeUrl)
	f.Fuzz(func(t *testing.T, key string) {
		_, _ = decode(&key) // whatever a server sends
		for _, encoded := range []string{url.QueryEscape(key), url.PathEscape(key)} {
			if strings.Contains(encoded, "+") && strings.Contains(key, "+") {
				continue // PathEscape leaves a plus, which S3 does not
			}
			got, err := decode(&encoded)
			if err != nil || got != key {
				t.Errorf("decode(%q) = %q, %v, want %q", encoded, got, err, key)
			}
		}
		source := *(&Store{bucket: "b"}).copySource(key)
		got, err := url.QueryUnescape(source)
		if err != nil || got != "b/"+key {
			t.Errorf("copySource(%q) = %q, which decodes to %q, %v", key, source, got, err)
		}
	})
}

func FuzzMetadata(f *testing.F) {
	for _, s := range []string{"33188", "é", " x ", "=?utf-8?q?=41?=", "=?", "a\nb", strings.Repeat("漢", 100), "=?utf-8?b?", "?= =?"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, v string) {
		_ = decodeMeta(map[string]string{"k": v}) // whatever a server sends
		m := store.Metadata{"k": v}
		if store.CheckMetadata(m) != nil {
			return
		}
		sent := encodeMeta(m)
		for i := range len(sent["k"]) {
			if c := sent["k"][i]; c < ' ' || c > '~' {
				t.Fatalf("encodeMeta(%q) = %q, which is no header", v, sent["k"])
			}
		}
		if strings.TrimSpace(sent["k"]) != sent["k"] {
			t.Errorf("encodeMeta(%q) = %q, which a header would trim", v, sent["k"])
		}
		if got := decodeMeta(sent)["k"]; got != v {
			t.Errorf("metadata %q came back as %q (sent %q)", v, got, sent["k"])
		}
	})
}

// BenchmarkClientPut is what a small Put costs on this side alone.
func BenchmarkClientPut(b *testing.B) {
	answer := roundTrip(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Etag": {`"e"`}, "X-Amz-Request-Id": {"1"}},
			Body: http.NoBody, Request: r,
		}, nil
	})
	st, err := Open(b.Context(), Config{
		Bucket: "b", Endpoint: "http://127.0.0.1:1", Credentials: &Credentials{AccessKeyID: "id", SecretAccessKey: "s"},
		WrapTransport: func(http.RoundTripper) http.RoundTripper { return answer },
	})
	if err != nil {
		b.Fatal(err)
	}
	content := strings.Repeat("x", 2500)
	meta := store.Metadata{"mtime": "1700000000.123456789", "mode": "33188", "uid": "0", "gid": "0"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := st.Put(b.Context(), "dir/file", store.Body{Reader: strings.NewReader(content), Size: 2500}, store.PutOptions{Meta: meta}); err != nil {
			b.Fatal(err)
		}
	}
}
