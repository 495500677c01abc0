package storetest

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/causewayfs/causeway/store"
)

func failureCases() []testCase {
	return []testCase{
		{"Failure/canceled", failCanceled},
		{"Failure/deadline", failDeadline},
		{"Failure/canceled in the body", failCanceledBody},
		{"Failure/unreadable body", failUnreadable},
		{"Failure/short body", failShort},
	}
}

// everyRequest sends each kind of request with ctx.
func (s *suite) everyRequest(ctx context.Context, id store.UploadID, parts []store.Part) map[string]error {
	errs := map[string]error{}
	_, errs["get"] = s.Get(ctx, "k", store.GetOptions{})
	_, errs["head"] = s.Head(ctx, "k")
	_, errs["list"] = s.List(ctx, store.ListOptions{})
	_, errs["put"] = s.Put(ctx, "k", body([]byte("new")), store.PutOptions{})
	_, errs["put if"] = s.Put(ctx, "k2", body([]byte("new")), store.PutOptions{If: store.IfAbsent()})
	_, errs["copy"] = s.Copy(ctx, "k", "k2", store.CopyOptions{})
	errs["delete"] = s.Delete(ctx, "k", store.Always)
	_, errs["delete many"] = s.DeleteMany(ctx, []string{"k"})
	_, errs["create upload"] = s.CreateUpload(ctx, "k", store.PutOptions{})
	_, errs["upload part"] = s.UploadPart(ctx, "u", id, 1, body([]byte("new")))
	_, errs["copy part"] = s.CopyPart(ctx, "u", id, 1, "k", "", 0, 1)
	_, errs["complete"] = s.Complete(ctx, "u", id, parts, store.PutOptions{})
	errs["abort"] = s.Abort(ctx, "u", id)
	return errs
}

func (s *suite) afterContext(ctx context.Context, kind store.Kind) {
	s.put("k", "old")
	id, parts := s.upload("u", "x", store.PutOptions{})
	for what, err := range s.everyRequest(ctx, id, parts) {
		s.want(what, err, kind)
	}
	s.holds("k", "old")
	s.absent("k2")
	s.absent("u")
	_, err := s.Complete(s.ctx, "u", id, parts, store.PutOptions{})
	s.must("complete", err)
}

func failCanceled(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	s.afterContext(ctx, store.Canceled)
}

func failDeadline(s *suite) {
	ctx, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Second))
	defer cancel()
	s.afterContext(ctx, store.Timeout)
}

func failCanceledBody(s *suite) {
	_, err := s.Put(s.ctx, "k", body(random(8<<20)), store.PutOptions{})
	s.must("put", err)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	obj, err := s.Get(ctx, "k", store.GetOptions{})
	s.must("get", err)
	defer func() { _ = obj.Body.Close() }()
	_, err = io.ReadFull(obj.Body, make([]byte, 100))
	s.must("read", err)
	cancel()
	_, err = io.Copy(io.Discard, obj.Body)
	s.want("read after cancel", err, store.Canceled)
}

// brokenReader fails from the middle on.
type brokenReader struct {
	good int64
	err  error
}

func (r brokenReader) ReadAt(p []byte, off int64) (int, error) {
	n := max(0, min(int64(len(p)), r.good-off))
	for i := range n {
		p[i] = 'x'
	}
	if n < int64(len(p)) {
		return int(n), r.err
	}
	return int(n), nil
}

func failUnreadable(s *suite) {
	s.unreadable(errors.New("medium error"))
}

func failShort(s *suite) {
	s.unreadable(io.EOF)
}

// unreadable demands that a body that breaks is an error of its own, never
// repeated, and that nothing is stored.
func (s *suite) unreadable(cause error) {
	s.put("k", "old")
	id, parts := s.upload("u", "x", store.PutOptions{})
	for _, size := range []int64{1000, 3 << 20} {
		broken := store.Body{Reader: brokenReader{size / 2, cause}, Size: size}
		_, err := s.Put(s.ctx, "k", broken, store.PutOptions{})
		s.want("put", err, store.Other)
		if cause != io.EOF && !errors.Is(err, cause) {
			s.Errorf("put: got %v, want the cause %v in it", err, cause)
		}
		_, err = s.Put(s.ctx, "k", broken, store.PutOptions{If: store.IfMatch("00")})
		switch store.KindOf(err) {
		case store.PreconditionFailed, store.Unavailable: // it may not be read, or not to its end
		default:
			s.want("conditional put", err, store.Other)
		}
		_, err = s.UploadPart(s.ctx, "u", id, 1, broken)
		s.want("upload part", err, store.Other)
	}
	s.holds("k", "old")
	_, err := s.Complete(s.ctx, "u", id, parts, store.PutOptions{})
	s.must("complete", err)
	s.holds("u", "x")
}
