package fuse

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

var _ vfs.Awaiter = (*Server)(nil)

// toldPoll is how often it is looked whether messages were sent, after a first
// short while.
const toldPoll = 200 * time.Microsecond

// AwaitTold implements vfs.Awaiter.
func (s *Server) AwaitTold(ctx context.Context, ids ...vfs.NodeID) { s.notify.awaitTold(ctx, ids) }

// awaitTold returns when no message about the nodes waits or is being sent, or
// when ctx ends. Nobody who serves a request of the kernel may call it.
func (n *notifier) awaitTold(ctx context.Context, ids []vfs.NodeID) {
	for !n.told(ids) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(toldPoll):
		}
	}
}

func (n *notifier) told(ids []vfs.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range ids {
		if n.nodes[id] != nil {
			return false
		}
	}
	return true
}
