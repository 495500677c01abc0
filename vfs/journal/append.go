package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Append adds intents and ends others as one record: after a crash all of it
// is there, or none. It returns the IDs of the new intents, in order of add,
// and does not make anything durable: that is for Sync. IDs in done that are
// not live are passed over. The bodies are not kept.
//
// The order of Append calls is the order in the log. Append is fast but when a
// segment is full, which takes some disk writes and may fail for lack of
// space; the journal is then as before the call and may be tried later. The
// error is ErrFull beyond MaxBytes, and otherwise final (see Sync).
func (j *Journal) Append(done []ID, add ...[]byte) ([]ID, error) {
	ids, err := j.append(done, add)
	if errors.Is(err, ErrFull) { // what is dead is only removed now and then
		if err := j.clean(); err != nil {
			return nil, fmt.Errorf("%w, and cleaning it: %w", ErrFull, err)
		}
		ids, err = j.append(done, add)
	}
	return ids, err
}

func (j *Journal) append(done []ID, add [][]byte) ([]ID, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.room(func() int64 { return payloadSize(len(done)+len(j.lazy), add) }, len(add) == 0); err != nil {
		return nil, err
	}
	done = j.dropLocked(done)
	if len(done) == 0 && len(add) == 0 {
		return nil, nil
	}
	ids := make([]ID, len(add))
	for i := range ids {
		ids[i] = j.next
		j.next++
	}
	j.put(done, ids, add)
	return ids, nil
}

// put appends a record to the head, which has room for it, with what Done left.
// mu is held.
func (j *Journal) put(done, ids []ID, add [][]byte) {
	seg := j.segs[len(j.segs)-1]
	if len(j.pending) == 0 {
		j.pendingOff = seg.end
	}
	start := len(j.pending)
	p := append(j.pending, make([]byte, recordHeader)...)
	if n := len(done) + len(j.lazy); n > 0 {
		p = appendDone(p, append(j.lazy, done...))
		j.lazy = nil
	}
	for i, body := range add {
		p = appendAdd(p, ids[i], body)
		at := place{
			seg: seg, off: seg.end + int64(len(p)-start-len(body)), n: uint32(len(body)),
			sum: crc32.Checksum(body, castagnoli),
		}
		j.settle(ids[i], at)
	}
	seg.finishRecord(p[start:], seg.end, seg.synced)
	seg.end += align(int64(len(p) - start))
	j.pending = append(p, make([]byte, align(int64(len(p)))-int64(len(p)))...)
	j.appended++
	j.wake()
}

// settle makes at the place of an intent. mu is held.
func (j *Journal) settle(id ID, at place) {
	j.leave(id)
	j.live[id] = at
	at.seg.live++
	at.seg.liveBytes += at.cost()
}

// leave forgets the place of an intent, if it has one. mu is held.
func (j *Journal) leave(id ID) bool {
	at, ok := j.live[id]
	if !ok {
		return false
	}
	delete(j.live, id)
	at.seg.live--
	at.seg.liveBytes -= at.cost()
	return true
}

// dropLocked ends intents in memory and returns those that were live.
func (j *Journal) dropLocked(ids []ID) []ID {
	var dropped []ID
	for _, id := range ids {
		if j.leave(id) {
			dropped = append(dropped, id)
		}
	}
	return dropped
}

// Done ends intents that were carried out. It never waits for the disk: they
// are written with the next record, or soon after. When a crash comes first
// they are live again at the next Open, so carrying out one twice must be
// harmless. IDs that are not live are passed over.
func (j *Journal) Done(ids ...ID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dropped := j.dropLocked(ids); len(dropped) > 0 {
		j.lazy = append(j.lazy, dropped...)
		j.wake()
	}
}

// Read returns the body of a live intent: ErrNotLive if it is none, ErrDamaged
// if the bytes on disk are not those that were written.
func (j *Journal) Read(id ID) ([]byte, error) {
	for {
		j.mu.Lock()
		if j.closed {
			j.mu.Unlock()
			return nil, ErrClosed
		}
		at, ok := j.live[id]
		if !ok {
			j.mu.Unlock()
			return nil, ErrNotLive
		}
		body, ok := j.inMemory(at)
		j.mu.Unlock()
		if ok {
			return body, nil
		}
		body = make([]byte, at.n)
		_, err := at.seg.file.ReadAt(body, at.off)
		if err == nil || (errors.Is(err, io.EOF) && at.n == 0) {
			if crc32.Checksum(body, castagnoli) == at.sum {
				return body, nil
			}
			err = ErrDamaged
		}
		j.mu.Lock()
		// Its segment may have been closed meanwhile.
		again := j.live[id] != at || j.closed
		j.mu.Unlock()
		if !again {
			return nil, fmt.Errorf("read intent %d in segment %016x: %w", id, at.seg.number, err)
		}
	}
}

// inMemory returns a copy of a body that is not yet written. mu is held.
func (j *Journal) inMemory(at place) ([]byte, bool) {
	if !j.open || at.seg != j.segs[len(j.segs)-1] {
		return nil, false
	}
	for _, b := range []struct {
		p   []byte
		off int64
	}{{j.pending, j.pendingOff}, {j.writing, j.writingOff}} {
		if i := at.off - b.off; len(b.p) > 0 && i >= 0 && i+int64(at.n) <= int64(len(b.p)) {
			return append([]byte{}, b.p[i:i+int64(at.n)]...), true
		}
	}
	return nil, false
}
