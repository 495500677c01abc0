package etcdlock

import (
	"bytes"
	"testing"

	"github.com/causewayfs/causeway/locks"
)

func TestFormat(t *testing.T) {
	const nonce = "ABCDEFGHIJKLMNOPQRSTUVWX23"
	const golden = nonce + "\n{\"data\":\n1}"
	if got := encode([]byte("{\"data\":\n1}"), nonce); string(got) != golden {
		t.Errorf("encoded as %q", got)
	}
	data, n, err := decode([]byte(golden))
	if err != nil || string(data) != "{\"data\":\n1}" || n != nonce {
		t.Errorf("decoded as %q, %q, %v", data, n, err)
	}
	if data, _, err := decode([]byte(nonce + "\n")); err != nil || data == nil || len(data) != 0 {
		t.Errorf("an empty record is %q, %v", data, err)
	}
	for _, bad := range []string{"", nonce, nonce[1:] + "\nx", "abcdefghijklmnopqrstuvwx23\n", nonce + "x\n"} {
		if data, _, err := decode([]byte(bad)); err == nil {
			t.Errorf("%q is %q", bad, data)
		}
	}
}

func TestVersions(t *testing.T) {
	for _, r := range []int64{0, 1, 1 << 60} {
		if got := revision(version(r)); got != r {
			t.Errorf("revision %d became %d", r, got)
		}
	}
	for _, v := range []string{"x", "-1", "0", "1x"} {
		if got := revision(locks.Version(v)); got != -1 {
			t.Errorf("version %q is revision %d", v, got)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte("ABCDEFGHIJKLMNOPQRSTUVWX23\ndata"))
	f.Fuzz(func(t *testing.T, value []byte) {
		data, nonce, err := decode(value)
		if err == nil && !bytes.Equal(encode(data, nonce), value) {
			t.Errorf("%q is decoded as %q with nonce %q", value, data, nonce)
		}
	})
}
