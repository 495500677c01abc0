package index

// Sole returns what is known of path if that is what it is now, as far as
// gateways are concerned: this one is alone on the bucket, and the knowledge
// is fresh. Without a request; a tool other than Causeway may have changed the
// object up to Options.Verify ago.
func (l *Listing) Sole(path string) (Entry, bool) {
	q := l.clock.tick()
	l.pres.touch(q)
	dirPath, name, ok := split(path)
	if !ok {
		return Entry{}, false
	}
	d := l.lockKnown(dirPath)
	if d == nil {
		return Entry{}, false
	}
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil || n.attr == nil || !l.pres.view.Load().covers(n.age()) || !l.fresh(n.age(), q) {
		return Entry{}, false
	}
	return n.entry(name), true
}
