package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/causewayfs/causeway/store"
)

func readCases() []testCase {
	return []testCase{
		{"Get/absent", getAbsent},
		{"Get/ranges", getRanges},
		{"Get/conditions", getConditions},
		{"Get/empty object", getEmpty},
		{"Get/large", getLarge},
		{"Get/whole versions only", getWhole},
		{"Get/closed early", getClosedEarly},
		{"Head/describes", headDescribes},
	}
}

func getAbsent(s *suite) {
	_, err := s.Get(s.ctx, "no/such", store.GetOptions{})
	s.want("get", err, store.NotExist)
	if !errors.Is(err, fs.ErrNotExist) {
		s.Errorf("errors.Is(%v, fs.ErrNotExist) = false", err)
	}
	var e *store.Error
	if !errors.As(err, &e) || e.Op != store.OpGet || e.Key != "no/such" {
		s.Errorf("error %#v: want Op GET, Key no/such", err)
	}
	_, err = s.Get(s.ctx, "no/such", store.GetOptions{Offset: 5, Length: 5, IfMatch: "00"})
	s.want("get range", err, store.NotExist)
	_, err = s.Head(s.ctx, "no/such")
	s.want("head", err, store.NotExist)
	if errors.As(err, &e); e.Op != store.OpHead {
		s.Errorf("head error %#v: want Op HEAD", err)
	}
}

func getRanges(s *suite) {
	const content = "0123456789"
	info := s.put("r/file", content)
	for _, tc := range []struct {
		offset, length int64
		want           string
	}{
		{0, 0, content},
		{0, 1, "0"},
		{0, 10, content},
		{0, 99, content},
		{3, 4, "3456"},
		{3, 0, "3456789"},
		{9, 1, "9"},
		{9, 0, "9"},
		{9, 5, "9"},
	} {
		data, obj := s.read("r/file", store.GetOptions{Offset: tc.offset, Length: tc.length})
		if string(data) != tc.want {
			s.Errorf("bytes %d+%d: got %q, want %q", tc.offset, tc.length, data, tc.want)
		}
		if obj.Offset != tc.offset || obj.Info.Size != 10 || obj.Info.ETag != info.ETag || obj.Info.Key != "r/file" {
			s.Errorf("bytes %d+%d: got Offset %d, Info %+v", tc.offset, tc.length, obj.Offset, obj.Info)
		}
	}
	for _, tc := range []store.GetOptions{{Offset: 10}, {Offset: 10, Length: 1}, {Offset: 11}, {Offset: 1 << 40, Length: 1 << 40}} {
		_, err := s.Get(s.ctx, "r/file", tc)
		s.want(fmt.Sprintf("get %+v", tc), err, store.OutOfRange)
	}
}

func getConditions(s *suite) {
	old := s.put("c", "first")
	now := s.put("c", "second")
	if old.ETag == now.ETag || old.ETag == "" {
		s.Fatalf("ETags %q and %q of different bytes", old.ETag, now.ETag)
	}
	for _, rng := range []store.GetOptions{{}, {Offset: 2, Length: 2}} {
		opts := rng
		opts.IfMatch = old.ETag
		_, err := s.Get(s.ctx, "c", opts)
		s.want("get if-match stale", err, store.PreconditionFailed)
		opts.IfMatch = now.ETag
		s.read("c", opts)

		opts = rng
		opts.IfNoneMatch = now.ETag
		_, err = s.Get(s.ctx, "c", opts)
		s.want("get if-none-match current", err, store.NotModified)
		opts.IfNoneMatch = old.ETag
		_, obj := s.read("c", opts)
		if obj.Info.ETag != now.ETag {
			s.Errorf("ETag %q, want %q", obj.Info.ETag, now.ETag)
		}
	}
}

func getEmpty(s *suite) {
	info, err := s.Put(s.ctx, "empty", store.Body{}, store.PutOptions{})
	s.must("put", err)
	for _, opts := range []store.GetOptions{{}, {Length: 10}, {Length: 1, IfMatch: info.ETag}} {
		data, obj := s.read("empty", opts)
		if len(data) != 0 || obj.Info.Size != 0 || obj.Info.ETag != info.ETag {
			s.Errorf("get %+v: got %q, %+v", opts, data, obj.Info)
		}
	}
	_, err = s.Get(s.ctx, "empty", store.GetOptions{Offset: 1})
	s.want("get from 1", err, store.OutOfRange)
}

func getLarge(s *suite) {
	want := random(9<<20 + 17)
	info, err := s.Put(s.ctx, "large", body(want), store.PutOptions{})
	s.must("put", err)
	got, obj := s.read("large", store.GetOptions{})
	if !bytes.Equal(got, want) || obj.Info.ETag != info.ETag || obj.Info.Size != int64(len(want)) {
		s.Errorf("got %d bytes, %+v, want %d", len(got), obj.Info, len(want))
	}
	var wg sync.WaitGroup
	for off := int64(0); off < int64(len(want)); off += 1 << 20 {
		wg.Go(func() {
			obj, err := s.Get(s.ctx, "large", store.GetOptions{Offset: off, Length: 1 << 20, IfMatch: info.ETag})
			if err != nil {
				s.Errorf("get from %d: %v", off, err)
				return
			}
			defer func() { _ = obj.Body.Close() }()
			part, err := io.ReadAll(obj.Body)
			if err != nil || !bytes.Equal(part, want[off:min(off+1<<20, int64(len(want)))]) {
				s.Errorf("get from %d: %d bytes, %v", off, len(part), err)
			}
		})
	}
	wg.Wait()
}

// getWhole reads while somebody writes: every read is one version, whole, with
// the ETag of its bytes.
func getWhole(s *suite) {
	const size, rounds, readers = 300_000, 30, 4
	version := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	var etags sync.Map
	write := func(i int) {
		info, err := s.Put(s.ctx, "w", body(version(i)), store.PutOptions{})
		s.must("put", err)
		etags.Store(info.ETag, byte(i))
	}
	write(0)
	type seen struct {
		etag store.ETag
		b    byte
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex
		all  []seen
		done atomic.Bool
	)
	for range readers {
		wg.Go(func() {
			for !done.Load() {
				obj, err := s.Get(s.ctx, "w", store.GetOptions{})
				if err != nil {
					s.Errorf("get: %v", err)
					return
				}
				data, err := io.ReadAll(obj.Body)
				_ = obj.Body.Close()
				if outrun(err) {
					continue
				}
				if err != nil || len(data) != size || !bytes.Equal(data, version(int(data[0]))) {
					s.Errorf("read %d bytes, %v: torn", len(data), err)
					return
				}
				mu.Lock()
				all = append(all, seen{obj.Info.ETag, data[0]})
				mu.Unlock()
			}
		})
	}
	for i := 1; i < rounds; i++ {
		write(i)
	}
	done.Store(true)
	wg.Wait()
	for _, v := range all {
		if b, ok := etags.Load(v.etag); !ok || b.(byte) != v.b {
			s.Errorf("bytes of version %d came with ETag %q of version %v", v.b, v.etag, b)
		}
	}
}

func getClosedEarly(s *suite) {
	_, err := s.Put(s.ctx, "early", body(random(4<<20)), store.PutOptions{})
	s.must("put", err)
	for range 3 {
		obj, err := s.Get(s.ctx, "early", store.GetOptions{})
		s.must("get", err)
		_, err = io.ReadFull(obj.Body, make([]byte, 1000))
		s.must("read", err)
		_ = obj.Body.Close()
	}
	if info, err := s.Head(s.ctx, "early"); err != nil || info.Size != 4<<20 {
		s.Errorf("head: %+v, %v", info, err)
	}
}

func headDescribes(s *suite) {
	meta := store.Metadata{"mode": "33188", "mtime": "1700000000.000000001"}
	put, err := s.Put(s.ctx, "h", body([]byte("12345")), store.PutOptions{Meta: meta})
	s.must("put", err)
	if put.Key != "h" || put.Size != 5 || put.ETag == "" || len(put.Meta) != 2 {
		s.Errorf("put result %+v", put)
	}
	info, err := s.Head(s.ctx, "h")
	s.must("head", err)
	if info.Key != "h" || info.Size != 5 || info.ETag != put.ETag || info.Modified.IsZero() || info.Meta["mode"] != "33188" || len(info.Meta) != 2 {
		s.Errorf("head result %+v", info)
	}
	s.put("bare", "x")
	info, err = s.Head(s.ctx, "bare")
	if err != nil || info.Meta == nil || len(info.Meta) != 0 {
		s.Errorf("head of an object without metadata: %#v, %v", info.Meta, err)
	}
}
