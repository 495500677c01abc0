package fuse

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// fakeKernel records what it is told. gate, if set, is called before.
type fakeKernel struct {
	gate    func(node uint64)
	noPrune bool

	mu      sync.Mutex
	entries map[string]int
	nodes   map[uint64]int
	pruned  []uint64
	batches int
}

func newFakeKernel() *fakeKernel {
	return &fakeKernel{entries: make(map[string]int), nodes: make(map[uint64]int)}
}

func (k *fakeKernel) EntryNotify(parent uint64, name string) raw.Status {
	if k.gate != nil {
		k.gate(parent)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries[fmt.Sprintf("%d/%s", parent, name)]++
	return raw.OK
}

func (k *fakeKernel) InodeNotify(node uint64, off, length int64) raw.Status {
	if k.gate != nil {
		k.gate(node)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nodes[node]++
	return raw.OK
}

func (k *fakeKernel) PruneNotify(nodes []uint64) raw.Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.batches++
	if k.noPrune {
		return raw.ENOSYS
	}
	k.pruned = append(k.pruned, nodes...)
	return raw.OK
}

// drain returns when everything was told.
func (n *notifier) drain() { n.wg.Wait() }

func newTestNotifier(k kernel, namer Namer) *notifier {
	return newNotifier(k, namer, slog.New(slog.DiscardHandler))
}

func TestNotify(t *testing.T) {
	k := newFakeKernel()
	n := newTestNotifier(k, nil)
	want := make(map[string]int)
	for i := range 1000 {
		parent, name := vfs.NodeID(i%7+1), fmt.Sprint("n", i)
		n.InvalidateEntry(parent, name)
		want[fmt.Sprintf("%d/%s", parent, name)] = 1
		n.InvalidateNode(parent)
	}
	n.drain()
	if !maps.Equal(k.entries, want) {
		t.Errorf("told of %d names, want each of %d once", len(k.entries), len(want))
	}
	if len(k.nodes) != 7 || n.waiting != 0 || len(n.nodes) != 0 || n.workers != 0 {
		t.Errorf("%d nodes; left: %d waiting, %d pending, %d workers", len(k.nodes), n.waiting, len(n.nodes), n.workers)
	}
	n.close()
	n.InvalidateNode(1)
	n.InvalidateEntry(1, "x")
	n.Prune([]vfs.NodeID{1})
}

// TestNotifyBusyDirectory: while the kernel holds one directory, the others
// are served, callers do not wait, and what repeats is sent once.
func TestNotifyBusyDirectory(t *testing.T) {
	k := newFakeKernel()
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	k.gate = func(node uint64) {
		if node == 1 {
			once.Do(func() { close(entered) })
			<-leave
		}
	}
	n := newTestNotifier(k, nil)
	n.InvalidateEntry(1, "a")
	<-entered
	other := make(chan struct{})
	k2 := k.gate
	k.gate = func(node uint64) {
		if node == 2 {
			close(other)
		}
		k2(node)
	}
	for range 100 {
		n.InvalidateEntry(1, "b")
		n.InvalidateNode(1)
	}
	n.InvalidateEntry(2, "c")
	<-other
	close(leave)
	n.drain()
	if k.entries["1/a"] != 1 || k.entries["1/b"] != 1 || k.entries["2/c"] != 1 || k.nodes[1] != 1 {
		t.Errorf("got %v %v", k.entries, k.nodes)
	}
	n.close()
}

func TestNotifyBound(t *testing.T) {
	k := newFakeKernel()
	leave := make(chan struct{})
	k.gate = func(uint64) { <-leave }
	n := newTestNotifier(k, nil)
	for i := range 2*maxPending + 1000 { // half may be taken while nothing is told yet
		n.InvalidateEntry(1, fmt.Sprint(i))
	}
	n.mu.Lock()
	if n.waiting > maxPending || n.dropped == 0 {
		t.Errorf("%d waiting, %d dropped", n.waiting, n.dropped)
	}
	n.mu.Unlock()
	close(leave)
	n.close()
}

func TestPrune(t *testing.T) {
	k := newFakeKernel()
	n := newTestNotifier(k, nil)
	var ids []vfs.NodeID
	var want []uint64
	for i := range 2*pruneBatch + 1 {
		ids = append(ids, vfs.NodeID(i+2))
		want = append(want, uint64(i+2))
	}
	n.Prune(ids)
	n.drain()
	if slices.Sort(k.pruned); !slices.Equal(k.pruned, want) || k.batches != 3 {
		t.Errorf("pruned %d nodes in %d messages, want %d in 3", len(k.pruned), k.batches, len(want))
	}
	n.close()
}

func TestPruneByName(t *testing.T) {
	k := newFakeKernel()
	k.noPrune = true
	b, f := openTest(t)
	node, _ := create(t, b, "f", 2)
	n := newTestNotifier(k, f)
	n.Prune([]vfs.NodeID{vfs.NodeID(node), 99})
	n.drain()
	if len(k.entries) != 1 || k.entries["1/f"] != 1 {
		t.Errorf("got %v, want 1/f", k.entries)
	}
	n.close()
}
