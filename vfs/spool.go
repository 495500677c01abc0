package vfs

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/causewayfs/causeway/vfs/journal"
)

// With Options.CommitLocal a close is a commit to the journal: the file
// becomes a parcel in the spool, which sends it soon after. Parcels of one path
// are sent one after the other; one that nobody has begun to send is replaced
// by the next. Nothing that a caller waits for waits for a parcel, except where
// it has to change the same object in S3 itself.
const (
	spoolParallel = 32
	spoolRest     = 20 * time.Millisecond  // without a commit, before sending begins: programs go first
	spoolRestMax  = 250 * time.Millisecond // and how long the first of many waits
	spoolPauseMin = 50 * time.Millisecond  // after a failure
	spoolPauseMax = 5 * time.Second
)

// slot is what the spool has of one path.
type slot struct {
	waiting, sending *parcel
	coming           *parcel // being accepted: made with what is being sent in mind
}

// spool holds the parcels of a filesystem.
//
// INVARIANT: a path in queue has a waiting parcel and none that is being sent.
type spool struct {
	fs *FS

	mu      sync.Mutex
	slots   map[string]*slot
	queue   []string // paths that may be sent
	count   int
	bytes   int64
	running int
	first   time.Time // when the first came since nothing waited
	last    time.Time // when the last came
	hurry   int       // callers that wait
	timer   *time.Timer
	pause   time.Duration // after failures in a row
	until   time.Time     // nothing is begun before
	changed chan struct{} // closed and replaced when a parcel is over
	stopped bool
}

func newSpool(fs *FS) *spool {
	s := &spool{fs: fs, slots: map[string]*slot{}, changed: make(chan struct{})}
	s.timer = time.AfterFunc(time.Hour, s.pump)
	return s
}

// put takes a parcel. One of the same path that waits is over.
func (s *spool) put(p *parcel) {
	p.over = make(chan struct{})
	p.live, p.drop = context.WithCancel(s.fs.bg)
	s.mu.Lock()
	sl := s.slots[p.Path]
	if sl == nil {
		sl = &slot{}
		s.slots[p.Path] = sl
	}
	sl.coming = nil
	old := sl.waiting
	if old != nil {
		old.next = p
		s.leaveLocked(old)
	}
	sl.waiting = p
	s.last = s.fs.now()
	if len(s.queue) == 0 {
		s.first = s.last
	}
	s.count++
	s.bytes += p.Size
	if old == nil && sl.sending == nil {
		s.queue = append(s.queue, p.Path)
	}
	s.mu.Unlock()
	if old != nil {
		s.end(old)
	}
	s.pump()
}

// leaveLocked takes p off the books.
func (s *spool) leaveLocked(p *parcel) {
	s.count--
	s.bytes -= p.Size
}

// end wakes who waits for a parcel.
func (s *spool) end(p *parcel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p.drop()
	close(p.over)
	close(s.changed)
	s.changed = make(chan struct{})
}

// take drops what the spool has of a path, for somebody who removes or replaces
// it: the parcel that waits, and the one that is being sent, which is still on
// its way until over is closed. Either may be nil. The caller ends the intents.
func (s *spool) take(path string) (waiting, sending *parcel) {
	s.mu.Lock()
	sl := s.slots[path]
	if sl == nil {
		s.mu.Unlock()
		return nil, nil
	}
	waiting, sending = sl.waiting, sl.sending
	sl.waiting = nil
	if waiting != nil {
		waiting.dropLocked()
		s.leaveLocked(waiting)
		s.unqueueLocked(path)
	}
	if sending != nil {
		sending.dropLocked()
	} else {
		delete(s.slots, path)
	}
	s.mu.Unlock()
	if waiting != nil {
		s.end(waiting)
	}
	return waiting, sending
}

// peek returns what the spool has of a path.
func (s *spool) peek(path string) (waiting, sending *parcel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.slots[path]; sl != nil {
		return sl.waiting, sl.sending
	}
	return nil, nil
}

// intents returns the intents of what the spool has of a path.
func (s *spool) intents(path string) []journal.ID {
	var ids []journal.ID
	for _, p := range s.of(path) {
		ids = append(ids, p.id)
	}
	return ids
}

// attempts returns the names of all that may have been carried out, or be so
// yet, of a path.
func (s *spool) attempts(path string) []string {
	var names []string
	for _, p := range s.of(path) {
		names = append(names, p.names()...)
	}
	return names
}

// of returns what the spool has of a path, the newest first.
func (s *spool) of(path string) []*parcel {
	var all []*parcel
	waiting, sending := s.peek(path)
	for _, p := range []*parcel{waiting, sending} {
		if p != nil {
			all = append(all, p)
		}
	}
	return all
}

// appends reports whether appends to a path are on their way.
func (s *spool) appends(path string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[path]
	return sl != nil && (sl.waiting != nil && sl.waiting.Append != nil || sl.sending != nil && sl.sending.Append != nil)
}

// recorded returns what the journal gets of a parcel that is being accepted. It
// reports false if the parcel has to be made anew, since others' appends got
// before its own meanwhile: a restart shows the bytes of an intent as they are.
func (s *spool) recorded(p *parcel) (intent, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.intent, p.ownLayout()
}

// refuse takes back a parcel that could not be recorded.
func (s *spool) refuse(p *parcel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl := s.slots[p.Path]; sl != nil && sl.coming == p {
		sl.coming = nil
	}
}

// unlessDropped runs fn, which tells the file of p what has become of it, and
// during which p cannot be dropped. What is based on p is told at the same
// moment: a parcel that is made after it has the bytes of after it, and what it
// inherits from one that waits must be of then, too.
func (s *spool) unlessDropped(p *parcel, fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.dropped {
		return // a removal may take that version
	}
	p.landed = true
	fn()
	if sl := s.slots[p.Path]; sl != nil {
		p.passOn(sl.waiting)
		p.passOn(sl.coming)
	}
}

func (s *spool) unqueueLocked(path string) {
	if i := slices.Index(s.queue, path); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
}

// pump begins to send as much as may be sent now.
func (s *spool) pump() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return
	}
	if wait := s.restLocked(); wait > 0 && len(s.queue) > 0 {
		s.timer.Reset(wait)
		return
	}
	for s.running < spoolParallel && len(s.queue) > 0 {
		path := s.queue[0]
		s.queue = s.queue[1:]
		sl := s.slots[path]
		p := sl.waiting
		sl.waiting, sl.sending = nil, p
		if sl.coming != nil {
			sl.coming.after = p
		}
		s.running++
		s.fs.start(func(ctx context.Context) {
			s.sent(p, unlessLost(ctx, p.Path, p.lost, func(ctx context.Context) error { return s.fs.sendParcel(ctx, p) }))
		})
	}
}

// restLocked returns how long nothing is to be begun.
func (s *spool) restLocked() time.Duration {
	now := s.fs.now()
	wait := s.until.Sub(now) // after a failure
	if s.hurry == 0 && s.running == 0 {
		wait = max(wait, min(spoolRest-now.Sub(s.last), spoolRestMax-now.Sub(s.first)))
	}
	return wait
}

// sent notes how the sending of p went.
func (s *spool) sent(p *parcel, err error) {
	s.mu.Lock()
	s.running--
	sl := s.slots[p.Path]
	sl.sending = nil
	again := err != nil && !refusedForGood(err) && !p.dropped
	switch next := sl.waiting; {
	case again && next == nil:
		sl.waiting = p
	case again:
		next.inherit(p)
		p.next = next
		s.leaveLocked(p)
	default:
		s.leaveLocked(p)
		if !p.dropped {
			p.err = err
		}
	}
	if sl.waiting != nil {
		s.queue = append(s.queue, p.Path)
	} else {
		delete(s.slots, p.Path)
	}
	over := sl.waiting != p
	s.backOffLocked(again)
	s.mu.Unlock()
	if p.err != nil {
		s.fs.parcelRefused(p)
	}
	if over {
		if _, err := s.fs.ledger.record([]journal.ID{p.id}); err != nil {
			s.fs.noteError(err)
		}
		s.fs.settle(p.f.node)
		s.end(p)
	}
	s.pump()
}

// backOffLocked pauses after failures, longer each time.
func (s *spool) backOffLocked(failed bool) {
	if !failed {
		s.pause, s.until = 0, time.Time{}
		return
	}
	if s.until.After(s.fs.now()) {
		return // another one has just failed
	}
	s.pause = min(max(2*s.pause, spoolPauseMin), spoolPauseMax)
	s.until = s.fs.now().Add(s.pause)
}

// stop lets nothing more begin.
func (s *spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.timer.Stop()
}
