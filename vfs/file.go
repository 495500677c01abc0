package vfs

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// file is the state of a node that is open, or has changes that are not in
// S3: bytes, attributes, or a temporary name that waits to be renamed. It is
// made when the first of these begins and dropped when the last ends.
//
// All fields are guarded by node.mu unless they say otherwise.
type file struct {
	node    *node
	commits flights // has its own lock
	checks  flights // has its own lock

	handles  int
	given    int      // handles of these that callers have; the others are being opened
	content  *content // nil until the bytes are needed
	seen     *content // the one that a caller was given last
	checking bool     // a check is under way, whoever waits for it
	awaited  bool     // one of the handles stands for an open that is told to try again

	// entry is the file as this gateway shows it. Its ETag is the version
	// that content derives from; empty if nothing was committed yet.
	entry     index.Entry
	ctime     time.Time
	attrGen   uint64 // grows with every change of attributes
	attrSaved uint64 // the last attrGen that is in S3
	attrDue   time.Time
	sending   bool      // the attributes are on their way
	attrLeft  time.Time // they are of an earlier run, which acknowledged them then; zero: not

	// wholeFrom is the generation from which content replaces whatever object
	// there is, because the file was new or was truncated to nothing by
	// O_TRUNC. Until that is committed a commit is unconditional; otherwise it
	// demands entry.ETag.
	wholeFrom uint64
	committed uint64     // the last content.gen that is in S3
	accepted  savedState // the last ones that are durable here and in the spool
	staged    bool       // a temporary name: stays here until it is renamed
	since     time.Time  // staged: since when
	checked   time.Time  // a moment after which entry.ETag was the current version
	tried     bool       // a PUT of a new file was begun
	exclusive bool       // made here by O_EXCL, and not in S3 yet: a commit demands absence

	// was is the path at which a file was that somebody else superseded.
	was string
	// superseded says that somebody else replaced or removed the name; a
	// commit is Stale.
	superseded bool
	// revived says that a lock was taken since, so that it goes on at was.
	revived bool
	renewed bool // and the name has another node, with the version that was at hand
	// removed says that this gateway removed or replaced the name; what is
	// written goes nowhere, as for any unlinked file.
	removed bool
	// full says that the last write found the disk full. A commit fails then,
	// and the bytes are dropped: the program knows, and the disk needs room.
	full bool
	// lost says that the acknowledged version, which the spool has, could not
	// be brought back after that; see bringBack.
	lost   bool
	keptID string
	upload *upload // parts sent ahead, or nil

	intents   intentIDs
	saved     savedState // of a temporary name: what the journal has
	appenders int        // handles that append
	appending *appending // nil until the first append is committed, or one made the file
}

// fileState returns the file state of n, or nil.
func (n *node) fileState() *file {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.file
}

// fileLocked returns the file state of n, making it from e if there is none.
// n.mu is held, and n is known to be reachable by the caller.
func (fs *FS) fileLocked(n *node, e index.Entry) *file {
	if n.file == nil {
		fs.nodes.pin(n)
		f := &file{node: n, entry: e, ctime: latest(e.Mtime, e.Modified)}
		f.commits.before = func(ctx context.Context, g *flights) { fs.gather(ctx, f, g) }
		f.checks.before = func(ctx context.Context, g *flights) { fs.gatherChecks(ctx, f, g) }
		n.file = f
	}
	return n.file
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (f *file) dirtyLocked() bool {
	return f.content != nil && !f.removed && f.content.generation() > f.committed
}

// dirty reports whether there are bytes that are not in S3.
func (f *file) dirty() bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.dirtyLocked()
}

// goneLocked reports whether the name stands for something else now, so that
// the file cannot be opened any more.
func (f *file) goneLocked() bool { return f.superseded || f.revived }

func (f *file) wholeLocked() bool { return f.wholeFrom > f.committed }

func (f *file) attrDirtyLocked() bool {
	return f.attrGen > f.attrSaved && !f.removed && !f.superseded
}

func (f *file) attrDirty() bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.attrDirtyLocked()
}

// shownLocked reports whether an open has been given the bytes of entry. Until
// then those at hand, perhaps from the cache, may be exchanged for newer ones.
func (f *file) shownLocked() bool { return f.content != nil && !f.checked.IsZero() }

// heldLocked reports whether the content must stay what it is while one handle
// is being opened: others have it, perhaps without a check, since S3 was away,
// or are about to get it. Whoever asked for the check may have left meanwhile.
func (f *file) heldLocked() bool { return f.given > 0 || f.shownLocked() && f.handles > 1 }

// localLocked reports whether this gateway knows better than S3.
func (f *file) localLocked() bool {
	return f.removed || f.dirtyLocked() || f.attrDirtyLocked()
}

func (f *file) isStaged() bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.staged && f.dirtyLocked()
}

func (f *file) stagedBefore(t time.Time) bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.staged && f.handles == 0 && f.dirtyLocked() && f.since.Before(t)
}

func (f *file) countLocked(s *Stats) {
	if f.attrDirtyLocked() {
		s.PendingAttr++
	}
	if !f.dirtyLocked() || f.content.generation() == f.accepted.gen {
		return
	}
	s.StagedBytes += f.content.length()
	if f.staged {
		s.StagedFiles++
	} else {
		s.DirtyFiles++
	}
}

func (f *file) sizeLocked() int64 {
	if f.content != nil && !f.lost {
		return f.content.length()
	}
	return f.entry.Size
}

// wroteLocked notes a change of the bytes at now.
func (fs *FS) wroteLocked(f *file) {
	now := fs.now()
	f.entry.Mtime, f.ctime = now, now
	f.node.resizedLocked(f.content.length())
	fs.markLocal(f.node, true)
}

// changeAttrLocked replaces the attributes, if they fit an object, and has
// them sent in a while.
func (fs *FS) changeAttrLocked(f *file, change func(a *index.Attr) error) error {
	var a index.Attr
	if f.entry.Attr != nil {
		a = *f.entry.Attr
	}
	if err := change(&a); err != nil {
		return err
	}
	changed := f.entry
	changed.Attr = &a
	if _, err := fs.encode(changed); err != nil {
		return err
	}
	f.entry = changed
	f.ctime = fs.now()
	if !f.attrDirtyLocked() {
		f.attrDue = f.ctime.Add(attrDelay)
	}
	f.attrGen++
	f.attrLeft = time.Time{}
	fs.markLocal(f.node, true)
	return nil
}

// neededLocked reports whether f must outlive its last handle: it has changes
// that can still be sent. A commit that failed has left its bytes to recover;
// a temporary file stays nevertheless, since its rename may be tried again.
func (f *file) neededLocked() bool {
	if f.attrDirtyLocked() || f.lost && !f.removed {
		return true
	}
	return f.dirtyLocked() && !f.superseded && (f.staged || f.keptID == "")
}

// settle drops the file state of n if nothing needs it any more. What was
// fetched or written goes to the cache, or away.
func (fs *FS) settle(n *node) {
	n.mu.Lock()
	f := n.file
	if f == nil || f.handles > 0 || f.checking || f.neededLocked() {
		n.mu.Unlock()
		return
	}
	n.file = nil
	fs.forgetIntentsLocked(f)
	c, e, clean := f.content, f.entry, !f.dirtyLocked() && !f.removed && !f.superseded
	up := f.takeUploadLocked()
	switch {
	case !clean:
		n.pageETag = ""
	case c != nil && f.seen == c:
		n.pageETag = e.ETag
	} // else the kernel has heard nothing of this version
	fs.markLocal(n, false)
	n.mu.Unlock()
	if f.exclusive {
		fs.decisions.dropFile(f)
	}
	fs.dropUpload(up)
	if c != nil {
		path, named := fs.nodes.path(n)
		fs.retire(c, path, e.ETag, clean && named, f.checked)
	}
	if !clean {
		fs.invalidator().InvalidateNode(n.id)
		if p, name := fs.nodes.parentOf(n); p != nil {
			fs.invalidator().InvalidateEntry(p.id, name)
		}
	}
	fs.nodes.unpin(n)
}

// retire ends the content of a file: its local file goes into the cache if it
// is whole and is the version etag of path.
func (fs *FS) retire(c *content, path string, etag store.ETag, clean bool, checked time.Time) {
	keep := clean && etag != "" && c.settled()
	if !c.cached && fs.ledger.leave(c, c.path) {
		// The local file goes with the intent that names it.
	} else if !c.cached {
		if keep {
			fs.cache.put(path, etag, c.length(), c.path, checked)
		} else {
			fs.state.discard(c.path)
		}
	} else if keep {
		fs.cache.note(path, etag, checked)
	}
	c.done()
}

// superseded takes the name from a node whose object somebody else replaced
// or removed: open handles stay on the version that they have, and the name
// gets a new node.
func (fs *FS) supersede(n *node) {
	fs.supersedeIf(n, func(*file) bool { return true })
}

// supersedeFrom is supersede for an answer that was about the version tag. It
// reports false, and does nothing, if the file has come to another one since,
// or was written: a lock was granted on it.
func (fs *FS) supersedeFrom(n *node, tag store.ETag) bool {
	return fs.supersedeIf(n, func(f *file) bool { return f.entry.ETag == tag && !f.dirtyLocked() })
}

func (fs *FS) supersedeIf(n *node, still func(*file) bool) bool {
	path, named := fs.nodes.path(n)
	mark := func(f *file) {
		f.superseded = true
		if named {
			f.was = path
		}
	}
	n.mu.Lock()
	f := n.file
	if f != nil && !still(f) {
		n.mu.Unlock()
		return false
	}
	if f != nil {
		mark(f)
	}
	n.mu.Unlock()
	if p, name := fs.nodes.parentOf(n); p != nil {
		fs.nodes.detach(n)
		fs.invalidator().InvalidateEntry(p.id, name)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file != nil && n.file != f { // opened meanwhile
		mark(n.file)
	}
	return true
}

// remoteChange is told by the index that S3 holds something else at path than
// was known.
func (fs *FS) remoteChange(path string) {
	n := fs.nodes.find(path)
	if n == nil {
		dir, name := splitPath(path)
		if p := fs.nodes.find(dir); p != nil {
			fs.invalidator().InvalidateEntry(p.id, name)
		}
		return
	}
	n.mu.Lock()
	e, ok := fs.idx.Peek(path) // under the lock, so that it is not older than a commit
	f := n.file
	local := f != nil && f.localLocked()
	replaced := f != nil && f.handles > 0 && f.shownLocked() && (!ok || e.ETag != f.entry.ETag && f.appenders == 0)
	var tag store.ETag
	if replaced {
		tag = f.entry.ETag
	}
	n.mu.Unlock()
	switch p, name := fs.nodes.parentOf(n); {
	case local || p == nil:
	case replaced:
		fs.supersedeFrom(n, tag)
	case !ok:
		fs.nodes.detachIdle(n)
		fs.invalidator().InvalidateEntry(p.id, name)
	default:
		fs.invalidator().InvalidateNode(n.id)
	}
}

// attrLocked is the file as stat(2) shows it.
func (fs *FS) attrLocked(f *file) Attr {
	e := f.entry
	e.Size = f.sizeLocked()
	a := fs.attrOf(f.node, e)
	a.Ctime = latest(f.ctime, a.Ctime)
	if f.dirtyLocked() {
		a.ETag = ""
	}
	if f.removed || f.superseded && !f.lost {
		a.Nlink = 0
	}
	return a
}

// attrOf is an entry as stat(2) shows it.
func (fs *FS) attrOf(n *node, e index.Entry) Attr {
	a := Attr{ID: n.id, Ino: n.ino, Type: e.Type, UID: fs.opts.UID, GID: fs.opts.GID, Nlink: 1, Size: e.Size,
		Mtime: e.Mtime, Ctime: latest(e.Modified, e.Mtime), ETag: string(e.ETag)}
	a.Mode = 0o666 &^ fs.opts.Umask
	if e.Type == TypeDir {
		a.Mode, a.Nlink, a.Size = 0o777&^fs.opts.Umask, 2, 4096
		if ns := n.changed.Load(); ns != 0 {
			a.Mtime = latest(a.Mtime, time.Unix(0, ns))
		}
	} else if e.Type == TypeSymlink {
		a.Mode = 0o777
	}
	if at := e.Attr; at != nil {
		if at.HasMode {
			a.Mode = at.Mode
		}
		if at.HasUID {
			a.UID = at.UID
		}
		if at.HasGID {
			a.GID = at.GID
		}
		a.Rdev = at.Rdev
	}
	if a.Mtime.IsZero() {
		a.Mtime = fs.started
	}
	a.Ctime = latest(a.Ctime, a.Mtime)
	return a
}

// withTimeout bounds background work on one object.
func (fs *FS) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, fs.opts.OpTimeout)
}
