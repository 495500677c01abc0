package index

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// dir is what is known of the names in one directory.
//
// INVARIANT: complete implies that names are all names of the directory at
// the moment began, changed by what was learned since.
type dir struct {
	path string
	used atomic.Int64 // tick of the last question, for eviction

	mu       sync.Mutex
	dead     bool // no longer in the table: look the path up again
	names    map[string]*node
	guards   map[string]*guard
	calls    map[string]*call // requests under way for one name
	load     *load            // LIST under way
	pins     int              // callers that count on names staying
	complete bool
	big      bool  // has more names than one page of a LIST
	began    tick  // when the LIST that told all names began
	floor    tick  // answers to requests that began before are ignored
	doubt    tick  // when a name was last forgotten: a listing from before lacks it
	hidden   int64 // keys that cannot be shown, in the last complete LIST
	walk     walk
}

// guard keeps S3's word away from one name.
type guard struct {
	holds   int
	gone    bool // removed by this gateway, while held
	unknown bool // to be asked for, whatever the listing says
	barrier tick // answers to requests that began before are ignored
}

const dirShards = 64

// dirTable finds directories. Its mutexes are leaves, but for eviction, which
// takes one with a directory's mutex held.
type dirTable struct {
	seed   maphash.Seed
	shards [dirShards]struct {
		mu   sync.Mutex
		dirs map[string]*dir
	}
	count atomic.Int64
}

func newDirTable() *dirTable {
	t := &dirTable{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].dirs = map[string]*dir{}
	}
	return t
}

// find returns the directory, which may not have been known before if create
// is set, else nil.
func (t *dirTable) find(path string, create bool) *dir {
	shard := &t.shards[maphash.String(t.seed, path)%dirShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	d := shard.dirs[path]
	if d == nil && create {
		d = &dir{path: path}
		shard.dirs[path] = d
		t.count.Add(1)
	}
	return d
}

// drop removes a directory whose mutex is held.
func (t *dirTable) drop(d *dir) {
	shard := &t.shards[maphash.String(t.seed, d.path)%dirShards]
	shard.mu.Lock()
	defer shard.mu.Unlock()
	d.dead = true
	delete(shard.dirs, d.path)
	t.count.Add(-1)
}

// all returns every directory, without any locked.
func (t *dirTable) all() []*dir {
	var all []*dir
	for i := range t.shards {
		shard := &t.shards[i]
		shard.mu.Lock()
		for _, d := range shard.dirs {
			all = append(all, d)
		}
		shard.mu.Unlock()
	}
	return all
}

// lock returns the directory with its mutex held.
func (l *Listing) lock(path string) *dir {
	for {
		d := l.dirs.find(path, true)
		d.mu.Lock()
		if !d.dead {
			return d
		}
		d.mu.Unlock()
	}
}

// lockKnown is lock for a directory that is known, else nil.
func (l *Listing) lockKnown(path string) *dir {
	for {
		d := l.dirs.find(path, false)
		if d == nil {
			return nil
		}
		d.mu.Lock()
		if !d.dead {
			return d
		}
		d.mu.Unlock()
	}
}

// The methods below are called with d.mu held.

func (l *Listing) set(d *dir, name string, n node) {
	if old := d.names[name]; old != nil {
		*old = n
		return
	}
	if d.names == nil {
		d.names = map[string]*node{}
	}
	d.names[strings.Clone(name)] = &n // not the whole key
	l.entries.Add(1)
}

func (l *Listing) unset(d *dir, name string) {
	if d.names[name] != nil {
		delete(d.names, name)
		l.entries.Add(-1)
	}
}

func (l *Listing) setComplete(d *dir, complete bool) {
	if complete != d.complete {
		if complete {
			l.complete.Add(1)
		} else {
			l.complete.Add(-1)
		}
	}
	d.complete = complete
}

func (l *Listing) setHidden(d *dir, n int64) {
	l.hidden.Add(n - d.hidden)
	d.hidden = n
}

func (d *dir) guard(name string) *guard {
	g := d.guards[name]
	if g == nil {
		if d.guards == nil {
			d.guards = map[string]*guard{}
		}
		g = &guard{}
		d.guards[name] = g
	}
	return g
}

func (d *dir) held(name string) bool {
	g := d.guards[name]
	return g != nil && g.holds > 0
}

// deaf reports whether an answer to a request that began at t tells nothing
// of name.
func (d *dir) deaf(name string, t tick) bool {
	if t <= d.floor {
		return true
	}
	g := d.guards[name]
	return g != nil && (g.holds > 0 || t <= g.barrier)
}

// retire lets the guard of a name go once no request is left that began
// before now.
func (l *Listing) retire(d *dir, name string, g *guard) {
	barrier, needed := l.reqs.retire(d.path, name)
	g.barrier = barrier
	if !needed && !g.unknown {
		delete(d.guards, name)
	}
}

// release drops guards that are no longer needed. No lock is held.
func (l *Listing) release(gone []retired) {
	for _, r := range gone {
		d := l.lockKnown(r.dir)
		if d == nil {
			continue
		}
		if g := d.guards[r.name]; g != nil && g.holds == 0 && g.barrier == r.barrier && !g.unknown {
			delete(d.guards, r.name)
		}
		d.mu.Unlock()
	}
}

// reset drops everything known of the names in d but what is held, and
// ignores answers under way.
func (l *Listing) reset(d *dir) {
	for name := range d.names {
		if !d.held(name) {
			l.unset(d, name)
		}
	}
	if len(d.names) == 0 {
		d.names = nil // give the memory back
	}
	l.setComplete(d, false)
	l.setHidden(d, 0)
	d.big, d.began, d.walk = false, 0, walk{}
	d.floor = l.clock.tick()
	for name, g := range d.guards {
		if g.holds == 0 {
			delete(d.guards, name) // the floor does its work
		}
	}
}
