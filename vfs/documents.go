package vfs

import (
	"context"
	"io"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// Condition restricts a change of a name to one state of it. It is S3 that
// decides, so it holds over all gateways. The zero value is no restriction; at
// most one field is set.
type Condition struct {
	Absent bool   // there must be no such name
	Match  string // it must be a file of this version, an Attr.ETag
}

func (c Condition) precondition() store.Precondition {
	return store.Precondition{Absent: c.Absent, Match: store.ETag(c.Match)}
}

// PutOptions go with Put.
type PutOptions struct {
	If    Condition
	Mode  uint32    // of a file that is new: permission bits
	Mtime time.Time // zero: now
	Size  int64     // bytes that body must have; -1: not known
	// Ready, if set, is called when all of body is here and nothing has changed
	// yet. What it returns is called when the change is over; its error ends the
	// operation, and is returned as it is.
	Ready func(ctx context.Context) (done func(), err error)
}

// CopyOptions go with CopyFile and CopyTree.
type CopyOptions struct {
	NoReplace bool // Exist if the new name is taken, by anybody on any gateway
	Shallow   bool // of CopyTree: the directory alone
	// Failed, if set, is told of each name below that could not be copied, one
	// at a time; the rest goes on, and CopyTree returns nil.
	Failed func(path string, err error)
}

// Documents are operations on whole files and trees, for front ends whose
// protocols have no handles. Front ends that an Invalidator speaks for are told
// of what they change.
type Documents interface {
	// Put makes body the file name in parent, in S3, in one step: until then,
	// and if anything fails, nothing changes, also if body ends early (Invalid,
	// if it is not o.Size bytes; an error of its Read is the cause of IO). Mode,
	// owner and extended attributes of a file that is replaced stay. Large
	// bodies are sent while they arrive. Handles that are open keep what they
	// have. Temporary names are kept here, as those that are written through
	// handles are.
	//
	// Kinds: Exist and Stale (o.If does not hold: the name was to be absent, or
	// to have that version), IsDir, NotExist (no such parent), NoSpace,
	// FileTooLarge. created reports whether the name is new. A Put whose body
	// has arrived is carried out also if ctx ends.
	Put(ctx context.Context, c Caller, parent NodeID, name string, body io.Reader, o PutOptions) (a Attr, created bool, err error)

	// CopyFile makes newName in newParent a copy of a file, or of anything but a
	// directory, with its attributes: on the server, in one step.
	//
	// Kinds: Exist (with NoReplace), NotExist, IsDir (either name is a
	// directory), Invalid (both names are the same).
	CopyFile(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, o CopyOptions) (created bool, err error)

	// CopyTree copies a directory to a name that must be free, and what is
	// below it, several files at a time. It locks nothing as a whole: what
	// others change meanwhile is copied as it is then, or not. Progress is in
	// Stats.Trees.
	//
	// Kinds: Exist, NotExist, NotDir, Invalid (into itself).
	CopyTree(ctx context.Context, c Caller, parent NodeID, name string, newParent NodeID, newName string, o CopyOptions) error

	// RemoveTree removes a directory with everything below it.
	RemoveTree(ctx context.Context, parent NodeID, name string) error

	// Recheck is Lookup with an answer that S3 gave after the call began, for
	// callers to whom what the index knows looks wrong.
	Recheck(ctx context.Context, parent NodeID, name string) (Known, error)
}

var _ Documents = (*FS)(nil)

// Recheck implements Documents.
func (fs *FS) Recheck(ctx context.Context, parent NodeID, name string) (Known, error) {
	_, path, err := fs.target("lookup", parent, name)
	if err != nil {
		return Known{}, err
	}
	if e, ok := fs.idx.Peek(path); !ok || e.Type != TypeDir {
		fs.refreshName(ctx, path)
	}
	return fs.Lookup(ctx, parent, name)
}

// named is a name that a document operation replaces, as it is known under its
// lock.
type named struct {
	dir   *node
	name  string
	path  string
	node  *node // that has it and is known; may be nil
	there bool
	entry index.Entry // of what is there; Attr is set

	attrGen uint64 // of the attributes of node that entry has
}

// named looks up what a document operation is about to replace.
func (fs *FS) named(ctx context.Context, op string, dir *node, name, path string) (named, error) {
	t := named{dir: dir, name: name, path: path}
	t.node = fs.nodes.child(dir, name)
	if t.node != nil {
		t.node.mu.Lock()
		f := t.node.file
		if f != nil && !f.removed && !f.superseded {
			t.there, t.entry, t.attrGen = true, f.entry, f.attrGen
		}
		t.node.mu.Unlock()
	}
	if !t.there || t.entry.Attr == nil {
		ans, err := fs.idx.Lookup(ctx, path)
		if err == nil && ans.Attr == nil {
			ans, err = fs.idx.Stat(ctx, path)
		}
		switch {
		case err == nil && t.there:
			t.entry.Attr = ans.Attr
		case err == nil:
			t.there, t.entry = true, ans.Entry
		case !store.IsKind(err, store.NotExist):
			return t, fs.fault(op, path, err)
		case t.there:
			t.entry.Attr = &index.Attr{}
		}
	}
	if t.there && t.entry.Type == TypeDir {
		return t, &Error{Op: op, Path: path, Kind: IsDir}
	}
	return t, nil
}

// stillNamed reports whether dir has its name still, so that path is what it
// was.
func (fs *FS) stillNamed(dir *node, path string) bool {
	now, ok := fs.nodes.path(dir)
	was, _ := splitPath(path)
	return ok && now == was
}

// spareReaders gets the bytes that open handles of what is about to be replaced
// still need.
func (fs *FS) spareReaders(ctx context.Context, t named) {
	if t.node != nil && fs.needsBytes(t.node) {
		fs.materialize(ctx, t.node)
	}
}

// installed notes that the object of a name is e now, with the name's lock
// held. A file that was written through handles and is not committed stays as
// it is: what becomes of it is decided at its own commit, as if another gateway
// had made the change. Handles of any other keep their version, and the name
// gets a new node.
func (fs *FS) installed(t named, e index.Entry, c *content) {
	fs.idx.Put(t.path, e, fs.now())
	checked := fs.now()
	if n := fs.nodes.child(t.dir, t.name); n != nil {
		if c = fs.adoptDocument(n, t, e, c, checked); n.typ != e.Type {
			fs.nodes.detach(n)
		}
		fs.settle(n)
		fs.invalidator().InvalidateNode(n.id)
	}
	if c != nil {
		fs.retire(c, t.path, e.ETag, true, checked)
	}
	if !t.there {
		fs.touchDir(t.dir)
	}
	fs.invalidator().InvalidateEntry(t.dir.id, t.name)
}

// adoptDocument gives the file of n, if it has one, the version e. It returns c
// unless the file has it now.
func (fs *FS) adoptDocument(n *node, t named, e index.Entry, c *content, checked time.Time) *content {
	n.mu.Lock()
	f := n.file
	switch {
	case f == nil:
		n.pageETag = ""
	case f.dirtyLocked() || f.content != nil && f.entry.ETag == e.ETag && !f.attrDirtyLocked():
	case f.handles > 0 || f.checking:
		n.mu.Unlock()
		fs.supersede(n)
		return c
	default:
		if f.content != nil && f.content != c {
			fs.retire(f.content, "", "", false, time.Time{})
		}
		f.content, f.saved = c, savedState{}
		f.committed, f.wholeFrom, f.accepted = 0, 0, savedState{}
		if c != nil {
			f.committed = c.generation()
		}
		later := f.attrGen > t.attrGen // changed meanwhile: goes on top
		if later {
			e.Attr, e.Mtime = f.entry.Attr, f.entry.Mtime
		}
		f.entry, f.checked, f.appending = e, checked, nil
		if !n.told.fits(e.Size) {
			n.told = toldMany
		}
		f.attrSaved = max(f.attrSaved, t.attrGen)
		fs.endAttrLocked(f)
		if err := fs.recordAttrLocked(f, t.path); err != nil {
			fs.noteError(err)
		}
		fs.markLocal(n, f.localLocked())
		n.pageETag, c = "", nil
	}
	n.mu.Unlock()
	return c
}
