package index

import (
	"context"

	"github.com/causewayfs/causeway/store"
)

// step of a question: what to do next.
type verdict uint8

const (
	answered verdict = iota
	absent
	needPoll
	needList
	needQuery
)

// question is one Lookup or Stat on its way. Each of the things that can be
// needed is done at most once.
type question struct {
	path      string
	dir, name string
	q         tick // when it was asked
	fresh     bool // the answer must be
	polled    bool
	listed    bool
	lookAgain bool // an absence, given from memory, should be refreshed
	hint      hint
	answer    Answer
}

// Lookup implements [Index].
func (l *Listing) Lookup(ctx context.Context, path string) (Answer, error) {
	return l.find(ctx, path, l.opt.Strict)
}

// Stat implements [Index].
func (l *Listing) Stat(ctx context.Context, path string) (Answer, error) {
	return l.find(ctx, path, true)
}

func (l *Listing) find(ctx context.Context, path string, fresh bool) (Answer, error) {
	q := l.clock.tick()
	l.pres.touch(q)
	if path == "" {
		return l.root(), nil
	}
	dirPath, name, ok := split(path)
	if !ok {
		return Answer{}, notExist(path)
	}
	a := question{path: path, dir: dirPath, name: name, q: q, fresh: fresh}
	for {
		d := l.lock(dirPath)
		d.used.Store(int64(q))
		v := l.judge(d, &a)
		d.mu.Unlock()
		switch v {
		case answered:
			return a.answer, nil
		case absent:
			if a.lookAgain {
				l.lookAgain(&a)
			}
			return Answer{}, l.deny(path)
		case needPoll:
			a.polled = true
			l.pres.poll(ctx, l.oldest(q))
		case needList:
			a.listed = true
			if err := l.refresh(ctx, dirPath, l.oldest(q), false); err != nil {
				return Answer{}, err
			}
		case needQuery:
			return l.query(ctx, path, a.hint, l.oldest(q))
		}
	}
}

// Peek implements [Index].
func (l *Listing) Peek(path string) (Entry, bool) {
	if path == "" {
		return l.root().Entry, true
	}
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
	if n == nil {
		return Entry{}, false
	}
	return n.entry(name), true
}

// judge decides from what is known. d.mu is held.
func (l *Listing) judge(d *dir, a *question) verdict {
	n, g := d.names[a.name], d.guards[a.name]
	held := g != nil && g.holds > 0
	switch {
	case n != nil:
		l.prefetch(d, l.step(d, a.name, a.q), a.q)
		stale := a.fresh || l.expired(n.seen) || n.typ != TypeDir && l.expired(n.age())
		if held && n.attr != nil || n.attr != nil && (!stale || l.freshNode(n, a.q)) {
			a.answer = l.answer(d, a.name, n)
			return answered
		}
		if n.attr == nil && !stale && n.typ == TypeFile && n.size >= LookupSize {
			a.answer = l.answer(d, a.name, n)
			return answered
		}
		if n.attr != nil && !a.polled && l.pollHelps(n.age(), a.q) {
			return needPoll
		}
		a.hint = l.hintFor(n, a.q)
		return needQuery
	case held && g.gone:
		return absent
	case g != nil && g.unknown:
		return needQuery
	}
	return l.judgeAbsence(d, a)
}

// judgeAbsence decides about a name that is not known. d.mu is held.
func (l *Listing) judgeAbsence(d *dir, a *question) verdict {
	stale := !d.complete
	if d.complete {
		switch {
		case l.fresh(d.began, a.q):
			if l.askedAgain(d, a) {
				return needQuery
			}
			return absent
		case !l.opt.Strict && !a.listed && !d.big && !l.expired(d.began) && l.until(d.began).add(grace) >= a.q:
			a.lookAgain = true
			return absent
		case !a.polled && l.pollHelps(d.began, a.q):
			return needPoll
		}
		stale = true
	}
	switch {
	case a.listed && d.complete && d.began >= l.oldest(a.q):
		return absent
	case stale && !d.big && !a.listed:
		return needList
	}
	return needQuery
}

// askedAgain reports whether S3 should be asked for a name that a listing,
// which is not new, does not have: somebody waits for it to appear.
func (l *Listing) askedAgain(d *dir, a *question) bool {
	return d.began.add(l.opt.DirTTL) < a.q && l.denials.again(a.path, a.q, l.opt.DirTTL)
}

// lookAgain refreshes, in the background, what an absence was told from.
func (l *Listing) lookAgain(a *question) {
	l.spawn(func() {
		d := l.lock(a.dir)
		helps := l.pollHelps(d.began, a.q)
		d.mu.Unlock()
		if helps {
			l.pres.poll(l.ctx, l.oldest(a.q))
			return
		}
		// The next question meets the same error, if any.
		_ = l.refresh(l.ctx, a.dir, l.oldest(a.q), false)
	})
}

func notExist(path string) error {
	return &store.Error{Op: store.OpHead, Key: path, Kind: store.NotExist}
}

// deny notes that path was denied.
func (l *Listing) deny(path string) error {
	l.denials.first(path, l.clock.tick())
	return notExist(path)
}

// Empty implements [Index].
func (l *Listing) Empty(ctx context.Context, dirPath string) (bool, error) {
	q := l.clock.tick()
	l.pres.touch(q)
	d, unpin := l.pin(dirPath, q)
	defer unpin()
	d.mu.Lock()
	helps := l.pollHelps(d.began, q)
	d.mu.Unlock()
	if helps {
		l.pres.poll(ctx, l.oldest(q))
	}
	for _, all := range []bool{false, true} {
		d.mu.Lock()
		empty, known := l.emptyKnown(d, q)
		d.mu.Unlock()
		if known {
			return empty, nil
		}
		if err := l.refresh(ctx, dirPath, q, all); err != nil {
			return false, err
		}
		d.mu.Lock()
		shown, complete, hidden := d.shownSince(q), d.complete && d.began >= q, d.hidden
		d.mu.Unlock()
		if shown || complete {
			return !shown && hidden == 0, nil
		}
	}
	// Forgotten while it was loaded: whoever did so knows better.
	return false, nil
}

// emptyKnown answers without a request if that is possible. d.mu is held.
func (l *Listing) emptyKnown(d *dir, q tick) (empty, known bool) {
	for name, n := range d.names {
		if d.held(name) || n.seen >= l.oldest(q) {
			return false, true
		}
	}
	if len(d.names) > 0 || d.hidden > 0 || !d.complete || d.began < d.doubt || l.opt.Strict {
		return false, false
	}
	v := l.pres.view.Load()
	return true, v.covers(d.began) && l.fresh(d.began, q)
}

// shownSince reports whether any name exists that was seen at t or later, or
// is held. d.mu is held.
func (d *dir) shownSince(t tick) bool {
	for name, n := range d.names {
		if n.seen >= t || d.held(name) {
			return true
		}
	}
	return false
}
