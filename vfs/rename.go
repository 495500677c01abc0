package vfs

import (
	"context"
	"errors"
	"slices"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// move is one rename on its way.
type move struct {
	from, to      *node // directories
	name, newName string
	src, dst      string // paths
	n             *node  // what moves
	target        *node  // what is replaced and known; may be nil
	entry         index.Entry
	exclusive     bool
	staged        bool       // the new name is a temporary one, and the bytes wait under it
	parcel        *parcel    // the bytes for dst, if they go through the spool
	moved         store.ETag // the version of src that was copied
	attrGen       uint64     // of the attributes that the copy has
	intent        journal.ID // says that a copy is under way
}

// Rename implements Directories.
func (fs *FS) Rename(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, flags RenameFlags) error {
	from, src, err := fs.target("rename", parent, name)
	if err != nil {
		return err
	}
	to, dst, err := fs.target("rename", newParent, newName)
	if err != nil {
		return err
	}
	if flags&^RenameNoReplace != 0 {
		return &Error{Op: "rename", Path: src, Kind: Invalid}
	}
	if src == dst {
		return nil
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	m := &move{from: from, to: to, name: name, newName: newName, src: src, dst: dst, exclusive: flags&RenameNoReplace != 0}
	if err := fs.resolveMove(waiting, m); err != nil {
		return waiting.explain(err)
	}
	defer fs.nodes.unpin(m.n)
	defer fs.settle(m.n)
	if m.n.typ == TypeDir {
		return fs.renameDir(ctx, m)
	}
	ctx = waiting
	if err := errors.Join(fs.release(ctx, src), fs.release(ctx, dst)); err != nil {
		return waiting.explain(err)
	}
	unlock, err := fs.locks.lock(ctx, src, dst)
	if err != nil {
		return fs.fault("rename", src, waiting.explain(err))
	}
	defer unlock()
	if err := errors.Join(fs.mayRemove(ctx, "rename", src), fs.mayRemove(ctx, "rename", dst)); err != nil {
		unlock()
		return refuseLater(ctx, err)
	}
	if err := fs.recheckMove(ctx, m); err != nil {
		return waiting.explain(err)
	}
	if err := errors.Join(fs.checkLock("rename", src), fs.checkLock("rename", dst)); err != nil {
		return err
	}
	return waiting.explain(fs.renameFile(ctx, m))
}

// resolveMove finds what moves, pins it, and checks what it would replace.
func (fs *FS) resolveMove(ctx context.Context, m *move) error {
	m.n = fs.nodes.child(m.from, m.name)
	local := false
	if m.n != nil {
		if f := m.n.fileState(); f != nil {
			m.entry, local = fs.entryNow(f), true
		}
	}
	if !local {
		ans, err := fs.idx.Lookup(ctx, m.src)
		if err != nil {
			return fs.fault("rename", m.src, err)
		}
		if ans.Attr == nil {
			if ans, err = fs.idx.Stat(ctx, m.src); err != nil {
				return fs.fault("rename", m.src, err)
			}
		}
		m.entry = ans.Entry
	}
	if m.n = fs.nodes.intern(m.from, m.name, m.entry.Type, false); m.n == nil {
		return &Error{Op: "rename", Path: m.src, Kind: NotExist}
	}
	if err := fs.checkTarget(ctx, m); err != nil {
		fs.nodes.unpin(m.n)
		return err
	}
	return nil
}

// recheckMove looks again, with the locks held, whether the move is possible.
func (fs *FS) recheckMove(ctx context.Context, m *move) error {
	if now, ok := fs.nodes.path(m.n); !ok || now != m.src {
		return &Error{Op: "rename", Path: m.src, Kind: NotExist}
	}
	return fs.checkTarget(ctx, m)
}

// checkTarget applies rename(2)'s rules about what may replace what.
func (fs *FS) checkTarget(ctx context.Context, m *move) error {
	m.target = fs.nodes.child(m.to, m.newName)
	typ, exists := m.entry.Type, false
	if m.target != nil && m.target.fileState() != nil {
		typ, exists = m.target.typ, true
	} else if e, ok := fs.idx.Peek(m.dst); ok {
		typ, exists = e.Type, true
	}
	fail := func(k Kind) error { return &Error{Op: "rename", Path: m.dst, Kind: k} }
	switch isDir := m.entry.Type == TypeDir; {
	case isDir && (m.dst + "/")[:min(len(m.dst)+1, len(m.src)+1)] == m.src+"/":
		return fail(Invalid) // into itself
	case exists && m.exclusive:
		return fail(Exist)
	case exists && isDir && typ != TypeDir:
		return fail(NotDir)
	case exists && !isDir && typ == TypeDir:
		return fail(IsDir)
	case exists && isDir:
		return fs.checkEmpty(ctx, m.target, m.dst)
	}
	return nil
}

// renameFile moves anything but a directory. The new name is in S3 when it
// returns; the old one goes in a batch soon after.
func (fs *FS) renameFile(ctx context.Context, m *move) error {
	if m.target != nil && m.target != m.n && fs.needsBytes(m.target) {
		fs.materialize(ctx, m.target)
	}
	n := m.n
	if m.exclusive || !fs.opts.CommitLocal || fs.spool.appends(m.src) { // goes to S3 at once
		if err := errors.Join(fs.quiet(ctx, m.src), fs.quiet(ctx, m.dst)); err != nil {
			return fs.fault("rename", m.src, err)
		}
		if e, ok := fs.idx.Peek(m.src); ok && n.fileState() == nil {
			m.entry = e // what the spool had has become this
		}
	}
	n.mu.Lock()
	f := n.file
	direct := f != nil && f.dirtyLocked() && (f.wholeLocked() || f.entry.ETag == "")
	edited := f != nil && f.dirtyLocked() && !direct
	inS3 := f == nil || f.entry.ETag != ""
	if f != nil { // stays, though the spool may be done with it meanwhile
		f.handles++
		defer f.unpin()
	}
	n.mu.Unlock()
	cond := store.Precondition{Absent: m.exclusive}
	var err error
	local := fs.opts.CommitLocal && !m.exclusive && (direct || edited)
	switch {
	case edited && !local:
		err = fs.send(ctx, f, m.src, m.src, store.Precondition{})
	case !local:
		err = fs.quiet(ctx, m.dst)
	}
	switch {
	case err != nil:
	case direct && fs.staged.match(m.newName) && !m.exclusive:
		// To a temporary name: waits to be committed, still or again.
		inS3 = inS3 || fs.mayBeInS3(n, m.src)
		if err = fs.keepStagedAt(ctx, f, m.dst); err == nil {
			fs.stageAgain(f)
			m.staged = true
		}
	case local:
		m.parcel, err = fs.pack(ctx, f, m.dst)
		inS3 = fs.mayBeInS3(n, m.src)
	case direct:
		// Uncommitted bytes are sent to the new name at once.
		waiting := fs.patient(context.WithoutCancel(ctx))
		err = waiting.explain(fs.send(waiting, f, m.src, m.dst, cond))
		waiting.release()
		_, known := fs.idx.Peek(m.src)
		inS3 = inS3 || known
	default:
		err = fs.copyTo(ctx, m, cond)
	}
	if err != nil {
		if store.IsKind(err, store.PreconditionFailed) && m.exclusive {
			return &Error{Op: "rename", Path: m.dst, Kind: Exist, Err: err}
		}
		return fs.fault("rename", m.src, err)
	}
	return fs.fault("rename", m.src, fs.finishMove(ctx, m, inS3))
}

// stageAgain makes a temporary file of one that is about to get such a name.
func (fs *FS) stageAgain(f *file) {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if !f.staged {
		f.staged, f.since = true, fs.now()
		f.accepted = savedState{} // the spool is about to drop it
	}
}

// uncommit makes the bytes of f such as are not in S3, if a parcel of the old
// name has arrived while it got a new one.
func (f *file) uncommit() {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if f.content == nil || f.removed || f.dirtyLocked() {
		return
	}
	gen := f.content.generation()
	f.committed, f.wholeFrom, f.entry.ETag = gen-1, gen, ""
}

// unpin ends what keeps f though nobody has it open.
func (f *file) unpin() {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.handles--
}

// finishMove gives the node its new name. That the old one goes is in the
// journal when it returns.
func (fs *FS) finishMove(ctx context.Context, m *move, inS3 bool) error {
	r, add := (*removal)(nil), []intent(nil)
	if inS3 {
		r = fs.newRemoval(m.src, m.src)
		if m.moved != "" {
			r.etag = m.moved
		}
		r.exact = true
		fs.forgetAttempts(r, m.n)
		add = append(add, r.toIntent(m.src))
	}
	done := append(fs.overWith(m), m.intent)
	if m.parcel != nil {
		it, _ := fs.spool.recorded(m.parcel) // which has all bytes
		add = append(add, it)
	}
	ids, err := fs.ledger.record(done, add...)
	if err != nil && m.parcel != nil {
		fs.spool.refuse(m.parcel)
		return err
	}
	if err != nil {
		fs.noteError(err)
		fs.ledger.done(done...)
	}
	fs.forgetMoved(m, done)
	_, sending := fs.spool.take(m.src)
	fs.spool.take(m.dst)
	if m.parcel != nil || m.staged {
		m.n.fileState().uncommit()
	}
	if t := m.target; t != nil && t != m.n {
		fs.replace(t)
	}
	fs.nodes.move(m.n, m.to, m.newName)
	switch {
	case r != nil:
		r.intent = firstID(ids)
		r.after(sending)
		fs.removeObject(r, m.src, nil)
	default:
		fs.idx.Remove(m.src)
	}
	fs.moved(m)
	if err := fs.ledger.sync(); err != nil {
		fs.noteError(err)
	}
	if m.parcel != nil {
		fs.accepted(m.parcel, ids[len(ids)-1])
	}
	fs.exclusive.Remove(m.src)
	fs.exclusive.Remove(m.dst)
	fs.touchDir(m.from)
	fs.touchDir(m.to)
	if err != nil && r != nil { // not in the journal, so it must be in S3
		return fs.deleter.settleKey(ctx, r.key)
	}
	return nil
}

// quiet returns when the spool has nothing of a path on which S3 is about to
// do something else: also without local commits it may have what is left of an
// earlier run.
func (fs *FS) quiet(ctx context.Context, path string) error {
	ctx, cancel := fs.withTimeout(ctx)
	defer cancel()
	_, err := fs.spool.wait(ctx, func(p string) bool { return p == path })
	return err
}

// overWith returns the intents that a rename ends: those of what it replaces,
// and that of the bytes if these are in S3 now.
func (fs *FS) overWith(m *move) []journal.ID {
	over := append(fs.spool.intents(m.src), fs.spool.intents(m.dst)...)
	if t := m.target; t != nil && t != m.n {
		over = append(over, t.openIntents()...)
	}
	m.n.mu.Lock()
	defer m.n.mu.Unlock()
	f := m.n.file
	if f == nil {
		return over
	}
	if m.parcel != nil || !m.staged && !(f.staged && f.dirtyLocked()) {
		over = append(over, f.intents.staged)
	}
	if !f.attrDirtyLocked() {
		over = append(over, f.intents.attr)
	}
	return over
}

// forgetMoved takes the intents that m has ended away from its file. A rename
// that fails leaves them with it, for whatever becomes of it next.
func (fs *FS) forgetMoved(m *move, over []journal.ID) {
	m.n.mu.Lock()
	defer m.n.mu.Unlock()
	f := m.n.file
	if f == nil {
		return
	}
	for _, id := range []*journal.ID{&f.intents.staged, &f.intents.attr} {
		if slices.Contains(over, *id) {
			*id = 0
		}
	}
}

// moved tells the file its new name.
func (fs *FS) moved(m *move) {
	m.n.mu.Lock()
	defer m.n.mu.Unlock()
	f := m.n.file
	if f == nil {
		return
	}
	f.entry.Name = m.newName
	f.staged = f.staged && f.dirtyLocked()
	f.ctime = fs.now()
	if err := fs.recordAttrLocked(f, m.dst); err != nil {
		fs.noteError(err)
	}
}

// replace marks the file of a node whose name another one has taken.
func (fs *FS) replace(t *node) {
	t.mu.Lock()
	if f := t.file; f != nil {
		f.removed = true
		f.intents = intentIDs{}
		fs.markLocal(t, false)
	}
	t.mu.Unlock()
	fs.nodes.detach(t)
	fs.settle(t)
}
