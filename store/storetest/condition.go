package storetest

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/causewayfs/causeway/store"
)

func conditionCases() []testCase {
	return []testCase{
		{"If/put absent", ifPutAbsent},
		{"If/put match", ifPutMatch},
		{"If/one winner", ifOneWinner},
		{"If/counter", ifCounter},
		{"If/delete", ifDelete},
		{"If/copy", ifCopy},
		{"If/complete", ifComplete},
		{"If/complete races", ifCompleteRaces},
	}
}

func (s *suite) putIf(key, content string, cond store.Precondition) (store.Info, error) {
	return s.Put(s.ctx, key, body([]byte(content)), store.PutOptions{If: cond})
}

func ifPutAbsent(s *suite) {
	_, err := s.putIf("k", "one", store.IfAbsent())
	s.must("put on an absent key", err)
	_, err = s.putIf("k", "two", store.IfAbsent())
	s.want("put on a present key", err, store.PreconditionFailed)
	s.holds("k", "one")
	s.must("delete", s.Delete(s.ctx, "k", store.Always))
	_, err = s.putIf("k", "three", store.IfAbsent())
	s.must("put on a deleted key", err)
	s.holds("k", "three")
}

func ifPutMatch(s *suite) {
	_, err := s.putIf("k", "zero", store.IfMatch("d41d8cd98f00b204e9800998ecf8427e"))
	s.want("put on an absent key", err, store.NotExist)
	s.absent("k")
	one := s.put("k", "one")
	two, err := s.putIf("k", "two", store.IfMatch(one.ETag))
	s.must("put on the current version", err)
	_, err = s.putIf("k", "three", store.IfMatch(one.ETag))
	s.want("put on an old version", err, store.PreconditionFailed)
	s.holds("k", "two")
	_, err = s.putIf("k", "four", store.IfMatch(two.ETag))
	s.must("put on the result of a put", err)
	info, err := s.Head(s.ctx, "k")
	s.must("head", err)
	_, err = s.putIf("k", "five", store.IfMatch(info.ETag))
	s.must("put on the result of a head", err)
	s.holds("k", "five")
}

// ifOneWinner lets 16 writers claim each of some keys at the same time.
func ifOneWinner(s *suite) {
	const writers, rounds = 16, 5
	for round := range rounds {
		key := fmt.Sprintf("claim/%d", round)
		var wg sync.WaitGroup
		var winners atomic.Int64
		var winner atomic.Value
		for w := range writers {
			wg.Go(func() {
				me := "writer " + strconv.Itoa(w)
				_, err := s.putIf(key, me, store.IfAbsent())
				switch store.KindOf(err) {
				case store.PreconditionFailed, store.Conflict:
				default:
					if err != nil {
						s.Errorf("put: %v", err)
						return
					}
					winners.Add(1)
					winner.Store(me)
				}
			})
		}
		wg.Wait()
		if winners.Load() != 1 {
			s.Fatalf("round %d: %d winners of %d, want 1", round, winners.Load(), writers)
		}
		s.holds(key, winner.Load().(string))
	}
}

// ifCounter increments a number by compare-and-swap from many sides. Where an
// answer was lost and somebody else was faster than the look at what came of it,
// the increment may have counted nevertheless, and the error says so.
func ifCounter(s *suite) {
	const writers, each = 6, 8
	s.put("n", "0")
	var wg sync.WaitGroup
	var unsettled atomic.Int64
	for range writers {
		wg.Go(func() {
			for done := 0; done < each; {
				err := s.increment("n")
				if errors.Is(err, store.ErrUnsettled) {
					unsettled.Add(1)
				}
				switch {
				case err == nil:
					done++
				case !outrun(err) && !store.IsKind(err, store.Conflict):
					s.Errorf("increment: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	data, _ := s.read("n", store.GetOptions{})
	n, err := strconv.ParseInt(string(data), 10, 64)
	if err != nil || n < writers*each || n > writers*each+unsettled.Load() {
		s.Errorf("counter: %q, want %d, or up to %d more", data, writers*each, unsettled.Load())
	}
}

// increment adds one to the number in key, unless somebody else is first.
func (s *suite) increment(key string) error {
	obj, err := s.Get(s.ctx, key, store.GetOptions{})
	if err != nil {
		return err
	}
	defer func() { _ = obj.Body.Close() }()
	data, err := io.ReadAll(obj.Body)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(string(data))
	if err != nil {
		return err
	}
	_, err = s.putIf(key, strconv.Itoa(n+1), store.IfMatch(obj.Info.ETag))
	return err
}

func ifDelete(s *suite) {
	old := s.put("k", "one")
	now := s.put("k", "two")
	err := s.Delete(s.ctx, "k", store.IfMatch(old.ETag))
	if s.known.DeleteIfIgnored {
		s.must("delete of an old version by a server that does not look", err)
		s.absent("k")
		return
	}
	s.want("delete of an old version", err, store.PreconditionFailed)
	s.holds("k", "two")
	s.must("delete of the current version", s.Delete(s.ctx, "k", store.IfMatch(now.ETag)))
	s.absent("k")
	err = s.Delete(s.ctx, "k", store.IfMatch(now.ETag))
	if s.known.AbsentDeleteIfSucceeds {
		s.must("delete of a version of an absent key", err)
		return
	}
	s.want("delete of a version of an absent key", err, store.NotExist)
}

func ifCopy(s *suite) {
	s.put("src", "new")
	old := s.put("dst", "one")
	now := s.put("dst", "two")
	copyIf := func(dst string, cond store.Precondition) error {
		_, err := s.Copy(s.ctx, "src", dst, store.CopyOptions{If: cond})
		return err
	}
	err := copyIf("dst", store.IfAbsent())
	if s.known.CopyIfIgnored {
		s.must("copy over an object by a server that does not look", err)
		s.holds("dst", "new")
		return
	}
	s.want("copy over a present key", err, store.PreconditionFailed)
	s.want("copy over an old version", copyIf("dst", store.IfMatch(old.ETag)), store.PreconditionFailed)
	s.holds("dst", "two")
	s.must("copy over the current version", copyIf("dst", store.IfMatch(now.ETag)))
	s.holds("dst", "new")
	s.must("copy to an absent key", copyIf("dst2", store.IfAbsent()))
	s.want("copy over a version of an absent key", copyIf("dst3", store.IfMatch(now.ETag)), store.NotExist)
	s.absent("dst3")
}

// upload begins an upload with one small part.
func (s *suite) upload(key, content string, opts store.PutOptions) (store.UploadID, []store.Part) {
	s.Helper()
	id, err := s.CreateUpload(s.ctx, key, opts)
	s.must("create upload", err)
	part, err := s.UploadPart(s.ctx, key, id, 1, body([]byte(content)))
	s.must("upload part", err)
	return id, []store.Part{part}
}

func (s *suite) completeIf(key, content string, cond store.Precondition) error {
	s.Helper()
	opts := store.PutOptions{If: cond, Meta: store.Metadata{"mode": "1"}}
	id, parts := s.upload(key, content, opts)
	_, err := s.Complete(s.ctx, key, id, parts, opts)
	if err != nil {
		s.must("abort", s.Abort(s.ctx, key, id))
	}
	return err
}

func ifComplete(s *suite) {
	err := s.completeIf("k", "zero", store.IfMatch("d41d8cd98f00b204e9800998ecf8427e"))
	s.want("complete on an absent key", err, store.NotExist)
	s.absent("k")
	s.must("complete if absent", s.completeIf("k", "one", store.IfAbsent()))
	s.want("complete on a present key", s.completeIf("k", "two", store.IfAbsent()), store.PreconditionFailed)
	s.holds("k", "one")
	one, err := s.Head(s.ctx, "k")
	s.must("head", err)
	s.must("complete on the current version", s.completeIf("k", "three", store.IfMatch(one.ETag)))
	s.want("complete on an old version", s.completeIf("k", "four", store.IfMatch(one.ETag)), store.PreconditionFailed)
	s.holds("k", "three")
}

// ifCompleteRaces has uploads and puts claim the same key.
func ifCompleteRaces(s *suite) {
	const writers = 8
	claim := store.PutOptions{If: store.IfAbsent()}
	ids := make([]store.UploadID, writers)
	parts := make([][]store.Part, writers)
	for w := range writers {
		if w%2 == 0 {
			ids[w], parts[w] = s.upload("k", "upload", claim)
		}
	}
	var wg sync.WaitGroup
	var winners atomic.Int64
	for w := range writers {
		wg.Go(func() {
			var err error
			if w%2 == 0 {
				_, err = s.Complete(s.ctx, "k", ids[w], parts[w], claim)
			} else {
				_, err = s.Put(s.ctx, "k", body([]byte("put")), claim)
			}
			switch {
			case err == nil:
				winners.Add(1)
			case !store.IsKind(err, store.PreconditionFailed) && !store.IsKind(err, store.Conflict):
				s.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	if winners.Load() != 1 {
		s.Errorf("%d winners, want 1", winners.Load())
	}
}
