package index

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// grace is for how long after its time a NotExist, or the sight of nobody
// else, is still given while it is asked for again in the background.
const grace = 250 * time.Millisecond

// until returns until when knowledge of the moment seen holds.
func (l *Listing) until(seen tick) tick {
	if l.opt.Strict || l.expired(seen) {
		return seen
	}
	t := seen.add(l.opt.DirTTL)
	if v := l.pres.view.Load(); v.covers(seen) {
		t = max(t, min(seen.add(l.opt.Verify), v.began.add(l.opt.DirTTL)))
	}
	return t
}

// fresh reports whether knowledge of the moment seen answers a question asked
// at the tick q.
func (l *Listing) fresh(seen, q tick) bool {
	if l.opt.Strict {
		return seen >= q
	}
	if l.expired(seen) {
		return false
	}
	if seen.add(l.opt.DirTTL) >= q {
		return true
	}
	v := l.pres.view.Load()
	return v.covers(seen) && seen.add(l.opt.Verify) >= q && v.began.add(l.opt.DirTTL+grace) >= q
}

// pollHelps reports whether knowledge of the moment seen would be fresh if a
// poll found that this gateway is still alone.
func (l *Listing) pollHelps(seen, q tick) bool {
	v := l.pres.view.Load()
	return !l.opt.Strict && !l.expired(seen) && v.covers(seen) && seen.add(l.opt.Verify) >= q && v.began.add(l.opt.DirTTL) < q
}

// oldest returns the beginning of the oldest request whose answer does for a
// question asked at q.
func (l *Listing) oldest(q tick) tick {
	if l.opt.Strict {
		return q
	}
	return max(q.add(-l.opt.DirTTL), min(q, tick(l.acquired.Load())))
}

// freshNode reports whether name, its version and its attributes are fresh.
func (l *Listing) freshNode(n *node, q tick) bool { return l.fresh(n.age(), q) }

// age is the moment of which all of n is known.
func (n *node) age() tick {
	if n.sure {
		return n.seen
	}
	return min(n.seen, n.attrSeen)
}

// denials remembers names that were denied, so that one that is asked for
// again is looked up. Two generations bound it.
type denials struct {
	mu       sync.Mutex // a leaf
	now, old map[string]tick
}

const denialsMax = 4096

// again notes that path is denied at q and reports whether it was denied
// before, ttl or longer ago, and not looked up since.
func (s *denials) again(path string, q tick, ttl time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.now[path]
	if !ok {
		t, ok = s.old[path]
	}
	if ok && t.add(ttl) > q {
		return false
	}
	s.putLocked(path, q)
	return ok
}

func (s *denials) putLocked(path string, q tick) {
	if s.now == nil || len(s.now) >= denialsMax {
		s.old, s.now = s.now, map[string]tick{}
	}
	s.now[path] = q
}

// drop forgets path, because it exists now.
func (s *denials) drop(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.now, path)
	delete(s.old, path)
}

// holdings counts the names held, by directory.
type holdings struct {
	mu   sync.Mutex // a leaf
	dirs map[string]int
}

func (h *holdings) add(dir string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dirs == nil {
		h.dirs = map[string]int{}
	}
	h.dirs[dir]++
}

func (h *holdings) drop(dir string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dirs[dir]--; h.dirs[dir] == 0 {
		delete(h.dirs, dir)
	}
}

// any reports whether any name is held.
func (h *holdings) any() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.dirs) > 0
}

// below returns the directories, dir or deeper, that have a name held.
func (h *holdings) below(dir string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for held := range h.dirs {
		if below(held, dir) {
			all = append(all, held)
		}
	}
	return all
}

// keeps reports whether path, a directory, exists because a name in it or
// deeper is held and shown. The mutex of a directory that it lies in may be
// held: directories are locked from the root downwards.
func (l *Listing) keeps(path string) bool {
	for _, held := range l.holds.below(path) {
		d := l.lockKnown(held)
		if d == nil {
			continue
		}
		for name, g := range d.guards {
			if g.holds > 0 && d.names[name] != nil {
				d.mu.Unlock()
				return true
			}
		}
		d.mu.Unlock()
	}
	return false
}

// kept returns the names of directories in dir, besides those known, that keeps
// is true of.
func (l *Listing) kept(d *dir) []string {
	var names []string
	pre := prefix(d.path)
	for _, held := range l.holds.below(d.path) {
		if held == d.path {
			continue
		}
		name, _, _ := strings.Cut(held[len(pre):], "/")
		if d.names[name] == nil && !slices.Contains(names, name) && l.keeps(pre+name) {
			names = append(names, name)
		}
	}
	return names
}

// first notes that path was denied at q, if it was not denied before.
func (s *denials) first(path string, q tick) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.now[path]; ok {
		return
	}
	if t, ok := s.old[path]; ok {
		q = t
	}
	s.putLocked(path, q)
}
