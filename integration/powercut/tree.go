package powercut

import (
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// attributes are what an inode has beside its bytes and its entries. A value
// is never changed once it is in a list.
type attributes struct {
	perm         uint32 // mode without the type
	uid, gid     uint32
	mtime, ctime time.Time
	xattrs       map[string]string
}

func (a attributes) with(name, value string) attributes {
	a.xattrs = maps.Clone(a.xattrs)
	if a.xattrs == nil {
		a.xattrs = map[string]string{}
	}
	a.xattrs[name] = value
	return a
}

func (a attributes) without(name string) attributes {
	a.xattrs = maps.Clone(a.xattrs)
	delete(a.xattrs, name)
	return a
}

// inode is a file, a directory, a symbolic link or something special.
type inode struct {
	ino    uint64
	kind   uint32 // unix.S_IFREG and so on
	target string // of a symbolic link
	rdev   uint32

	attr        attributes
	durableAttr attributes
	attrLog     []attributes // since durableAttr; the last is attr
	touched     bool         // the last of attrLog is by touch

	bytes *contents // of a regular file

	entries        map[string]*inode // of a directory
	durableEntries map[string]*inode

	links  int    // entries that programs see
	parent *inode // of the latest entry, for messages and matching
	name   string
	known  uint64 // lookups that the kernel has not taken back
}

func (n *inode) isDir() bool { return n.kind == unix.S_IFDIR }

// path is relative to the root, which is ".".
func (n *inode) path() string {
	if n.parent == nil || n.parent == n {
		return path.Clean(n.name)
	}
	return path.Join(n.parent.path(), n.name)
}

func (n *inode) setAttr(a attributes) {
	a.ctime = time.Now()
	n.attr = a
	n.attrLog = append(n.attrLog, a)
	n.touched = false
}

// touch changes the modification time, as writing does. Many in a row count as
// one change.
func (n *inode) touch() {
	a := n.attr
	a.mtime = time.Now()
	if n.touched && len(n.attrLog) > 0 {
		n.attrLog = n.attrLog[:len(n.attrLog)-1]
	}
	n.setAttr(a)
	n.touched = true
}

// syncData is fdatasync.
func (n *inode) syncData() {
	if n.bytes != nil {
		n.bytes.sync()
	}
}

// syncAttr makes the attributes durable.
func (n *inode) syncAttr() { n.durableAttr, n.attrLog = n.attr, nil }

// entry is one name that a directory gets (or, with no node, loses).
type entry struct {
	dir  *inode
	name string
	node *inode
}

// entryChange are entries that change together.
type entryChange []entry

// tree is the whole filesystem.
type tree struct {
	root    *inode
	lastIno uint64
	pending []entryChange // not durable, in order
}

func newTree() *tree {
	t := &tree{}
	t.root = t.newInode(unix.S_IFDIR, 0o755, 0, 0)
	t.root.links = 1
	return t
}

func (t *tree) newInode(kind, perm, uid, gid uint32) *inode {
	t.lastIno++
	now := time.Now()
	n := &inode{ino: t.lastIno, kind: kind, attr: attributes{perm: perm, uid: uid, gid: gid, mtime: now, ctime: now}}
	n.durableAttr = n.attr
	switch kind {
	case unix.S_IFDIR:
		n.entries, n.durableEntries = map[string]*inode{}, map[string]*inode{}
	case unix.S_IFREG:
		n.bytes = newContents()
	}
	return n
}

// change carries out changes of entries.
func (t *tree) change(c entryChange) {
	for _, e := range c {
		if old := e.dir.entries[e.name]; old != nil {
			old.links--
			delete(e.dir.entries, e.name)
		}
	}
	for _, e := range c {
		if e.node != nil {
			e.dir.entries[e.name] = e.node
			e.node.links++
			e.node.parent, e.node.name = e.dir, e.name
		}
		e.dir.touch()
	}
	t.pending = append(t.pending, c)
}

func makeDurable(c entryChange) {
	for _, e := range c {
		if e.node == nil {
			delete(e.dir.durableEntries, e.name)
		} else {
			e.dir.durableEntries[e.name] = e.node
		}
	}
}

// syncDir makes the entries of a directory durable, with all changes that
// these depend on.
func (t *tree) syncDir(dir *inode) {
	dirs := map[*inode]bool{dir: true}
	takes := make([]bool, len(t.pending))
	for i, c := range slices.Backward(t.pending) {
		takes[i] = slices.ContainsFunc(c, func(e entry) bool { return dirs[e.dir] })
		if takes[i] {
			for _, e := range c {
				dirs[e.dir] = true
			}
		}
	}
	var rest []entryChange
	for i, c := range t.pending {
		if takes[i] {
			makeDurable(c)
		} else {
			rest = append(rest, c)
		}
	}
	t.pending = rest
	dir.syncAttr()
}

// cut returns a tree with what a power cut leaves, all of it durable. The old
// tree is not to be used after it.
func (t *tree) cut(r *rand.Rand) *tree {
	if r != nil {
		t.keepSome(r)
	}
	c := &tree{lastIno: t.lastIno}
	copies := map[*inode]*inode{}
	var copyOf func(n *inode) *inode
	copyOf = func(n *inode) *inode {
		if m := copies[n]; m != nil {
			return m
		}
		m := &inode{ino: n.ino, kind: n.kind, target: n.target, rdev: n.rdev, attr: n.cutAttr(r)}
		m.durableAttr = m.attr
		copies[n] = m
		if n.bytes != nil {
			m.bytes = &contents{live: n.bytes.cut(r)}
			m.bytes.durable = m.bytes.live.clone()
		}
		if n.isDir() {
			m.entries = make(map[string]*inode, len(n.durableEntries))
			for _, name := range slices.Sorted(maps.Keys(n.durableEntries)) {
				child := copyOf(n.durableEntries[name])
				child.links++
				child.parent, child.name = m, name
				m.entries[name] = child
			}
			m.durableEntries = maps.Clone(m.entries)
		}
		return m
	}
	c.root = copyOf(t.root)
	c.root.links = 1
	return c
}

// keepSome makes changes of entries durable up to some moment in each
// directory.
func (t *tree) keepSome(r *rand.Rand) {
	stop := []float64{0.02, 0.1, 0.4}[r.IntN(3)]
	stopped := map[*inode]bool{}
	for _, c := range t.pending {
		lost := r.Float64() < stop || slices.ContainsFunc(c, func(e entry) bool { return stopped[e.dir] })
		if !lost {
			makeDurable(c)
			continue
		}
		for _, e := range c {
			stopped[e.dir] = true
		}
	}
}

// cutAttr returns the attributes that a power cut leaves.
func (n *inode) cutAttr(r *rand.Rand) attributes {
	if r != nil && len(n.attrLog) > 0 {
		if i := r.IntN(len(n.attrLog) + 1); i > 0 {
			return n.attrLog[i-1]
		}
	}
	return n.durableAttr
}
