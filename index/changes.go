package index

import "time"

// Put implements [Index].
func (l *Listing) Put(path string, e Entry, asOf time.Time) {
	dirPath, name, ok := split(path)
	if !ok {
		return
	}
	now := l.clock.at(l.opt.Now())
	seen := l.clock.tick()
	n := pack(&e)
	if n.typ == TypeDir {
		n.tag, n.size = tag{}, 0
	}
	if n.attr == nil {
		n.attr = &Attr{}
	}
	n.attr = l.intern(n.attr)
	n.modified = packSeconds(seconds(e.Modified))
	d := l.lock(dirPath)
	if at := l.clock.at(asOf); !asOf.IsZero() && !e.Modified.IsZero() && at < now {
		// Seen in S3's answer, not written: what is known from later wins.
		seen = at
		old, g := d.names[name], d.guards[name]
		if seen <= d.floor || g != nil && seen <= g.barrier || old != nil && old.seen >= seen {
			d.mu.Unlock()
			return
		}
	}
	n.seen, n.attrSeen = seen, seen
	n.sure = l.sure(&n)
	l.set(d, name, n)
	if g := d.guards[name]; g != nil {
		g.gone, g.unknown = false, false
		if g.holds == 0 {
			delete(d.guards, name) // n.seen does its work
		}
	}
	d.mu.Unlock()
	l.denials.drop(path)
	l.prove(dirPath, seen)
	l.trim()
}

// prove makes it known that a directory and those it lies in existed at the
// moment seen.
func (l *Listing) prove(path string, seen tick) {
	for path != "" {
		up, name, ok := split(path)
		if !ok {
			return
		}
		d := l.lockKnown(up)
		if d != nil {
			switch n := d.names[name]; {
			case n != nil && n.typ == TypeDir:
				n.seen = max(n.seen, seen)
			case d.complete && !d.deaf(name, seen) && (n == nil || n.seen < seen):
				l.set(d, name, node{typ: TypeDir, mtime: noTime, modified: noTime, seen: seen})
			}
			d.mu.Unlock()
		}
		path = up
	}
}

// Made implements [Index].
func (l *Listing) Made(path string, e Entry) {
	l.Put(path, e, time.Time{})
	d := l.lock(path)
	l.reset(d)
	l.setComplete(d, true)
	d.began = d.floor
	d.used.Store(int64(d.began))
	d.mu.Unlock()
}

// Remove implements [Index].
func (l *Listing) Remove(path string) {
	dirPath, name, ok := split(path)
	if !ok {
		return
	}
	d := l.lock(dirPath)
	n := d.names[name]
	wasDir := n != nil && n.typ == TypeDir
	l.unset(d, name)
	g := d.guard(name)
	g.gone, g.unknown = true, false
	if g.holds == 0 {
		l.retire(d, name, g)
	}
	d.mu.Unlock()
	if wasDir {
		l.forgetDir(path)
	}
}

// forgetDir drops the listing of one directory.
func (l *Listing) forgetDir(path string) {
	if d := l.lockKnown(path); d != nil {
		l.reset(d)
		if d.idle() {
			l.dirs.drop(d)
		}
		d.mu.Unlock()
	}
}

// idle reports whether nothing but names would be lost with d.
func (d *dir) idle() bool {
	return len(d.guards) == 0 && len(d.names) == 0 && len(d.calls) == 0 && d.load == nil && d.pins == 0
}

// Hold implements [Index].
func (l *Listing) Hold(path string) (release func()) {
	dirPath, name, ok := split(path)
	if !ok {
		return func() {}
	}
	d := l.lock(dirPath)
	d.guard(name).holds++
	d.mu.Unlock()
	l.holds.add(dirPath)
	var done bool
	return func() {
		d := l.lock(dirPath)
		if done {
			d.mu.Unlock()
			return
		}
		done = true
		g := d.guard(name)
		if g.holds--; g.holds == 0 {
			l.retire(d, name, g)
		}
		d.mu.Unlock()
		l.holds.drop(dirPath)
	}
}

// Forget implements [Index].
func (l *Listing) Forget(path string) {
	for _, d := range l.dirs.all() {
		if below(d.path, path) {
			l.forgetDir(d.path)
		}
	}
	dirPath, name, ok := split(path)
	if !ok {
		return
	}
	d := l.lock(dirPath)
	if g := d.guard(name); g.holds == 0 {
		l.unset(d, name)
		g.gone, g.unknown = false, true
		l.retire(d, name, g)
		d.doubt = g.barrier
	}
	d.mu.Unlock()
	l.denials.drop(path)
}
