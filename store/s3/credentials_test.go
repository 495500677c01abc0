package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/retry"
)

// sourceOf yields credentials that expire, until it fails.
type sourceOf struct {
	keys string
	ends time.Time
	err  error
}

func (s *sourceOf) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: s.keys, SecretAccessKey: s.keys, CanExpire: true, Expires: s.ends}, s.err
}

// TestSourceAway has the source of credentials fail for a while: what is at hand
// is used for as long as it holds, what follows is an outage and no refusal, and
// it passes by itself.
func TestSourceAway(t *testing.T) {
	var user atomic.Pointer[string]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, rest, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
		name, _, _ := strings.Cut(rest, "/")
		user.Store(&name)
	}))
	defer srv.Close()
	st := openAt(t, srv.URL)
	now := time.Now()
	src := &sourceOf{keys: "first", ends: now.Add(time.Hour)}
	st.creds.mu.Lock()
	st.creds.current, st.creds.now = src, func() time.Time { return now }
	st.creds.load = func(context.Context) (aws.Config, error) { return aws.Config{Credentials: src}, nil }
	st.creds.mu.Unlock()
	head := func() error {
		_, err := st.Head(t.Context(), "k")
		return err
	}
	if err := head(); err != nil {
		t.Fatal(err)
	}
	src.err = errors.New("nobody is there")
	now = src.ends.Add(time.Minute) // of the expiry that is announced too early
	if err := head(); err != nil || *user.Load() != "first" {
		t.Errorf("with what is at hand, of %s: %v", *user.Load(), err)
	}
	now = now.Add(time.Hour)
	wantKind(t, "head with nothing at hand", head(), store.Unavailable)
	src.keys, src.ends, src.err = "second", now.Add(time.Hour), nil
	if err := head(); err != nil || *user.Load() != "second" {
		t.Errorf("when the source is back, of %s: %v", *user.Load(), err)
	}
}

// TestSessionExpires has a session end while calls go on: they go on when new
// keys are in the profile, without an error that anybody sees.
func TestSessionExpires(t *testing.T) {
	var valid atomic.Pointer[string]
	first := "first"
	valid.Store(&first)
	refusals := make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+*valid.Load()+"/") {
			refusals <- struct{}{}
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, "<Error><Code>ExpiredToken</Code></Error>")
			return
		}
		w.Header().Set("ETag", `"e"`)
	}))
	defer srv.Close()
	profile := filepath.Join(t.TempDir(), "credentials")
	write := func(keys string) {
		text := fmt.Sprintf("[default]\naws_access_key_id=%s\naws_secret_access_key=x\naws_session_token=y\n", keys)
		if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	for name, value := range map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "",
		"AWS_PROFILE": "", "AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": profile} {
		t.Setenv(name, value)
	}
	base, err := Open(t.Context(), Config{Bucket: "b", Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	s := retry.New(base, retry.Config{})
	put := func() error {
		_, err := s.Put(t.Context(), "k", store.Body{}, store.PutOptions{})
		return err
	}
	if err := put(); err != nil {
		t.Fatal(err)
	}
	second := "second"
	valid.Store(&second)
	done := make(chan error)
	go func() { done <- put() }()
	for range 3 { // longer than a refusal of wrong keys is tried
		<-refusals
	}
	write("second")
	if err := <-done; err != nil {
		t.Errorf("put over the end of the session: %v", err)
	}
	if err := put(); err != nil {
		t.Errorf("put after it: %v", err)
	}
}
