package index

// Acquire implements [Index]. It sends nothing: what is asked for later is
// asked of S3.
func (l *Listing) Acquire() {
	t := int64(l.clock.tick())
	for {
		last := l.acquired.Load()
		if last >= t || l.acquired.CompareAndSwap(last, t) {
			return
		}
	}
}

// expired reports whether knowledge of the moment seen is from before the last
// Acquire.
func (l *Listing) expired(seen tick) bool { return int64(seen) < l.acquired.Load() }

// Absent implements [Index].
func (l *Listing) Absent(path string) bool {
	q := l.clock.tick()
	dirPath, name, ok := split(path)
	if !ok {
		return false
	}
	d := l.lockKnown(dirPath)
	if d == nil {
		return false
	}
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return false
	}
	switch g := d.guards[name]; {
	case g != nil && g.unknown:
		return false
	case g != nil && g.holds > 0 && !g.gone:
		return false
	}
	return d.complete && d.began >= d.doubt && l.fresh(d.began, q)
}
