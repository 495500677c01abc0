package lease

import (
	"context"
	"time"
)

// Pause returns nil after d, or the error of ctx as soon as that ends. A d that is
// not positive is no pause.
func Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
