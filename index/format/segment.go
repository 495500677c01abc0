package format

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

const (
	segmentMagic   = "CWYLOG1\n"
	segmentVersion = 1
	maxHeader      = 64 << 10
	maxRecord      = 1 << 20
	sumSize        = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header says whose segment it is and where it belongs.
type Header struct {
	Version int       `json:"version"`
	Gateway string    `json:"gateway"`
	Number  uint64    `json:"number"`  // counts a gateway's segments from 1; a gap means that facts were lost
	Records int       `json:"records"` // how many follow
	Time    time.Time `json:"time"`    // of the gateway's clock, for people
}

// Told is one record of a segment.
type Told struct {
	Path string
	Fact Fact
}

// NewerError says that a newer version of Causeway has written something.
type NewerError struct {
	What    string
	Version int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("%s has version %d, which a newer version of causeway has written", e.What, e.Version)
}

// ErrSegment says that bytes are not a segment, or that its header is damaged.
var ErrSegment = errors.New("not a segment of the delta log")

// AppendSegment adds a segment to b. Records is filled in, and so is Version
// unless a test has set it.
func AppendSegment(b []byte, h Header, records []Told) []byte {
	h.Version, h.Records = cmp.Or(h.Version, segmentVersion), len(records)
	text, err := json.Marshal(h)
	if err != nil {
		panic(err) // a Header can be marshalled
	}
	from := len(b)
	b = append(b, segmentMagic...)
	b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	b = appendSum(b, from)
	var body []byte
	for i := range records {
		body = appendText(body[:0], records[i].Path)
		body = records[i].Fact.Append(body)
		from = len(b)
		b = append(binary.AppendUvarint(b, uint64(len(body))), body...)
		b = appendSum(b, from)
	}
	return b
}

func appendSum(b []byte, from int) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
}

// DecodeSegment reads a segment. damaged is how many records could not be read.
// Errors: ErrSegment, *NewerError.
func DecodeSegment(b []byte) (h Header, records []Told, damaged int, err error) {
	h, rest, err := decodeHeader(b)
	if err != nil {
		return Header{}, nil, 0, err
	}
	for read := 0; read < h.Records; read++ {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > maxRecord || uint64(len(rest)-n) < length+sumSize {
			return h, records, damaged + h.Records - read, nil
		}
		end := n + int(length)
		told, err := decodeRecord(rest[n:end])
		if err != nil || !sumHolds(rest[:end], rest[end:]) {
			damaged++
		} else {
			records = append(records, told)
		}
		rest = rest[end+sumSize:]
	}
	if len(rest) > 0 {
		damaged++
	}
	return h, records, damaged, nil
}

func sumHolds(b, sum []byte) bool {
	return binary.LittleEndian.Uint32(sum) == crc32.Checksum(b, castagnoli)
}

func decodeHeader(b []byte) (h Header, rest []byte, err error) {
	rest, found := bytes.CutPrefix(b, []byte(segmentMagic))
	if !found {
		return h, nil, ErrSegment
	}
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > maxHeader || uint64(len(rest)-n) < length+sumSize {
		return h, nil, ErrSegment
	}
	end := len(segmentMagic) + n + int(length)
	if !sumHolds(b[:end], b[end:]) || json.Unmarshal(rest[n:n+int(length)], &h) != nil {
		return Header{}, nil, ErrSegment
	}
	if h.Version > segmentVersion {
		return Header{}, nil, &NewerError{What: "a segment of the delta log", Version: h.Version}
	}
	return h, b[end+sumSize:], nil
}

func decodeRecord(b []byte) (Told, error) {
	r := reader{b: b}
	path := r.text()
	f := r.fact()
	if r.bad || len(r.b) > 0 || path == "" {
		return Told{}, ErrDamaged
	}
	return Told{Path: path, Fact: f}, nil
}
