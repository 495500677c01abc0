package vfs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
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

// parcel is a version of a file that is durable here and on its way to S3.
// Fields are set before it enters the spool, or guarded by spool.mu.
type parcel struct {
	intent
	id      journal.ID
	session string
	f       *file
	state   savedState // what it holds of f

	moved   bool            // it gets another name with this
	landed  bool            // its file knows what became of it
	dropped bool            // somebody removed, renamed or replaced what it is about
	after   *parcel         // the one that was being sent when p was made, if p is based on it
	next    *parcel         // the one that stands for it
	result  store.ETag      // the version that it became
	size    int64           // and the size of that
	rebased bool            // that version has more than p and what p is based on
	err     error           // why S3 did not take it
	over    chan struct{}   // closed when it is in S3, refused or dropped
	live    context.Context // ends when dropped becomes true
	drop    context.CancelFunc
}

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

func (p *parcel) dropLocked() {
	p.dropped = true
	p.drop()
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
		names = append(names, append(p.Mine, p.name())...)
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

// recorded returns what the journal gets of a parcel that is being accepted.
func (s *spool) recorded(p *parcel) intent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return p.intent
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
// during which p cannot be dropped.
func (s *spool) unlessDropped(p *parcel, fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.dropped {
		p.landed = true
		fn()
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
			s.sent(p, s.fs.sendParcel(ctx, p))
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
		if err == nil && !p.dropped { // else a removal may take that version
			p.passOn(sl.waiting)
			p.passOn(sl.coming)
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

// inherit makes p the successor of one that may have been carried out. Of one
// that was dropped only the name counts: what it was based on may be gone with
// it.
func (p *parcel) inherit(old *parcel) {
	if old.dropped {
		p.Mine = append(p.Mine, append(old.Mine, old.name())...)
		return
	}
	p.ETag, p.Whole = old.ETag, p.Whole || old.Whole
	if p.Append != nil && old.Append != nil {
		tries := append(old.Append.Tries, appendedTry{Seq: uint64(old.id), Upto: old.Size - old.Append.From})
		p.Append = &appended{From: old.Append.From, Base: old.Append.Base, Tries: tries}
		return
	}
	p.Append = nil
	p.Mine = append(p.Mine, append(old.Mine, old.name())...)
}

// behind is a without the appends of p, which are in S3.
func (a *appended) behind(p *parcel) *appended {
	sent := p.Size - p.Append.From
	rest := &appended{From: a.From + sent, Base: p.size}
	for _, t := range a.Tries {
		if t.Seq > uint64(p.id) {
			rest.Tries = append(rest.Tries, appendedTry{Seq: t.Seq, Upto: t.Upto - sent})
		}
	}
	return rest
}

// passOn tells next, if it was based on p, that p was carried out.
func (p *parcel) passOn(next *parcel) {
	switch {
	case next == nil || next.after != p:
	case p.Append != nil && next.Append != nil:
		next.Append = next.Append.behind(p)
		next.ETag = p.result
	case !p.rebased: // else next was made from something else
		next.Append = nil
		next.ETag = p.result
	}
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

// wait returns when all that the spool held at the call of the paths that match
// is over, and how many of that S3 did not take.
func (s *spool) wait(ctx context.Context, match func(path string) bool) (refused int, err error) {
	s.mu.Lock()
	if len(s.slots) == 0 {
		s.mu.Unlock()
		return 0, nil
	}
	s.mu.Unlock()
	s.rush(1)
	defer s.rush(-1)
	s.mu.Lock()
	var all []*parcel
	for path, sl := range s.slots {
		if !match(path) {
			continue
		}
		for _, p := range []*parcel{sl.sending, sl.waiting} {
			if p != nil {
				all = append(all, p)
			}
		}
	}
	s.mu.Unlock()
	for _, p := range all {
		for p != nil {
			if err := await(ctx, p.over); err != nil {
				return refused, err
			}
			s.mu.Lock()
			if p.err != nil {
				refused++
			}
			p = p.next
			s.mu.Unlock()
		}
	}
	return refused, nil
}

// rush counts callers that wait, for whom sending begins at once.
func (s *spool) rush(n int) {
	s.mu.Lock()
	s.hurry += n
	s.mu.Unlock()
	if n > 0 {
		s.pump()
	}
}

// below matches a path and all paths below it.
func below(dir string) func(string) bool {
	return func(path string) bool {
		return dir == "" || path == dir || strings.HasPrefix(path, dir+"/")
	}
}

// room returns when size more bytes fit. Kind NoSpace if they do not, and S3
// takes none of what is there.
func (s *spool) room(ctx context.Context, size int64) error {
	ctx, cancel := s.fs.withTimeout(ctx)
	defer cancel()
	for rushed := false; ; {
		s.mu.Lock()
		full, changed := s.fullLocked(size), s.changed
		stuck := s.pause >= time.Second
		s.mu.Unlock()
		if full == nil {
			return nil
		}
		if !rushed {
			rushed = true
			s.rush(1)
			defer s.rush(-1)
		}
		if stuck || await(ctx, changed) != nil {
			return &Error{Op: "write", Kind: NoSpace, Err: full}
		}
	}
}

// fullLocked says why size more bytes do not fit; nil if they do.
func (s *spool) fullLocked(size int64) error {
	switch o := s.fs.opts; {
	case s.count == 0:
		return nil
	case s.count >= o.SpoolFiles:
		return errors.New("too many files wait to be sent to S3 (--spool-files)")
	case s.bytes+size > o.SpoolBytes:
		return errors.New("too many bytes wait to be sent to S3 (--spool-size)")
	case o.SpoolAge > 0 && s.fs.now().Sub(s.oldestLocked()) > o.SpoolAge:
		return errors.New("files have waited too long to be sent to S3 (--spool-age)")
	}
	return nil
}

// oldestLocked returns when the oldest parcel was accepted.
func (s *spool) oldestLocked() time.Time {
	var oldest time.Time
	for _, sl := range s.slots {
		for _, p := range []*parcel{sl.waiting, sl.sending} {
			if p != nil && (oldest.IsZero() || p.Time.Before(oldest)) {
				oldest = p.Time
			}
		}
	}
	return oldest
}

// usage returns the number of parcels, their bytes, and when the oldest was
// accepted.
func (s *spool) usage() (count int, bytes int64, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count, s.bytes, s.oldestLocked()
}
