package index

import (
	"sync"
	"time"
)

// grace is for how long after its time a NotExist, or the sight of nobody
// else, is still given while it is asked for again in the background.
const grace = 250 * time.Millisecond

// until returns until when knowledge of the moment seen holds.
func (l *Listing) until(seen tick) tick {
	if l.opt.Strict {
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
	return !l.opt.Strict && v.covers(seen) && seen.add(l.opt.Verify) >= q && v.began.add(l.opt.DirTTL) < q
}

// oldest returns the beginning of the oldest request whose answer does for a
// question asked at q.
func (l *Listing) oldest(q tick) tick {
	if l.opt.Strict {
		return q
	}
	return q.add(-l.opt.DirTTL)
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

// below reports whether a name in dir, or deeper, is held.
func (h *holdings) below(dir string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for held := range h.dirs {
		if below(held, dir) {
			return true
		}
	}
	return false
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
