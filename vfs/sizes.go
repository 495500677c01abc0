package vfs

import (
	"context"
	"errors"

	"github.com/causewayfs/causeway/index"
)

// The kernel keeps one size for a node, and fills up with zeros what it reads
// short of that. An answer that tells it of another size may be ignored: by the
// rules of Linux (fs/fuse/inode.c fuse_change_attributes_i, fs/fuse/file.c
// fuse_read_update_size) each answer, each notification and each write that it
// takes in for a node makes it disregard the sizes in all answers to requests
// that were under way at that moment, be they of attributes or of a read that is
// short. With many opens, changes elsewhere and their notifications about one
// node, a reader can lose both, however they are ordered, and goes on with the
// size of the version before.
//
// Therefore a node has one size for its life, but for what is changed through
// it here, which the kernel does itself. If somebody else has stored a version
// of another size, the name gets a new node, at a lookup or, through [Stale], at
// an open: the kernel learns its size with its number. It keeps the inode
// number. A node whose size the kernel may not know, and that cannot be given
// up since it is open, or because the kernel insists on it, is not read through
// the kernel's pages: see [Handle.Direct].

// toldSize is what a front end may take for the size of a node.
type toldSize int64

const (
	toldNothing toldSize = 0  // it has heard of none, or will hear of it
	toldMany    toldSize = -1 // of several, and may keep any of them
)

// toldOne is a size in bytes: the only one that the front end can know.
func toldOne(size int64) toldSize { return toldSize(size) + 1 }

// fits reports whether a front end cannot take the size for another one.
func (t toldSize) fits(size int64) bool { return t == toldNothing || t == toldOne(size) }

// tellLocked notes that the front end is told of a size.
func (n *node) tellLocked(size int64) {
	f := n.file
	changing := f != nil && f.content != nil && f.localLocked()
	switch {
	case n.typ != TypeFile || n.told == toldMany:
	case n.told == toldNothing || changing:
		n.told = toldOne(size)
	case n.told != toldOne(size):
		n.told = toldMany
	}
}

// resizedLocked notes the size after a change that the front end made.
func (n *node) resizedLocked(size int64) {
	if n.told != toldMany {
		n.told = toldOne(size)
	}
}

// tellLocked is attrLocked for a front end.
func (fs *FS) tellLocked(f *file) Attr {
	a := fs.attrLocked(f)
	f.node.tellLocked(a.Size)
	return a
}

// fits reports whether n may show a version. What is open shows its own.
func (n *node) fits(e index.Entry) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.typ != TypeFile || n.file != nil || n.told.fits(e.Size)
}

// fitting returns the node for a name that has the version e: n, of which the
// caller has looked it up, or a new one if n has shown another size and nothing
// here refers to it.
func (fs *FS) fitting(n *node, path string, e index.Entry) *node {
	if n.fits(e) {
		return n
	}
	if now, ok := fs.idx.Peek(path); !ok || now.ETag != e.ETag {
		return n // the answer is older than a commit
	}
	m := fs.nodes.renew(n, true)
	if m == nil {
		return n
	}
	fs.nodes.forget(n.id, 1)
	return m
}

// renew gives the name of n to a new node with the same inode number. For a
// lookup, which it counts, that is done only if nothing here refers to n;
// otherwise it counts a pin. It returns nil if it is not done.
func (t *nodeTable) renew(n *node, lookup bool) *node {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := n.parent
	if p == nil || lookup && n.heldLocked() {
		return nil
	}
	path, ok := t.pathLocked(p)
	if !ok {
		return nil
	}
	m := &node{typ: n.typ, ino: n.ino}
	if lookup {
		m.lookups++
	} else {
		m.pins++
	}
	m.id = t.freeID(path, n.name)
	t.byID[m.id] = m
	t.inos[m.ino]++
	t.attachLocked(m, p, n.name)
	n.parent = nil
	t.past[n.id] = pastName{p, n.name}
	t.reapLocked(n)
	return m
}

// pastName returns the name that renew took from a node; ok is false if it did
// not.
func (t *nodeTable) pastName(id NodeID) (parent NodeID, name string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	past, ok := t.past[id]
	if !ok {
		return 0, "", false
	}
	return past.parent.id, past.name, true
}

// attrOfRenewed answers for a node whose name has a new one: whoever holds on to
// it without having it open, as a bind mount does, sees the file that there is.
func (fs *FS) attrOfRenewed(ctx context.Context, id NodeID) (known Known, ok bool) {
	parent, name, ok := fs.nodes.pastName(id)
	if !ok {
		return Known{}, false
	}
	known, err := fs.Lookup(ctx, parent, name)
	if err != nil {
		return Known{}, false
	}
	fs.Forget(known.ID, 1)
	known.ID = id
	return known, known.Type == TypeFile
}

// errRenewed is the cause of [Stale] if the name has a new node by then, with
// the version that S3 has.
var errRenewed = errors.New("it has another size now")

// giveAndUnlock ends an open: h is given the content that its file has, unless
// the kernel may take that for longer or shorter than it is and the name can be
// given a new node. keep says that the kernel's pages are right. n.mu is held,
// and given back.
func (fs *FS) giveAndUnlock(h *Handle, path string, keep, insist bool) error {
	f, n := h.f, h.node
	stale := &Error{Op: "open", Path: path, Kind: Stale}
	if f.content == nil { // the name went away before its bytes were here
		if f.renewed {
			stale.Err = errRenewed
		}
		n.mu.Unlock()
		return stale
	}
	switch {
	case n.told.fits(f.content.length()):
	case h.appends && !h.readable: // needs no size
		n.told = toldMany
	case f.given > 0 || f.localLocked() || insist && !f.superseded:
		// Handles of a file share a node; this one is not read through pages.
	case f.superseded:
		n.mu.Unlock()
		return stale
	default:
		stale.Err = errRenewed
		fs.renewAndUnlock(f, path)
		return stale
	}
	h.keep = keep || f.entry.ETag != "" && f.entry.ETag == n.pageETag
	h.giveLocked()
	n.mu.Unlock()
	return nil
}

// renewAndUnlock gives the name of f a new node, with the content of f, which
// nobody has been given.
func (fs *FS) renewAndUnlock(f *file, path string) {
	n, c, e, checked := f.node, f.content, f.entry, f.checked
	f.content, f.superseded, f.renewed = nil, true, true
	n.mu.Unlock()
	if m := fs.nodes.renew(n, false); m != nil {
		m.mu.Lock()
		if now, ok := fs.idx.Peek(path); m.file == nil && ok && now.ETag == e.ETag {
			g := fs.fileLocked(m, e)
			g.content, g.committed, g.checked = c, c.generation(), checked
			c = nil
			fs.holdLocked(g)
		}
		p, name := fs.nodes.parentOf(m)
		m.mu.Unlock()
		fs.nodes.unpin(m)
		if p != nil {
			fs.invalidator().InvalidateEntry(p.id, name)
		}
	}
	if c != nil {
		fs.retire(c, path, e.ETag, true, checked)
	}
}

// elsewhere prepares h for a front end that takes it for a handle of another
// node: what is done through it tells nothing of its own.
func (h *Handle) elsewhere() {
	h.node.mu.Lock()
	defer h.node.mu.Unlock()
	h.keep, h.direct, h.node.told = false, true, toldMany
}
