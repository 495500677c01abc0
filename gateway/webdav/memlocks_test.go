package webdav_test

import (
	"testing"
	"time"

	"github.com/causewayfs/causeway/gateway/webdav"
	"github.com/causewayfs/causeway/gateway/webdav/locktest"
)

func TestMemoryLocks(t *testing.T) {
	locktest.Run(t, func(*testing.T) (webdav.LockSystem, func(time.Duration)) {
		now := time.Unix(0, 0)
		return webdav.NewMemoryLocks(func() time.Time { return now }), func(d time.Duration) { now = now.Add(d) }
	})
}
