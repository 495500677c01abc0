package retry_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/retry"
)

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
