package index

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/store"
)

// FileType is what a name stands for.
type FileType uint8

// The file types. A directory is a key prefix, or an empty marker object whose
// key ends in a slash; the others are objects whose metadata say so.
const (
	TypeFile FileType = iota
	TypeDir
	TypeSymlink
	TypeFIFO
	TypeSocket
	TypeCharDevice
	TypeBlockDevice
)

// Attr are the attributes that an object's metadata hold. A field that the
// metadata do not have is false in its Has field, and the mount's default
// holds. An Attr is shared and never modified.
type Attr struct {
	Mode                    uint32 // permission bits with setuid, setgid and sticky: 07777
	UID, GID                uint32
	Rdev                    uint32
	HasMode, HasUID, HasGID bool
	XAttrs                  map[string][]byte
	Other                   store.Metadata // keys of other tools, kept as they are
}

// LookupSize is the size, in bytes, from which an object is a file and nothing
// else: the target of a symbolic link is shorter (PATH_MAX), and a device has
// no bytes.
const LookupSize = 4096

// Entry is what is known of one name.
type Entry struct {
	Name     string // last component of the path
	Type     FileType
	Size     int64
	ETag     store.ETag // empty for a directory
	Modified time.Time  // S3's LastModified; zero for a directory without a marker
	Mtime    time.Time  // from the metadata, else Modified
	// Attr is nil when only a listing told of the name. Results of Stat
	// always have it.
	Attr *Attr
	// Marker reports that the marker object of a directory exists. A
	// directory without one vanishes with its last entry.
	Marker bool
}

// Answer is an Entry with its age.
type Answer struct {
	Entry
	// Until is when the answer must be asked for again. It is in the past
	// for a name that Lookup knew and did not ask S3 about.
	Until time.Time
}

// Index answers questions about names. Paths are relative to the root,
// without leading or trailing slash; the root is "". Errors are *store.Error;
// NotExist is only given when it is certain.
//
// A front end's own changes are told with Put, Remove and Hold, at once, and
// win over any answer of S3 to a request that began before them.
type Index interface {
	// Lookup tells what path is. A name that is known is answered without a
	// request, however old the knowledge is (Until says so): an open or a
	// Stat that follows finds out. A name that is not known is NotExist
	// without a request only if the whole directory is known and fresh.
	//
	// Attr may be nil for an object of LookupSize bytes or more, which a
	// listing is enough to tell a file: whoever goes on to open it gets the
	// attributes with the bytes.
	Lookup(ctx context.Context, path string) (Answer, error)

	// Stat is Lookup with an answer that is fresh, or NotExist.
	Stat(ctx context.Context, path string) (Answer, error)

	// Peek tells what is known of path without a request and without
	// counting as a question. It reports false if nothing is, or if path is
	// known not to exist.
	Peek(path string) (Entry, bool)

	// PeekList is Peek for all entries of a directory. It reports false if
	// not all of them are known.
	PeekList(dir string) ([]Answer, bool)

	// Whole reports whether all entries of a directory are known, as of
	// whatever moment, so that a name that Peek does not have was absent
	// then.
	Whole(dir string) bool

	// List returns all entries of a directory, sorted by name, from
	// knowledge that is fresh. Attr is nil where not known. A directory that
	// has no entries and no marker is an empty list, not an error.
	List(ctx context.Context, dir string) ([]Answer, error)

	// Empty reports whether a directory has no entries.
	Empty(ctx context.Context, dir string) (bool, error)

	// NegativeTTL is for how long a NotExist in dir, given now, holds.
	NegativeTTL(dir string) time.Duration

	// Put tells that path is now e: committed by this gateway, or seen in
	// the answer to a request that began after asOf. Attr must be set.
	// Modified may be zero, since the answer to a PUT does not have it: the
	// next listing that shows the same ETag tells.
	Put(path string, e Entry, asOf time.Time)

	// Made is Put for a directory that this gateway has just made and whose
	// emptiness it therefore knows.
	Made(path string, e Entry)

	// Remove tells that path no longer exists.
	Remove(path string)

	// Hold makes what S3 says of path be ignored until release is called,
	// because a change that this gateway has acknowledged is under way. It
	// nests.
	Hold(path string) (release func())

	// Acquire makes all that is known now count as stale, but for what is
	// held: somebody has let go of a lock, and what was committed before is to
	// be seen. Knowledge of a directory's existence that is newer is enough to
	// look it up, with attributes that are not to be kept.
	Acquire()

	// Absent reports, without a request, whether path certainly does not
	// exist, as far as gateways are concerned, if this one is alone on the
	// bucket: a listing of all names that is fresh lacks it, and this gateway
	// has not made it since.
	Absent(path string) bool

	// Forget drops all knowledge of path and everything below it.
	Forget(path string)

	// Stats describes the index.
	Stats() Stats

	// Close ends background work and waits for it.
	Close(ctx context.Context) error
}

// Stats describes an index.
type Stats struct {
	Entries    int   // names held in memory
	Dirs       int   // directories of which all names are held
	HiddenKeys int64 // keys seen that cannot be shown as a path
	Gateways   int   // other gateways seen on this bucket
	Alone      bool  // nobody else was there when this gateway looked, a moment ago
}
