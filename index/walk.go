package index

import "slices"

// Bounds of how many names ahead of the caller attributes are asked for.
const (
	walkMin = 4
	walkMax = 128
)

// walk notices that a program asks for the attributes of the names of a
// directory one after the other, in the order of its listing, as `ls -l` does,
// and asks S3 for the next ones in parallel.
type walk struct {
	order  []string // names as List gave them; nil when there is nothing to gain
	next   int      // position behind the last name asked for
	sent   int      // position up to which attributes have been asked for
	run    int      // names asked for in order
	window int
}

// step tells that name was asked for at q and returns the names whose
// attributes should be asked for next; the calls for them are registered. d.mu is held.
func (l *Listing) step(d *dir, name string, q tick) []string {
	w := &d.walk
	if w.order == nil {
		return nil
	}
	if w.next < len(w.order) && w.order[w.next] == name {
		w.next++
		w.run++
	} else if !w.jump(name) {
		return nil
	}
	if w.run < 2 {
		return nil
	}
	w.window = min(max(w.window*2, walkMin), walkMax)
	return l.ahead(d, q)
}

// jump handles a name out of order. A few names may be left out.
func (w *walk) jump(name string) bool {
	i, found := slices.BinarySearch(w.order, name)
	switch {
	case !found || i == w.next-1:
		return false
	case i > w.next && i < w.next+walkMin:
		w.run++
	default:
		w.run, w.window = 1, 0
	}
	w.next, w.sent = i+1, max(w.sent, i+1)
	if w.run == 1 {
		w.sent = i + 1
	}
	return true
}

// ahead returns the names within the window whose attributes are not fresh.
func (l *Listing) ahead(d *dir, q tick) []string {
	w := &d.walk
	w.sent = max(w.sent, w.next)
	var names []string
	for ; w.sent < min(w.next+w.window, len(w.order)); w.sent++ {
		name := w.order[w.sent]
		n := d.names[name]
		if n == nil || d.calls[name] != nil || d.held(name) || n.attr != nil && l.freshNode(n, q) {
			continue
		}
		names = append(names, name)
	}
	if w.next == len(w.order) {
		d.walk = walk{}
	}
	return names
}

// prefetch asks for the attributes of names, in the background. d.mu is held.
func (l *Listing) prefetch(d *dir, names []string, q tick) {
	for _, name := range names {
		n, path := d.names[name], join(d.path, name)
		h := l.hintFor(n, q)
		c := d.call(name)
		if !l.spawn(func() { l.ask(path, h, c, l.turns) }) {
			delete(d.calls, name)
			return
		}
	}
}

// hintFor returns what to ask for a name that is known but not fresh at q.
func (l *Listing) hintFor(n *node, q tick) hint {
	switch {
	case n.typ != TypeDir:
		return hintObject
	case l.fresh(n.seen, q):
		return hintDirMarker
	}
	return hintDir
}
