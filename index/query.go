package index

import (
	"context"
	"sync"

	"github.com/causewayfs/causeway/store"
)

// hint says what is expected of a name, so that the right request is first.
type hint uint8

const (
	hintAny       hint = iota // nothing: object, directory or absent
	hintObject                // known to be an object
	hintDir                   // known to be a directory
	hintDirMarker             // a directory that certainly exists: only its attributes are wanted
)

// call is a question about one name that is under way. There is at most one a
// name.
type call struct {
	began tick // 0 while it waits for its turn; guarded by dir.mu
	done  chan struct{}
	f     found // set before done is closed
	err   error // set before done is closed
}

// query asks S3 what path is. An answer to a question that began at need or
// later will do. The Answer is that of what is known afterwards.
func (l *Listing) query(ctx context.Context, path string, h hint, need tick) (Answer, error) {
	dirPath, name, _ := split(path)
	for {
		d := l.lock(dirPath)
		if g := d.guards[name]; g != nil {
			need = max(need, g.barrier+1)
		}
		need = max(need, d.floor+1)
		if n := d.names[name]; n != nil && n.attr != nil && n.age() >= need {
			a := l.answer(d, name, n) // another question was faster
			d.mu.Unlock()
			return a, nil
		}
		c := d.calls[name]
		mine := c != nil && (c.began == 0 || c.began >= need)
		if c == nil {
			c = d.call(name)
			mine = true
			if !l.spawn(func() { l.ask(path, h, c, nil) }) {
				delete(d.calls, name)
				d.mu.Unlock()
				return Answer{}, closed(store.OpHead, path)
			}
		}
		d.mu.Unlock()
		if err := wait(ctx, c.done, store.OpHead, path); err != nil {
			return Answer{}, err
		}
		if !mine {
			continue
		}
		if c.err != nil {
			return Answer{}, c.err
		}
		if a, exists, ok := l.settle(dirPath, name, &c.f); !ok {
			h = hintAny // what was certain may not be
		} else if !exists {
			return Answer{}, l.deny(path)
		} else {
			return a, nil
		}
	}
}

// call registers a question. d.mu is held.
func (d *dir) call(name string) *call {
	c := &call{done: make(chan struct{})}
	if d.calls == nil {
		d.calls = map[string]*call{}
	}
	d.calls[name] = c
	return c
}

// settle is the answer to a question that has been asked: what is known now,
// if that is whole, else what S3 said. ok is false if that does not hold any
// more, or only attributes came back and the name is no longer known.
func (l *Listing) settle(dirPath, name string, f *found) (a Answer, exists, ok bool) {
	d := l.lock(dirPath)
	defer d.mu.Unlock()
	n, g := d.names[name], d.guards[name]
	switch {
	case n != nil && n.attr != nil:
		return l.answer(d, name, n), true, true
	case g != nil && g.gone && g.holds > 0:
		return Answer{}, false, true
	case f.stale:
		return Answer{}, false, false // this gateway has changed it meanwhile
	case !f.exists:
		return Answer{}, false, true
	case f.attrOnly:
		return Answer{}, false, false
	}
	e := f.entry
	e.Attr = l.intern(e.Attr)
	return Answer{Entry: e, Until: l.clock.time(l.until(f.began))}, true, true
}

// ask carries a question out. turn, if not nil, limits how many do so.
func (l *Listing) ask(path string, h hint, c *call, turn chan struct{}) {
	dirPath, name, _ := split(path)
	if turn != nil {
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-l.ctx.Done():
		}
	}
	began := l.reqs.begin()
	d := l.lock(dirPath)
	c.began = began
	d.mu.Unlock()

	c.f, c.err = l.requests(l.ctx, path, h)
	c.f.began = began
	changed := false
	d = l.lock(dirPath)
	if g := d.guards[name]; c.err == nil {
		c.f.stale = began <= d.floor || g != nil && began <= g.barrier
		changed = l.tell(d, name, &c.f)
	}
	delete(d.calls, name)
	d.mu.Unlock()
	close(c.done)
	l.release(l.reqs.end(began))
	if changed {
		l.notify([]string{path})
	}
}

// requests finds out what path is.
func (l *Listing) requests(ctx context.Context, path string, h hint) (found, error) {
	switch h {
	case hintObject:
		f, err := l.head(ctx, path)
		if err != nil || f.exists {
			return f, err
		}
		return l.probe(ctx, path) // perhaps a directory now
	case hintDirMarker:
		f, err := l.head(ctx, path+"/")
		if err == nil && !f.exists {
			f = found{exists: true, entry: implicitDir(path), attrOnly: true}
		}
		return f, err
	case hintDir:
		marker, below, err := both(
			func() (found, error) { return l.head(ctx, path+"/") },
			func() (found, error) { return l.below(ctx, path) })
		if err == nil && !marker.exists && !below.exists {
			return l.head(ctx, path) // perhaps an object now
		}
		if marker.exists {
			return marker, err
		}
		return below, err
	}
	object, dir, err := both(
		func() (found, error) { return l.head(ctx, path) },
		func() (found, error) { return l.probe(ctx, path) })
	if dir.exists {
		return dir, nil // whether or not there is an object as well
	}
	return object, err
}

// both runs two requests at once. If one fails the error is its, and the
// other's result holds.
func both(a, b func() (found, error)) (fa, fb found, err error) {
	var wg sync.WaitGroup
	var errA, errB error
	wg.Go(func() { fa, errA = a() })
	fb, errB = b()
	wg.Wait()
	if errA != nil {
		return found{}, fb, errA
	}
	return fa, fb, errB
}

// head asks for one object.
func (l *Listing) head(ctx context.Context, key string) (found, error) {
	info, err := l.opt.Store.Head(ctx, key)
	if store.IsKind(err, store.NotExist) {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}
	l.noteServerTime(info.Modified)
	info.Key = key
	if info.Meta == nil {
		info.Meta = store.Metadata{}
	}
	return found{exists: true, entry: Decode(info)}, nil
}

// below asks whether any key lies below path. The marker sorts before all
// others, so another first key means that there is none.
func (l *Listing) below(ctx context.Context, path string) (found, error) {
	page, err := l.opt.Store.List(ctx, store.ListOptions{Prefix: path + "/", Max: 1})
	if err != nil || len(page.Objects) == 0 {
		return found{}, err
	}
	f := found{exists: true, entry: implicitDir(path)}
	f.entry.Marker = page.Objects[0].Key == path+"/"
	return f, nil
}

// probe is below with the attributes of the marker.
func (l *Listing) probe(ctx context.Context, path string) (found, error) {
	f, err := l.below(ctx, path)
	if err != nil || !f.entry.Marker {
		return f, err
	}
	marker, err := l.head(ctx, path+"/")
	if err != nil || marker.exists {
		return marker, err
	}
	f.entry.Marker = false // removed in between; what else is below is not known
	return l.below(ctx, path)
}

func implicitDir(path string) Entry {
	_, name, _ := split(path)
	return Entry{Name: name, Type: TypeDir, Attr: &Attr{}}
}
