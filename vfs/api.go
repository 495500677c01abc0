package vfs

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/index"
)

// NodeID identifies a file or directory while it is known to the kernel, open
// or uncommitted. It is derived from the path at which the node was first seen,
// so that it is the same on every mount, and stays with the node when it is
// renamed. It is the inode number too, but that of a file whose size was changed
// by somebody else is the NodeID of an earlier node.
type NodeID uint64

// RootID is the root directory.
const RootID NodeID = 1

// FileType is what a name stands for.
type FileType = index.FileType

// The file types.
const (
	TypeFile        = index.TypeFile
	TypeDir         = index.TypeDir
	TypeSymlink     = index.TypeSymlink
	TypeFIFO        = index.TypeFIFO
	TypeSocket      = index.TypeSocket
	TypeCharDevice  = index.TypeCharDevice
	TypeBlockDevice = index.TypeBlockDevice
)

// Caller is who asks. Ownership of new files comes from it. Permissions are
// checked by the kernel (mount option default_permissions) or by the front
// end; FS checks what only it can know.
type Caller struct {
	UID, GID uint32
	PID      uint32
}

// CallerKey is the key under which the context of a request may carry the
// thread id of the caller, a uint32. The kernel repeats a system call that was
// told that a node is stale; Open recognises the second try by it.
type CallerKey struct{}

// Attr are the attributes of a node, as stat(2) shows them.
type Attr struct {
	ID    NodeID
	Ino   NodeID // the inode number to show; 0: ID
	Type  FileType
	Mode  uint32 // permission bits with setuid, setgid and sticky: 07777
	UID   uint32
	GID   uint32
	Nlink uint32 // 0 once it has no name
	Rdev  uint32
	Size  int64 // bytes
	Mtime time.Time
	Ctime time.Time
	// ETag is the committed version; empty for a directory and while a file
	// has changes that are not committed.
	ETag string
}

// Known is a node as Lookup and its like return it.
type Known struct {
	Attr
	// EntryTTL is how long the name may be cached, AttrTTL how long Attr may
	// be. Zero means not at all: another gateway may have changed it.
	EntryTTL, AttrTTL time.Duration
}

// SetAttr names the attributes to change; nil fields stay.
type SetAttr struct {
	Mode     *uint32
	UID, GID *uint32
	Size     *int64
	Mtime    *time.Time
}

// DirEntry is one name of a directory.
type DirEntry struct {
	Name string
	ID   NodeID // the inode number to show
	Type FileType
	// TypeUnknown: the listing does not tell, and it may be something else
	// than Type, such as a symbolic link.
	TypeUnknown bool
	Off         uint64 // give it to ReadDir to go on behind this entry
	// Known is set by ReadDirPlus when the attributes are at hand. It then
	// counts as a lookup, for which Forget must be called. Never set for
	// "." and "..".
	Known *Known
}

// RenameFlags modify Rename.
type RenameFlags uint32

// RenameNoReplace makes Rename fail with Exist if the new name is taken, by
// anybody on any gateway (renameat2(2) RENAME_NOREPLACE).
const RenameNoReplace RenameFlags = 1

// StatFS is what statfs(2) shows.
type StatFS struct {
	BlockSize          uint32
	Blocks, BlocksFree uint64
	Files, FilesFree   uint64
	NameLen            uint32
}

// Invalidator is told what a front end must no longer cache. Methods are
// called without locks held, from any goroutine, and must not block on
// requests that FS has not answered.
type Invalidator interface {
	// InvalidateEntry: name in parent was added, removed or replaced by
	// somebody else than the front end's own current request.
	InvalidateEntry(parent NodeID, name string)
	// InvalidateNode: the data or attributes of id changed.
	InvalidateNode(id NodeID)
	// Prune: these nodes are not in use and may be forgotten to save memory.
	Prune(ids []NodeID)
}

// Operations is everything a front end can ask for. FS implements it; the
// interface exists to show the whole in one place, and so that front ends can
// be tested without S3. Every method returns nil or an *Error. All of them
// may be called concurrently, and return soon after ctx ends.
type Operations interface {
	Lookups
	Directories
	Files
	XAttrs
	Locks
}

// Lookups finds nodes and changes their attributes.
type Lookups interface {
	// Lookup finds name in parent and counts one reference to the node,
	// which Forget gives back. Kinds: NotExist, NotDir, NameTooLong.
	Lookup(ctx context.Context, parent NodeID, name string) (Known, error)
	// NegativeTTL is how long a NotExist from Lookup in parent may be cached.
	NegativeTTL(parent NodeID) time.Duration
	// Forget gives back n references. It does no I/O.
	Forget(id NodeID, n uint64)
	// GetAttr returns current attributes; those of an open file through h
	// (which may be nil) never fail with NotExist.
	GetAttr(ctx context.Context, id NodeID, h *Handle) (Known, error)
	// SetAttr changes attributes; a Size change of a file that is not open
	// is committed before it returns, other changes within 100 ms.
	SetAttr(ctx context.Context, c Caller, id NodeID, h *Handle, set SetAttr) (Known, error)
	// StatFS describes the filesystem.
	StatFS(ctx context.Context) (StatFS, error)
}

// Directories are the operations on names.
type Directories interface {
	// OpenDir opens a directory for reading. The handle holds nothing that
	// would have to be given back.
	OpenDir(ctx context.Context, id NodeID) (*DirHandle, error)
	// ReadDir calls emit for each entry behind offset off (0: from the
	// start, which also takes a new snapshot) until emit returns false.
	// "." and ".." come first.
	ReadDir(ctx context.Context, d *DirHandle, off uint64, emit func(DirEntry) bool) error
	// ReadDirPlus is ReadDir with attributes where they are at hand.
	ReadDirPlus(ctx context.Context, d *DirHandle, off uint64, emit func(DirEntry) bool) error
	// FsyncDir returns when everything that was acknowledged is in S3; with
	// Options.CommitLocal and FsyncLocal, every removal that was.
	FsyncDir(ctx context.Context, id NodeID) error

	// Mkdir makes a directory; Exist if anybody on any gateway was first.
	Mkdir(ctx context.Context, c Caller, parent NodeID, name string, mode uint32) (Known, error)
	// Rmdir removes an empty directory. Kinds: NotEmpty, NotDir, NotExist.
	Rmdir(ctx context.Context, parent NodeID, name string) error
	// Unlink removes a name; an open file lives on until its last handle is
	// released. Kinds: IsDir, NotExist.
	Unlink(ctx context.Context, parent NodeID, name string) error
	// Rename moves a file or directory, replacing the target as rename(2)
	// does. When it returns nil the new name is committed in S3.
	Rename(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, flags RenameFlags) error
	// Symlink makes a symbolic link.
	Symlink(ctx context.Context, c Caller, parent NodeID, name, target string) (Known, error)
	// Readlink returns the target. Kind Invalid: not a symbolic link.
	Readlink(ctx context.Context, id NodeID) (string, error)
	// Mknod makes a regular file, FIFO, socket or device; mode carries the
	// type bits of mknod(2).
	Mknod(ctx context.Context, c Caller, parent NodeID, name string, mode, rdev uint32) (Known, error)
}

// Files are the operations on file contents. flags are those of open(2) on
// this platform (package syscall).
type Files interface {
	// Create opens name in parent, making it if needed (flags may have
	// O_EXCL and O_TRUNC). It counts one reference.
	Create(ctx context.Context, c Caller, parent NodeID, name string, flags int, mode uint32) (Known, *Handle, error)
	// Open opens a node. The version opened is current: committed by anybody
	// before Open was called. Kinds: Stale, the name now stands for another
	// node or for none: look it up again and open that; NotExist, the same for
	// a caller that has done so once (see CallerKey).
	Open(ctx context.Context, id NodeID, flags int) (*Handle, error)
	// Read reads into p. n < len(p) only at the end of the file.
	Read(ctx context.Context, h *Handle, p []byte, off int64) (n int, err error)
	// Write writes all of p at off, or at the end for O_APPEND handles.
	Write(ctx context.Context, h *Handle, p []byte, off int64) (n int, err error)
	// Flush commits what was written, as close(2) must. It may be called
	// more than once per handle.
	Flush(ctx context.Context, h *Handle) error
	// Fsync commits what was written.
	Fsync(ctx context.Context, h *Handle) error
	// Release ends the handle. It must be called exactly once.
	Release(h *Handle)
	// Allocate is fallocate(2) with mode 0, FALLOC_FL_KEEP_SIZE, or
	// FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE or FALLOC_FL_ZERO_RANGE.
	Allocate(ctx context.Context, h *Handle, mode uint32, off, length int64) error
	// Seek is lseek(2) with SEEK_DATA or SEEK_HOLE.
	Seek(ctx context.Context, h *Handle, off int64, whence int) (int64, error)
	// KeepCache reports whether the pages that the kernel has of the node
	// are those of the version that h opened.
	KeepCache(h *Handle) bool
}

// XAttrs are extended attributes. Names outside "user." are NotSupported,
// except "trusted." for root.
type XAttrs interface {
	// GetXAttr: Kind NoAttr if there is none.
	GetXAttr(ctx context.Context, id NodeID, name string) ([]byte, error)
	// SetXAttr with flags as setxattr(2): 1 create, 2 replace.
	SetXAttr(ctx context.Context, id NodeID, name string, value []byte, flags int) error
	// ListXAttr returns the names, sorted.
	ListXAttr(ctx context.Context, id NodeID) ([]string, error)
	// RemoveXAttr: Kind NoAttr if there is none.
	RemoveXAttr(ctx context.Context, id NodeID, name string) error
}

var _ Operations = (*FS)(nil)
