package vfs

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

const (
	maxName = 255 // bytes of one component (NAME_MAX)
	// reserved is the directory of the root that holds Causeway's own objects.
	reserved = ".causeway"
)

// Lookup implements Lookups.
func (fs *FS) Lookup(ctx context.Context, parent NodeID, name string) (Known, error) {
	p, path, err := fs.target("lookup", parent, name)
	if err != nil {
		return Known{}, err
	}
	if known, ok := fs.lookupLocal(p, name); ok {
		return known, nil
	}
	if fs.retries.asksAgain(ctx, fs.now(), parent, name) {
		fs.refreshName(ctx, path)
	}
	if err := fs.lookAtLock(ctx, path); err != nil {
		if n := fs.nodes.child(p, name); n != nil && store.IsKind(err, store.NotExist) {
			fs.dropName(n)
		}
		return Known{}, fs.fault("lookup", path, err)
	}
	if fs.denyAway(path) {
		return Known{}, &Error{Op: "lookup", Path: path, Kind: NotExist, Err: errAway}
	}
	ans, err := fs.askName(ctx, path)
	if err != nil {
		if n := fs.nodes.child(p, name); n != nil && store.IsKind(err, store.NotExist) {
			fs.dropName(n)
		}
		return Known{}, fs.fault("lookup", path, err)
	}
	n := fs.nodes.intern(p, name, ans.Type, true)
	if n == nil {
		return Known{}, &Error{Op: "lookup", Path: path, Kind: NotExist}
	}
	if tag, old := fs.outdated(n, ans.Entry); old && fs.supersedeFrom(n, tag) {
		fs.nodes.forget(n.id, 1)
		if n = fs.nodes.intern(p, name, ans.Type, true); n == nil {
			return Known{}, &Error{Op: "lookup", Path: path, Kind: NotExist}
		}
	}
	return fs.known(fs.fitting(n, path, ans.Entry), ans), nil
}

// refreshName asks S3 what a name is now, whatever the index knows. If it
// cannot, the index is asked as usual.
func (fs *FS) refreshName(ctx context.Context, path string) {
	asOf := fs.now()
	waiting := fs.whileThere(ctx, 0)
	defer waiting.release()
	ctx, cancel := fs.withTimeout(waiting)
	defer cancel()
	info, err := fs.store.Head(ctx, path)
	switch {
	case store.IsKind(err, store.NotExist):
		fs.idx.Forget(path)
	case err == nil:
		e := index.Decode(info)
		_, e.Name = splitPath(path)
		fs.idx.Put(path, e, asOf)
		if n := fs.nodes.find(path); n != nil {
			n.checkedNow(e.ETag, asOf)
		}
	}
}

// checkedNow notes that the version etag was current at a moment after asOf.
func (n *node) checkedNow(etag store.ETag, asOf time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.file; f != nil && f.entry.ETag == etag && asOf.After(f.checked) {
		f.checked = asOf
	}
}

// lookupLocal answers for a name of which this gateway knows better than S3.
func (fs *FS) lookupLocal(p *node, name string) (Known, bool) {
	n := fs.nodes.child(p, name)
	if n == nil {
		return Known{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil || !n.file.localLocked() || n.file.removed {
		return Known{}, false
	}
	if fs.nodes.intern(p, name, n.typ, true) != n {
		fs.nodes.forget(n.id, 1)
		return Known{}, false
	}
	ttl := fs.lend(fs.opts.DirTTL)
	return Known{Attr: fs.tellLocked(n.file), EntryTTL: ttl, AttrTTL: ttl}, true
}

// outdated reports whether handles of n are open on another version than e,
// and on which.
func (fs *FS) outdated(n *node, e index.Entry) (store.ETag, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.file
	if f == nil || f.handles == 0 || f.appenders > 0 || !f.shownLocked() || f.localLocked() || f.entry.ETag == e.ETag {
		return "", false
	}
	path, ok := fs.nodes.path(n)
	now, known := fs.idx.Peek(path) // e may be older than a commit of this gateway
	return f.entry.ETag, !ok || !known || now.ETag != f.entry.ETag
}

// known is an answer of the index as a front end gets it. A file that is open
// shows the version that its handles read, whichever one the answer is about:
// the kernel keeps one size for all of them. What it is told of another version
// makes its pages useless.
func (fs *FS) known(n *node, ans index.Answer) Known {
	ttl := fs.lend(ans.Until.Sub(fs.now()))
	if ttl > 0 && n.typ == TypeFile && !fs.alone() {
		if path, ok := fs.nodes.path(n); ok && fs.programLocks.match(path) {
			ttl = 0
		}
	}
	known := Known{Attr: fs.attrOf(n, ans.Entry), EntryTTL: ttl, AttrTTL: ttl}
	if n.typ == TypeFile {
		n.mu.Lock()
		switch f := n.file; {
		case f != nil && f.given > 0 && f.appenders == 0 && f.content != nil && f.entry.ETag != ans.ETag:
			known.Attr = fs.attrLocked(f)
		case ans.ETag != n.pageETag:
			n.pageETag = ""
		}
		n.tellLocked(known.Size)
		n.mu.Unlock()
	}
	if ans.Attr == nil {
		known.AttrTTL = 0 // a stat has to ask; an open gets them with the bytes
	}
	return known
}

// dropName takes the name from a node that S3 no longer has.
func (fs *FS) dropName(n *node) {
	if _, named := fs.nodes.path(n); !named {
		return
	}
	n.mu.Lock()
	f := n.file
	open := f != nil && f.handles > 0 && !f.localLocked()
	local := f != nil && f.localLocked()
	var tag store.ETag
	if open {
		tag = f.entry.ETag
	}
	n.mu.Unlock()
	switch {
	case open:
		fs.supersedeFrom(n, tag)
	case !local:
		fs.nodes.detachIdle(n)
	}
}

// target checks the name of an operation in a directory and returns the
// directory's node and the name's path.
func (fs *FS) target(op string, parent NodeID, name string) (*node, string, error) {
	p := fs.nodes.get(parent)
	if p == nil {
		return nil, "", &Error{Op: op, Path: name, Kind: Stale}
	}
	dir, ok := fs.nodes.path(p)
	path := joinPath(dir, name)
	switch {
	case p.typ != TypeDir:
		return nil, "", &Error{Op: op, Path: path, Kind: NotDir}
	case !ok:
		return nil, "", &Error{Op: op, Path: path, Kind: NotExist}
	case len(name) > maxName, len(path) > store.MaxKeyBytes-1:
		return nil, "", &Error{Op: op, Path: path, Kind: NameTooLong}
	case !keyText(name) && op == "lookup":
		return nil, "", &Error{Op: op, Path: path, Kind: NotExist}
	case !keyText(name):
		return nil, "", &Error{Op: op, Path: path, Kind: Invalid}
	case name == "", name == ".", name == "..", strings.ContainsAny(name, "/\x00"):
		return nil, "", &Error{Op: op, Path: path, Kind: Invalid}
	case path == reserved && op == "lookup":
		return nil, "", &Error{Op: op, Path: path, Kind: NotExist}
	case path == reserved:
		return nil, "", &Error{Op: op, Path: path, Kind: Permission}
	case fs.opts.ReadOnly && op != "lookup":
		return nil, "", &Error{Op: op, Path: path, Kind: ReadOnly}
	}
	return p, path, nil
}

// keyText reports whether S3 can hold a name and tell of it: keys are UTF-8
// (AWS "Creating object key names"), and listings and removals are XML 1.0,
// which has no control characters but tab and line ends. Some servers show
// other names in place of those.
func keyText(name string) bool {
	for _, r := range name {
		if r < 0x20 && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return false
		}
	}
	return utf8.ValidString(name)
}

func joinPath(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func splitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

// NegativeTTL implements Lookups.
func (fs *FS) NegativeTTL(parent NodeID) time.Duration {
	p := fs.nodes.get(parent)
	if p == nil {
		return 0
	}
	path, ok := fs.nodes.path(p)
	if !ok {
		return 0
	}
	return fs.lend(fs.idx.NegativeTTL(path))
}

// Forget implements Lookups.
func (fs *FS) Forget(id NodeID, n uint64) { fs.nodes.forget(id, n) }

// nodeOf is the node of a handle, which may be another one than the kernel
// opened (openName), or if there is no handle, that of an id; nil if it is not
// known.
func (fs *FS) nodeOf(id NodeID, h *Handle) *node {
	if h != nil {
		return h.node
	}
	return fs.nodes.get(id)
}

// GetAttr implements Lookups.
func (fs *FS) GetAttr(ctx context.Context, id NodeID, h *Handle) (Known, error) {
	n := fs.nodeOf(id, h)
	if n == nil {
		return Known{}, &Error{Op: "getattr", Kind: Stale}
	}
	if n == fs.nodes.root {
		return fs.rootAttr(), nil
	}
	path, named := fs.nodes.path(n)
	n.mu.Lock()
	if f := n.file; f != nil && (h != nil || !named || f.localLocked()) {
		ttl := fs.lend(fs.opts.DirTTL)
		known := Known{Attr: fs.tellLocked(f), EntryTTL: ttl, AttrTTL: ttl}
		if !named {
			known.Nlink = 0
		}
		n.mu.Unlock()
		return known, nil
	}
	n.mu.Unlock()
	if !named {
		if a, ok := fs.removed.Get(n.id); ok {
			return Known{Attr: a}, nil
		}
		if known, ok := fs.attrOfRenewed(ctx, id); ok {
			return known, nil
		}
		return Known{}, &Error{Op: "getattr", Path: path, Kind: Stale}
	}
	ans, err := fs.ask(ctx, path, fs.idx.Stat)
	gone := err != nil && store.IsKind(err, store.NotExist)
	if err != nil && !gone {
		return Known{}, fs.fault("getattr", path, err)
	}
	tag, old := fs.outdated(n, ans.Entry)
	if gone || ans.Type != n.typ || old && fs.supersedeFrom(n, tag) {
		return fs.attrOfReplaced(n, path)
	}
	return fs.known(n, ans), nil
}

// attrOfReplaced answers for a node whose name somebody else has removed or
// given to another version: the open file lives on, a closed one is gone.
func (fs *FS) attrOfReplaced(n *node, path string) (Known, error) {
	n.mu.Lock()
	f := n.file
	open := f != nil && f.handles > 0
	n.mu.Unlock()
	fs.dropName(n)
	if !open {
		if p, name := fs.nodes.parentOf(n); p != nil {
			fs.invalidator().InvalidateEntry(p.id, name)
		}
		return Known{}, &Error{Op: "getattr", Path: path, Kind: NotExist}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return Known{Attr: fs.tellLocked(f)}, nil
}

// rootAttr is the root directory, which has no object and the mount's owner.
func (fs *FS) rootAttr() Known {
	root := fs.nodes.root
	root.mu.Lock()
	defer root.mu.Unlock()
	e := index.Entry{Type: TypeDir}
	if root.file != nil {
		e = root.file.entry
	}
	return Known{Attr: fs.attrOf(root, e), EntryTTL: time.Hour, AttrTTL: fs.lend(fs.opts.DirTTL)}
}
