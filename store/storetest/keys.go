package storetest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/causewayfs/causeway/store"
)

func keyCases() []testCase {
	return []testCase{
		{"Key/odd", keyOdd},
		{"Key/control characters", keyControl},
		{"Key/refused", keyRefused},
		{"Key/longest", keyLongest},
		{"Key/directory marker", keyMarker},
		{"Key/file beside directory", keyFileAndDirectory},
		{"Key/empty segment", keyEmptySegment},
	}
}

func oddKeys() []string {
	return []string{
		"a b", " lead", "trail ", "a+b", "a%b", "a%20b", "a%2Fb", "a&b=c", "a?b", "a#b", "a;b", "a,b", "a:b@c", "a'b\"c", "<a>",
		"a*b", "a|b", "a\\b", "a~b", "(a)[b]{c}", "a$b!", "=a=", ".hidden", "..two", "...", "-dash",
		"größe", "漢字", "e\u0301 and é", "🜁", "a\u00a0b", "\u2028", "with/sub dir+/é/x",
	}
}

// keyOdd takes every odd key through every request.
func keyOdd(s *suite) {
	keys := oddKeys()
	for _, key := range keys {
		s.put("in/"+key, key)
	}
	for _, key := range keys {
		s.roundTrip("in/"+key, key)
	}
	want := make([]string, len(keys))
	for i, key := range keys {
		want[i] = "in/" + key
	}
	slices.Sort(want)
	if got := s.keys("in/"); !slices.Equal(got, want) {
		s.Errorf("list:\n got %q\nwant %q", got, want)
	}
	if got := s.pages(store.ListOptions{Prefix: "in/", Max: 4}); !slices.Equal(got, want) {
		s.Errorf("list in pages:\n got %q\nwant %q", got, want)
	}
	failed, err := s.DeleteMany(s.ctx, want)
	s.must("delete many", err)
	if left := s.keys(""); len(left)+len(failed) > 0 {
		s.Errorf("left %q, failed %v", left, failed)
	}
}

func (s *suite) roundTrip(key, content string) {
	s.Helper()
	s.holds(key, content)
	info, err := s.Head(s.ctx, key)
	if err != nil || info.Key != key {
		s.Errorf("head %q: %+v, %v", key, info, err)
	}
	dst := "copy of " + key
	_, err = s.Copy(s.ctx, key, dst, store.CopyOptions{SourceIf: info.ETag})
	s.must(fmt.Sprintf("copy %q", key), err)
	s.holds(dst, content)
	if got := s.keys(dst); !slices.Equal(got, []string{dst}) {
		s.Errorf("list %q: %q", dst, got)
	}
	s.must("delete", s.Delete(s.ctx, dst, store.Always))
	s.absent(dst)
}

// keyControl uses what a name may hold, but not XML, in which lists and bulk
// deletes are written. Such a key must never stand for another one.
func keyControl(s *suite) {
	keys := []string{"tab\there", "new\nline", "cr\rlf\n", "bell\x07", "\x01\x1f\x7f", "bad\uFFFErune"}
	const neighbour = "bell\uFFFD"
	s.put(neighbour, "another key")
	want := []string{neighbour}
	for _, key := range keys {
		s.put(key, key)
		s.holds(key, key)
		shown := key
		if s.known.ListGarblesControls {
			shown = strings.Map(func(r rune) rune {
				if r < ' ' && !strings.ContainsRune("\t\r\n", r) || r == 0xFFFE {
					return 0xFFFD
				}
				return r
			}, key)
		}
		want = append(want, shown)
	}
	got := s.keys("")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("list:\n got %q\nwant %q", got, want)
	}
	failed, err := s.DeleteMany(s.ctx, keys)
	s.must("delete many", err)
	if left := s.keys(""); len(left) != 1 || len(failed) > 0 {
		s.Errorf("left %q, failed %v; want only the key that was not named", left, failed)
	}
	s.holds(neighbour, "another key")
}

func keyRefused(s *suite) {
	s.put("src", "x")
	for _, key := range []string{"", "\xff\xfe", strings.Repeat("a/", 512) + "b"} {
		_, err := s.Put(s.ctx, key, body(nil), store.PutOptions{})
		s.want("put", err, store.Invalid)
		_, err = s.Get(s.ctx, key, store.GetOptions{})
		s.want("get", err, store.Invalid)
		_, err = s.Head(s.ctx, key)
		s.want("head", err, store.Invalid)
		s.want("delete", s.Delete(s.ctx, key, store.Always), store.Invalid)
		_, err = s.Copy(s.ctx, "src", key, store.CopyOptions{})
		s.want("copy to", err, store.Invalid)
		_, err = s.Copy(s.ctx, key, "dst", store.CopyOptions{})
		s.want("copy from", err, store.Invalid)
		_, err = s.CreateUpload(s.ctx, key, store.PutOptions{})
		s.want("create upload", err, store.Invalid)
	}
}

func keyLongest(s *suite) {
	// Segments that file systems hold, and room for a prefix.
	key := strings.Repeat(strings.Repeat("x", 200)+"/", 4) + strings.Repeat("y", 150)
	s.put(key, "long")
	s.holds(key, "long")
	if got := s.keys(key[:500]); !slices.Equal(got, []string{key}) {
		s.Errorf("list: %q", got)
	}
}

// keyMarker checks directories: their marker "d/" and what is in them live and
// die independently of each other.
func keyMarker(s *suite) {
	s.put("d/file", "x")
	s.absent("d/")
	_, err := s.putIf("d/", "", store.IfAbsent())
	s.must("put of a marker", err)
	_, err = s.putIf("d/", "", store.IfAbsent())
	s.want("put of a marker that exists", err, store.PreconditionFailed)
	if got := s.keys("d/"); !slices.Equal(got, []string{"d/", "d/file"}) {
		s.Errorf("list: %q", got)
	}
	s.must("delete the marker", s.Delete(s.ctx, "d/", store.Always))
	s.holds("d/file", "x")
	s.must("delete the file", s.Delete(s.ctx, "d/file", store.Always))
	s.absent("d/")
	s.absent("d/file")

	_, err = s.Put(s.ctx, "e/", body(nil), store.PutOptions{If: store.IfAbsent(), Meta: store.Metadata{"mode": "16877"}})
	s.must("put of a marker with metadata", err)
	s.put("e/file", "x")
	s.must("delete the file", s.Delete(s.ctx, "e/file", store.Always))
	info, err := s.Head(s.ctx, "e/")
	if err != nil || info.Size != 0 || info.Meta["mode"] != "16877" {
		s.Errorf("head of the marker: %+v, %v", info, err)
	}
	if got := s.keys(""); !slices.Equal(got, []string{"e/"}) {
		s.Errorf("list: %q", got)
	}
}

func keyFileAndDirectory(s *suite) {
	s.put("a", "file")
	_, err := s.Put(s.ctx, "a/b", body([]byte("below")), store.PutOptions{})
	if s.known.FileOrDirectory {
		s.want("put below a file", err, store.Invalid)
		s.holds("a", "file")
		_, err = s.Get(s.ctx, "a/b", store.GetOptions{})
		s.want("get below a file", err, store.NotExist)
		_, err = s.Head(s.ctx, "a/b")
		s.want("head below a file", err, store.NotExist)
		s.must("delete below a file", s.Delete(s.ctx, "a/b", store.Always))
		s.put("d/b", "below")
		_, err = s.Put(s.ctx, "d", body(nil), store.PutOptions{})
		s.want("put over a directory", err, store.Invalid)
		_, err = s.Head(s.ctx, "d")
		s.want("head of a directory", err, store.NotExist)
		return
	}
	s.must("put below a file", err)
	s.holds("a", "file")
	s.holds("a/b", "below")
	s.must("delete the file", s.Delete(s.ctx, "a", store.Always))
	s.holds("a/b", "below")
	s.absent("a")
}

func keyEmptySegment(s *suite) {
	_, err := s.Put(s.ctx, "a//b", body([]byte("two")), store.PutOptions{})
	switch {
	case s.known.NoEmptySegments:
		s.want("put", err, store.Invalid)
	case s.known.FoldsSegments:
		s.must("put", err)
		s.holds("a/b", "two")
	default:
		s.must("put", err)
		s.absent("a/b")
		s.holds("a//b", "two")
	}
}
