package index

import (
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

// applying takes one LIST of a directory into what is known of it. It belongs
// to one load; its methods are called with d.mu held.
type applying struct {
	l       *Listing
	d       *dir
	began   tick // of the whole LIST
	hidden  int64
	marker  *store.Info // the directory's own, if seen
	keys    bool        // there was any key
	shadow  []shadowed  // objects where a directory was known
	changed []string    // paths for OnChange
}

// shadowed is an object with the name of a directory that is known, but has
// not been listed yet.
type shadowed struct {
	name  string
	info  store.Info
	began tick
}

// page takes in one page, asked for at the tick began.
func (a *applying) page(p store.Page, began tick) {
	pre := prefix(a.d.path)
	for _, key := range p.Prefixes {
		a.keys = true
		name := strings.TrimSuffix(key[len(pre):], "/")
		switch {
		case a.d.path == "" && name == Reserved:
		case !ValidName(name):
			a.hidden++
		default:
			a.directory(name, began)
		}
	}
	for _, info := range p.Objects {
		a.keys = true
		name := info.Key[len(pre):]
		switch {
		case name == "":
			a.marker = &info
		case a.d.path == "" && name == Reserved:
		case !ValidName(name):
			a.hidden++
		default:
			a.object(name, info, began)
		}
	}
}

func (a *applying) directory(name string, began tick) {
	if a.d.deaf(name, began) {
		return
	}
	a.l.known(a.d, name)
	n := a.d.names[name]
	if n != nil && n.seen >= a.began && n.typ != TypeDir {
		a.hidden++ // an object of this name was on an earlier page
	}
	switch {
	case n == nil || n.typ != TypeDir && n.seen < began:
		a.change(name, n)
		a.l.set(a.d, name, node{typ: TypeDir, mtime: noTime, modified: noTime, seen: began})
	default:
		n.seen = max(n.seen, began)
	}
}

func (a *applying) object(name string, info store.Info, began tick) {
	d := a.d
	if d.deaf(name, began) {
		return
	}
	n := d.names[name]
	switch {
	case n == nil:
	case n.typ == TypeDir && n.seen >= a.began:
		a.hidden++
		return
	case n.typ == TypeDir:
		a.shadow = append(a.shadow, shadowed{name, info, began})
		return
	case n.seen >= began:
		return
	}
	a.l.known(d, name)
	info.Meta = nil
	e := Decode(info)
	fresh := pack(&e)
	fresh.seen = began
	a.l.noteServerTime(info.Modified)
	if n != nil && n.sameVersion(&fresh) {
		n.seen, n.modified = began, fresh.modified
		return
	}
	a.change(name, n)
	a.l.set(d, name, fresh)
}

// change notes that name differs from what was known of it: old, or for nil
// that it was absent from a complete listing.
func (a *applying) change(name string, old *node) {
	if old != nil || a.d.complete {
		a.changed = append(a.changed, join(a.d.path, name))
	}
}

// partial ends a LIST that stopped before the last page.
func (a *applying) partial() {
	if a.began <= a.d.floor {
		return
	}
	a.d.big = true
	a.unshadow()
}

// finish ends a LIST of all names: those that were not in it are gone.
func (a *applying) finish(pages int) {
	d := a.d
	if a.began <= d.floor {
		return
	}
	a.unshadow()
	for name, n := range d.names {
		if n.seen >= a.began || d.deaf(name, a.began) || n.typ == TypeDir && a.l.keeps(join(d.path, name)) {
			continue
		}
		a.changed = append(a.changed, join(d.path, name))
		a.l.unset(d, name)
	}
	for _, name := range a.l.kept(d) {
		if !d.deaf(name, a.began) {
			a.l.set(d, name, node{typ: TypeDir, mtime: noTime, modified: noTime, seen: a.began})
		}
	}
	for name, g := range d.guards {
		if g.unknown && a.began > g.barrier {
			a.l.known(d, name)
		}
	}
	d.big = pages > 1
	d.began = a.began
	a.l.setComplete(d, true)
	a.l.setHidden(d, a.hidden)
}

// unshadow takes in the objects whose directory of the same name was not in
// the LIST.
func (a *applying) unshadow() {
	for _, s := range a.shadow {
		if n := a.d.names[s.name]; n != nil && n.typ == TypeDir && n.seen < a.began && !a.d.deaf(s.name, s.began) {
			a.change(s.name, n)
			a.l.unset(a.d, s.name)
			e := Decode(s.info)
			fresh := pack(&e)
			fresh.seen = s.began
			a.l.set(a.d, s.name, fresh)
			continue
		}
		a.hidden++
	}
}

// known ends the state of a name that Forget has put it in. d.mu is held.
func (l *Listing) known(d *dir, name string) {
	if g := d.guards[name]; g != nil && g.unknown {
		g.unknown = false
		if g.holds == 0 {
			l.retire(d, name, g)
		}
	}
}

// found is what a question about one path brought.
type found struct {
	began  tick
	exists bool
	entry  Entry
	// attrOnly: entry.Attr is new, the existence was known before.
	attrOnly bool
	stale    bool // this gateway has changed the name since began
}

// tell takes the answer about one name in and reports whether it was news.
// d.mu is held.
func (l *Listing) tell(d *dir, name string, f *found) (changed bool) {
	if d.deaf(name, f.began) {
		return false
	}
	n := d.names[name]
	if !f.exists {
		if n == nil {
			l.known(d, name)
			return false
		}
		if n.seen >= f.began || n.typ == TypeDir && l.keeps(join(d.path, name)) {
			return false
		}
		l.known(d, name)
		l.unset(d, name)
		return true
	}
	fresh := pack(&f.entry)
	fresh.attr = l.intern(f.entry.Attr)
	fresh.seen, fresh.attrSeen = f.began, f.began
	fresh.sure = l.sure(&fresh)
	if n == nil {
		if f.attrOnly {
			return false
		}
		l.known(d, name)
		l.set(d, name, fresh)
		return d.complete
	}
	return l.merge(n, &fresh, f.attrOnly)
}

// merge takes a newly asked state into n and reports whether it is another
// one. The directory's mutex is held.
func (l *Listing) merge(n, fresh *node, attrOnly bool) (changed bool) {
	isDir := n.typ == TypeDir && fresh.typ == TypeDir
	same := isDir || n.typ != TypeDir && fresh.typ != TypeDir && n.sameVersion(fresh)
	if n.seen >= fresh.seen {
		// n was seen later: only its attributes may be missing.
		if !same || n.attrSeen >= fresh.attrSeen {
			return false
		}
		fresh.seen = n.seen
		if fresh.modified == noTime && !isDir {
			fresh.modified = n.modified
		}
	}
	if attrOnly {
		fresh.seen = n.seen
	}
	changed = !same || n.attr != nil && (n.mtime != fresh.mtime || n.typ != fresh.typ || !n.attr.equal(fresh.attr))
	if n.attrSeen > fresh.attrSeen && same {
		fresh.attr, fresh.attrSeen, fresh.mtime, fresh.sure, fresh.typ = n.attr, n.attrSeen, n.mtime, n.sure, n.typ
		changed = false
	}
	*n = *fresh
	return changed
}

// sure reports whether a LIST that shows the version and time of n, whose
// attributes were just asked for, proves that they are still the same. They
// may have been changed in the same second otherwise; and some servers keep
// the time when only metadata change.
func (l *Listing) sure(n *node) bool {
	if !l.opt.ModifiedCoversMeta || n.typ == TypeDir || n.modified == noTime {
		return false
	}
	began := l.clock.time(n.attrSeen).UnixNano() + l.skew.Load()
	return began >= n.modified*int64(time.Second)+int64(2*time.Second)
}

// noteServerTime takes a time of the server's clock, which has therefore
// reached it, and keeps the least that it can be ahead of this clock.
func (l *Listing) noteServerTime(t time.Time) {
	if t.IsZero() {
		return
	}
	ahead := t.UnixNano() - l.clock.time(l.clock.at(l.opt.Now())).UnixNano()
	for {
		least := l.skew.Load()
		if ahead <= least || l.skew.CompareAndSwap(least, ahead) {
			return
		}
	}
}
