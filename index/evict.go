package index

import (
	"maps"
	"slices"
	"sync"
)

// dirCost is the memory of a directory in entries.
const dirCost = 4

func (l *Listing) size() int64 { return l.entries.Load() + dirCost*l.dirs.count.Load() }

// trim drops the directories that were not asked about for the longest time
// until a tenth of the room is free. No lock is held.
func (l *Listing) trim() {
	if l.size() <= int64(l.opt.MaxEntries) || !l.trimming.TryLock() {
		return
	}
	defer l.trimming.Unlock()
	all := l.dirs.all()
	used := make(map[*dir]int64, len(all))
	for _, d := range all {
		used[d] = d.used.Load() // read once: it changes while sorting
	}
	slices.SortFunc(all, func(a, b *dir) int { return int(min(max(used[a]-used[b], -1), 1)) })
	for _, d := range all {
		if l.size() <= int64(l.opt.MaxEntries)*9/10 {
			return
		}
		d.mu.Lock()
		if !d.dead && d.pins == 0 && d.load == nil && len(d.calls) == 0 {
			l.reset(d)
			if d.idle() {
				l.dirs.drop(d)
			}
		}
		d.mu.Unlock()
	}
}

// pin keeps a directory from being dropped until unpin is called, so that one
// that is larger than the memory can be listed. d is not locked.
func (l *Listing) pin(path string, q tick) (d *dir, unpin func()) {
	d = l.lock(path)
	defer d.mu.Unlock()
	d.pins++
	d.used.Store(int64(q))
	return d, func() {
		d.mu.Lock()
		d.pins--
		d.mu.Unlock()
		l.trim()
	}
}

// interned holds one copy of each plain Attr: nearly all objects share a few.
type interned struct {
	mu  sync.Mutex // a leaf
	all map[plainAttr]*Attr
}

// plainAttr is an Attr without maps.
type plainAttr struct {
	mode, uid, gid, rdev    uint32
	hasMode, hasUID, hasGID bool
}

const internedMax = 4096

func (l *Listing) intern(a *Attr) *Attr {
	if a == nil || len(a.XAttrs) > 0 || len(a.Other) > 0 {
		return a
	}
	key := plainAttr{a.Mode, a.UID, a.GID, a.Rdev, a.HasMode, a.HasUID, a.HasGID}
	s := &l.attrs
	s.mu.Lock()
	defer s.mu.Unlock()
	if same := s.all[key]; same != nil {
		return same
	}
	if s.all == nil || len(s.all) >= internedMax {
		s.all = map[plainAttr]*Attr{}
	}
	s.all[key] = a
	return a
}

// equal reports whether a and b are the same attributes.
func (a *Attr) equal(b *Attr) bool {
	return a == b || a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && a.Rdev == b.Rdev &&
		a.HasMode == b.HasMode && a.HasUID == b.HasUID && a.HasGID == b.HasGID &&
		maps.Equal(a.Other, b.Other) && maps.EqualFunc(a.XAttrs, b.XAttrs, slices.Equal[[]byte])
}
