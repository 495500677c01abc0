package fuse

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	tree "github.com/hanwen/go-fuse/v2/fs"
	raw "github.com/hanwen/go-fuse/v2/fuse"
)

// knownNodes is how many nodes the kernel knows in BenchmarkKnownNodes, in
// directories of 1000.
const knownNodes = 1_000_000

// BenchmarkKnownNodes measures what a node that the kernel knows costs: in
// go-fuse's node API, whose tree has to have each, and in a table by number,
// which is all that the raw API needs. Both are driven through the interface
// that requests arrive at, without a mount.
func BenchmarkKnownNodes(b *testing.B) {
	for _, bb := range []struct {
		name string
		open func() raw.RawFileSystem
	}{
		{"tree", func() raw.RawFileSystem {
			return tree.NewNodeFS(&treeNode{size: knownNodes / 1000}, &tree.Options{})
		}},
		{"table", func() raw.RawFileSystem { return newTableFS() }},
	} {
		b.Run(bb.name, func(b *testing.B) {
			for b.Loop() {
				fs := bb.open()
				ids := make([]uint64, 0, knownNodes)
				before, start := heap(), time.Now()
				ids = lookupAll(b, fs, ids)
				b.ReportMetric(float64(time.Since(start).Nanoseconds())/knownNodes, "ns/lookup")
				b.ReportMetric(float64(heap()-before)/knownNodes, "B/node")
				for _, id := range ids {
					fs.Forget(id, 1)
				}
			}
		})
	}
}

// heap returns the bytes that are in use after a collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// lookupAll looks up every file and appends their numbers to ids.
func lookupAll(b *testing.B, fs raw.RawFileSystem, ids []uint64) []uint64 {
	var out raw.EntryOut
	for dir := range knownNodes / 1000 {
		if st := fs.Lookup(nil, &raw.InHeader{NodeId: 1}, fmt.Sprintf("dir%04d", dir), &out); st != raw.OK {
			b.Fatal(st)
		}
		parent := out.NodeId
		for i := range 1000 {
			st := fs.Lookup(nil, &raw.InHeader{NodeId: parent}, fmt.Sprintf("data-name-%03d.json", i), &out)
			if st != raw.OK {
				b.Fatal(st)
			}
			ids = append(ids, out.NodeId)
		}
	}
	return ids
}

// treeNode is the least that a filesystem of the node API has for each node.
type treeNode struct {
	tree.Inode
	size int64
}

var _ tree.NodeLookuper = (*treeNode)(nil)

func (n *treeNode) Lookup(ctx context.Context, name string, out *raw.EntryOut) (*tree.Inode, syscall.Errno) {
	mode := uint32(syscall.S_IFREG)
	if n.IsRoot() {
		mode = syscall.S_IFDIR
	}
	if child := n.GetChild(name); child != nil {
		return child, 0
	}
	return n.NewInode(ctx, &treeNode{size: 1}, tree.StableAttr{Mode: mode}), 0
}

// tableFS is the least that a filesystem of the raw API has for each node: a
// table by number, and how to find it by name.
type tableFS struct {
	raw.RawFileSystem
	mu     sync.Mutex
	last   uint64
	nodes  map[uint64]*tableNode
	byName map[tableName]uint64
}

type tableName struct {
	parent uint64
	name   string
}

type tableNode struct {
	tableName
	refs uint64
	size int64
}

func newTableFS() *tableFS {
	return &tableFS{
		RawFileSystem: raw.NewDefaultRawFileSystem(), last: 1,
		nodes: make(map[uint64]*tableNode), byName: make(map[tableName]uint64),
	}
}

func (t *tableFS) Lookup(_ <-chan struct{}, h *raw.InHeader, name string, out *raw.EntryOut) raw.Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := tableName{h.NodeId, name}
	id, ok := t.byName[key]
	if !ok {
		t.last++
		id = t.last
		t.nodes[id] = &tableNode{tableName: key, size: 1}
		t.byName[key] = id
	}
	t.nodes[id].refs++
	out.NodeId = id
	return raw.OK
}

func (t *tableFS) Forget(id, n uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	node := t.nodes[id]
	if node.refs -= n; node.refs == 0 {
		delete(t.nodes, id)
		delete(t.byName, node.tableName)
	}
}
