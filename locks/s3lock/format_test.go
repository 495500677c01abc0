package s3lock

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/locks"
)

var update = flag.Bool("update", false, "write the golden files")

const testNonce = "ABCDEFGHIJKLMNOPQRSTUVWX23"

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil { //nolint:gosec // a file of the sources
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path) //nolint:gosec // as above
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is\n%q, want\n%q", name, got, want)
	}
}

func TestGolden(t *testing.T) {
	golden(t, "record", encodeRecord([]byte("{\"data\":\n1}"), testNonce))
	golden(t, "empty", encodeRecord([]byte{}, testNonce))
	golden(t, "tombstone", encodeRecord(nil, testNonce))
	session := sessionBody{
		ID: "THESESSION", Beat: 7, TTL: 15000, State: alive, Host: "host", PID: 42, Mount: "/mnt", Wanted: []string{"p/a", "bucket"},
	}
	body, err := session.encode()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := decodeSession(body)
	if err != nil || len(decoded.Nonce) != nonceSize {
		t.Fatalf("%+v, %v", decoded, err)
	}
	golden(t, "session.json", bytes.Replace(body, []byte(decoded.Nonce), []byte(testNonce), 1))
	var names strings.Builder
	for _, key := range []string{"bucket", "p/abc", "p/ä %~", "a/../b", "\n", strings.Repeat("x", 361)} {
		name, err := nameOf(key)
		if err != nil {
			t.Fatal(err)
		}
		names.WriteString(name + "\n")
	}
	golden(t, "names", []byte(names.String()))
}

func TestTombstonesAreShorter(t *testing.T) {
	if n := len(encodeRecord(nil, testNonce)); n != tombstoneSize {
		t.Errorf("a tombstone has %d bytes, not %d", n, tombstoneSize)
	}
	if n := len(encodeRecord([]byte{}, testNonce)); n <= tombstoneSize {
		t.Errorf("an empty record has %d bytes", n)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, body := range []string{
		"", "x", "causeway-lock-record 2 " + testNonce + "\n", "causeway-lock-record 1 " + testNonce,
		"causeway-lock-record 1 short\n", "causeway-lock-gone 1 " + testNonce + "\nx", "causeway-lock-gone 2 " + testNonce + "\n",
	} {
		if data, _, err := decodeRecord([]byte(body)); err == nil {
			t.Errorf("record %q is %q", body, data)
		}
	}
	for _, body := range []string{
		"", "{}", `{"version":2,"id":"A","ttl_ms":1,"state":"alive"}`, `{"version":1,"id":"A","ttl_ms":1,"state":"asleep"}`,
		`{"version":1,"id":"","ttl_ms":1,"state":"alive"}`, `{"version":1,"id":"A","ttl_ms":0,"state":"alive"}`,
		`{"version":1,"id":"A","ttl_ms":9223372036854775807,"state":"alive"}`,
	} {
		if s, err := decodeSession([]byte(body)); err == nil {
			t.Errorf("session %q is %+v", body, s)
		}
	}
}

func TestWant(t *testing.T) {
	s := sessionBody{Wanted: []string{"a"}}
	if got := s.want("b").want("a").want("b").Wanted; !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("wanted %q", got)
	}
	for i := range 2 * maxWanted {
		s = s.want(strings.Repeat("x", i+1))
	}
	if len(s.Wanted) != maxWanted {
		t.Errorf("%d wishes", len(s.Wanted))
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(encodeRecord([]byte("data"), testNonce))
	f.Add(encodeRecord(nil, testNonce))
	f.Fuzz(func(t *testing.T, body []byte) {
		data, nonce, err := decodeRecord(body)
		if err == nil && !bytes.Equal(encodeRecord(data, nonce), body) {
			t.Errorf("%q is decoded as %q with nonce %q", body, data, nonce)
		}
	})
}

func FuzzSession(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"A","nonce":"N","beat":7,"ttl_ms":15000,"state":"alive","wanted":["k"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := decodeSession(body)
		if err != nil {
			return
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		o, err := decodeSession(again)
		if err != nil || o.ID != s.ID || o.Beat != s.Beat || o.ttl() != s.ttl() || o.State != s.State || !slices.Equal(o.Wanted, s.Wanted) {
			t.Errorf("%+v became %+v, %v", s, o, err)
		}
	})
}

func FuzzName(f *testing.F) {
	for _, s := range []string{"p/a~", "a%2F", strings.Repeat("ä+", 100), "..", "x!/y~"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if key, ok := keyOf(s); ok {
			if name, err := nameOf(key); err != nil || name != s {
				t.Errorf("%q is the name of %q, whose name is %q (%v)", s, key, name, err)
			}
		}
		name, err := nameOf(s)
		if err != nil {
			if locks.CheckKey(s) == nil {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if key, ok := keyOf(name); !ok || key != s {
			t.Errorf("%q has the name %q, which is that of %q", s, name, key)
		}
		if len(name) > 924 {
			t.Errorf("the name of %q has %d bytes", s, len(name))
		}
		for _, segment := range strings.Split(name, "/") {
			if segment == "" || segment == "." || segment == ".." || len(segment) > 255 {
				t.Errorf("%q has the name %q", s, name)
			}
		}
		for i := range s {
			if !strings.HasPrefix(name, escape(s[:i])) {
				t.Errorf("the name of %q does not begin with that of %q", s, s[:i])
			}
		}
	})
}
