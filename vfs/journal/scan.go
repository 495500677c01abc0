package journal

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// loadTries bounds how often Load begins anew because segments were removed
// while it read.
const loadTries = 10

// state is what the files of a journal say.
type state struct {
	found  []*found // in order of number
	temps  []string // names of unfinished repairs
	live   map[ID]intent
	next   ID     // above all IDs that were seen
	number uint64 // highest of a segment or of what was set aside
	used   bool   // there was a journal
	damage []error
}

// intent is a live intent as found.
type intent struct {
	number uint64 // of its segment
	off    int64  // of its body there
	body   []byte
}

// found is a segment file as found.
type found struct {
	header
	number uint64
	bad    bool  // the header does not check
	void   bool  // making it was not finished
	cut    bool  // records are missing behind end
	gone   bool  // the file has been removed, or set aside
	size   int64 // of the file
	end    int64 // behind the last good record
	newest bool
}

// Load returns the live intents in dir, in order of ID, and changes nothing. It
// may be used beside the journal's owner, whose records it sees as far as they
// are written. A directory that does not exist has none.
func Load(dir string) ([]Entry, error) {
	var st *state
	var err error
	for range loadTries {
		st, err = scan(osFiles{}, dir)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		if _, gone := (osFiles{}).ReadDir(dir); errors.Is(gone, fs.ErrNotExist) {
			return nil, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return st.entries(), nil
}

// entries returns the live intents in order of ID.
func (st *state) entries() []Entry {
	entries := make([]Entry, 0, len(st.live))
	for _, id := range slices.Sorted(maps.Keys(st.live)) {
		entries = append(entries, Entry{ID: id, Body: st.live[id].body})
	}
	return entries
}

// scan reads the files of a journal and changes nothing.
func scan(fsys files, dir string) (*state, error) {
	names, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	st := &state{live: map[ID]intent{}, next: 1}
	aside := map[uint64]bool{}
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			st.found = append(st.found, &found{number: n})
		} else if hex, _, ok := strings.Cut(name, suffixDamaged); ok {
			if n, ok := segmentNumber(hex + suffixLog); ok {
				aside[n] = true
				st.number = max(st.number, n)
			}
		} else if strings.HasSuffix(name, suffixTemp) {
			st.temps = append(st.temps, name)
		}
	}
	st.used = len(st.found)+len(aside) > 0
	slices.SortFunc(st.found, func(a, b *found) int { return cmp.Compare(a.number, b.number) })
	return st, st.readAll(fsys, dir, aside)
}

// readAll reads the segments, newest first for their headers, since each says
// how long the one before it has to be.
func (st *state) readAll(fsys files, dir string, aside map[uint64]bool) error {
	for i, f := range slices.Backward(st.found) {
		if err := f.readHeader(fsys, dir, i == len(st.found)-1); err != nil {
			return err
		}
	}
	if n := len(st.found); n > 0 && st.found[n-1].void {
		n--
		if n > 0 {
			st.found[n-1].newest = true
		}
	}
	for i, f := range st.found {
		if f.void {
			continue
		}
		if i > 0 && f.number != st.found[i-1].number+1 && !f.follows(st.found[i-1].number, aside) {
			st.damaged(f.number-1, "it is missing")
		}
		var next *found
		if i+1 < len(st.found) && !st.found[i+1].bad && !st.found[i+1].void && st.found[i+1].number == f.number+1 {
			next = st.found[i+1]
		}
		if err := st.read(fsys, dir, f, next); err != nil {
			return err
		}
	}
	return nil
}

// follows tells whether all segments between prev and this one were set aside.
func (f *found) follows(prev uint64, aside map[uint64]bool) bool {
	for n := prev + 1; n < f.number; n++ {
		if !aside[n] {
			return false
		}
	}
	return true
}

// readHeader fills in the header. The newest segment may be one that was not
// finished; then its header was never durable and it has no records.
func (f *found) readHeader(fsys files, dir string, newest bool) error {
	name := filepath.Join(dir, segmentName(f.number))
	p, err := readHead(fsys, name)
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	f.newest, f.end = newest, headerSize
	f.header, err = decodeHeader(p, f.number)
	if errors.Is(err, ErrNewer) {
		return err
	}
	if err != nil {
		if p, err = readName(fsys, name); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
		f.void = newest && len(bytes.TrimLeft(p[min(headerSize, len(p)):], "\x00")) == 0
		f.bad = !f.void
	}
	f.header.number = f.number
	return nil
}

// read takes the records of a segment. next is the one behind it, if known.
func (st *state) read(fsys files, dir string, f, next *found) error {
	st.number = max(st.number, f.number)
	if f.bad {
		st.damaged(f.number, "its header does not check")
		return nil
	}
	p, err := readName(fsys, filepath.Join(dir, segmentName(f.number)))
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	st.next = max(st.next, f.next)
	f.size = int64(len(p))
	f.end = f.records(p, func(r record) {
		items(r.payload, func(it item) { st.apply(f, r, it) })
	})
	switch {
	case f.lostBehind(p, f.end):
		f.cut = true
	case next != nil && f.flags&flagRepaired == 0:
		f.cut = f.end < next.prevEnd
	}
	if f.cut {
		st.damaged(f.number, fmt.Sprintf("records behind byte %d do not check", f.end))
	}
	return nil
}

// apply is one part of a record.
func (st *state) apply(f *found, r record, it item) {
	st.next = max(st.next, it.id+1)
	if it.done {
		delete(st.live, it.id)
		return
	}
	st.live[it.id] = intent{number: f.number, off: r.off + recordHeader + int64(it.at), body: bytes.Clone(it.body)}
}

func (st *state) damaged(number uint64, what string) {
	st.damage = append(st.damage, fmt.Errorf("segment %016x: %s: %w", number, what, ErrDamaged))
}

// repair makes the files say what was read, durably: damaged ones are set
// aside, and the newest ends with its last good record, so that nothing of a
// torn one can be taken for a record later.
func (st *state) repair(fsys files, dir string) error {
	for _, name := range st.temps {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	for _, f := range st.found {
		if err := f.repair(fsys, dir); err != nil {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

func (f *found) repair(fsys files, dir string) error {
	name := filepath.Join(dir, segmentName(f.number))
	switch {
	case f.void:
		f.gone = true
		return fsys.Remove(name)
	case f.bad:
		f.gone = true
		if _, err := setAside(fsys, dir, f.number); err != nil {
			return err
		}
		return fsys.Remove(name)
	case f.cut:
		return f.replace(fsys, dir, name)
	case f.newest:
		return f.seal(fsys, name)
	}
	return nil
}

// seal cuts a segment behind its last good record.
func (f *found) seal(fsys files, name string) error {
	h, err := fsys.Open(name, true)
	if err != nil {
		return err
	}
	if f.size != f.end {
		err = h.Truncate(f.end)
		f.size = f.end
	}
	if err == nil {
		err = h.SyncAll()
	}
	return errors.Join(err, h.Close())
}

// replace keeps a damaged segment aside and puts its good records in its place.
func (f *found) replace(fsys files, dir, name string) error {
	p, err := setAside(fsys, dir, f.number)
	if err != nil {
		return err
	}
	f.flags |= flagRepaired
	f.size = f.end
	temp := filepath.Join(dir, fmt.Sprintf("%016x%s", f.number, suffixTemp))
	if err := writeName(fsys, temp, append(f.encode(), p[headerSize:f.end]...)); err != nil {
		return err
	}
	return fsys.Rename(temp, name)
}

// setAside copies a segment to a name that says it is damaged, durably, and
// returns its bytes.
func setAside(fsys files, dir string, number uint64) ([]byte, error) {
	p, err := readName(fsys, filepath.Join(dir, segmentName(number)))
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		name := filepath.Join(dir, fmt.Sprintf("%016x%s", number, suffixDamaged))
		if i > 0 {
			name = fmt.Sprintf("%s.%d", name, i)
		}
		q, err := readName(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			if err := writeName(fsys, name, p); err != nil {
				return nil, err
			}
			return p, fsys.SyncDir(dir)
		}
		if err != nil || bytes.Equal(p, q) {
			return p, err
		}
		// Another damage of the same segment, or a copy that a crash cut.
	}
}
