package vfs

import (
	"sync"
	"sync/atomic"

	"github.com/causewayfs/causeway/store"
)

// node is one inode: a name that the kernel knows, or that is open, or that
// has changes which are not committed. What else is known of a name is in the
// index, so that a node is small.
type node struct {
	id  NodeID   // never changes
	ino NodeID   // inode number, of the first of the nodes that renew made in place of each other; never changes
	typ FileType // never changes

	// Guarded by nodeTable.mu.
	pins     int32 // references that FS holds; a node with file != nil has one for it
	parent   *node // nil for the root and for a node without a name
	name     string
	children map[string]*node
	lookups  uint64 // references that a front end holds

	mu sync.Mutex
	// Guarded by mu.
	file     *file      // state of an open or uncommitted file, or of attributes not yet sent
	pageETag store.ETag // version whose pages the kernel may hold
	told     toldSize   // what the kernel may take for the size

	changed atomic.Int64 // directory: when this gateway last changed its names, in ns since 1970
}

// nodeTable holds all nodes by id and as a tree.
//
// INVARIANT: a node is in byID while lookups > 0, pins > 0 or it has children.
// INVARIANT: n.parent.children[n.name] == n for every n with a parent.
// INVARIANT: inos[i] is the number of nodes in byID with ino == i != id.
type nodeTable struct {
	mu   sync.RWMutex
	byID map[NodeID]*node
	inos map[NodeID]int
	past map[NodeID]pastName // of nodes in byID from which renew took the name
	root *node
}

// pastName is the name that a node had.
type pastName struct {
	parent *node
	name   string
}

func newNodeTable() *nodeTable {
	root := &node{id: RootID, ino: RootID, typ: TypeDir, pins: 1}
	return &nodeTable{byID: map[NodeID]*node{RootID: root}, inos: map[NodeID]int{}, past: map[NodeID]pastName{}, root: root}
}

func (t *nodeTable) get(id NodeID) *node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

func (t *nodeTable) size() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.byID)
}

// path returns the path of n from the root, or false if it has no name.
func (t *nodeTable) path(n *node) (string, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pathLocked(n)
}

func (t *nodeTable) pathLocked(n *node) (string, bool) {
	size := 0
	top := n
	for ; top.parent != nil; top = top.parent {
		size += len(top.name) + 1
	}
	if top != t.root {
		return "", false
	}
	if size == 0 {
		return "", true
	}
	buf := make([]byte, size-1)
	for at := n; at.parent != nil; at = at.parent {
		size -= len(at.name) + 1
		copy(buf[size:], at.name)
		if size > 0 {
			buf[size-1] = '/'
		}
	}
	return string(buf), true
}

// child returns the node of a name that is known, or nil.
func (t *nodeTable) child(parent *node, name string) *node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return parent.children[name]
}

// localChildren returns the children that hold state of their own: what a
// listing of S3 does not know or knows wrongly.
func (t *nodeTable) localChildren(parent *node) []*node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var local []*node
	for _, c := range parent.children {
		if c.pins > 0 {
			local = append(local, c)
		}
	}
	return local
}

// intern returns the node of a name, making it if needed; a node of another
// type loses the name. It counts a lookup, or a pin. It returns nil if parent
// has lost its own name.
func (t *nodeTable) intern(parent *node, name string, typ FileType, lookup bool) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := parent.children[name]
	if n != nil && n.typ != typ {
		t.detachLocked(n)
		n = nil
	}
	if n == nil {
		path, ok := t.pathLocked(parent)
		if !ok {
			return nil
		}
		n = &node{typ: typ}
		t.attachLocked(n, parent, name)
		n.id = t.freeID(path, name)
		n.ino = n.id
		t.byID[n.id] = n
	}
	if lookup {
		n.lookups++
	} else {
		n.pins++
	}
	return n
}

// freeID derives an id from the path: equal on every mount unless two nodes
// want the same one.
func (t *nodeTable) freeID(dir, name string) NodeID {
	id := nodeID(dir, name)
	for {
		if _, taken := t.byID[id]; id > RootID && !taken && t.inos[id] == 0 {
			return id
		}
		id++
	}
}

// nodeID hashes a path with 64-bit FNV-1a, finished with a mixer since the low
// bits of FNV are weak.
func nodeID(dir, name string) NodeID {
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(dir) {
		h = (h ^ uint64(dir[i])) * prime
	}
	h = (h ^ '/') * prime
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * prime
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return NodeID(h &^ (1 << 63)) // some programs read inode numbers as signed
}

func (t *nodeTable) attachLocked(n, parent *node, name string) {
	n.parent, n.name = parent, name
	if parent.children == nil {
		parent.children = map[string]*node{}
	}
	parent.children[name] = n
}

func (t *nodeTable) detachLocked(n *node) {
	p := n.parent
	if p == nil {
		return
	}
	delete(p.children, n.name)
	if len(p.children) == 0 {
		p.children = nil
	}
	n.parent = nil
	t.reapLocked(p)
	t.reapLocked(n)
}

// detach takes the name from n.
func (t *nodeTable) detach(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.detachLocked(n)
}

// detachIdle takes the name from n, of which S3 no longer knows, unless
// something here refers to n. It reports whether it did.
func (t *nodeTable) detachIdle(n *node) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n.heldLocked() {
		return false
	}
	t.detachLocked(n)
	return true
}

// heldLocked reports whether n or a node below it is pinned.
func (n *node) heldLocked() bool {
	if n.pins > 0 {
		return true
	}
	for _, c := range n.children {
		if c.heldLocked() {
			return true
		}
	}
	return false
}

// move gives n the name in newParent; a node that has it loses it.
func (t *nodeTable) move(n, newParent *node, name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if old := newParent.children[name]; old != nil && old != n {
		t.detachLocked(old)
	}
	n.pins++ // detaching must not reap it
	t.detachLocked(n)
	t.attachLocked(n, newParent, name)
	n.pins--
}

func (t *nodeTable) pin(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.pins++
}

func (t *nodeTable) unpin(n *node) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n.pins--
	t.reapLocked(n)
}

func (t *nodeTable) forget(id NodeID, count uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || n == t.root {
		return
	}
	n.lookups -= min(n.lookups, count)
	t.reapLocked(n)
}

// reapLocked drops n, and then ancestors of it, if nothing holds them.
func (t *nodeTable) reapLocked(n *node) {
	for n != nil && n != t.root && n.lookups == 0 && n.pins == 0 && len(n.children) == 0 {
		p := n.parent
		delete(t.byID, n.id)
		delete(t.past, n.id)
		if n.ino != n.id {
			if t.inos[n.ino]--; t.inos[n.ino] == 0 {
				delete(t.inos, n.ino)
			}
		}
		if p != nil {
			delete(p.children, n.name)
			n.parent = nil
		}
		n = p
	}
}

// idle collects up to max nodes that only the kernel holds.
func (t *nodeTable) idle(max int) []NodeID {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var ids []NodeID
	for id, n := range t.byID {
		if len(ids) >= max {
			break
		}
		if n.pins == 0 && len(n.children) == 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// parentOf returns the parent and name of n; nil if it has none.
func (t *nodeTable) parentOf(n *node) (*node, string) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return n.parent, n.name
}

// below returns all nodes of the tree at n, n first.
func (t *nodeTable) below(n *node) []*node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := []*node{n}
	for i := 0; i < len(all); i++ {
		for _, c := range all[i].children {
			all = append(all, c)
		}
	}
	return all
}

// find returns the node of a path if it is known.
func (t *nodeTable) find(path string) *node {
	t.mu.RLock()
	defer t.mu.RUnlock()
	n := t.root
	for path != "" && n != nil {
		name := path
		if i := indexSlash(path); i >= 0 {
			name, path = path[:i], path[i+1:]
		} else {
			path = ""
		}
		n = n.children[name]
	}
	return n
}

func indexSlash(s string) int {
	for i := range len(s) {
		if s[i] == '/' {
			return i
		}
	}
	return -1
}
