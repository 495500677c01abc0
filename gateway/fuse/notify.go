package fuse

import (
	"log/slog"
	"sync"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

const (
	maxPending  = 1 << 18 // names and nodes that may wait for the kernel
	maxNotifier = 16      // goroutines that talk to it
	pruneBatch  = 512     // nodes in one message
)

// kernel is what can be said to the kernel; *raw.Server is one.
type kernel interface {
	EntryNotify(parent uint64, name string) raw.Status
	InodeNotify(node uint64, off, length int64) raw.Status
	PruneNotify(nodes []uint64) raw.Status
}

// Namer is what vfs.Operations may have beside, to prune nodes under kernels
// that cannot do it by number (before 6.18).
type Namer interface {
	// NameOf returns a name of id; ok is false if it has none.
	NameOf(id vfs.NodeID) (parent vfs.NodeID, name string, ok bool)
}

// notifier tells the kernel what not to cache any more. The kernel takes the
// directory's lock to drop a name, and waits for reads under way to drop
// pages, so a message may wait as long as the slowest request; nobody who
// serves requests may wait for it. Messages therefore queue, the same message
// once, and each node's are sent by one goroutine at a time: a directory that
// is busy delays only its own.
type notifier struct {
	kernel kernel
	namer  Namer // nil if there is none
	log    *slog.Logger

	mu      sync.Mutex
	nodes   map[vfs.NodeID]*pending // that have messages waiting or being sent
	ready   []*pending              // of these, those that no goroutine has
	prune   []vfs.NodeID
	waiting int // names and nodes in all of them
	workers int
	dropped int
	closed  bool
	wg      sync.WaitGroup
}

// pending are the messages about one node.
type pending struct {
	id    vfs.NodeID
	self  bool                // its data and attributes
	names map[string]struct{} // in it
	taken bool                // a goroutine is sending earlier ones
}

func (p *pending) count() int {
	if p.self {
		return len(p.names) + 1
	}
	return len(p.names)
}

var _ vfs.Invalidator = (*notifier)(nil)

func newNotifier(k kernel, namer Namer, log *slog.Logger) *notifier {
	return &notifier{kernel: k, namer: namer, log: log, nodes: make(map[vfs.NodeID]*pending)}
}

// InvalidateEntry implements vfs.Invalidator.
func (n *notifier) InvalidateEntry(parent vfs.NodeID, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.roomLocked() {
		return
	}
	p := n.pendingLocked(parent)
	if _, dup := p.names[name]; dup {
		return
	}
	if p.names == nil {
		p.names = make(map[string]struct{})
	}
	p.names[name] = struct{}{}
	n.queueLocked(p)
}

// InvalidateNode implements vfs.Invalidator.
func (n *notifier) InvalidateNode(id vfs.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.roomLocked() {
		return
	}
	if p := n.pendingLocked(id); !p.self {
		p.self = true
		n.queueLocked(p)
	}
}

// Prune implements vfs.Invalidator. It is a hint, and dropped if too much is
// waiting.
func (n *notifier) Prune(ids []vfs.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.waiting+len(ids) > maxPending {
		return
	}
	n.waiting += len(ids)
	n.prune = append(n.prune, ids...)
	n.startLocked()
}

// roomLocked reports whether one more message may wait. One that may not is
// lost, and the kernel believes what it has until its time to live is over.
func (n *notifier) roomLocked() bool {
	if n.closed {
		return false
	}
	if n.waiting >= maxPending {
		n.dropped++
		return false
	}
	return true
}

func (n *notifier) pendingLocked(id vfs.NodeID) *pending {
	p := n.nodes[id]
	if p == nil {
		p = &pending{id: id}
		n.nodes[id] = p
	}
	return p
}

// queueLocked counts one more message of p and sees that it is sent.
func (n *notifier) queueLocked(p *pending) {
	n.waiting++
	if !p.taken && p.count() == 1 {
		n.ready = append(n.ready, p)
		n.startLocked()
	}
}

// startLocked starts a goroutine if none is free to take what is ready.
func (n *notifier) startLocked() {
	if n.workers < maxNotifier {
		n.workers++
		n.wg.Go(n.work)
	}
}

// work sends until nothing is ready.
func (n *notifier) work() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for !n.closed {
		switch {
		case len(n.ready) > 0:
			p := n.ready[0]
			n.ready = n.ready[1:]
			n.sendLocked(p)
		case len(n.prune) > 0:
			batch := n.prune[:min(len(n.prune), pruneBatch)]
			n.prune = n.prune[len(batch):]
			n.waiting -= len(batch)
			n.mu.Unlock()
			n.pruneNodes(batch)
			n.mu.Lock()
		default:
			n.workers--
			n.reportLocked()
			return
		}
	}
	n.workers--
}

// sendLocked sends what p has. n.mu is let go meanwhile.
func (n *notifier) sendLocked(p *pending) {
	n.waiting -= p.count()
	self, names := p.self, p.names
	p.self, p.names, p.taken = false, nil, true
	n.mu.Unlock()
	if self {
		n.kernel.InodeNotify(uint64(p.id), 0, 0)
	}
	for name := range names {
		n.kernel.EntryNotify(uint64(p.id), name)
	}
	n.mu.Lock()
	p.taken = false
	if p.count() > 0 {
		n.ready = append(n.ready, p)
	} else {
		delete(n.nodes, p.id)
	}
}

// pruneNodes asks the kernel to forget ids that it does not use.
func (n *notifier) pruneNodes(ids []vfs.NodeID) {
	nodes := make([]uint64, len(ids))
	for i, id := range ids {
		nodes[i] = uint64(id)
	}
	if st := n.kernel.PruneNotify(nodes); st != raw.ENOSYS || n.namer == nil {
		return
	}
	for _, id := range ids {
		if parent, name, ok := n.namer.NameOf(id); ok {
			n.kernel.EntryNotify(uint64(parent), name)
		}
	}
}

func (n *notifier) reportLocked() {
	if n.dropped > 0 {
		n.log.Warn("too many changes elsewhere to tell the kernel of each; it notices some late", "dropped", n.dropped)
		n.dropped = 0
	}
}

// close drops what waits and returns when nothing is being sent.
func (n *notifier) close() {
	n.mu.Lock()
	n.closed = true
	n.ready, n.prune, n.nodes = nil, nil, nil
	n.mu.Unlock()
	n.wg.Wait()
}
