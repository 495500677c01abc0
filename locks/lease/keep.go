package lease

import (
	"context"
	"errors"
	"time"
)

// keep renews the session until it is over.
func (k *Keeper) keep(ctx context.Context) {
	defer k.End()
	renewed := k.cfg.Begun // when the last renewal that succeeded was begun
	next := renewed + Every(k.cfg.TTL)
	for k.sleep(ctx, next) {
		begun := k.cfg.Clock()
		err := k.step(ctx, begun >= renewed+Every(k.cfg.TTL), &renewed)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrEnded):
			k.cfg.Log.Warn("session was ended by somebody else")
			return
		case k.lapsed():
			k.cfg.Log.Warn("session could not be renewed in time", "err", err)
			return
		case err != nil:
			k.cfg.Log.Debug("session was not renewed", "err", err)
			next = begun + k.pause()
		default:
			next = renewed + Every(k.cfg.TTL)
		}
	}
}

// pause is how long after the beginning of a failed attempt the next one begins.
func (k *Keeper) pause() time.Duration { return min(k.cfg.TTL/15, time.Second) }

// step renews, or only looks. It sets renewed when it has renewed.
func (k *Keeper) step(ctx context.Context, renew bool, renewed *time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, min(k.cfg.TTL/6, k.left()))
	defer cancel()
	call := k.backend.Look
	if renew {
		call = k.backend.Renew
	}
	begun := k.cfg.Clock()
	wanted, err := call(ctx)
	if err != nil {
		return err
	}
	if renew && k.extend(begun) {
		*renewed = begun
	}
	k.Post(wanted...)
	return nil
}

// extend takes in that a renewal succeeded. It reports false if that came too
// late.
func (k *Keeper) extend(begun time.Duration) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.over || k.cfg.Clock() >= k.until {
		return false
	}
	k.until = begun + k.cfg.TTL - Margin(k.cfg.TTL)
	return true
}

func (k *Keeper) lapsed() bool { return !k.Valid() }

// left is for how long the session is certain to be alive.
func (k *Keeper) left() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.until - k.cfg.Clock()
}

// sleep waits until the time at by the clock, or until a look is due since
// somebody is busy. It reports false when the session is over.
func (k *Keeper) sleep(ctx context.Context, at time.Duration) bool {
	busy := k.busy
	for {
		now := k.cfg.Clock()
		k.mu.Lock()
		over, until := k.over, k.until
		k.mu.Unlock()
		if over || now >= until {
			return false
		}
		if now >= at {
			return true
		}
		timer := time.NewTimer(min(at, until) - now)
		select {
		case <-timer.C:
		case <-busy:
			// One look answers all calls of Busy before it.
			at, busy = min(at, k.cfg.Clock()+min(Look, Every(k.cfg.TTL))), nil
		case <-k.done:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}
