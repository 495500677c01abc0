package status

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// syncOn runs a Server with a Syncer on a control socket.
func syncOn(t *testing.T, sync Syncer) (*Server, Entry) {
	t.Helper()
	state := t.TempDir()
	e := Entry{StateDir: state, Socket: SocketPath(state, state)}
	s := NewServer(full, sync)
	if err := s.ListenUnix(e.Socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s, e
}

func TestSync(t *testing.T) {
	var asked []string
	var answer error
	s, e := syncOn(t, func(_ context.Context, path string) error {
		asked = append(asked, path)
		return answer
	})
	for _, c := range []struct {
		path string
		err  error
		want SyncCode
	}{
		{"", nil, SyncDone},
		{".", nil, SyncDone},
		{"a b/c?d=e&f%41", nil, SyncDone},
		{"../up", nil, SyncBadPath},
		{"/root", nil, SyncBadPath},
		{"a//b", nil, SyncBadPath},
		{"f", fmt.Errorf("%w: one version", ErrNotCommitted), SyncNotCommitted},
		{"f", errors.New("S3 is gone"), SyncFailed},
	} {
		asked, answer = nil, c.err
		r, err := Sync(t.Context(), e, c.path)
		if err != nil || r.Code != c.want || (r.Error == "") != (c.want == SyncDone) {
			t.Errorf("%q: got %+v, %v, want %s", c.path, r, err, c.want)
		}
		if want := c.path; c.want == SyncDone && (len(asked) != 1 || asked[0] != want && want != ".") {
			t.Errorf("%q: asked for %q", c.path, asked)
		}
	}
	if r, err := Fetch(t.Context(), e); err != nil || r.PID != 42 {
		t.Errorf("the report beside it: %+v, %v", r, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := Sync(t.Context(), e, ""); !errors.Is(err, ErrNotRunning) {
		t.Errorf("after the end: %v", err)
	}
}

// TestSyncShape wants the JSON and the statuses that programs know.
func TestSyncShape(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		body   string
	}{
		{nil, 200, `{"code":"done"}`},
		{fmt.Errorf("%w: x", ErrNotCommitted), 409, `{"code":"not_committed","error":"not committed: x"}`},
		{errors.New("x"), 500, `{"code":"failed","error":"x"}`},
	} {
		w := httptest.NewRecorder()
		serveSync(func(context.Context, string) error { return c.err })(w, httptest.NewRequest(http.MethodPost, "/sync", nil))
		if w.Code != c.status || w.Body.String() != c.body+"\n" || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%v: got %d %s %v", c.err, w.Code, w.Body, w.Header())
		}
	}
	for code, status := range syncStatus {
		if (code == SyncDone) != (status == http.StatusOK) {
			t.Errorf("%s is %d", code, status)
		}
	}
}

// TestSyncEnds wants a wait to end with its client, and with the gateway.
func TestSyncEnds(t *testing.T) {
	started, ended := make(chan struct{}), make(chan error, 1)
	s, e := syncOn(t, func(ctx context.Context, _ string) error {
		started <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan error, 1)
	go func() {
		_, err := Sync(ctx, e, "")
		asked <- err
	}()
	<-started
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("the client: %v", err)
	}
	<-ended

	answers := make(chan SyncResult, 1)
	go func() {
		r, err := Sync(t.Context(), e, "")
		if err != nil {
			t.Error(err)
		}
		answers <- r
	}()
	<-started
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if r := <-answers; r.Code != SyncCanceled || r.Error == "" {
		t.Errorf("the gateway has ended: %+v", r)
	}
}

// deadlineRecorder notes that the deadline for writing is taken off.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	taken bool
}

func (d *deadlineRecorder) SetWriteDeadline(at time.Time) error {
	d.taken = at.IsZero()
	return nil
}

// TestSyncHasNoDeadline outlasts the time that other answers have.
func TestSyncHasNoDeadline(t *testing.T) {
	deadlines := deadlineRecorder{ResponseRecorder: httptest.NewRecorder()}
	serveSync(func(context.Context, string) error { return nil })(&deadlines, httptest.NewRequest(http.MethodPost, "/sync", nil))
	if !deadlines.taken {
		t.Error("the deadline for the answer stays")
	}
}

// TestSyncOnSocketOnly: who may see the status may not make the gateway work.
func TestSyncOnSocketOnly(t *testing.T) {
	s, _ := syncOn(t, func(context.Context, string) error { return nil })
	addr, err := s.ListenTCP("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+addr.String()+"/sync", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("status %d", resp.StatusCode)
	}
}
