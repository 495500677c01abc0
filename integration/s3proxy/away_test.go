package s3proxy

import (
	"context"
	"errors"
	"net/http"
	"syscall"
	"testing"
	"time"
)

// TestAway goes away and comes back in both ways.
func TestAway(t *testing.T) {
	p := start(t, func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("answer")) })
	c := client(t)
	present := func() {
		t.Helper()
		if status, body, err := do(t, c, "GET", p.URL()+"/b/k", ""); err != nil || status != 200 || body != "answer" {
			t.Errorf("got %d %q, %v", status, body, err)
		}
	}
	for range 3 {
		present()
		if err := p.SetAway(Refused); err != nil {
			t.Fatal(err)
		}
		if _, _, err := do(t, c, "GET", p.URL()+"/b/k", ""); err == nil {
			t.Error("an answer on a connection that was to be reset")
		}
		if _, _, err := do(t, client(t), "PUT", p.URL()+"/b/k", "x"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("got %v, want that the connection is refused", err)
		}
		if err := p.SetAway(Present); err != nil {
			t.Fatal(err)
		}
		present()
		if err := p.SetAway(Silent); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		r, err := http.NewRequestWithContext(ctx, "GET", p.URL()+"/b/k", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Do(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want no answer", err)
		}
		cancel()
		if err := p.SetAway(Present); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.SetAway(Refused); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil { // and the cleanup once more
		t.Error(err)
	}
}
