package format

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

// Kind is what a path stands for. The numbers are part of the format.
type Kind uint8

// The kinds.
const (
	Object   Kind = 1 // a file, or whatever else the metadata say
	Marked   Kind = 2 // a directory that has a marker object
	Implicit Kind = 3 // a directory that is there because something lies in it
	Gone     Kind = 4 // nothing
)

// Fact is what is known of one path.
type Fact struct {
	Kind     Kind
	Size     int64          // bytes; only of an Object
	ETag     store.ETag     // of an Object, or empty if not known
	Base     store.ETag     // the version before, where the writer knew it; never kept in shards
	Modified time.Time      // whole seconds; zero if not known
	Meta     store.Metadata // nil if not known
}

// ErrDamaged is what decoders return for bytes that they did not write.
var ErrDamaged = errors.New("not a fact")

const (
	kindMask = 1<<3 - 1
	hasMeta  = 1 << 3
	hasSum   = 1 << 4
	hasBase  = 1 << 5
	hasTime  = 1 << 6
	allBits  = 1<<7 - 1
)

// Limits that a decoder holds bytes to, so that damage does not ask for memory.
const (
	maxText = 64 << 10
	maxMeta = 1 << 12
)

// Append adds the value of f to b.
func (f *Fact) Append(b []byte) []byte {
	sum, parts, packed := packETag(f.ETag)
	head := byte(f.Kind)
	if f.Meta != nil {
		head |= hasMeta
	}
	if packed {
		head |= hasSum
	}
	if f.Base != "" {
		head |= hasBase
	}
	if !f.Modified.IsZero() {
		head |= hasTime
	}
	b = append(b, head)
	if f.Kind == Object {
		b = binary.AppendUvarint(b, uint64(f.Size))
	}
	if packed {
		b = append(b, sum[:]...)
		b = binary.AppendUvarint(b, parts)
	} else {
		b = appendText(b, string(f.ETag))
	}
	if f.Base != "" {
		b = appendText(b, string(f.Base))
	}
	if !f.Modified.IsZero() {
		b = binary.AppendVarint(b, f.Modified.Unix())
	}
	if f.Meta != nil {
		b = binary.AppendUvarint(b, uint64(len(f.Meta)))
		for _, k := range slices.Sorted(maps.Keys(f.Meta)) {
			b = appendText(appendText(b, k), f.Meta[k])
		}
	}
	return b
}

// Decode reads what Append wrote. Errors: ErrDamaged.
func Decode(b []byte) (Fact, error) {
	r := reader{b: b}
	f := r.fact()
	if r.bad || len(r.b) > 0 {
		return Fact{}, ErrDamaged
	}
	return f, nil
}

// reader takes values from the front of b; bad is set, for good, by the first
// that is not there.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) fact() Fact {
	head := r.byte()
	f := Fact{Kind: Kind(head & kindMask)}
	if f.Kind < Object || f.Kind > Gone || head&^byte(allBits) != 0 {
		r.bad = true
		return Fact{}
	}
	if f.Kind == Object {
		size := r.uvarint()
		f.Size = int64(size)
		r.bad = r.bad || f.Size < 0
	}
	if head&hasSum != 0 {
		sum := r.bytes(16)
		f.ETag = unpackETag(sum, r.uvarint())
	} else {
		f.ETag = store.ETag(r.text())
	}
	if head&hasBase != 0 {
		f.Base = store.ETag(r.text())
		r.bad = r.bad || f.Base == ""
	}
	if head&hasTime != 0 {
		f.Modified = time.Unix(r.varint(), 0)
		r.bad = r.bad || f.Modified.IsZero()
	}
	if head&hasMeta != 0 {
		f.Meta = r.meta()
	}
	return f
}

func (r *reader) meta() store.Metadata {
	n := r.uvarint()
	if n > maxMeta {
		r.bad = true
		return nil
	}
	m := store.Metadata{}
	last := ""
	for i := uint64(0); i < n && !r.bad; i++ {
		k, v := r.text(), r.text()
		if i > 0 && k <= last {
			r.bad = true
		}
		m[k], last = v, k
	}
	return m
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if r.bad {
		return 0
	}
	return b[0]
}

func (r *reader) bytes(n int) []byte {
	if r.bad || n > len(r.b) {
		r.bad = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > maxText {
		r.bad = true
		return ""
	}
	return string(r.bytes(int(n)))
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// packETag packs an MD5 sum, perhaps with a number of parts, and reports false
// for any other text.
func packETag(e store.ETag) (sum [16]byte, parts uint64, ok bool) {
	text, count, multi := strings.Cut(string(e), "-")
	if multi {
		n, err := strconv.ParseUint(count, 10, 32)
		if err != nil || n == 0 || strconv.FormatUint(n, 10) != count {
			return sum, 0, false
		}
		parts = n
	}
	if len(text) != 2*len(sum) || strings.ToLower(text) != text {
		return sum, 0, false
	}
	_, err := hex.Decode(sum[:], []byte(text))
	return sum, parts, err == nil
}

func unpackETag(sum []byte, parts uint64) store.ETag {
	text := hex.EncodeToString(sum)
	if parts > 0 {
		text += "-" + strconv.FormatUint(parts, 10)
	}
	return store.ETag(text)
}

// Same reports whether a and b are the same version of the same thing, as far as
// is known.
func Same(a, b *Fact) bool {
	if a.Kind != b.Kind {
		return false
	}
	if a.Kind != Object {
		return true
	}
	return a.Size == b.Size && (a.ETag == b.ETag || a.ETag == "" || b.ETag == "")
}
