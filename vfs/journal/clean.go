package journal

import (
	"errors"
	"fmt"
)

// moveBatch bounds the bodies that one record of cleaning holds, unless one
// body is larger.
const moveBatch = 256 << 10

// maxShort is how many segments there may be that are not full, which restarts
// leave behind. Each takes a file descriptor.
const maxShort = 16

// clean removes the oldest segments as long as nothing is live in them, or so
// much is dead altogether that moving what is live pays.
func (j *Journal) clean() error {
	j.cleaning.Lock()
	defer j.cleaning.Unlock()
	for {
		again, err := j.cleanOldest()
		if err != nil || !again {
			return err
		}
	}
}

// cleanOldest removes the oldest segment, if that is worth it. Only the oldest
// may go, and its removal is durable before that of the next: what its records
// end is then in no file any more, so that nothing lives again without them.
func (j *Journal) cleanOldest() (bool, error) {
	j.mu.Lock()
	if err := j.usable(); err != nil || len(j.segs) < 2 {
		j.mu.Unlock()
		return false, err
	}
	seg := j.segs[0]
	live, worth := seg.live, j.worth()
	j.mu.Unlock()
	if live > 0 {
		if !worth {
			return false, nil
		}
		if err := j.move(seg); err != nil {
			return false, fmt.Errorf("clean segment %016x: %w", seg.number, err)
		}
	}
	return true, j.remove(seg)
}

// worth tells whether live intents should be moved. mu is held.
func (j *Journal) worth() bool {
	live := j.liveBytes()
	if j.total > 2*live+slackSegments*j.opt.SegmentSize || int64(len(j.segs)) > maxShort+2*j.total/j.opt.SegmentSize {
		return true
	}
	return j.total+2*j.opt.SegmentSize > j.opt.MaxBytes && j.total-live >= max(2*j.opt.SegmentSize, j.opt.MaxBytes/4)
}

// move appends the live intents of seg to the head, with their IDs. An intent
// that ends meanwhile is passed over, and one that ends later does so in a
// record behind the one that moved it.
func (j *Journal) move(seg *segment) error {
	p, err := readAll(seg.file)
	if err != nil {
		return err
	}
	var batch []moving
	size := 0
	seg.records(p, func(r record) {
		items(r.payload, func(it item) {
			if it.done || err != nil {
				return
			}
			if size > 0 && size+len(it.body) > moveBatch {
				err = j.moveBatch(seg, batch)
				batch, size = batch[:0], 0
			}
			if off := r.off + recordHeader + int64(it.at); j.at(it.id, seg, off) {
				batch = append(batch, moving{it.id, off, it.body})
				size += len(it.body)
			}
		})
	})
	if err == nil {
		err = j.moveBatch(seg, batch)
	}
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if seg.live > 0 {
		err := fmt.Errorf("%d live intents cannot be read any more: %w", seg.live, ErrDamaged)
		j.lost = append(j.lost, err)
		return err
	}
	return nil
}

// moving is an intent that is to be moved.
type moving struct {
	id   ID
	off  int64
	body []byte
}

// at tells whether a live intent is in this place.
func (j *Journal) at(id ID, seg *segment, off int64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.atLocked(id, seg, off)
}

func (j *Journal) atLocked(id ID, seg *segment, off int64) bool {
	at, ok := j.live[id]
	return ok && at.seg == seg && at.off == off
}

// moveBatch appends a record with those of a batch that are still live.
func (j *Journal) moveBatch(seg *segment, batch []moving) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []ID
	var add [][]byte
	err := j.room(func() int64 {
		ids, add = ids[:0], add[:0]
		for _, m := range batch {
			if j.atLocked(m.id, seg, m.off) {
				ids, add = append(ids, m.id), append(add, m.body)
			}
		}
		return payloadSize(len(j.lazy), add)
	}, true)
	if err != nil || len(ids) == 0 {
		return err
	}
	j.put(nil, ids, add)
	return nil
}

// remove deletes the oldest segment, in which nothing is live, once all is
// durable by which that came to be.
func (j *Journal) remove(seg *segment) error {
	if err := j.Sync(); err != nil {
		return err
	}
	if err := j.opt.files.Remove(seg.name); err != nil {
		return fmt.Errorf("remove a segment of the journal: %w", err)
	}
	j.mu.Lock()
	j.segs = j.segs[1:]
	j.total -= seg.size
	j.cleaned++
	j.mu.Unlock()
	err := errors.Join(j.opt.files.SyncDir(j.dir), seg.file.Close())
	if err != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.fail("clean", err)
	}
	return nil
}
