package journal

import (
	"errors"
	"fmt"
	"path/filepath"
)

// maxSpare bounds the memory that is kept for the next round.
const maxSpare = 1 << 20

// Sync returns when all that was appended before the call is durable. Callers
// at the same time share one write and one fdatasync: a caller joins a round
// that begins after its call. What Done left is written along.
//
// An error in writing or syncing is final: pages that could not be written may
// be gone although a second sync succeeds, so this and all later calls of
// Append and Sync return it. Only when there was no space to write to, the
// records stay in memory, and a later Sync tries again.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.usable(); err != nil {
		return err
	}
	if len(j.lazy) > 0 {
		// Nobody was promised that these are durable.
		err := j.room(func() int64 { return payloadSize(len(j.lazy), nil) }, true)
		if err == nil && len(j.lazy) > 0 {
			j.put(nil, nil, nil)
		}
	}
	target := j.appended
	for j.durable < target {
		switch {
		case j.err != nil:
			return j.err
		case j.running:
			j.cond.Wait()
		default:
			if err := j.flush(); err != nil {
				return err
			}
		}
	}
	return j.err
}

// usable returns why nothing can be appended. mu is held.
func (j *Journal) usable() error {
	if j.err != nil {
		return j.err
	}
	if j.closed {
		return ErrClosed
	}
	return nil
}

// fail makes an error final. mu is held.
func (j *Journal) fail(verb string, err error) error {
	if j.err == nil {
		j.err = fmt.Errorf("%s the journal: %w", verb, err)
	}
	return j.err
}

// begin waits until the head is the caller's to write to. mu is held.
func (j *Journal) begin() {
	for j.running {
		j.cond.Wait()
	}
	j.running = true
}

func (j *Journal) finish() {
	j.running = false
	j.cond.Broadcast()
}

// flush writes what is pending and makes it durable. mu is held, and given up
// meanwhile.
func (j *Journal) flush() error {
	j.begin()
	defer j.finish()
	if err := j.usable(); err != nil {
		return err
	}
	return j.flushHead()
}

// flushHead is flush for one who has begun.
func (j *Journal) flushHead() error {
	if j.durable == j.appended {
		return nil
	}
	seg := j.segs[len(j.segs)-1]
	target, end := j.appended, seg.end
	j.writing, j.writingOff = j.pending, j.pendingOff
	j.pending = j.spare[:0]
	p, off := j.writing, j.writingOff
	j.mu.Unlock()
	_, werr := seg.file.WriteAt(p, off)
	var serr error
	if werr == nil {
		serr = seg.file.Sync()
	}
	j.mu.Lock()
	j.spare, j.writing, j.noRoom = p, nil, nil
	if cap(p) > maxSpare {
		j.spare = nil
	}
	switch {
	case noSpace(werr):
		// The same bytes go to the same place when there is space.
		j.spare = nil
		j.pending = append(p, j.pending...)
		j.pendingOff = off
		j.noRoom = fmt.Errorf("write to the journal: %w", werr)
		return j.noRoom
	case werr != nil:
		return j.fail("write to", werr)
	case serr != nil:
		return j.fail("sync", serr)
	}
	j.durable, seg.synced = target, end
	j.syncs++
	return nil
}

// room returns when the head has room for a record whose payload has the size
// that the function returns; it may make a new head for that, and give up mu
// meanwhile. A record that is needed to make room may exceed MaxBytes.
func (j *Journal) room(payload func() int64, exceed bool) error {
	for {
		n := payload()
		if err := j.usable(); err != nil {
			return err
		}
		if n > maxPayload {
			return ErrTooLarge
		}
		size := recordSize(n)
		switch {
		case j.switching:
			j.cond.Wait()
		case j.noRoom != nil:
			if err := j.flush(); err != nil {
				return err
			}
		case j.open && j.segs[len(j.segs)-1].end+size <= j.segs[len(j.segs)-1].size:
			return nil
		default:
			size = max(j.opt.SegmentSize, headerSize+size)
			if !exceed && j.total+size > j.opt.MaxBytes {
				return ErrFull
			}
			if err := j.advance(size); err != nil {
				return err
			}
		}
	}
}

// advance makes a new head of size bytes, once all of the old one is durable.
// mu is held, and given up meanwhile.
func (j *Journal) advance(size int64) error {
	j.switching = true
	j.begin()
	defer func() { j.switching = false; j.finish() }()
	if err := j.usable(); err != nil {
		return err
	}
	if err := j.flushHead(); err != nil {
		return err
	}
	h := header{number: j.number + 1, next: j.next, salt: j.opt.salt()}
	if len(j.segs) > 0 {
		h.prevEnd = j.segs[len(j.segs)-1].end
	}
	j.mu.Unlock()
	seg, final, err := j.create(h, size)
	j.mu.Lock()
	if err != nil {
		err = fmt.Errorf("make a segment of the journal: %w", err)
		if final {
			return j.fail("extend", err)
		}
		return err
	}
	j.segs = append(j.segs, seg)
	j.open, j.number = true, seg.number
	j.total += size
	return nil
}

// create makes the file of a segment, durably. If it cannot, it leaves nothing
// behind, or the error is final: a segment that may or may not be there after
// a crash must not be followed by records in the one before it.
func (j *Journal) create(h header, size int64) (seg *segment, final bool, err error) {
	name := filepath.Join(j.dir, segmentName(h.number))
	f, err := j.opt.files.Create(name)
	if err != nil {
		return nil, false, err
	}
	err = f.Allocate(size)
	soft := err != nil
	if err == nil {
		if _, err = f.WriteAt(h.encode(), 0); err == nil {
			err = f.SyncAll()
		}
	}
	if err == nil {
		err = j.opt.files.SyncDir(j.dir)
	}
	if err == nil {
		return &segment{header: h, name: name, file: f, size: size, end: headerSize, synced: headerSize}, false, nil
	}
	soft = soft || noSpace(err)
	undo := errors.Join(f.Close(), j.opt.files.Remove(name))
	if undo == nil {
		undo = j.opt.files.SyncDir(j.dir)
	}
	return nil, !soft || undo != nil, errors.Join(err, undo)
}
