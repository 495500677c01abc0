package retry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/metrics"
	"github.com/causewayfs/causeway/store/retry"
	"github.com/causewayfs/causeway/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return retry.New(mem.New(), retry.Config{}) }, storetest.Differences{})
}

// TestConformanceUnderFaults demands that, below retries, a store that loses
// answers, tears bodies and is throttled conforms as if it did not. Three things
// cannot be as if: Copy with a condition but no place for a nonce, Delete of a
// version that was absent already, and uploads that nobody knows, left behind by
// a lost CreateUpload.
func TestConformanceUnderFaults(t *testing.T) {
	certain := fault.Ops(store.OpGet, store.OpHead, store.OpList, store.OpPut, store.OpDeleteMany,
		store.OpUploadPart, store.OpCopyPart, store.OpComplete, store.OpAbort)
	rules := []*fault.Rule{
		fault.On(fault.Fail(store.Throttled), fault.Every(11)),
		fault.On(fault.Fail(store.Unavailable), certain, fault.Every(13)),
		fault.On(fault.Lost(), certain, fault.Every(5)),
		fault.On(fault.Tear(1), fault.Ops(store.OpGet), fault.Every(3)),
		fault.On(fault.Tear(100_000), fault.Ops(store.OpGet), fault.Every(4)),
		fault.On(fault.Fail(store.Conflict), fault.Ops(store.OpPut, store.OpCopy), fault.Every(17)),
	}
	t.Run("all", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store {
			return retry.New(fault.Wrap(mem.New(), rules...), retry.Config{
				BaseDelay: time.Microsecond, MaxDelay: time.Millisecond, Budget: retry.NewBudget(1, 1e6, 1e6),
			})
		}, storetest.Differences{})
	})
	fault.Exercised(t, rules...)
}

// env is a store under faults, with what is needed to look behind.
type env struct {
	*testing.T
	store.Store
	ctx  context.Context
	back *mem.Store
	sent *metrics.Store
}

// setup puts retries over counted requests over faults over memory.
func setup(t *testing.T, cfg retry.Config, rules ...*fault.Rule) *env {
	back := mem.New()
	sent := metrics.Wrap(fault.Wrap(back, rules...))
	t.Cleanup(func() { fault.Exercised(t, rules...) })
	return &env{T: t, Store: retry.New(sent, cfg), ctx: t.Context(), back: back, sent: sent}
}

func body(content string) store.Body {
	return store.Body{Reader: strings.NewReader(content), Size: int64(len(content))}
}

func (e *env) put(key, content string, cond store.Precondition) (store.Info, error) {
	return e.Put(e.ctx, key, body(content), store.PutOptions{If: cond})
}

func (e *env) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) want(what string, err error, kind store.Kind) {
	e.Helper()
	if !store.IsKind(err, kind) {
		e.Errorf("%s: got %v, want %v", what, err, kind)
	}
}

func (e *env) requests(op store.Op, n uint64) {
	e.Helper()
	if got := e.sent.Requests()[op]; got != n {
		e.Errorf("%d %s requests, want %d (%v)", got, op, n, e.sent.Requests())
	}
}

func (e *env) holds(key, content string) {
	e.Helper()
	obj, err := e.back.Get(e.ctx, key, store.GetOptions{})
	if err != nil {
		e.Errorf("%s: %v", key, err)
		return
	}
	data, _ := io.ReadAll(obj.Body)
	if string(data) != content {
		e.Errorf("%s holds %q, want %q", key, data, content)
	}
}

func onPut(f fault.Fault) *fault.Rule { return fault.On(f, fault.Ops(store.OpPut), fault.Nth(1)) }

func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

// TestPut has one fault in the first Put of each kind.
func TestPut(t *testing.T) {
	for name, f := range map[string]fault.Fault{
		"throttled":  fault.Fail(store.Throttled),
		"conflict":   fault.Fail(store.Conflict),
		"refresh":    fault.Fail(store.BadCredentials),
		"not sent":   fault.Fail(store.Unavailable),
		"lost":       fault.Lost(),
		"lost late":  {Moment: fault.After, Kind: store.Unavailable, Delay: 5 * time.Second},
		"stalled":    fault.Hang(fault.Forever),
		"lost stall": {Moment: fault.After, Delay: fault.Forever},
	} {
		for cond, if_ := range map[string]store.Precondition{"always": store.Always, "absent": store.IfAbsent()} {
			inBubble(t, name+"/"+cond, func(t *testing.T) {
				e := setup(t, retry.Config{}, onPut(f))
				info, err := e.put("k", "mine", if_)
				e.must(err)
				e.holds("k", "mine")
				if head, err := e.Head(e.ctx, "k"); err != nil || head.ETag != info.ETag || len(head.Meta) != 0 || len(info.Meta) != 0 {
					t.Errorf("put says %+v, head %+v, %v", info, head, err)
				}
				_, err = e.put("k", "second", store.IfAbsent())
				e.want("put on a present key", err, store.PreconditionFailed)
				if errors.Is(err, store.ErrUnsettled) {
					t.Error("a plain refusal is said to be unsettled")
				}
			})
		}
	}
}

func TestLostConditionalPutIsNotSentTwice(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		e := setup(t, retry.Config{}, onPut(fault.Lost()))
		_, err := e.put("k", "mine", store.IfAbsent())
		e.must(err)
		e.requests(store.OpPut, 1)
		e.requests(store.OpHead, 1)
	})
}

// rival lets another writer store something when the n-th request of an Op has
// been carried out, or before it.
type rival struct {
	store.Store
	op     store.Op
	before bool
	do     func()
	done   bool
}

func (r *rival) Put(ctx context.Context, key string, b store.Body, opts store.PutOptions) (store.Info, error) {
	return interfere(r, store.OpPut, func() (store.Info, error) { return r.Store.Put(ctx, key, b, opts) })
}

func (r *rival) Complete(ctx context.Context, key string, id store.UploadID, parts []store.Part, opts store.PutOptions) (store.Info, error) {
	return interfere(r, store.OpComplete, func() (store.Info, error) { return r.Store.Complete(ctx, key, id, parts, opts) })
}

func interfere(r *rival, op store.Op, carryOut func() (store.Info, error)) (store.Info, error) {
	mine := op == r.op && !r.done
	r.done = r.done || mine
	if mine && r.before {
		r.do()
	}
	info, err := carryOut()
	if mine && !r.before {
		r.do()
	}
	return info, err
}

// TestLostAgainstRival loses the answer of a conditional Put while another
// writer wins before it, or replaces it after it.
func TestLostAgainstRival(t *testing.T) {
	for _, before := range []bool{true, false} {
		for _, match := range []bool{true, false} {
			inBubble(t, fmt.Sprintf("before=%v match=%v", before, match), func(t *testing.T) {
				back := mem.New()
				cond := store.IfAbsent()
				if match {
					old, err := back.Put(t.Context(), "k", body("old"), store.PutOptions{})
					if err != nil {
						t.Fatal(err)
					}
					cond = store.IfMatch(old.ETag)
				}
				theirs := func() { _, _ = back.Put(t.Context(), "k", body("theirs"), store.PutOptions{}) }
				lost := onPut(fault.Lost())
				s := retry.New(fault.Wrap(&rival{Store: back, op: store.OpPut, before: before, do: theirs}, lost), retry.Config{})
				_, err := s.Put(t.Context(), "k", body("mine"), store.PutOptions{If: cond})
				if !store.IsKind(err, store.PreconditionFailed) || !errors.Is(err, store.ErrUnsettled) {
					t.Errorf("got %v, want an unsettled refusal", err)
				}
				fault.Exercised(t, lost)
			})
		}
	}
}

// TestBlindSettlement has the look after a lost answer fail too, so that the
// write is sent again and refused because of itself.
func TestBlindSettlement(t *testing.T) {
	inBubble(t, "ours", func(t *testing.T) {
		e := setup(t, retry.Config{}, onPut(fault.Lost()),
			fault.On(fault.Fail(store.Unavailable), fault.Ops(store.OpHead), fault.Nth(1)))
		info, err := e.put("k", "mine", store.IfAbsent())
		e.must(err)
		e.requests(store.OpPut, 2)
		if head, _ := e.back.Head(e.ctx, "k"); head.ETag != info.ETag {
			t.Errorf("settled with %+v, stored is %+v", info, head)
		}
	})
	inBubble(t, "never seen", func(t *testing.T) {
		e := setup(t, retry.Config{MaxElapsed: 5 * time.Second}, onPut(fault.Lost()),
			fault.On(fault.Fail(store.Unavailable), fault.Ops(store.OpHead)))
		_, err := e.put("k", "mine", store.IfAbsent())
		e.want("put", err, store.Unavailable)
		if !errors.Is(err, store.ErrUnsettled) {
			t.Errorf("%v is not said to be unsettled", err)
		}
	})
}

func TestMatchOnDeletedKey(t *testing.T) {
	inBubble(t, "", func(t *testing.T) {
		e := setup(t, retry.Config{}, onPut(fault.Fail(store.Unavailable)))
		_, err := e.put("k", "mine", store.IfMatch("00"))
		e.want("put", err, store.NotExist)
		e.requests(store.OpPut, 1)
	})
}

// TestCopy loses the answers of copies.
func TestCopy(t *testing.T) {
	lost := func() *fault.Rule { return fault.On(fault.Lost(), fault.Ops(store.OpCopy), fault.Nth(1)) }
	inBubble(t, "metadata of itself", func(t *testing.T) {
		e := setup(t, retry.Config{}, lost())
		old, err := e.put("k", "x", store.Always)
		e.must(err)
		_, err = e.Copy(e.ctx, "k", "k", store.CopyOptions{SourceIf: old.ETag, Meta: store.Metadata{"mode": "1"}})
		e.must(err)
		e.requests(store.OpCopy, 1)
		info, err := e.Head(e.ctx, "k")
		if err != nil || len(info.Meta) != 1 || info.Meta["mode"] != "1" {
			t.Errorf("metadata %v, %v", info.Meta, err)
		}
	})
	inBubble(t, "to an absent key", func(t *testing.T) {
		e := setup(t, retry.Config{}, lost())
		_, err := e.put("k", "x", store.Always)
		e.must(err)
		_, err = e.Copy(e.ctx, "k", "l", store.CopyOptions{If: store.IfAbsent(), Meta: store.Metadata{}})
		e.must(err)
		e.holds("l", "x")
	})
	inBubble(t, "that cannot carry a nonce", func(t *testing.T) {
		e := setup(t, retry.Config{}, lost())
		_, err := e.put("k", "x", store.Always)
		e.must(err)
		_, err = e.Copy(e.ctx, "k", "l", store.CopyOptions{If: store.IfAbsent()})
		e.want("copy", err, store.Unavailable)
		e.requests(store.OpCopy, 1)
	})
	inBubble(t, "plain", func(t *testing.T) {
		e := setup(t, retry.Config{}, lost())
		_, err := e.put("k", "x", store.Always)
		e.must(err)
		_, err = e.Copy(e.ctx, "k", "l", store.CopyOptions{})
		e.must(err)
		e.requests(store.OpCopy, 2)
	})
}

func TestDelete(t *testing.T) {
	lost := func() *fault.Rule { return fault.On(fault.Lost(), fault.Ops(store.OpDelete), fault.Nth(1)) }
	inBubble(t, "lost", func(t *testing.T) {
		e := setup(t, retry.Config{}, lost())
		info, err := e.put("k", "x", store.Always)
		e.must(err)
		e.must(e.Delete(e.ctx, "k", store.IfMatch(info.ETag)))
		e.requests(store.OpDelete, 2)
		e.want("delete again", e.Delete(e.ctx, "k", store.IfMatch(info.ETag)), store.NotExist)
	})
	inBubble(t, "many, some of them failing", func(t *testing.T) {
		back := mem.New()
		fails := &partly{Store: back, left: 2}
		s := retry.New(fails, retry.Config{})
		keys := []string{"a", "b", "c"}
		for _, k := range keys {
			_, _ = s.Put(t.Context(), k, body("x"), store.PutOptions{})
		}
		failed, err := s.DeleteMany(t.Context(), keys)
		if err != nil || len(failed) != 1 || !store.IsKind(failed["c"], store.Denied) {
			t.Errorf("got %v, %v; want only c denied", failed, err)
		}
		if back.Len() != 1 || keys[0] != "a" || fails.left != 0 {
			t.Errorf("%d objects left, keys %q, %d failures left", back.Len(), keys, fails.left)
		}
	})
}

// partly refuses "c", and is throttled for "a" a few times.
type partly struct {
	store.Store
	left int
}

func (p *partly) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	failed := map[string]error{}
	var rest []string
	for _, k := range keys {
		switch {
		case k == "c":
			failed[k] = &store.Error{Op: store.OpDeleteMany, Key: k, Kind: store.Denied}
		case k == "a" && p.left > 0:
			p.left--
			failed[k] = &store.Error{Op: store.OpDeleteMany, Key: k, Kind: store.Throttled}
		default:
			rest = append(rest, k)
		}
	}
	_, err := p.Store.DeleteMany(ctx, rest)
	return failed, err
}

func (e *env) upload(opts store.PutOptions) (store.UploadID, []store.Part) {
	e.Helper()
	id, err := e.CreateUpload(e.ctx, "k", opts)
	e.must(err)
	part, err := e.UploadPart(e.ctx, "k", id, 1, body("part"))
	e.must(err)
	return id, []store.Part{part}
}

func TestComplete(t *testing.T) {
	lost := func() *fault.Rule { return fault.On(fault.Lost(), fault.Ops(store.OpComplete), fault.Nth(1)) }
	blind := func() *fault.Rule {
		return fault.On(fault.Fail(store.Unavailable), fault.Ops(store.OpHead), fault.Nth(1))
	}
	for name, cond := range map[string]store.Precondition{"always": store.Always, "absent": store.IfAbsent()} {
		inBubble(t, "lost/"+name, func(t *testing.T) {
			e := setup(t, retry.Config{}, lost(), blind())
			opts := store.PutOptions{If: cond, Meta: store.Metadata{"mode": "1"}}
			id, parts := e.upload(opts)
			info, err := e.Complete(e.ctx, "k", id, parts, opts)
			e.must(err)
			e.requests(store.OpComplete, 2)
			if info.Size != 4 || len(info.Meta) != 1 || !strings.HasSuffix(string(info.ETag), "-1") {
				t.Errorf("complete result %+v", info)
			}
			e.holds("k", "part")
		})
	}
	inBubble(t, "conflict", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fail(store.Conflict), fault.Ops(store.OpComplete)))
		id, parts := e.upload(store.PutOptions{})
		_, err := e.Complete(e.ctx, "k", id, parts, store.PutOptions{If: store.IfAbsent()})
		e.want("complete", err, store.Conflict)
		e.requests(store.OpComplete, 1)
	})
	inBubble(t, "unknown upload", func(t *testing.T) {
		e := setup(t, retry.Config{})
		_, err := e.Complete(e.ctx, "k", "nothing", nil, store.PutOptions{})
		e.want("complete", err, store.NotExist)
		if errors.Is(err, store.ErrUnsettled) {
			t.Error("a plain refusal is said to be unsettled")
		}
	})
	inBubble(t, "replaced by a rival", func(t *testing.T) {
		back := mem.New()
		theirs := func() { _, _ = back.Put(t.Context(), "k", body("theirs"), store.PutOptions{}) }
		s := retry.New(fault.Wrap(&rival{Store: back, op: store.OpComplete, do: theirs}, lost()), retry.Config{})
		e := &env{T: t, Store: s, ctx: t.Context(), back: back}
		id, parts := e.upload(store.PutOptions{})
		_, err := e.Complete(e.ctx, "k", id, parts, store.PutOptions{})
		if !store.IsKind(err, store.NotExist) || !errors.Is(err, store.ErrUnsettled) {
			t.Errorf("got %v, want an unsettled refusal", err)
		}
	})
}

// TestBounds has a server that never recovers.
func TestBounds(t *testing.T) {
	down := func() *fault.Rule { return fault.On(fault.Fail(store.Unavailable)) }
	inBubble(t, "MaxElapsed", func(t *testing.T) {
		e := setup(t, retry.Config{}, down())
		begun := time.Now()
		_, err := e.Head(e.ctx, "k")
		e.want("head", err, store.Unavailable)
		if took := time.Since(begun); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("gave up after %v, want some 30 s", took)
		}
		if n := e.sent.Requests()[store.OpHead]; n < 8 || n > 25 {
			t.Errorf("%d attempts in 30 s", n)
		}
	})
	inBubble(t, "stalled", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Hang(fault.Forever)))
		begun := time.Now()
		_, err := e.Head(e.ctx, "k")
		e.want("head", err, store.Timeout)
		if took := time.Since(begun); took > 40*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
	inBubble(t, "deadline", func(t *testing.T) {
		e := setup(t, retry.Config{}, down())
		ctx, cancel := context.WithTimeout(e.ctx, 100*time.Second)
		defer cancel()
		begun := time.Now()
		_, err := e.Put(ctx, "k", body("x"), store.PutOptions{})
		e.want("put", err, store.Unavailable) // the reason, and not that time is up
		if took := time.Since(begun); took < 90*time.Second || took > 100*time.Second {
			t.Errorf("gave up after %v, want nearly 100 s", took)
		}
	})
	inBubble(t, "canceled", func(t *testing.T) {
		e := setup(t, retry.Config{}, down())
		ctx, cancel := context.WithCancel(e.ctx)
		time.AfterFunc(3*time.Second, cancel)
		begun := time.Now()
		_, err := e.Head(ctx, "k")
		e.want("head", err, store.Canceled)
		if time.Since(begun) != 3*time.Second {
			t.Errorf("gave up after %v, want 3 s", time.Since(begun))
		}
	})
	inBubble(t, "bad credentials", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fail(store.BadCredentials)))
		_, err := e.Head(e.ctx, "k")
		e.want("head", err, store.BadCredentials)
		e.requests(store.OpHead, 3)
	})
	inBubble(t, "size", func(t *testing.T) {
		e := setup(t, retry.Config{RequestTimeout: time.Second, MinRate: 1000}, onPut(fault.Hang(59*time.Second)))
		_, err := e.put("k", strings.Repeat("x", 60_000), store.Always)
		e.must(err)
		e.requests(store.OpPut, 1) // a minute is in order for so many bytes
	})
}

// TestAnswersAreNotRepeated sends each answer that is one.
func TestAnswersAreNotRepeated(t *testing.T) {
	for _, kind := range store.Kinds() {
		switch kind {
		case store.Throttled, store.Unavailable, store.Timeout, store.Conflict, store.BadCredentials:
			continue
		}
		e := setup(t, retry.Config{}, fault.On(fault.Fail(kind)))
		_, err := e.put("k", "x", store.IfAbsent())
		e.want("put", err, kind)
		e.requests(store.OpPut, 1)
		_, err = e.Get(e.ctx, "k", store.GetOptions{})
		e.want("get", err, kind)
		e.requests(store.OpGet, 1)
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := retry.NewBudget(0.2, 20, 200)
		back := fault.Wrap(mem.New(), fault.On(fault.Fail(store.Unavailable)))
		sent := metrics.Wrap(back)
		begun := time.Now()
		done := make(chan error)
		const callers = 500
		for range callers {
			s := retry.New(sent, retry.Config{Budget: budget})
			go func() {
				_, err := s.Head(t.Context(), "k")
				done <- err
			}()
		}
		for range callers {
			if err := <-done; !store.IsKind(err, store.Unavailable) {
				t.Errorf("head: %v", err)
			}
		}
		retries := sent.Requests()[store.OpHead] - callers
		if limit := 200 + 20*uint64(time.Since(begun).Seconds()+1); retries > limit || retries < limit/2 {
			t.Errorf("%d retries in %v, want nearly %d", retries, time.Since(begun), limit)
		}
	})
}

func TestResume(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 10_000)
	read := func(e *env, opts store.GetOptions) ([]byte, error) {
		obj, err := e.Get(e.ctx, "k", opts)
		e.must(err)
		defer func() { _ = obj.Body.Close() }()
		if len(obj.Info.Meta) != 0 {
			e.Errorf("metadata %v", obj.Info.Meta)
		}
		return io.ReadAll(obj.Body)
	}
	gets := fault.Ops(store.OpGet)
	inBubble(t, "torn again and again", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fail(store.Throttled), gets, fault.Nth(3)), fault.On(fault.Tear(7000), gets))
		_, err := e.put("k", string(content), store.IfAbsent())
		e.must(err)
		got, err := read(e, store.GetOptions{Offset: 3, Length: 90_001})
		if err != nil || !bytes.Equal(got, content[3:90_004]) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		e.requests(store.OpGet, 14) // of 7000 bytes, and one refused
	})
	inBubble(t, "stalled", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Fault{Moment: fault.Torn, Bytes: 5, Delay: fault.Forever}, gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		got, err := read(e, store.GetOptions{})
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
	})
	inBubble(t, "replaced", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(5), gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		obj, err := e.Get(e.ctx, "k", store.GetOptions{})
		e.must(err)
		_, err = e.put("k", strings.ToUpper("another version of that length"), store.Always)
		e.must(err)
		got, err := io.ReadAll(obj.Body)
		e.want("read", err, store.PreconditionFailed)
		if len(got) != 5 {
			t.Errorf("read %q", got)
		}
		_, err = obj.Body.Read(make([]byte, 1))
		e.want("read again", err, store.PreconditionFailed)
	})
	inBubble(t, "deleted", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(5), gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		obj, err := e.Get(e.ctx, "k", store.GetOptions{})
		e.must(err)
		e.must(e.Delete(e.ctx, "k", store.Always))
		_, err = io.ReadAll(obj.Body)
		e.want("read", err, store.NotExist)
	})
	inBubble(t, "never again", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(0), gets))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		begun := time.Now()
		_, err = read(e, store.GetOptions{})
		e.want("read", err, store.Unavailable)
		if took := time.Since(begun); took > 31*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
	inBubble(t, "canceled", func(t *testing.T) {
		e := setup(t, retry.Config{}, fault.On(fault.Tear(5), gets, fault.Nth(1)))
		_, err := e.put("k", string(content), store.Always)
		e.must(err)
		ctx, cancel := context.WithCancel(e.ctx)
		obj, err := e.Get(ctx, "k", store.GetOptions{})
		e.must(err)
		_, err = io.ReadFull(obj.Body, make([]byte, 5))
		e.must(err)
		cancel()
		_, err = obj.Body.Read(make([]byte, 1))
		e.want("read after cancel", err, store.Canceled)
	})
}

func TestNoticesRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		e := setup(t, retry.Config{OnRetry: func(op store.Op, key string, err error) {
			seen = append(seen, fmt.Sprint(op, " ", key, " ", store.KindOf(err)))
		}}, onPut(fault.Fail(store.Throttled)))
		_, err := e.put("k", "x", store.Always)
		e.must(err)
		if len(seen) != 1 || seen[0] != "PUT k throttled" {
			t.Errorf("noticed %q", seen)
		}
	})
}

func FuzzNonce(f *testing.F) {
	f.Add("mode", "33188")
	f.Add(retry.NonceKey, "forged")
	f.Fuzz(func(t *testing.T, key, value string) {
		meta := store.Metadata{key: value}
		if store.CheckMetadata(meta) != nil || len(key)+len(value) > store.MaxMetadata {
			return
		}
		s := retry.New(mem.New(), retry.Config{})
		if _, err := s.Put(t.Context(), "k", body("x"), store.PutOptions{Meta: meta, If: store.IfAbsent()}); err != nil {
			t.Fatal(err)
		}
		if len(meta) != 1 || meta[key] != value {
			t.Errorf("the caller's metadata became %v", meta)
		}
		info, err := s.Head(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if key == retry.NonceKey {
			meta = store.Metadata{}
		}
		if len(info.Meta) != len(meta) || info.Meta[key] != meta[key] {
			t.Errorf("stored %v, read %v", meta, info.Meta)
		}
	})
}
