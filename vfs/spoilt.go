package vfs

import (
	"context"
	"errors"
	"time"
)

// A write that finds the disk full has spoilt its file: the bytes are not what
// the program wanted. Its commit fails, and the bytes are dropped, so that there
// is room again. What was acknowledged before stands: it is in S3, or the spool
// has it, and is brought back.

// errLost is why a file that is lost cannot be opened.
var errLost = errors.New("the disk of the state directory is full: the last version is on its way to S3, and there is no room to show it")

// noteFull notes whether the last change of f found the disk full. If nothing
// has changed since the last commit, nothing is spoilt.
func (fs *FS) noteFull(f *file, full bool) {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.full = full && f.content.generation() > max(f.committed, f.accepted.gen)
}

// spoil is for a close for which the journal had no room, with the same end as a
// write that finds the disk full: the program has been told, nobody would ever
// send the bytes, and names must not show what is lost with the process.
func (fs *FS) spoil(f *file) {
	ctx, cancel := fs.withTimeout(fs.bg)
	defer cancel()
	err := fs.underName(ctx, f, func(_ context.Context, f *file, _ string) error {
		f.node.mu.Lock()
		gone := f.content == nil || f.staged || f.removed || f.superseded || !f.dirtyLocked() || f.content.generation() <= f.accepted.gen
		if !gone {
			f.full, f.superseded = true, true
		}
		f.node.mu.Unlock()
		if !gone {
			fs.giveUp(f)
		}
		return nil
	})
	if err != nil {
		fs.noteError(fs.fault("close", fs.pathOf(f.node), err))
	}
}

// length is how many bytes f has.
func (f *file) length() int64 {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.sizeLocked()
}

// giveUp drops the bytes of a file of which a write found the disk full. Other
// handles that read it are told.
func (fs *FS) giveUp(f *file) {
	f.node.mu.Lock()
	c := f.content
	f.node.mu.Unlock()
	if _, err := c.truncate(fs.bg, 0); err != nil {
		fs.noteError(fs.fault("truncate", "", err))
	}
	fs.bringBack(f)
}

// bringBack makes f what it was when the spool accepted it, if that is not in S3
// yet, after later bytes had to be given up. The lock of its path is held. If
// there is no room for that either, f is lost for now: names and sizes show what
// was accepted, and opening it is NoSpace, until there is room or S3 has it.
// Whoever opened it would see the older version that S3 has.
func (fs *FS) bringBack(f *file) {
	path, named := fs.nodes.path(f.node)
	s := fs.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.holdsLocked(path, f)
	if !named || p == nil {
		f.node.mu.Lock()
		f.lost = false
		f.node.mu.Unlock()
		return
	}
	c, err := fs.unpack(p, f.contentNow().generation()+1)
	if err != nil {
		fs.noteError(fs.fault("open", path, err))
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	fs.markLocal(f.node, true)
	if err != nil {
		f.lost, f.superseded, f.full = true, true, true
		f.entry.Size = p.Size
		return
	}
	fs.swapContentLocked(f, c)
	p.state.gen, f.accepted.gen = c.gen, c.gen
	f.lost, f.superseded, f.full = false, false, false
}

// holdsLocked returns the last version of f, whose name is path, that the spool
// has and S3 may not have; nil if there is none. Its intent is live as long as
// s.mu and the lock of path are held.
func (s *spool) holdsLocked(path string, f *file) *parcel {
	sl := s.slots[path]
	if sl == nil {
		return nil
	}
	for _, p := range []*parcel{sl.waiting, sl.sending} {
		if p != nil && p.f == f && !p.landed && !p.dropped {
			return p
		}
	}
	return nil
}

// unpack makes a content at the generation gen of the bytes of a parcel.
func (fs *FS) unpack(p *parcel, gen uint64) (*content, error) {
	it, err := fs.ledger.read(p.id)
	if err != nil {
		return nil, err
	}
	c, err := fs.restore(p.id, it)
	switch {
	case err == nil:
		it.ETag, it.Append = p.ETag, p.Append // as they are by now
		return fs.asVersion(c, it, gen)
	case c != nil:
		fs.retire(c, "", "", false, time.Time{})
	}
	return nil, err
}

func (f *file) isLost() bool {
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	return f.lost
}

// findLost brings f, whose name is path, back if it is lost. Kind NoSpace: there
// is no room.
func (fs *FS) findLost(ctx context.Context, f *file, path string) error {
	if !f.isLost() {
		return nil
	}
	unlock, err := fs.locks.lock(ctx, path)
	if err != nil {
		return err
	}
	defer unlock()
	if f.isLost() {
		fs.bringBack(f)
	}
	if f.isLost() {
		return &Error{Op: "open", Path: path, Kind: NoSpace, Err: errLost}
	}
	return nil
}
