package vfs

import (
	"log/slog"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/store"
)

// Options configures an FS. Zero fields take the defaults in brackets.
type Options struct {
	Store        store.Store        // required
	Capabilities store.Capabilities // what the probe found
	StateDir     string             // required: journal, staged data, caches, kept versions; owned by one FS
	Bucket       string             // names bucket and prefix; a StateDir with unsent changes of another one is refused
	GatewayID    string             // names this gateway to others [random]

	UID, GID uint32 // owner of objects that do not say [0]
	Umask    uint32 // taken off the mode of objects that do not say [022]
	ReadOnly bool

	Staged    []string // globs of temporary names [DefaultStaged]
	LockFiles []string // globs of other programs' lock files, matched against the end of the path [DefaultLockFiles]
	// StagedOnly are globs of names that are like those of Staged, and are
	// never uploaded unless they are renamed.
	StagedOnly []string
	StagedTTL  time.Duration // a staged file that nobody renames is uploaded after this [1h]
	DirTTL     time.Duration // age at which names are revalidated [1s]
	OpenTTL    time.Duration // age at which an open revalidates the data [0]
	Verify     time.Duration // age at which a lone gateway revalidates names [30s]
	Strict     bool          // ask S3 at every lookup and listing

	CommitLocal bool          // close returns when the bytes are durable in StateDir; they are sent soon after
	FsyncLocal  bool          // with CommitLocal: so does fsync
	SpoolFiles  int           // with CommitLocal: files that may wait to be sent [20000]
	SpoolBytes  int64         // with CommitLocal: bytes that may [10 GiB]
	SpoolAge    time.Duration // with CommitLocal: nothing is taken while something is older than this [no limit]

	CacheSize int64 // bytes of file data kept on disk [10 GiB]
	Memory    int64 // bytes that metadata caches are sized for [256 MiB]
	MaxNodes  int   // nodes kept for the kernel before it is asked to forget some [from Memory]

	// Locks decides who holds what over all gateways. FS uses it and does not
	// close it. Without it, every lock is NoLock.
	Locks locks.Service

	OpTimeout time.Duration // deadline of one operation, without transfer time [30s]

	Now func() time.Time // [time.Now]
	// Processes knows which processes live [those of this host].
	Processes Processes
	Log       *slog.Logger // [discard]

	treeLook time.Duration // set by tests [treeLook]
}

// DefaultStaged are the names that programs use for files that they are about
// to rename: swamp and fsbench style saves, editors, browsers, office suites,
// GLib.
var DefaultStaged = []string{
	".*.tmp", ".*.tmp-*", ".*.tmp.*", "*.tmp", "*~", ".#*", "*.swp", "*.swx", "*.part", "*.partial",
	"*.crdownload", ".goutputstream-*", ".~tmp~*",
}
