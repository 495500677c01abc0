package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"
)

// ID names an intent. IDs grow over the life of the directory, also over
// restarts, and are never used twice. Zero is none.
type ID uint64

// Entry is a live intent.
type Entry struct {
	ID   ID
	Body []byte
}

const (
	defaultSegmentSize = 8 << 20
	defaultMaxBytes    = 1 << 30
	minSegmentSize     = 512
	// slackSegments is how many segments more than twice what is live may be
	// on disk before cleaning begins.
	slackSegments = 4
	// lazyDelay is how long what nobody waits for may stay in memory.
	lazyDelay = 100 * time.Millisecond
	// idJump is what IDs skip at each Open: more than could have been given
	// out and then lost in a crash, since an intent takes more than a byte and
	// MaxBytes bounds those.
	idJump = 1 << 32
)

// Errors that callers tell apart.
var (
	// ErrFull is returned by Append when the journal would exceed MaxBytes.
	ErrFull = errors.New("the journal is full")
	// ErrNewer is returned by Open and Load for a directory that a newer
	// program wrote. Nothing was changed.
	ErrNewer = errors.New("the journal is from a newer version of this program")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the journal is closed")
	// ErrNotLive is returned by Read for an intent that ended or never was.
	ErrNotLive = errors.New("the intent is not live")
	// ErrDamaged is the kind of what Damage returns, and of what Read returns
	// for a body that is not what was written.
	ErrDamaged = errors.New("the journal is damaged")
	// ErrTooLarge is returned by Append for a record above 1 GiB.
	ErrTooLarge = errors.New("the record is too large for the journal")
)

// Options say how a journal is kept. The zero value is a working one.
type Options struct {
	// SegmentSize is the bytes that a segment file is made with [8 MiB].
	SegmentSize int64
	// MaxBytes bounds the bytes of all segment files [1 GiB]. Records that
	// only end intents, and cleaning, may exceed it by a segment or two, since
	// nothing would ever become free otherwise.
	MaxBytes int64
	// Log is told of damage and of failures in the background [none].
	Log *slog.Logger

	files   files                                // [the operating system's]
	salt    func() uint64                        // [random]
	after   func(time.Duration) <-chan time.Time // [time.After]
	passive bool                                 // nothing runs in the background, for tests
}

func (o Options) withDefaults() Options {
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = defaultSegmentSize
	}
	o.SegmentSize = align(max(min(o.SegmentSize, o.MaxBytes/slackSegments), minSegmentSize))
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.files == nil {
		o.files = osFiles{}
	}
	if o.salt == nil {
		o.salt = rand.Uint64
	}
	if o.after == nil {
		o.after = time.After
	}
	return o
}

// Stats are figures of a journal.
type Stats struct {
	Live       int   // intents that are live
	LiveBytes  int64 // what the records of these would take
	TotalBytes int64 // all segment files
	Segments   int
	Records    int64 // records appended since Open
	Syncs      int64 // times that records were made durable since Open
	Cleaned    int64 // segments removed since Open
}

// segment is a segment file that is open. Guarded by Journal.mu but for what
// never changes: header, name, file.
type segment struct {
	header
	name      string
	file      file
	size      int64 // of the file
	end       int64 // offset of the next record, also of those still in memory
	synced    int64 // durable up to here
	live      int   // intents whose body is here
	liveBytes int64
}

// place is where the body of a live intent is.
type place struct {
	seg *segment
	off int64
	n   uint32
	sum uint32 // CRC-32C of the body
}

func (p place) cost() int64 { return recordHeader + addHeader + int64(p.n) }

// Journal is an open journal. All methods may be called concurrently. A
// directory must be open once at a time, which is for the caller to ensure.
type Journal struct {
	dir string
	opt Options

	stop chan struct{} // closed by Close
	kick chan struct{} // holds one token when there is something for the background
	wg   sync.WaitGroup

	cleaning sync.Mutex // held by the one that moves intents and removes segments

	mu   sync.Mutex // never held over I/O
	cond *sync.Cond // told when running or switching becomes false

	err       error // final: a write or sync went wrong
	closed    bool
	running   bool  // somebody writes to the head and syncs it, or replaces it
	switching bool  // somebody replaces the head; no Append may go on
	noRoom    error // the last write to the head found no space

	segs   []*segment // in order; the last is the head if hasHead
	open   bool       // the last segment takes records
	number uint64     // of the last segment
	total  int64      // bytes of all segments
	live   map[ID]place
	lost   []error // damage met
	next   ID      // to be given out
	lazy   []ID    // ended by Done, in no record yet

	pending    []byte // records of the head that are not written yet
	pendingOff int64  // their offset
	writing    []byte // records that are being written
	writingOff int64
	spare      []byte // a buffer to use again

	appended int64 // records appended
	durable  int64 // of these, durable
	syncs    int64
	cleaned  int64
}

// Open takes the journal in dir, which is made if needed, and returns its live
// intents in order of ID. Damage does not fail it: see Damage. It fails with
// ErrNewer, or when the directory cannot be read, or damage not be set aside.
func Open(dir string, opts Options) (*Journal, []Entry, error) {
	opts = opts.withDefaults()
	if err := opts.files.MkdirAll(dir); err != nil {
		return nil, nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	if err := opts.files.SyncDir(parent(dir)); err != nil {
		return nil, nil, fmt.Errorf("make the journal's directory: %w", err)
	}
	st, err := scan(opts.files, dir)
	if err != nil {
		return nil, nil, err
	}
	if err := st.repair(opts.files, dir); err != nil {
		return nil, nil, fmt.Errorf("repair the journal: %w", err)
	}
	j := &Journal{
		dir: dir, opt: opts,
		stop: make(chan struct{}), kick: make(chan struct{}, 1),
		live: map[ID]place{}, next: 1, lost: st.damage,
	}
	j.cond = sync.NewCond(&j.mu)
	if err := j.adopt(st); err != nil {
		return nil, nil, errors.Join(err, j.closeFiles())
	}
	for _, err := range st.damage {
		opts.Log.Error("journal", "dir", dir, "err", err)
	}
	if !opts.passive {
		j.wg.Go(j.background)
		j.wake()
	}
	return j, st.entries(), nil
}

// adopt opens what a scan found and was repaired.
func (j *Journal) adopt(st *state) error {
	segs := map[uint64]*segment{}
	for _, f := range st.found {
		if f.gone {
			continue
		}
		name := filepath.Join(j.dir, segmentName(f.number))
		h, err := j.opt.files.Open(name, false)
		if err != nil {
			return fmt.Errorf("open a segment of the journal: %w", err)
		}
		s := &segment{header: f.header, name: name, file: h, size: f.size, end: f.end, synced: f.end}
		segs[f.number] = s
		j.segs = append(j.segs, s)
		j.total += s.size
		j.number = s.number
	}
	for id, in := range st.live {
		s := segs[in.number]
		p := place{seg: s, off: in.off, n: uint32(len(in.body)), sum: crc32.Checksum(in.body, castagnoli)}
		j.live[id] = p
		s.live++
		s.liveBytes += p.cost()
	}
	if st.used {
		j.next = st.next + idJump
	}
	j.number = max(j.number, st.number)
	return nil
}

// Damage returns what Open, and reading since, found damaged: errors that are
// ErrDamaged, naming the segment.
func (j *Journal) Damage() []error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]error(nil), j.lost...)
}

// Stats returns figures of the journal.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Stats{
		Live: len(j.live), LiveBytes: j.liveBytes(), TotalBytes: j.total, Segments: len(j.segs),
		Records: j.appended, Syncs: j.syncs, Cleaned: j.cleaned,
	}
}

// liveBytes is what live intents take. mu is held.
func (j *Journal) liveBytes() int64 {
	n := int64(0)
	for _, s := range j.segs {
		n += s.liveBytes
	}
	return n
}

// Close writes what is not written, makes it durable and ends the journal. The
// error is that of a Sync. Later calls are ErrClosed.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	j.mu.Unlock()
	err := j.Sync()
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return ErrClosed
	}
	j.closed = true
	close(j.stop)
	j.cond.Broadcast()
	for j.running || j.switching {
		j.cond.Wait()
	}
	j.mu.Unlock()
	j.wg.Wait()
	return errors.Join(err, j.closeFiles())
}

func (j *Journal) closeFiles() error {
	j.cleaning.Lock()
	defer j.cleaning.Unlock()
	var errs []error
	for _, s := range j.segs {
		errs = append(errs, s.file.Close())
	}
	return errors.Join(errs...)
}

// wake tells the background that there is something to do.
func (j *Journal) wake() {
	select {
	case j.kick <- struct{}{}:
	default:
	}
}

// background writes what nobody waits for, and cleans, until Close.
func (j *Journal) background() {
	for {
		select {
		case <-j.stop:
			return
		case <-j.kick:
		}
		select {
		case <-j.stop:
			return
		case <-j.opt.after(lazyDelay):
		}
		if err := errors.Join(j.Sync(), j.clean()); err != nil && !errors.Is(err, ErrClosed) {
			j.opt.Log.Error("journal: in the background", "dir", j.dir, "err", err)
		}
	}
}
