package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// Part of the format of version 1, described in the package doc. Frozen.
const (
	magic         = "CWJOURN\n"
	formatVersion = 1
	headerSize    = 56
	recordHeader  = 16
	recordAlign   = 8
	kindDone      = 1 // count u32, count times ID u64
	kindAdd       = 2 // ID u64, length u32, body
	doneHeader    = 1 + 4
	addHeader     = 1 + 8 + 4
	// maxPayload bounds what a length may say.
	maxPayload = 1 << 30
	// flagRepaired marks a segment that was cut behind its last good record
	// because of damage, so that it may be shorter than its successor says.
	flagRepaired = 1

	suffixLog     = ".log"
	suffixTemp    = ".log.tmp"
	suffixDamaged = ".log.damaged"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errHeader is met in a segment whose header is not one.
var errHeader = errors.New("the header does not check")

// header is the head of a segment file.
type header struct {
	flags   uint32
	number  uint64 // as in the name
	next    ID     // no ID from here on had been given out when it was made
	salt    uint64 // random
	prevEnd int64  // the segment before it is whole up to here; 0: there is none
}

func (h header) encode() []byte {
	p := make([]byte, 0, headerSize)
	p = append(p, magic...)
	p = binary.LittleEndian.AppendUint32(p, formatVersion)
	p = binary.LittleEndian.AppendUint32(p, h.flags)
	p = binary.LittleEndian.AppendUint64(p, h.number)
	p = binary.LittleEndian.AppendUint64(p, uint64(h.next))
	p = binary.LittleEndian.AppendUint64(p, h.salt)
	p = binary.LittleEndian.AppendUint64(p, uint64(h.prevEnd))
	p = binary.LittleEndian.AppendUint32(p, 0)
	return binary.LittleEndian.AppendUint32(p, crc32.Checksum(p, castagnoli))
}

// decodeHeader reads the header of the segment file with the given number. The
// error is ErrNewer or errHeader.
func decodeHeader(p []byte, number uint64) (header, error) {
	if len(p) < len(magic)+4 || string(p[:len(magic)]) != magic {
		return header{}, errHeader
	}
	if v := binary.LittleEndian.Uint32(p[8:]); v > formatVersion {
		return header{}, fmt.Errorf("segment %016x has format %d, this program knows %d: %w", number, v, formatVersion, ErrNewer)
	}
	if len(p) < headerSize || binary.LittleEndian.Uint32(p[8:]) != formatVersion ||
		binary.LittleEndian.Uint32(p[headerSize-4:]) != crc32.Checksum(p[:headerSize-4], castagnoli) {
		return header{}, errHeader
	}
	h := header{
		flags:   binary.LittleEndian.Uint32(p[12:]),
		number:  binary.LittleEndian.Uint64(p[16:]),
		next:    ID(binary.LittleEndian.Uint64(p[24:])),
		salt:    binary.LittleEndian.Uint64(p[32:]),
		prevEnd: int64(binary.LittleEndian.Uint64(p[40:])),
	}
	if h.number != number {
		return header{}, errHeader
	}
	return h, nil
}

// mark is the word by which a record at off is told from other bytes before
// its checksum is computed.
func (h header) mark(off int64) uint32 { return uint32(off) ^ uint32(h.salt) ^ uint32(h.salt>>32) }

// sum is the checksum of a record at off: of where it is, and of all behind
// the checksum itself.
func (h header) sum(off int64, length uint32, rest []byte) uint32 {
	var p [28]byte
	binary.LittleEndian.PutUint64(p[0:], h.number)
	binary.LittleEndian.PutUint64(p[8:], h.salt)
	binary.LittleEndian.PutUint64(p[16:], uint64(off))
	binary.LittleEndian.PutUint32(p[24:], length)
	return crc32.Update(crc32.Checksum(p[:], castagnoli), castagnoli, rest)
}

func align(n int64) int64 { return (n + recordAlign - 1) &^ (recordAlign - 1) }

// payloadSize is the length of a record's payload.
func payloadSize(done int, add [][]byte) int64 {
	n := int64(0)
	if done > 0 {
		n = doneHeader + 8*int64(done)
	}
	for _, b := range add {
		n += addHeader + int64(len(b))
	}
	return n
}

// recordSize is what a record with this payload takes in a segment.
func recordSize(payload int64) int64 { return align(recordHeader + payload) }

// appendDone appends the IDs that a record ends.
func appendDone(p []byte, ids []ID) []byte {
	p = append(p, kindDone)
	p = binary.LittleEndian.AppendUint32(p, uint32(len(ids)))
	for _, id := range ids {
		p = binary.LittleEndian.AppendUint64(p, uint64(id))
	}
	return p
}

// appendAdd appends an intent.
func appendAdd(p []byte, id ID, body []byte) []byte {
	p = append(p, kindAdd)
	p = binary.LittleEndian.AppendUint64(p, uint64(id))
	p = binary.LittleEndian.AppendUint32(p, uint32(len(body)))
	return append(p, body...)
}

// finishRecord completes the record whose header and payload are p, at off of
// the segment, and pads p. The segment is durable up to synced.
func (h header) finishRecord(p []byte, off, synced int64) {
	length := uint32(len(p) - recordHeader)
	binary.LittleEndian.PutUint32(p[0:], length)
	binary.LittleEndian.PutUint32(p[8:], h.mark(off))
	binary.LittleEndian.PutUint32(p[12:], uint32(synced/recordAlign))
	binary.LittleEndian.PutUint32(p[4:], h.sum(off, length, p[8:]))
}

// record is a record as found in a segment.
type record struct {
	off     int64 // of its header
	synced  int64 // the segment was durable up to here when it was written
	next    int64 // offset behind it
	payload []byte
}

// decodeRecord reads the record at off of the segment whose bytes are p.
func (h header) decodeRecord(p []byte, off int64) (record, bool) {
	if off+recordHeader > int64(len(p)) {
		return record{}, false
	}
	head := p[off : off+recordHeader]
	length := binary.LittleEndian.Uint32(head)
	end := off + recordHeader + int64(length)
	if length == 0 || length > maxPayload || end > int64(len(p)) || binary.LittleEndian.Uint32(head[8:]) != h.mark(off) {
		return record{}, false
	}
	if binary.LittleEndian.Uint32(head[4:]) != h.sum(off, length, p[off+8:end]) {
		return record{}, false
	}
	r := record{
		off: off, next: align(end), payload: p[off+recordHeader : end],
		synced: int64(binary.LittleEndian.Uint32(head[12:])) * recordAlign,
	}
	return r, validPayload(r.payload)
}

// item is one part of a payload: an intent, or one that ended.
type item struct {
	done bool
	id   ID
	body []byte
	at   int // offset of the body in the payload
}

// items calls visit for the parts of a payload in order, and tells whether all
// of it was understood.
func items(p []byte, visit func(item)) bool {
	for at := 0; at < len(p); {
		rest := p[at:]
		switch {
		case rest[0] == kindDone && len(rest) >= doneHeader:
			n := int64(binary.LittleEndian.Uint32(rest[1:]))
			if n == 0 || doneHeader+8*n > int64(len(rest)) {
				return false
			}
			for i := range int(n) {
				visit(item{done: true, id: ID(binary.LittleEndian.Uint64(rest[doneHeader+8*i:]))})
			}
			at += doneHeader + 8*int(n)
		case rest[0] == kindAdd && len(rest) >= addHeader:
			n := int64(binary.LittleEndian.Uint32(rest[9:]))
			if addHeader+n > int64(len(rest)) {
				return false
			}
			visit(item{id: ID(binary.LittleEndian.Uint64(rest[1:])), body: rest[addHeader : addHeader+n], at: at + addHeader})
			at += addHeader + int(n)
		default:
			return false
		}
	}
	return true
}

func validPayload(p []byte) bool { return items(p, func(item) {}) }

// records calls visit for the records of a segment in order, up to the first
// that does not check, and returns the offset behind the last good one.
func (h header) records(p []byte, visit func(record)) (end int64) {
	end = headerSize
	for {
		r, ok := h.decodeRecord(p, end)
		if !ok {
			return end
		}
		visit(r)
		end = r.next
	}
}

// lostBehind tells whether a good record behind end says that the segment was
// durable beyond end, so that what does not check there was damaged later.
func (h header) lostBehind(p []byte, end int64) bool {
	for off := align(end); off+recordHeader <= int64(len(p)); off += recordAlign {
		if binary.LittleEndian.Uint32(p[off+8:]) != h.mark(off) {
			continue
		}
		if r, ok := h.decodeRecord(p, off); ok && r.synced > end {
			return true
		}
	}
	return false
}

// segmentName is the name of a segment's file.
func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, suffixLog) }

// segmentNumber is the number of the segment with this file name.
func segmentNumber(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, suffixLog)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && segmentName(n) == name
}
