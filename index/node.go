package index

import (
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

// node is what is known of one name, packed: there may be hundreds of
// thousands. Its directory's mutex guards it.
type node struct {
	size     int64
	mtime    int64 // nanoseconds since 1970, or noTime
	modified int64 // seconds since 1970, or noTime
	seen     tick  // existence, type, size and version are those of this moment, or of a later one
	attrSeen tick  // attr and mtime are those of this moment, or of a later one
	attr     *Attr // nil: not known
	tag      tag
	typ      FileType
	marker   bool // directories: the marker object exists
	sure     bool // attr belongs to this version and modified: a LIST that shows both confirms it
}

const noTime = math.MinInt64

func packTime(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.UnixNano()
}

func unpackTime(ns int64) time.Time {
	if ns == noTime {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

func packSeconds(t time.Time) int64 {
	if t.IsZero() {
		return noTime
	}
	return t.Unix()
}

func unpackSeconds(s int64) time.Time {
	if s == noTime {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// entry unpacks n.
func (n *node) entry(name string) Entry {
	return Entry{
		Name: name, Type: n.typ, Size: n.size, ETag: n.tag.etag(), Modified: unpackSeconds(n.modified),
		Mtime: unpackTime(n.mtime), Attr: n.attr, Marker: n.marker,
	}
}

// pack is the inverse of entry, but for the times of knowledge.
func pack(e *Entry) node {
	return node{
		size: e.Size, mtime: packTime(e.Mtime), modified: packSeconds(e.Modified),
		attr: e.Attr, tag: packTag(e.ETag), typ: e.Type, marker: e.Marker,
	}
}

// sameVersion reports whether a and b are the same version of an object's
// bytes, as far as is known: the time of an own write is not.
func (n *node) sameVersion(o *node) bool {
	return n.size == o.size && n.tag.equal(o.tag) && (n.modified == o.modified || n.modified == noTime || o.modified == noTime)
}

// tag is an ETag in little space: an MD5 sum in hexadecimal, perhaps with the
// number of parts, is nearly always what it is.
type tag struct {
	odd   *string // any other text
	sum   [16]byte
	parts int32 // -1 for a plain sum; 0 for the empty ETag and with odd
}

func packTag(e store.ETag) tag {
	if e == "" {
		return tag{}
	}
	s := string(e)
	sum, parts, multi := strings.Cut(s, "-")
	t := tag{parts: -1}
	if multi {
		n, err := strconv.ParseInt(parts, 10, 32)
		if err != nil || n <= 0 || strconv.FormatInt(n, 10) != parts {
			return tag{odd: &s}
		}
		t.parts = int32(n)
	}
	if len(sum) != 32 || strings.ToLower(sum) != sum {
		return tag{odd: &s}
	}
	if _, err := hex.Decode(t.sum[:], []byte(sum)); err != nil {
		return tag{odd: &s}
	}
	return t
}

func (t tag) etag() store.ETag {
	switch {
	case t.odd != nil:
		return store.ETag(*t.odd)
	case t.parts == 0:
		return ""
	case t.parts < 0:
		return store.ETag(hex.EncodeToString(t.sum[:]))
	}
	return store.ETag(hex.EncodeToString(t.sum[:]) + "-" + strconv.Itoa(int(t.parts)))
}

func (t tag) equal(o tag) bool {
	if t.odd != nil && o.odd != nil {
		return *t.odd == *o.odd
	}
	return t == o
}
