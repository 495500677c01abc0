package fuse

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// At most eventBurst failures are logged at once, and one more each
// eventInterval: when S3 is away every request fails.
const (
	eventBurst    = 20
	eventInterval = time.Second
)

// eventLog logs failed requests: those that should not happen as warnings, at
// a bounded rate, the others, which programs provoke, for debugging.
type eventLog struct {
	log *slog.Logger
	now func() time.Time

	mu         sync.Mutex
	tokens     int
	refilled   time.Time
	suppressed int // since the last line
}

func newEventLog(log *slog.Logger, now func() time.Time) *eventLog {
	return &eventLog{log: log, now: now, tokens: eventBurst, refilled: now()}
}

// failed reports that op on node failed with err.
func (l *eventLog) failed(op string, node uint64, kind vfs.Kind, err error) {
	ctx := context.Background()
	if kind != vfs.IO && kind != vfs.Timeout {
		if l.log.Enabled(ctx, slog.LevelDebug) {
			l.log.LogAttrs(ctx, slog.LevelDebug, "request failed", attrsOf(op, node, err)...)
		}
		return
	}
	suppressed, ok := l.allow()
	if !ok {
		return
	}
	attrs := attrsOf(op, node, err)
	if suppressed > 0 {
		attrs = append(attrs, slog.Int("suppressed", suppressed))
	}
	l.log.LogAttrs(ctx, slog.LevelWarn, "request failed", attrs...)
}

func attrsOf(op string, node uint64, err error) []slog.Attr {
	return []slog.Attr{slog.String("op", op), slog.Uint64("node", node), slog.Any("error", err)}
}

// allow takes a token. suppressed is the number of calls that got none since.
func (l *eventLog) allow() (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if n := int(now.Sub(l.refilled) / eventInterval); n > 0 {
		l.tokens = min(eventBurst, l.tokens+n)
		l.refilled = now
	}
	if l.tokens == 0 {
		l.suppressed++
		return 0, false
	}
	l.tokens--
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}
