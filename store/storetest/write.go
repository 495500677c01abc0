package storetest

import (
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/store"
)

func writeCases() []testCase {
	return []testCase{
		{"Put/overwrite", putOverwrite},
		{"Put/metadata", putMetadata},
		{"Put/refused metadata", putBadMetadata},
		{"Put/parallel", putParallel},
		{"Copy/plain", copyPlain},
		{"Copy/metadata", copyMetadata},
		{"Copy/source version", copySourceIf},
		{"Delete/plain", deletePlain},
		{"DeleteMany/thousand", deleteThousand},
		{"DeleteMany/limits", deleteLimits},
	}
}

func putOverwrite(s *suite) {
	_, err := s.Put(s.ctx, "o", body([]byte("a long first version")), store.PutOptions{Meta: store.Metadata{"a": "1"}})
	s.must("put", err)
	s.put("o", "second")
	data, obj := s.read("o", store.GetOptions{})
	if string(data) != "second" || len(obj.Info.Meta) != 0 {
		s.Errorf("got %q, metadata %v: want the second version alone", data, obj.Info.Meta)
	}
}

// oddMetadata holds values that headers do not carry as they are.
func oddMetadata() store.Metadata {
	return store.Metadata{
		"plain":      "33188",
		"umlaut":     "Größe",
		"cjk":        "漢字とかな",
		"emoji":      "🜁 air",
		"space-ends": "  both  ",
		"newline":    "line1\nline2\r\n",
		"word":       "=?utf-8?q?=41?=",
		"like-word":  "a=?b",
		"symbols":    `"quoted", (x); %41+&<>\`,
		"long":       strings.Repeat("é", 200),
	}
}

func putMetadata(s *suite) {
	want := oddMetadata()
	_, err := s.Put(s.ctx, "m", body([]byte("x")), store.PutOptions{Meta: want, ContentType: "text/plain"})
	s.must("put", err)
	info, err := s.Head(s.ctx, "m")
	s.must("head", err)
	s.sameMeta("head", info.Meta, want)
	_, obj := s.read("m", store.GetOptions{})
	s.sameMeta("get", obj.Info.Meta, want)

	full := store.Metadata{"k": strings.Repeat("v", store.MaxMetadata-1)}
	_, err = s.Put(s.ctx, "m", body([]byte("x")), store.PutOptions{Meta: full})
	s.must("put with the most metadata", err)
	info, err = s.Head(s.ctx, "m")
	s.must("head", err)
	s.sameMeta("most", info.Meta, full)
}

func (s *suite) sameMeta(what string, got, want store.Metadata) {
	s.Helper()
	if !maps.Equal(got, want) {
		for k := range want {
			if got[k] != want[k] {
				s.Errorf("%s: metadata %s: got %q, want %q", what, k, got[k], want[k])
			}
		}
		if len(got) != len(want) {
			s.Errorf("%s: metadata: got %q, want %q", what, got, want)
		}
	}
}

func putBadMetadata(s *suite) {
	for _, meta := range []store.Metadata{
		{"Upper": "1"}, {"": "1"}, {"a b": "1"}, {"a:b": "1"}, {"empty": ""}, {"bytes": "\xff"},
		{"k": strings.Repeat("v", 2048)},
	} {
		_, err := s.Put(s.ctx, "bad", body([]byte("x")), store.PutOptions{Meta: meta})
		s.want(fmt.Sprintf("put with %.40q", meta), err, store.Invalid)
		_, err = s.CreateUpload(s.ctx, "bad", store.PutOptions{Meta: meta})
		s.want(fmt.Sprintf("create upload with %.40q", meta), err, store.Invalid)
	}
	s.absent("bad")
}

func putParallel(s *suite) {
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			key := fmt.Sprintf("p/%d/%d", i%8, i)
			if _, err := s.Put(s.ctx, key, body([]byte(key)), store.PutOptions{}); err != nil {
				s.Errorf("put %s: %v", key, err)
			}
		})
	}
	wg.Wait()
	for i := range 64 {
		key := fmt.Sprintf("p/%d/%d", i%8, i)
		s.holds(key, key)
	}
}

func copyPlain(s *suite) {
	_, err := s.Put(s.ctx, "src", body([]byte("content")), store.PutOptions{Meta: store.Metadata{"mode": "1"}})
	s.must("put", err)
	s.put("dst", "something that was there before")
	info, err := s.Copy(s.ctx, "src", "dst", store.CopyOptions{})
	s.must("copy", err)
	data, obj := s.read("dst", store.GetOptions{})
	if string(data) != "content" || obj.Info.Meta["mode"] != "1" {
		s.Errorf("copy: got %q, %v", data, obj.Info.Meta)
	}
	if info.Key != "dst" || info.Size != -1 || info.ETag != obj.Info.ETag {
		s.Errorf("copy result %+v, but Get says %+v", info, obj.Info)
	}
	s.holds("src", "content")

	_, err = s.Copy(s.ctx, "no/such", "dst2", store.CopyOptions{})
	s.want("copy of an absent key", err, store.NotExist)
	s.absent("dst2")
}

func copyMetadata(s *suite) {
	before, err := s.Put(s.ctx, "src", body([]byte("content")), store.PutOptions{Meta: store.Metadata{"mode": "1", "uid": "0"}})
	s.must("put", err)
	want := oddMetadata()
	_, err = s.Copy(s.ctx, "src", "dst", store.CopyOptions{Meta: want})
	s.must("copy", err)
	info, err := s.Head(s.ctx, "dst")
	s.must("head", err)
	s.sameMeta("copy", info.Meta, want)

	_, err = s.Copy(s.ctx, "src", "src", store.CopyOptions{SourceIf: before.ETag, Meta: store.Metadata{"mode": "2"}})
	s.must("copy onto itself", err)
	data, obj := s.read("src", store.GetOptions{})
	s.sameMeta("copy onto itself", obj.Info.Meta, store.Metadata{"mode": "2"})
	if string(data) != "content" {
		s.Errorf("copy onto itself: content %q", data)
	}
	_, err = s.Copy(s.ctx, "src", "src", store.CopyOptions{Meta: store.Metadata{}})
	s.must("copy onto itself without metadata", err)
	info, err = s.Head(s.ctx, "src")
	s.must("head", err)
	s.sameMeta("no metadata", info.Meta, store.Metadata{})
}

func copySourceIf(s *suite) {
	old := s.put("src", "one")
	now := s.put("src", "two")
	_, err := s.Copy(s.ctx, "src", "dst", store.CopyOptions{SourceIf: old.ETag})
	s.want("copy of a version that is gone", err, store.PreconditionFailed)
	s.absent("dst")
	_, err = s.Copy(s.ctx, "src", "dst", store.CopyOptions{SourceIf: now.ETag})
	s.must("copy of the current version", err)
	s.holds("dst", "two")
}

func deletePlain(s *suite) {
	s.must("delete of an absent key", s.Delete(s.ctx, "d/no", store.Always))
	s.put("d/yes", "x")
	s.put("d/other", "y")
	s.must("delete", s.Delete(s.ctx, "d/yes", store.Always))
	s.absent("d/yes")
	s.holds("d/other", "y")
	s.must("delete again", s.Delete(s.ctx, "d/yes", store.Always))
	s.want("delete if absent", s.Delete(s.ctx, "d/other", store.IfAbsent()), store.Invalid)
}

func deleteThousand(s *suite) {
	keys := make([]string, 0, store.MaxDeleteMany)
	for i := range store.MaxDeleteMany {
		keys = append(keys, fmt.Sprintf("many/%d/file %d&<é>", i%10, i))
	}
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < len(keys)-100; i += 16 { // the last hundred stay absent
				if _, err := s.Put(s.ctx, keys[i], body(nil), store.PutOptions{}); err != nil {
					s.Errorf("put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	s.put("kept", "x")
	failed, err := s.DeleteMany(s.ctx, keys)
	s.must("delete many", err)
	if len(failed) > 0 {
		s.Errorf("%d keys failed: %v", len(failed), failed)
	}
	if left := s.keys(""); len(left) != 1 || left[0] != "kept" {
		s.Errorf("%d keys left: %.200q", len(left), left)
	}
	_, err = s.DeleteMany(s.ctx, keys)
	s.must("delete many again", err)
}

func deleteLimits(s *suite) {
	failed, err := s.DeleteMany(s.ctx, nil)
	if err != nil || failed != nil {
		s.Errorf("delete of no keys: %v, %v", failed, err)
	}
	_, err = s.DeleteMany(s.ctx, make([]string, store.MaxDeleteMany+1))
	s.want("delete of 1001 keys", err, store.Invalid)
	s.put("stays", "x")
	_, err = s.DeleteMany(s.ctx, []string{"stays", ""})
	s.want("delete of an impossible key", err, store.Invalid)
	s.holds("stays", "x")
}
