package retry

import (
	"context"
	"errors"

	"github.com/causewayfs/causeway/store"
)

// guarded sends a write that carries a nonce until it is known what became of
// it. cond is the precondition on key.
func (c *call) guarded(ctx context.Context, factor int, bytes int64, nonce string, cond store.Precondition, send func(context.Context) (store.Info, error)) (store.Info, error) {
	for {
		var info store.Info
		err := c.try(ctx, factor, bytes, func(ctx context.Context) (err error) {
			info, err = send(ctx)
			return err
		})
		if err == nil {
			return strip(info), nil
		}
		switch kind := store.KindOf(err); {
		case kind == store.PreconditionFailed, kind == store.NotExist:
			if !c.lost {
				return store.Info{}, err
			}
			return c.settle(ctx, nonce, err)
		case errors.Is(err, store.ErrAway): // not sent: there is nothing to look at
		case kind == store.Unavailable, kind == store.Timeout:
			c.lost = true
			if info, err, known := c.look(ctx, nonce, cond); known {
				return info, err
			}
		case kind == store.Conflict:
			if c.op == store.OpComplete {
				return store.Info{}, err // the upload is gone
			}
		}
		if !c.again(ctx, err) {
			return store.Info{}, c.over(ctx, err)
		}
	}
}

// settle finds out whether a refusal is owed to the lost attempt itself.
func (c *call) settle(ctx context.Context, nonce string, refusal error) (store.Info, error) {
	info, err := c.s.head(ctx, c.key)
	switch {
	case err == nil && nonce != "" && info.Meta[NonceKey] == nonce:
		return strip(info), nil
	case err != nil && !store.IsKind(err, store.NotExist):
		return store.Info{}, &store.Error{Op: c.op, Key: c.key, Kind: store.KindOf(err), Err: errors.Join(err, store.ErrUnsettled)}
	}
	return store.Info{}, unsettled(c.op, c.key, refusal)
}

func unsettled(op store.Op, key string, err error) error {
	return &store.Error{Op: op, Key: key, Kind: store.KindOf(err), Err: errors.Join(err, store.ErrUnsettled)}
}

// look finds out, with one request, what a lost attempt did, before the body is
// sent again. It reports false if that must be tried: the key is as it was, or
// cannot be looked at.
func (c *call) look(ctx context.Context, nonce string, cond store.Precondition) (store.Info, error, bool) {
	var info store.Info
	err := c.try(ctx, 1, 0, func(ctx context.Context) (err error) {
		info, err = c.s.next.Head(ctx, c.key)
		return err
	})
	absent := store.IsKind(err, store.NotExist)
	kind := store.PreconditionFailed
	switch {
	case err != nil && !absent:
		return store.Info{}, nil, false
	case err == nil && nonce != "" && info.Meta[NonceKey] == nonce:
		return strip(info), nil, true
	case cond.Absent && !absent:
	case cond.Match != "" && absent:
		kind = store.NotExist
	case cond.Match != "" && info.ETag != cond.Match:
	default:
		return store.Info{}, nil, false
	}
	return store.Info{}, &store.Error{Op: c.op, Key: c.key, Kind: kind, Err: store.ErrUnsettled}, true
}
