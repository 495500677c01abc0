package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/store"
)

func uploadCases() []testCase {
	return []testCase{
		{"Upload/parts", uploadParts},
		{"Upload/replaced part", uploadReplaced},
		{"Upload/refused parts", uploadRefused},
		{"Upload/gone", uploadGone},
		{"Upload/copied parts", uploadCopied},
		{"Upload/listed", uploadListed},
	}
}

func uploadParts(s *suite) {
	data := random(2*store.MinPartSize + 12345)
	meta := oddMetadata()
	opts := store.PutOptions{Meta: meta}
	s.put("u", "before")
	id, err := s.CreateUpload(s.ctx, "u", opts)
	s.must("create upload", err)

	parts := make([]store.Part, 3)
	var wg sync.WaitGroup
	for i := range parts {
		wg.Go(func() {
			piece := data[i*store.MinPartSize : min((i+1)*store.MinPartSize, len(data))]
			part, err := s.UploadPart(s.ctx, "u", id, i+1, body(piece))
			if err != nil || part.Number != i+1 || part.Size != int64(len(piece)) || part.ETag == "" {
				s.Errorf("upload part %d: %+v, %v", i+1, part, err)
			}
			parts[i] = part
		})
	}
	wg.Wait()
	s.holds("u", "before")

	done, err := s.Complete(s.ctx, "u", id, parts, opts)
	s.must("complete", err)
	got, obj := s.read("u", store.GetOptions{})
	if !bytes.Equal(got, data) {
		s.Errorf("got %d bytes that differ", len(got))
	}
	if done.Key != "u" || done.Size != int64(len(data)) || done.ETag != obj.Info.ETag || !strings.HasSuffix(string(done.ETag), "-3") {
		s.Errorf("complete result %+v, get says %+v", done, obj.Info)
	}
	s.sameMeta("upload", obj.Info.Meta, meta)
	tail, _ := s.read("u", store.GetOptions{Offset: int64(len(data)) - 5, IfMatch: done.ETag})
	if !bytes.Equal(tail, data[len(data)-5:]) {
		s.Errorf("tail %x", tail)
	}
}

func uploadReplaced(s *suite) {
	id, old := s.upload("u", "old", store.PutOptions{})
	part, err := s.UploadPart(s.ctx, "u", id, 1, body([]byte("newer")))
	s.must("upload part again", err)
	_, err = s.Complete(s.ctx, "u", id, old, store.PutOptions{})
	s.want("complete with a replaced part", err, store.Invalid)
	_, err = s.Complete(s.ctx, "u", id, []store.Part{part}, store.PutOptions{})
	s.must("complete", err)
	s.holds("u", "newer")
}

func uploadRefused(s *suite) {
	id, one := s.upload("u", "too small to be first", store.PutOptions{})
	two, err := s.UploadPart(s.ctx, "u", id, 2, body([]byte("last")))
	s.must("upload part", err)
	for what, parts := range map[string][]store.Part{
		"small part":   {one[0], two},
		"wrong order":  {two, one[0]},
		"no parts":     nil,
		"unknown part": {{Number: 3, ETag: one[0].ETag}},
		"wrong ETag":   {{Number: 1, ETag: two.ETag}},
	} {
		_, err = s.Complete(s.ctx, "u", id, parts, store.PutOptions{})
		s.want("complete: "+what, err, store.Invalid)
	}
	for _, n := range []int{0, -1, store.MaxParts + 1} {
		_, err = s.UploadPart(s.ctx, "u", id, n, body(nil))
		s.want(fmt.Sprintf("upload part %d", n), err, store.Invalid)
	}
	s.absent("u")
	_, err = s.Complete(s.ctx, "u", id, one, store.PutOptions{})
	s.must("complete after refusals", err)
	s.holds("u", "too small to be first")
}

func uploadGone(s *suite) {
	id, parts := s.upload("u", "x", store.PutOptions{})
	s.must("abort", s.Abort(s.ctx, "u", id))
	s.must("abort again", s.Abort(s.ctx, "u", id))
	_, err := s.UploadPart(s.ctx, "u", id, 1, body([]byte("x")))
	s.want("upload part after abort", err, store.NotExist)
	_, err = s.Complete(s.ctx, "u", id, parts, store.PutOptions{})
	s.want("complete after abort", err, store.NotExist)
	s.put("src", "x")
	_, err = s.CopyPart(s.ctx, "u", id, 1, "src", "", 0, 1)
	s.want("copy part after abort", err, store.NotExist)
	s.absent("u")

	id, parts = s.upload("u", "y", store.PutOptions{})
	_, err = s.Complete(s.ctx, "u", id, parts, store.PutOptions{})
	s.must("complete", err)
	_, err = s.UploadPart(s.ctx, "u", id, 1, body([]byte("x")))
	s.want("upload part after complete", err, store.NotExist)
	s.must("abort after complete", s.Abort(s.ctx, "u", id))
	s.holds("u", "y")
}

func uploadCopied(s *suite) {
	data := random(2*store.MinPartSize + 100)
	src, err := s.Put(s.ctx, "odd + source/é", body(data), store.PutOptions{})
	s.must("put", err)
	id, err := s.CreateUpload(s.ctx, "u", store.PutOptions{})
	s.must("create upload", err)
	one, err := s.CopyPart(s.ctx, "u", id, 1, "odd + source/é", src.ETag, 0, store.MinPartSize)
	s.must("copy part", err)
	two, err := s.UploadPart(s.ctx, "u", id, 2, body(data[100:100+store.MinPartSize]))
	s.must("upload part", err)
	three, err := s.CopyPart(s.ctx, "u", id, 3, "odd + source/é", src.ETag, store.MinPartSize, 100)
	s.must("copy part", err)
	if one.Size != store.MinPartSize || three.Number != 3 {
		s.Errorf("parts %+v, %+v", one, three)
	}

	_, err = s.CopyPart(s.ctx, "u", id, 4, "odd + source/é", "d41d8cd98f00b204e9800998ecf8427e", 0, 10)
	s.want("copy part of another version", err, store.PreconditionFailed)
	_, err = s.CopyPart(s.ctx, "u", id, 4, "no/such", src.ETag, 0, 10)
	s.want("copy part of an absent key", err, store.NotExist)
	_, err = s.CopyPart(s.ctx, "u", id, 4, "odd + source/é", src.ETag, 0, 0)
	s.want("copy part of nothing", err, store.OutOfRange)

	_, err = s.Complete(s.ctx, "u", id, []store.Part{one, two, three}, store.PutOptions{})
	s.must("complete", err)
	want := slices.Concat(data[:store.MinPartSize], data[100:100+store.MinPartSize], data[store.MinPartSize:store.MinPartSize+100])
	if got, _ := s.read("u", store.GetOptions{}); !bytes.Equal(got, want) {
		s.Errorf("got %d bytes that differ", len(got))
	}
}

func uploadListed(s *suite) {
	lister, ok := store.As[store.UploadLister](s.Store)
	if !ok {
		s.Fatal("the store is no UploadLister")
	}
	want := map[string]store.UploadID{}
	for _, key := range []string{"up/a b", "up/é", "up/sub/c", "other"} {
		want[key], _ = s.upload(key, "x", store.PutOptions{})
	}
	list := func(prefix string) map[string]store.UploadID {
		ups, err := lister.ListUploads(s.ctx, prefix)
		s.must("list uploads", err)
		got := map[string]store.UploadID{}
		for _, u := range ups {
			if u.Started.IsZero() {
				s.Errorf("upload of %q has no time", u.Key)
			}
			got[u.Key] = u.ID
		}
		return got
	}
	if got := list(""); !maps.Equal(got, want) {
		s.Errorf("all: got %v, want %v", got, want)
	}
	s.must("abort", s.Abort(s.ctx, "up/é", want["up/é"]))
	delete(want, "up/é")
	delete(want, "other")
	if got := list("up/"); !maps.Equal(got, want) {
		s.Errorf("below up/: got %v, want %v", got, want)
	}
}
