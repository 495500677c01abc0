package index

import (
	"context"

	"github.com/causewayfs/causeway/store"
)

// load is a LIST of one directory that is under way.
type load struct {
	began    tick
	first    chan struct{} // closed when the first page is known, or has failed
	firstErr error         // set before first is closed
	done     chan struct{} // closed at the end
	err      error         // set before done is closed
	all      int           // callers that wait for all pages; guarded by dir.mu
}

// refresh returns when a LIST that began at need or later has told the names
// of a directory: with all set every one, for which the caller has pinned the
// directory, else a page of them, if that is possible soon.
func (l *Listing) refresh(ctx context.Context, path string, need tick, all bool) error {
	for {
		d := l.lock(path)
		if all {
			need = max(need, d.doubt)
		}
		if all && d.complete && d.began >= need {
			d.mu.Unlock()
			return nil
		}
		f := d.load
		if f == nil {
			if f = l.startLoad(d); f == nil {
				d.mu.Unlock()
				return closed(store.OpList, path)
			}
		}
		mine, until := f.began >= need, f.first
		if all {
			until = f.done
			if mine {
				f.all++
			}
		}
		d.mu.Unlock()

		err := wait(ctx, until, store.OpList, path)
		d.mu.Lock()
		busy := d.load == f
		if all && mine {
			f.all--
		}
		d.mu.Unlock()
		switch {
		case err != nil:
			return err
		case mine && !all:
			return f.firstErr
		case mine && f.err != nil:
			return f.err
		case !all && busy:
			return nil // a LIST of many pages that began too early: one name is asked for faster
		}
		// Of a LIST that began too early only the end was awaited; and what
		// was known may have been dropped meanwhile.
	}
}

// startLoad begins a load; nil if the index is closed. d.mu is held.
func (l *Listing) startLoad(d *dir) *load {
	f := &load{began: l.reqs.begin(), first: make(chan struct{}), done: make(chan struct{})}
	if !l.spawn(func() { l.run(d.path, f) }) {
		l.reqs.end(f.began) // guards stay: nothing is asked any more
		return nil
	}
	d.load = f
	return f
}

// run carries a load out.
func (l *Listing) run(path string, f *load) {
	a := applying{l: l, began: f.began}
	opts := store.ListOptions{Prefix: prefix(path), Delimiter: "/"}
	began := f.began
	for pages := 1; ; pages++ {
		page, err := l.opt.Store.List(l.ctx, opts)
		d := l.lock(path)
		a.d = d
		end := err != nil
		if err == nil {
			a.page(page, began)
			switch {
			case page.Next == "":
				a.finish(pages)
				end = true
			case f.all == 0:
				a.partial()
				end = true
			default:
				d.big = began > d.floor || d.big
			}
		}
		f.err = err
		if end {
			d.load = nil
		}
		d.mu.Unlock()
		if pages == 1 {
			if err == nil {
				l.tellOwn(path, f.began, &a, a.keys || page.Next != "")
			}
			f.firstErr = err
			close(f.first)
		}
		if end {
			break
		}
		opts.Token, began = page.Next, l.clock.tick()
	}
	close(f.done)
	l.release(l.reqs.end(f.began))
	l.notify(a.changed)
	l.trim()
}

// tellOwn tells what the first page of a LIST says of the directory itself:
// the marker's key is before all others.
func (l *Listing) tellOwn(path string, began tick, a *applying, exists bool) {
	up, name, ok := split(path)
	if !ok {
		return
	}
	f := found{began: began, exists: exists}
	d := l.lock(up)
	n := d.names[name]
	switch {
	case n == nil && !f.exists:
	case n == nil || !f.exists && n.typ != TypeDir:
		// Not asked for; and an object may be there.
	case !f.exists || a.marker == nil:
		f.entry = Entry{Name: name, Type: TypeDir, Attr: &Attr{}}
		if l.tell(d, name, &f) {
			a.changed = append(a.changed, path)
		}
	case n.typ == TypeDir && !d.deaf(name, began):
		// The marker's attributes are not in a LIST.
		n.seen, n.marker = max(n.seen, began), true
		if m := packSeconds(a.marker.Modified); n.modified != m {
			if n.attrSeen < began && n.modified != noTime {
				n.attr, n.attrSeen = nil, 0
				a.changed = append(a.changed, path)
			}
		}
	}
	d.mu.Unlock()
}

// wait returns nil when done is closed, or the error of ctx.
func wait(ctx context.Context, done <-chan struct{}, op store.Op, key string) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	kind := store.Canceled
	if context.Cause(ctx) == context.DeadlineExceeded {
		kind = store.Timeout
	}
	return &store.Error{Op: op, Key: key, Kind: kind, Err: ctx.Err()}
}
