package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs"
)

// TestEveryKindHasARemedy keeps the table of remedies total.
func TestEveryKindHasARemedy(t *testing.T) {
	for _, kind := range store.Kinds() {
		remedy := storeRemedy(kind)
		if remedy == "" || strings.HasSuffix(remedy, ".") {
			t.Errorf("%v: remedy %q, want a sentence without its full stop", kind, remedy)
		}
		err := fmt.Errorf("open: %w", &store.Error{Op: store.OpList, Kind: kind})
		if got := message(err); !strings.HasSuffix(got, remedy+".") {
			t.Errorf("%v: message %q does not end with its remedy", kind, got)
		}
	}
}

func TestMessages(t *testing.T) {
	bucket := &store.Error{Op: store.OpList, Kind: store.NoBucket, Err: errors.New("api error NoSuchBucket:\n  gone")}
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("plain"), "causeway: plain"},
		{&problem{what: "do it", err: errors.New("cannot")}, "causeway: do it: cannot"},
		{&problem{what: "do it", err: errors.New("cannot"), remedy: "Try harder"}, "causeway: do it: cannot. Try harder."},
		{
			&problem{what: "outer", err: &problem{what: "inner", err: errors.New("why"), remedy: "Inner remedy"}},
			"causeway: outer: inner: why. Inner remedy.",
		},
		{
			&problem{what: "open s3://b", err: bucket},
			"causeway: open s3://b: LIST: no such bucket: api error NoSuchBucket:; gone. " + storeRemedy(store.NoBucket) + ".",
		},
		{&usageError{errors.New("no such flag")}, "causeway: no such flag. See causeway --help."},
		{
			fmt.Errorf("listen: %w", syscall.EADDRINUSE),
			"causeway: listen: address already in use. Another program listens there; choose another address.",
		},
	} {
		if got := message(c.err); got != c.want {
			t.Errorf("message(%v)\ngot  %q\nwant %q", c.err, got, c.want)
		}
	}
}

// apiError is shaped like the errors of the AWS SDK.
type apiError struct{}

func (apiError) Error() string        { return "api error NoSuchBucket: gone" }
func (apiError) ErrorCode() string    { return "NoSuchBucket" }
func (apiError) ErrorMessage() string { return "gone" }

func TestServersWords(t *testing.T) {
	err := &problem{what: "open s3://b", err: &store.Error{
		Op: store.OpList, Kind: store.NoBucket, Err: fmt.Errorf("https response error StatusCode: 404, RequestID: X, %w", apiError{}),
	}}
	if got, want := explain(err), "open s3://b: LIST: no such bucket: NoSuchBucket: gone"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStateDirectoryInUse(t *testing.T) {
	err := stateDirProblem("/var/lib/causeway/b", &vfs.InUseError{Dir: "/var/lib/causeway/b", PID: 4711})
	got := message(err)
	for _, want := range []string{"/var/lib/causeway/b", "--state-dir", "one mount"} {
		if !strings.Contains(got, want) {
			t.Errorf("message %q does not have %q", got, want)
		}
	}
}

func TestRefusalNamesWhatIsMissing(t *testing.T) {
	got := message(missingCapabilities([]string{"If-None-Match on PUT", "If-Match on DELETE"}))
	for _, want := range []string{"If-None-Match on PUT", "If-Match on DELETE", "--single-writer"} {
		if !strings.Contains(got, want) {
			t.Errorf("message %q does not have %q", got, want)
		}
	}
}
