package format

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
)

var update = flag.Bool("update", false, "write the golden files anew; only with a new version of the format")

const sum = "9e107d9d372bb6826bd81d3542a419d6"

// samples are facts of every shape.
var samples = map[string]Fact{
	"object":         {Kind: Object, Size: 5, ETag: sum, Modified: time.Unix(1_700_000_000, 0), Meta: store.Metadata{}},
	"metadata":       {Kind: Object, Size: 1 << 40, ETag: sum + "-12", Modified: time.Unix(1_700_000_000, 0), Meta: store.Metadata{"mode": "33188", "mtime": "1.5"}},
	"not known":      {Kind: Object, Size: 0},
	"odd ETag":       {Kind: Object, Size: 7, ETag: "W/abc", Base: sum},
	"upper case":     {Kind: Object, Size: 7, ETag: store.ETag(strings.ToUpper(sum))},
	"marker":         {Kind: Marked, Modified: time.Unix(-5, 0), Meta: store.Metadata{"mode": "16877"}},
	"implicit":       {Kind: Implicit},
	"gone":           {Kind: Gone, Base: sum},
	"parts too long": {Kind: Object, ETag: sum + "-012"},
}

func TestFact(t *testing.T) {
	for name, f := range samples {
		b := f.Append(nil)
		got, err := Decode(b)
		if err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, f)
		}
		for cut := range b {
			if got, err := Decode(b[:cut]); err == nil {
				t.Errorf("%s: %d of %d bytes were read as %+v", name, cut, len(b), got)
			}
		}
		if _, err := Decode(append(b, 0)); err == nil {
			t.Errorf("%s: a byte behind the fact was not noticed", name)
		}
	}
}

func TestSame(t *testing.T) {
	a := samples["object"]
	renamed := a
	renamed.Meta = store.Metadata{"mode": "1"}
	unknown := a
	unknown.ETag = ""
	other := a
	other.ETag = sum + "-2"
	implicit, marked := samples["implicit"], samples["marker"]
	for i, c := range []struct {
		a, b *Fact
		want bool
	}{
		{&a, &a, true}, {&a, &renamed, true}, {&a, &unknown, true}, {&a, &other, false},
		{&a, &implicit, false}, {&implicit, &implicit, true}, {&implicit, &marked, false},
	} {
		if got := Same(c.a, c.b); got != c.want {
			t.Errorf("case %d: got %v", i, got)
		}
	}
}

func TestKeysSortByDirectory(t *testing.T) {
	paths := []string{"a", "a/b", "a/b/c", "a/b!", "a/bc", "b", "a/b/c/d", "z/1", "a/a"}
	var keys [][]byte
	for _, p := range paths {
		k := Key(p)
		keys = append(keys, k)
		if got, ok := Path(k); !ok || got != p {
			t.Errorf("%q came back as %q, %v", p, got, ok)
		}
	}
	slices.SortFunc(keys, bytes.Compare)
	var got []string
	for _, k := range keys {
		p, _ := Path(k)
		got = append(got, p)
	}
	want := []string{"a", "b", "a/a", "a/b", "a/b!", "a/bc", "a/b/c", "a/b/c/d", "z/1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	within := func(k []byte, lower, upper []byte) bool {
		return bytes.Compare(k, lower) >= 0 && bytes.Compare(k, upper) < 0
	}
	for _, p := range paths {
		lower, upper := Names("a/b")
		if got, want := within(Key(p), lower, upper), p == "a/b/c"; got != want {
			t.Errorf("%q among the names of a/b: %v", p, got)
		}
		lower, upper = Below("a/b")
		if got, want := within(Key(p), lower, upper), p == "a/b/c/d"; got != want {
			t.Errorf("%q deeper in a/b: %v", p, got)
		}
	}
	for _, bad := range []string{"", "a", "\x00", "a\x00", "a\x00b\x00c"} {
		if p, ok := Path([]byte(bad)); ok {
			t.Errorf("%q was read as %q", bad, p)
		}
	}
}

// segment is one with all samples.
func segment() (Header, []Told, []byte) {
	h := Header{Version: segmentVersion, Gateway: "g1", Number: 7, Time: time.Unix(1_700_000_000, 0).UTC()}
	var records []Told
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for n := range samples {
			if !yield(n) {
				return
			}
		}
	}) {
		records = append(records, Told{Path: "dir/" + name, Fact: samples[name]})
	}
	h.Records = len(records)
	return h, records, AppendSegment(nil, h, records)
}

func TestSegment(t *testing.T) {
	h, records, b := segment()
	gotHeader, got, damaged, err := DecodeSegment(b)
	if err != nil || damaged != 0 || gotHeader != h || !reflect.DeepEqual(got, records) {
		t.Errorf("got %+v, %+v, %d damaged, %v", gotHeader, got, damaged, err)
	}
}

// TestSegmentDamage flips every byte and cuts at every byte: what is still read
// is right, and the rest is counted or refused.
func TestSegmentDamage(t *testing.T) {
	_, records, b := segment()
	check := func(what string, b []byte) {
		_, got, damaged, err := DecodeSegment(b)
		if err == nil && damaged == 0 {
			t.Errorf("%s was not noticed", what)
		}
		for _, g := range got {
			if !slices.ContainsFunc(records, func(r Told) bool { return reflect.DeepEqual(r, g) }) {
				t.Errorf("%s: a record that was not written: %+v", what, g)
			}
		}
	}
	for i := range b {
		for _, bit := range []byte{1, 0x80} {
			c := bytes.Clone(b)
			c[i] ^= bit
			check("a flipped bit", c)
		}
	}
	for cut := range b {
		check("a cut", b[:cut])
	}
	check("more than was written", append(bytes.Clone(b), 0))
}

func TestNewerSegment(t *testing.T) {
	b := AppendSegment(nil, Header{Version: 9}, nil)
	_, _, _, err := DecodeSegment(b)
	newer := new(NewerError)
	if !errors.As(err, &newer) || newer.Version != 9 {
		t.Errorf("got %v, want a NewerError of version 9", err)
	}
}

// TestGolden holds the format of this version.
func TestGolden(t *testing.T) {
	_, _, b := segment()
	path := filepath.Join("testdata", "segment-1")
	if *update {
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, want) {
		t.Errorf("the format has changed: got %d bytes, want the %d of %s", len(b), len(want), path)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(s.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fact, err := Decode(b)
		if err != nil {
			return
		}
		again, err := Decode(fact.Append(nil))
		if err != nil || !reflect.DeepEqual(again, fact) {
			t.Errorf("%+v became %+v, %v", fact, again, err)
		}
	})
}

func FuzzDecodeSegment(f *testing.F) {
	_, _, b := segment()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		h, records, _, err := DecodeSegment(b)
		if err != nil {
			return
		}
		_, again, damaged, err := DecodeSegment(AppendSegment(nil, h, records))
		if err != nil || damaged != 0 || len(again) != len(records) {
			t.Errorf("%d records became %d, %d damaged, %v", len(records), len(again), damaged, err)
		}
	})
}
