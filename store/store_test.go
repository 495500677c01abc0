package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
)

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("commit: %w", &store.Error{Op: store.OpPut, Key: "a/b", Kind: store.PreconditionFailed, Err: cause})
	if got, want := err.Error(), "commit: PUT a/b: precondition failed: cause"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, cause) || !store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.Other) {
		t.Errorf("%v: cause or kind is lost", err)
	}
	for _, kind := range store.Kinds() {
		err := error(&store.Error{Kind: kind})
		if got, want := errors.Is(err, fs.ErrNotExist), kind == store.NotExist; got != want {
			t.Errorf("%v is fs.ErrNotExist: %v", kind, got)
		}
		if got, want := errors.Is(err, fs.ErrPermission), kind == store.Denied || kind == store.BadCredentials; got != want {
			t.Errorf("%v is fs.ErrPermission: %v", kind, got)
		}
		if kind.String() == "" || strings.HasPrefix(kind.String(), "Kind(") {
			t.Errorf("kind %d has no name", kind)
		}
	}
	if store.KindOf(nil) != store.Other || store.IsKind(nil, store.Other) || store.KindOf(cause) != store.Other {
		t.Error("errors of other types, and none, are of the kind Other, and no error is of no kind")
	}
}

func TestAs(t *testing.T) {
	back := mem.New()
	s := fault.Wrap(metrics.Wrap(fault.Wrap(back)))
	if m, ok := store.As[*mem.Store](s); !ok || m != back {
		t.Error("the innermost store is not found")
	}
	if m, ok := store.As[*metrics.Store](s); !ok || m == nil {
		t.Error("the store in the middle is not found")
	}
	if _, ok := store.As[interface{ NoSuchPower() }](s); ok {
		t.Error("a power is found that nobody has")
	}
}

func TestCheckKey(t *testing.T) {
	for key, good := range map[string]bool{
		"a": true, "a/": true, "ä b\n": true, strings.Repeat("x", 1024): true,
		"": false, strings.Repeat("x", 1025): false, "\xff": false,
	} {
		if err := store.CheckKey(key); (err == nil) != good {
			t.Errorf("CheckKey(%.20q) = %v", key, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	all := store.Capabilities{PutIfAbsent: true, PutIfMatch: true, CompleteIf: true, DeleteIf: true, CopySourceIf: true, CopyIf: true}
	if len(all.Missing()) != 0 || len(all.Lacking()) != 0 {
		t.Errorf("nothing is missing: %q, %q", all.Missing(), all.Lacking())
	}
	var none store.Capabilities
	if len(none.Missing()) != 2 || len(none.Lacking()) != 6 {
		t.Errorf("everything is missing: %q, %q", none.Missing(), none.Lacking())
	}
	all.DeleteIf = false
	if len(all.Missing()) != 0 || len(all.Lacking()) != 1 {
		t.Errorf("one thing can be worked around: %q, %q", all.Missing(), all.Lacking())
	}
}

func TestPreconditions(t *testing.T) {
	if store.Always.Set() || !store.IfAbsent().Set() || !store.IfMatch("e").Set() {
		t.Error("Set does not say whether anything is demanded")
	}
}
