package embedded

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/s3"
)

func start(t *testing.T, cfg Config) *Server {
	t.Helper()
	// The server changes the working directory; a test must give it back
	// before its temporary directory goes.
	t.Chdir(".")
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestRestartKeepsObjectsAndCredentials(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	for round, listen := range []string{"", filepath.Join(dir, "socket")} {
		s := start(t, Config{Dir: dir, Listen: listen})
		st, err := s3.Open(ctx, s.S3())
		if err != nil {
			t.Fatal(err)
		}
		body := store.Body{Reader: strings.NewReader("hello"), Size: 5}
		_, err = st.Put(ctx, "dir/file", body, store.PutOptions{If: store.IfAbsent()})
		if round == 0 && err != nil {
			t.Errorf("first Put: %v", err)
		}
		if round == 1 && !store.IsKind(err, store.PreconditionFailed) {
			t.Errorf("Put after the restart: got %v, want precondition failed", err)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	content, err := os.ReadFile(filepath.Join(dir, "objects", "causeway", "dir", "file"))
	if err != nil || string(content) != "hello" {
		t.Errorf("object as a file: got %q, %v", content, err)
	}
	fi, err := os.Stat(filepath.Join(dir, "credentials.json"))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("credentials file: got %v, %v, want mode 0600", fi, err)
	}
}

func TestRefusesSecondServer(t *testing.T) {
	start(t, Config{Dir: t.TempDir()})
	if _, err := Start(t.Context(), Config{Dir: t.TempDir()}); !errors.Is(err, ErrRunning) {
		t.Errorf("second Start: got %v, want ErrRunning", err)
	}
}

func TestRefusesStrangers(t *testing.T) {
	s := start(t, Config{Dir: t.TempDir()})
	resp, err := http.Get(s.Endpoint() + "/causeway/?list-type=2")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("anonymous list: got %s, want 403", resp.Status)
	}
	cfg := s.S3()
	cfg.Credentials = &s3.Credentials{AccessKeyID: "nobody", SecretAccessKey: "nothing"}
	st, err := s3.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.CheckBucket(t.Context()); !store.IsKind(err, store.BadCredentials) {
		t.Errorf("CheckBucket with unknown keys: got %v, want bad credentials", err)
	}
	cfg = s.S3()
	cfg.Bucket = "not-there"
	if st, err = s3.Open(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if err := st.CheckBucket(t.Context()); !store.IsKind(err, store.NoBucket) {
		t.Errorf("CheckBucket of a missing bucket: got %v, want no such bucket", err)
	}
}

func TestStartErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "credentials.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]Config{
		"directory is a file":  {Dir: file},
		"not loopback":         {Dir: t.TempDir(), Listen: "0.0.0.0:0"},
		"damaged credentials":  {Dir: bad},
		"port of somebody":     {Dir: t.TempDir(), Listen: taken(t)},
		"bucket name unlawful": {Dir: t.TempDir(), Bucket: "A_b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Chdir(".")
			s, err := Start(t.Context(), cfg)
			if err == nil {
				_ = s.Close(t.Context())
				t.Fatal("Start succeeded")
			}
			t.Log(err)
		})
	}
}

// taken returns an address at which somebody else answers.
func taken(t *testing.T) string {
	l := http.Server{Addr: "127.0.0.1:0", Handler: http.NotFoundHandler()}
	addr, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	l.Addr = addr
	listening := make(chan struct{})
	go func() {
		close(listening)
		_ = l.ListenAndServe()
	}()
	<-listening
	t.Cleanup(func() { _ = l.Close() })
	return addr
}

func TestLargeBodyRoundTrip(t *testing.T) {
	s := start(t, Config{Dir: t.TempDir()})
	st, err := s3.Open(t.Context(), s.S3())
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	if _, err := st.Put(t.Context(), "big", store.Body{Reader: bytes.NewReader(data), Size: int64(len(data))}, store.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	obj, err := st.Get(t.Context(), "big", store.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = obj.Body.Close() }()
	got, err := io.ReadAll(obj.Body)
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(data))
	}
}
