package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/causewayfs/causeway/store"
)

// stale is an ETag that no object of a probe has.
const stale = store.ETag("00000000000000000000000000000000")

func (p *probe) putIfAbsent(ctx context.Context) (bool, error) {
	key := p.key("put-absent")
	return race(func(i int) error {
		_, err := p.put(ctx, key, fmt.Sprint("rival ", i), store.IfAbsent())
		return err
	})
}

func (p *probe) putIfMatch(ctx context.Context) (bool, error) {
	return all(
		func() (bool, error) {
			key := p.key("put-match")
			old, err := p.put(ctx, key, "old", store.Always)
			if err != nil {
				return false, err
			}
			return race(func(i int) error {
				_, err := p.put(ctx, key, fmt.Sprint("rival ", i), store.IfMatch(old.ETag))
				return err
			})
		},
		func() (bool, error) {
			key := p.key("put-match-stale")
			info, err := p.put(ctx, key, "kept", store.Always)
			if err != nil {
				return false, err
			}
			_, err = p.put(ctx, key, "wrong", store.IfMatch(stale))
			return p.refusedAndKept(ctx, err, key, info.ETag)
		},
		func() (bool, error) {
			key := p.key("put-match-absent")
			_, err := p.put(ctx, key, "wrong", store.IfMatch(stale))
			return p.refusedAndKept(ctx, err, key, "")
		},
	)
}

// refusedAndKept looks behind a refusal: the key must hold what it held.
func (p *probe) refusedAndKept(ctx context.Context, err error, key string, version store.ETag) (bool, error) {
	if ok, err := refused(err); !ok || err != nil {
		return false, err
	}
	return p.unchanged(ctx, key, version)
}

func (p *probe) completeIf(ctx context.Context) (bool, error) {
	absent := p.key("complete-absent")
	present := p.key("complete-present")
	info, err := p.put(ctx, present, "kept", store.Always)
	if err != nil {
		return false, err
	}
	return all(
		func() (bool, error) { return accepted(p.complete(ctx, absent, store.IfAbsent())) },
		func() (bool, error) {
			if ok, err := refused(p.complete(ctx, present, store.IfAbsent())); !ok || err != nil {
				return false, err
			}
			return p.refusedAndKept(ctx, p.complete(ctx, present, store.IfMatch(stale)), present, info.ETag)
		},
	)
}

// complete uploads a part and makes it the object. A failed upload is aborted.
func (p *probe) complete(ctx context.Context, key string, cond store.Precondition) error {
	opts := store.PutOptions{If: cond}
	id, err := p.CreateUpload(ctx, key, opts)
	if err != nil {
		return err
	}
	part, err := p.UploadPart(ctx, key, id, 1, store.Body{Reader: strings.NewReader("x"), Size: 1})
	if err == nil {
		_, err = p.Complete(ctx, key, id, []store.Part{part}, opts)
	}
	if err != nil {
		if abort := p.Abort(context.WithoutCancel(ctx), key, id); abort != nil {
			return errors.Join(err, abort)
		}
	}
	return err
}

func (p *probe) deleteIf(ctx context.Context) (bool, error) {
	key := p.key("delete")
	info, err := p.put(ctx, key, "kept", store.Always)
	if err != nil {
		return false, err
	}
	if ok, err := p.refusedAndKept(ctx, p.Delete(ctx, key, store.IfMatch(stale)), key, info.ETag); !ok || err != nil {
		return false, err
	}
	return accepted(p.Delete(ctx, key, store.IfMatch(info.ETag)))
}

func (p *probe) copySourceIf(ctx context.Context) (bool, error) {
	src, dst := p.key("copy-source"), p.key("copy-source-to")
	info, err := p.put(ctx, src, "source", store.Always)
	if err != nil {
		return false, err
	}
	copyIf := func(version store.ETag) error {
		_, err := p.Copy(ctx, src, dst, store.CopyOptions{SourceIf: version})
		return err
	}
	if ok, err := p.refusedAndKept(ctx, copyIf(stale), dst, ""); !ok || err != nil {
		return false, err
	}
	return accepted(copyIf(info.ETag))
}

func (p *probe) copyIf(ctx context.Context) (bool, error) {
	src, dst, absent := p.key("copy-from"), p.key("copy-to"), p.key("copy-to-absent")
	if _, err := p.put(ctx, src, "source", store.Always); err != nil {
		return false, err
	}
	info, err := p.put(ctx, dst, "kept", store.Always)
	if err != nil {
		return false, err
	}
	copyTo := func(key string, cond store.Precondition) error {
		_, err := p.Copy(ctx, src, key, store.CopyOptions{If: cond})
		return err
	}
	return all(
		func() (bool, error) { return accepted(copyTo(absent, store.IfAbsent())) },
		func() (bool, error) {
			if ok, err := refused(copyTo(dst, store.IfAbsent())); !ok || err != nil {
				return false, err
			}
			return p.refusedAndKept(ctx, copyTo(dst, store.IfMatch(stale)), dst, info.ETag)
		},
	)
}
