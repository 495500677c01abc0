package retry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/retry"
)

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
