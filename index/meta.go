package index

import (
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/causewayfs/causeway/store"
)

// The metadata keys that hold attributes. They and their formats are those of
// s3fs and rclone, so these must not change.
//
//	mtime  seconds since 1970, decimal, with a fraction if there is one (both)
//	mode   st_mode with the type bits, decimal (s3fs); rclone has it octal
//	uid    decimal (both)
//	gid    decimal (both)
//	rdev   device number, hexadecimal (rclone)
//	xattr  URL-encoded JSON object of base64 values (s3fs)
const (
	keyMtime = "mtime"
	keyMode  = "mode"
	keyUID   = "uid"
	keyGID   = "gid"
	keyRdev  = "rdev"
	keyXAttr = "xattr"

	// keyNonce is what package retry adds to recognize its own writes.
	keyNonce = "causeway-nonce"
)

// Type bits of st_mode (POSIX leaves the values open; S3 metadata hold those
// of Linux on every system).
const (
	modeType   = 0o170000
	modeFIFO   = 0o010000
	modeChar   = 0o020000
	modeDir    = 0o040000
	modeBlock  = 0o060000
	modeFile   = 0o100000
	modeLink   = 0o120000
	modeSocket = 0o140000

	modePerm = 0o7777
)

// Modes of objects whose metadata do not have one.
const (
	DefaultFileMode = 0o644
	DefaultDirMode  = 0o755
)

var typeBits = [...]uint32{
	TypeFile: modeFile, TypeDir: modeDir, TypeSymlink: modeLink, TypeFIFO: modeFIFO,
	TypeSocket: modeSocket, TypeCharDevice: modeChar, TypeBlockDevice: modeBlock,
}

// Bits returns the type bits of st_mode on Linux.
func (t FileType) Bits() uint32 { return typeBits[t] }

// typeOf is the inverse of Bits.
func typeOf(mode uint32) (FileType, bool) {
	for t, bits := range typeBits {
		if mode&modeType == bits {
			return FileType(t), true
		}
	}
	return TypeFile, false
}

// Defaults are the attributes that a mount shows for objects whose metadata do
// not have them. Encode leaves them out.
type Defaults struct {
	UID, GID          uint32
	FileMode, DirMode uint32 // 0 means DefaultFileMode and DefaultDirMode
}

// Decode returns the Entry that an object stands for. A key that ends in a
// slash is the marker of a directory. A value that is malformed is as good as
// absent, except that Encode keeps it until it is set. Attr is nil if, and
// only if, info.Meta is.
func Decode(info store.Info) Entry {
	key, isDir := strings.CutSuffix(info.Key, "/")
	e := Entry{
		Name:     key[strings.LastIndexByte(key, '/')+1:],
		Size:     info.Size,
		ETag:     info.ETag,
		Modified: seconds(info.Modified),
	}
	e.Mtime = e.Modified
	if isDir {
		e.Type, e.Size, e.ETag, e.Marker = TypeDir, 0, "", true
	}
	if info.Meta == nil {
		return e
	}
	var attr Attr
	for k, v := range info.Meta {
		if k == keyNonce || e.decode(&attr, k, v) {
			continue
		}
		if store.CheckMetadata(store.Metadata{k: v}) == nil {
			if attr.Other == nil {
				attr.Other = store.Metadata{}
			}
			attr.Other[k] = v
		}
	}
	e.Attr = &attr
	return e
}

// decode takes one metadata key over into e and attr, or reports false.
func (e *Entry) decode(attr *Attr, key, value string) bool {
	switch key {
	case keyMtime:
		t, ok := parseTime(value)
		if ok {
			e.Mtime = t
		}
		return ok
	case keyMode:
		mode, ok := parseMode(value)
		if ok {
			attr.Mode, attr.HasMode = mode&modePerm, true
			// An object's type is in its key if it is a directory, and
			// cannot be one otherwise.
			if t, ok := typeOf(mode); ok && e.Type != TypeDir && t != TypeDir {
				e.Type = t
			}
		}
		return ok
	case keyUID:
		return parseNumber(value, 10, &attr.UID, &attr.HasUID)
	case keyGID:
		return parseNumber(value, 10, &attr.GID, &attr.HasGID)
	case keyRdev:
		var has bool
		return parseNumber(value, 16, &attr.Rdev, &has)
	case keyXAttr:
		x, ok := parseXAttrs(value)
		if ok && len(x) > 0 {
			attr.XAttrs = x
		}
		return ok
	}
	return false
}

// Encode returns the metadata to store with e. Kind [store.Invalid]: they are
// larger than an object can hold.
func Encode(e Entry, d Defaults) (store.Metadata, error) {
	m := store.Metadata{}
	attr := e.Attr
	if attr == nil {
		attr = &Attr{}
	}
	maps.Copy(m, attr.Other)
	if !e.Mtime.IsZero() {
		m[keyMtime] = formatTime(e.Mtime)
	}
	if mode, needed := d.mode(e.Type, attr); needed {
		m[keyMode] = strconv.FormatUint(uint64(mode), 10)
	}
	if attr.HasUID && attr.UID != d.UID {
		m[keyUID] = strconv.FormatUint(uint64(attr.UID), 10)
	}
	if attr.HasGID && attr.GID != d.GID {
		m[keyGID] = strconv.FormatUint(uint64(attr.GID), 10)
	}
	if attr.Rdev != 0 {
		m[keyRdev] = strconv.FormatUint(uint64(attr.Rdev), 16)
	}
	if len(attr.XAttrs) > 0 {
		m[keyXAttr] = formatXAttrs(attr.XAttrs)
	}
	if n := MetaSize(m); n > store.MaxMetadata {
		return nil, &store.Error{
			Op: store.OpPut, Key: e.Name, Kind: store.Invalid,
			Err: fmt.Errorf("attributes have %d bytes, at most %d are possible", n, store.MaxMetadata),
		}
	}
	return m, nil
}

// mode returns st_mode, and whether it must be stored: not if every mount that
// has the usual defaults shows it anyway, and this one does too.
func (d Defaults) mode(t FileType, attr *Attr) (mode uint32, needed bool) {
	usual, own := uint32(DefaultFileMode), d.FileMode
	if t == TypeDir {
		usual, own = DefaultDirMode, d.DirMode
	}
	if own == 0 {
		own = usual
	}
	special := t != TypeFile && t != TypeDir
	switch {
	case attr.HasMode:
		return t.Bits() | attr.Mode&modePerm, special || attr.Mode != usual || own != usual
	case t == TypeSymlink:
		return modeLink | 0o777, true
	}
	return t.Bits() | own, special
}

// MetaSize returns the bytes that count towards [store.MaxMetadata].
func MetaSize(m store.Metadata) int {
	n := 0
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// seconds drops what a HEAD does not tell of a time: its header has whole
// seconds, while a LIST may be finer.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.Unix(t.Unix(), 0)
}
