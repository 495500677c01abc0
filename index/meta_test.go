package index

import (
	"maps"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
)

// TestDecode has metadata as other tools write them.
func TestDecode(t *testing.T) {
	modified := time.Date(2024, 5, 1, 12, 0, 0, 250e6, time.UTC)
	for _, c := range []struct {
		name, key string
		meta      store.Metadata
		want      Entry
	}{
		{"no metadata", "a/b", store.Metadata{}, Entry{Name: "b", Size: 7, ETag: "v"}},
		{"rclone", "b", store.Metadata{"mtime": "1714564800.123456789"}, Entry{Name: "b", Size: 7, ETag: "v",
			Mtime: time.Unix(1714564800, 123456789)}},
		{"rclone --metadata", "b", store.Metadata{
			"mtime": "1714564800", "mode": "100755", "uid": "1000", "gid": "100",
			"atime": "2024-05-01T12:00:00Z", "btime": "2024-05-01T12:00:00Z",
		}, Entry{Name: "b", Size: 7, ETag: "v", Mtime: time.Unix(1714564800, 0), Attr: &Attr{
			Mode: 0o755, HasMode: true, UID: 1000, HasUID: true, GID: 100, HasGID: true,
			Other: store.Metadata{"atime": "2024-05-01T12:00:00Z", "btime": "2024-05-01T12:00:00Z"},
		}}},
		{"s3fs file", "b", store.Metadata{
			"mtime": "1714564800", "mode": "33188", "uid": "0", "gid": "0", "ctime": "1714564801",
		}, Entry{Name: "b", Size: 7, ETag: "v", Mtime: time.Unix(1714564800, 0), Attr: &Attr{
			Mode: 0o644, HasMode: true, HasUID: true, HasGID: true, Other: store.Metadata{"ctime": "1714564801"},
		}}},
		{"s3fs directory", "a/b/", store.Metadata{"mode": "16877", "mtime": "1714564800.5"}, Entry{Name: "b", Type: TypeDir, Marker: true,
			Mtime: time.Unix(1714564800, 5e8), Attr: &Attr{Mode: 0o755, HasMode: true}}},
		{"s3fs symlink", "b", store.Metadata{"mode": "41471"}, Entry{Name: "b", Type: TypeSymlink, Size: 7, ETag: "v",
			Attr: &Attr{Mode: 0o777, HasMode: true}}},
		{"s3fs xattr", "b", store.Metadata{"xattr": "%7B%22user.tag%22%3A%22aGVsbG8%3D%22%7D"}, Entry{Name: "b", Size: 7, ETag: "v",
			Attr: &Attr{XAttrs: map[string][]byte{"user.tag": []byte("hello")}}}},
		{"device", "b", store.Metadata{"mode": "25008", "rdev": "801"}, Entry{Name: "b", Type: TypeBlockDevice, Size: 7, ETag: "v",
			Attr: &Attr{Mode: 0o660, HasMode: true, Rdev: 0x801}}},
		{"fifo", "b", store.Metadata{"mode": "4516"}, Entry{Name: "b", Type: TypeFIFO, Size: 7, ETag: "v",
			Attr: &Attr{Mode: 0o644, HasMode: true}}},
		{"the key knows what is a directory", "b", store.Metadata{"mode": "16877"}, Entry{Name: "b", Size: 7, ETag: "v",
			Attr: &Attr{Mode: 0o755, HasMode: true}}},
		{"and the marker", "b/", store.Metadata{"mode": "33188"}, Entry{Name: "b", Type: TypeDir, Marker: true,
			Attr: &Attr{Mode: 0o644, HasMode: true}}},
		{"malformed", "b", store.Metadata{"mtime": "yesterday", "mode": "rw", "uid": "-1", "gid": "99999999999", "xattr": "%7B", "causeway-nonce": "x"},
			Entry{Name: "b", Size: 7, ETag: "v", Attr: &Attr{Other: store.Metadata{
				"mtime": "yesterday", "mode": "rw", "uid": "-1", "gid": "99999999999", "xattr": "%7B"}}}},
		{"unstorable", "b", store.Metadata{"Upper": "x", "empty": "", "bad": "\xff"}, Entry{Name: "b", Size: 7, ETag: "v"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.want.Modified = modified.Truncate(time.Second).Local()
			if c.want.Mtime.IsZero() {
				c.want.Mtime = c.want.Modified
			}
			if c.want.Attr == nil {
				c.want.Attr = &Attr{}
			}
			got := Decode(store.Info{Key: c.key, Size: 7, ETag: "v", Modified: modified, Meta: c.meta})
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("Decode(%v)\n got %+v %+v\nwant %+v %+v", c.meta, got, got.Attr, c.want, c.want.Attr)
			}
		})
	}
	if got := Decode(store.Info{Key: "b"}); got.Attr != nil {
		t.Errorf("Decode without metadata: Attr %+v, want nil", got.Attr)
	}
}

func TestParseMode(t *testing.T) {
	for s, want := range map[string]uint32{
		"33188": 0o100644, "33261": 0o100755, "16877": 0o40755, "41471": 0o120777, "33206": 0o100666,
		"100644": 0o100644, "100755": 0o100755, "40755": 0o40755, "120777": 0o120777, "0100664": 0o100664,
		"20666": 0o20666, "60660": 0o60660, "140755": 0o140755,
		"420": 0o644, "0644": 0o644, "493": 0o755, "0": 0, "07777": 0o7777,
	} {
		if got, ok := parseMode(s); !ok || got != want {
			t.Errorf("parseMode(%q) = %#o, %v; want %#o", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "x", "-1", "+5", "99999", "4294967296", "0x1ff", " 420"} {
		if got, ok := parseMode(s); ok {
			t.Errorf("parseMode(%q) = %#o, want none", s, got)
		}
	}
	// Whatever is written decimal, as Encode does, is read as it was meant.
	for _, kind := range typeBits {
		for perm := range uint32(modePerm + 1) {
			m := kind | perm
			e := Entry{Attr: &Attr{Mode: perm, HasMode: true}}
			e.Type, _ = typeOf(m)
			meta, err := Encode(e, Defaults{FileMode: 1, DirMode: 1})
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := parseMode(meta["mode"]); !ok || got != m {
				t.Fatalf("mode %#o written as %q is read as %#o, %v", m, meta["mode"], got, ok)
			}
		}
	}
}

func TestParseTime(t *testing.T) {
	for s, want := range map[string]time.Time{
		"0": time.Unix(0, 0), "1714564800": time.Unix(1714564800, 0), "1.5": time.Unix(1, 5e8), "1.": time.Unix(1, 0),
		"-1.5": time.Unix(-2, 5e8), "1.1234567899": time.Unix(1, 123456789), "-0.25": time.Unix(-1, 75e7),
	} {
		if got, ok := parseTime(s); !ok || !got.Equal(want) {
			t.Errorf("parseTime(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "-", ".5", "1e9", "+1", "1.-5", "1.5.5", "9223372036854775807", "-9223372036854775807", "2024-05-01"} {
		if got, ok := parseTime(s); ok {
			t.Errorf("parseTime(%q) = %v, want none", s, got)
		}
	}
	for _, want := range []time.Time{
		time.Unix(0, 0), time.Unix(0, 1), time.Unix(0, -1), time.Unix(-1, 0), time.Unix(-5, 999999999), time.Unix(1714564800, 120000000),
		time.Unix(0, math.MaxInt64-2e9), time.Unix(0, math.MinInt64+3e9),
	} {
		if got, ok := parseTime(formatTime(want)); !ok || !got.Equal(want) {
			t.Errorf("%v is written as %q and read as %v, %v", want, formatTime(want), got, ok)
		}
	}
	if got := formatTime(time.Unix(1714564800, 120000000)); got != "1714564800.12" {
		t.Errorf("formatTime: got %s, want 1714564800.12 as rclone writes it", got)
	}
}

func TestEncode(t *testing.T) {
	mtime := time.Unix(1714564800, 0)
	mode := func(m uint32) *Attr { return &Attr{Mode: m, HasMode: true} }
	for _, c := range []struct {
		name string
		e    Entry
		d    Defaults
		want store.Metadata
	}{
		{"plain", Entry{Mtime: mtime}, Defaults{}, store.Metadata{"mtime": "1714564800"}},
		{"the usual modes cost nothing", Entry{Attr: mode(0o644)}, Defaults{}, store.Metadata{}},
		{"a directory's", Entry{Type: TypeDir, Attr: mode(0o755)}, Defaults{}, store.Metadata{}},
		{"other modes", Entry{Attr: mode(0o4755)}, Defaults{}, store.Metadata{"mode": "35309"}},
		{"of directories", Entry{Type: TypeDir, Attr: mode(0o700)}, Defaults{}, store.Metadata{"mode": "16832"}},
		{"the usual mode where it is not the default", Entry{Attr: mode(0o644)}, Defaults{FileMode: 0o600}, store.Metadata{"mode": "33188"}},
		{"a default that is not usual", Entry{Attr: mode(0o600)}, Defaults{FileMode: 0o600}, store.Metadata{"mode": "33152"}},
		{"owner", Entry{Attr: &Attr{UID: 5, HasUID: true, GID: 6, HasGID: true}}, Defaults{UID: 5}, store.Metadata{"gid": "6"}},
		{"symlink", Entry{Type: TypeSymlink}, Defaults{}, store.Metadata{"mode": "41471"}},
		{"fifo", Entry{Type: TypeFIFO}, Defaults{}, store.Metadata{"mode": "4516"}},
		{"device", Entry{Type: TypeCharDevice, Attr: &Attr{Mode: 0o666, HasMode: true, Rdev: 0x103}}, Defaults{},
			store.Metadata{"mode": "8630", "rdev": "103"}},
		{"xattr", Entry{Attr: &Attr{XAttrs: map[string][]byte{"user.a": {0xfb, 0xff}}}}, Defaults{},
			store.Metadata{"xattr": "%7B%22user.a%22%3A%22%2B%2F8%3D%22%7D"}},
		{"other keys", Entry{Attr: &Attr{Other: store.Metadata{"btime": "x", "mode": "bad"}, Mode: 0o600, HasMode: true}}, Defaults{},
			store.Metadata{"btime": "x", "mode": "33152"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Encode(c.e, c.d)
			if err != nil || !maps.Equal(got, c.want) {
				t.Errorf("got %v, %v\nwant %v", got, err, c.want)
			}
		})
	}
	large := Entry{Name: "f", Attr: &Attr{XAttrs: map[string][]byte{"user.a": make([]byte, 2000)}}}
	if _, err := Encode(large, Defaults{}); !store.IsKind(err, store.Invalid) {
		t.Errorf("2000 bytes of xattrs: got %v, want kind invalid", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("b", "1714564800.5", "33188", "1000", "100", "801", "%7B%22user.tag%22%3A%22aGVsbG8%3D%22%7D", "x")
	f.Add("b/", "-1.5", "40755", "", "-1", "zz", "{}", "")
	f.Add("b", "1", "0120777", "4294967295", "0", "ffffffff", "%7B%22%22%3A%22%22%7D", "\xff")
	f.Fuzz(func(t *testing.T, key, mtime, mode, uid, gid, rdev, xattr, other string) {
		meta := store.Metadata{"mtime": mtime, "mode": mode, "uid": uid, "gid": gid, "rdev": rdev, "xattr": xattr, "other": other}
		e := Decode(store.Info{Key: key, Size: 1, ETag: "v", Modified: time.Unix(1e9, 0), Meta: meta})
		if e.Attr == nil || e.Attr.Mode > modePerm || strings.HasSuffix(key, "/") != (e.Type == TypeDir) {
			t.Fatalf("Decode gave %+v %+v", e, e.Attr)
		}
		again, err := Encode(e, Defaults{UID: 1, GID: 2})
		if err != nil {
			if MetaSize(meta) < 500 {
				t.Fatalf("Encode: %v", err)
			}
			return
		}
		if err := store.CheckMetadata(again); err != nil {
			t.Fatalf("Encode gave %v: %v", again, err)
		}
		d := Decode(store.Info{Key: key, Size: 1, ETag: "v", Modified: time.Unix(1e9, 0), Meta: again})
		want := *e.Attr
		for k := range again {
			if k != "other" && d.Attr.Other[k] == "" {
				want.Other = maps.Clone(want.Other)
				delete(want.Other, k) // set now, where it was malformed
			}
		}
		want.HasMode, want.HasUID, want.HasGID, want.Mode, want.UID, want.GID = false, false, false, 0, 0, 0
		got := *d.Attr
		got.HasMode, got.HasUID, got.HasGID, got.Mode, got.UID, got.GID = false, false, false, 0, 0, 0
		if !got.equal(&want) || d.Type != e.Type || !d.Mtime.Equal(e.Mtime) || e.Attr.HasMode && d.Attr.HasMode && d.Attr.Mode != e.Attr.Mode {
			t.Fatalf("%+v %+v\nbecame %+v %+v", e, e.Attr, d, d.Attr)
		}
	})
}

func TestTag(t *testing.T) {
	for _, s := range []store.ETag{
		"", "d41d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf8427e-12", "D41D8CD98F00B204E9800998ECF8427E",
		"d41d8cd98f00b204e9800998ecf8427e-0", "d41d8cd98f00b204e9800998ecf8427e-01", "x", "-", "d41d8cd98f00b204e9800998ecf8427g",
	} {
		a, b := packTag(s), packTag(s)
		if a.etag() != s || !a.equal(b) || a.equal(packTag("other")) || (s != "") == a.equal(packTag("")) {
			t.Errorf("ETag %q became %q (equal %v)", s, a.etag(), a.equal(b))
		}
	}
}
