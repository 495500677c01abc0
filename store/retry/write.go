package retry

import (
	"context"
	"errors"

	"github.com/causewayfs/causeway/store"
)

// Put implements [store.Writer].
func (s *Store) Put(ctx context.Context, key string, body store.Body, opts store.PutOptions) (store.Info, error) {
	if opts.If.Set() {
		nonce := s.nonces.next()
		opts.Meta = mark(opts.Meta, nonce)
		return s.begin(store.OpPut, key).guarded(ctx, 1, body.Size, nonce, opts.If, func(ctx context.Context) (store.Info, error) {
			return s.next.Put(ctx, key, body, opts)
		})
	}
	var info store.Info
	err := s.repeat(ctx, store.OpPut, key, 1, body.Size, func(ctx context.Context) (err error) {
		info, err = s.next.Put(ctx, key, body, opts)
		return err
	})
	return info, err
}

// Copy implements [store.Writer].
func (s *Store) Copy(ctx context.Context, src, dst string, opts store.CopyOptions) (store.Info, error) {
	send := func(ctx context.Context) (store.Info, error) { return s.next.Copy(ctx, src, dst, opts) }
	c := s.begin(store.OpCopy, dst)
	if opts.Meta != nil && (opts.If.Set() || opts.SourceIf != "") {
		nonce := s.nonces.next()
		opts.Meta = mark(opts.Meta, nonce)
		return c.guarded(ctx, slowFactor, 0, nonce, opts.If, send)
	}
	for {
		var info store.Info
		err := c.try(ctx, slowFactor, 0, func(ctx context.Context) (err error) {
			info, err = send(ctx)
			return err
		})
		if err == nil {
			return info, nil
		}
		k := store.KindOf(err)
		if c.lost && (k == store.NotExist || k == store.PreconditionFailed) {
			// The lost attempt may have been carried out before somebody
			// replaced the source.
			return store.Info{}, &store.Error{Op: store.OpCopy, Key: dst, Kind: store.Unavailable, Err: errors.Join(store.ErrUnsettled, err)}
		}
		unknown := opts.If.Set() && (k == store.Unavailable || k == store.Timeout) && !errors.Is(err, store.ErrAway)
		if unknown || !c.again(ctx, err) {
			return store.Info{}, c.over(ctx, err)
		}
	}
}

// Delete implements [store.Writer].
func (s *Store) Delete(ctx context.Context, key string, cond store.Precondition) error {
	c := s.begin(store.OpDelete, key)
	for {
		err := c.try(ctx, 1, 0, func(ctx context.Context) error { return s.next.Delete(ctx, key, cond) })
		switch kind := store.KindOf(err); {
		case err == nil:
			return nil
		case c.lost && kind == store.NotExist:
			return nil // by the lost attempt, or by somebody: it is gone
		case c.lost && kind == store.PreconditionFailed:
			return unsettled(store.OpDelete, key, err)
		}
		if !c.again(ctx, err) {
			return c.over(ctx, err)
		}
	}
}

// DeleteMany implements [store.Writer]. Keys that could not be removed for a
// passing reason are tried again.
func (s *Store) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	c := s.begin(store.OpDeleteMany, "")
	var failed map[string]error
	for {
		var result map[string]error
		err := c.try(ctx, 3, 0, func(ctx context.Context) (err error) {
			result, err = s.next.DeleteMany(ctx, keys)
			return err
		})
		if err != nil {
			if c.again(ctx, err) {
				continue
			}
			return c.abandoned(failed, keys, c.over(ctx, err))
		}
		var passing error
		keys = keys[:0:0]
		for key, err := range result {
			if failed == nil {
				failed = make(map[string]error, len(result))
			}
			failed[key] = err
			switch store.KindOf(err) {
			case store.Throttled, store.Unavailable, store.Timeout, store.Conflict:
				keys, passing = append(keys, key), err
			}
		}
		if passing == nil || !c.again(ctx, passing) {
			return failed, nil
		}
		for _, key := range keys {
			delete(failed, key)
		}
	}
}

// abandoned is the result when the last request of several failed: what the
// earlier ones found out stays true.
func (c *call) abandoned(failed map[string]error, keys []string, err error) (map[string]error, error) {
	if failed == nil {
		return nil, err
	}
	for _, key := range keys {
		failed[key] = err
	}
	return failed, nil
}
