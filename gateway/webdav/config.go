package webdav

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// Files is what a Handler serves.
type Files interface {
	vfs.Operations
	vfs.Documents
}

var _ Files = vfs.Beside{}

// MacFiles says what becomes of the files that macOS puts beside others:
// "._NAME" with what the bucket cannot hold of NAME, and ".DS_Store".
type MacFiles string

// The choices.
const (
	MacStage  MacFiles = "stage"  // the filesystem keeps them on this host (vfs.Options.StagedOnly)
	MacStore  MacFiles = "store"  // files as any
	MacRefuse MacFiles = "refuse" // they are not there, and making one is 403
)

// MacNames are the names that MacFiles is about, as globs.
var MacNames = []string{"._*", ".DS_Store"}

// Config configures a Handler. Zero fields take the defaults in brackets.
type Config struct {
	Files  Files      // required
	Locks  LockSystem // required
	Caller vfs.Caller // owner of what is made

	// Directory answers GET and HEAD of a collection, whose path, without
	// slashes at its ends, is the URL's. [405]
	Directory http.Handler
	// User names who is behind a request that was let in; locks are theirs.
	// Equal names are the same person. [nobody, for all]
	User func(*http.Request) string

	MacFiles MacFiles // [MacStage]

	MaxXML      int64         // bytes of a request body that is XML [1 MiB]
	MaxInfinity int           // resources in an answer to Depth infinity [10,000]
	MaxLock     time.Duration // longest timeout of a lock [1 h]
	BodyIdle    time.Duration // a body of which nothing came or went for so long is given up [2 min]

	Now func() time.Time // [time.Now]
	Log *slog.Logger     // [discard]
}

func (c *Config) setDefaults() {
	if c.User == nil {
		c.User = func(*http.Request) string { return "" }
	}
	if c.MacFiles == "" {
		c.MacFiles = MacStage
	}
	if c.MaxXML == 0 {
		c.MaxXML = 1 << 20
	}
	if c.MaxInfinity == 0 {
		c.MaxInfinity = 10000
	}
	if c.MaxLock == 0 {
		c.MaxLock = time.Hour
	}
	if c.BodyIdle == 0 {
		c.BodyIdle = 2 * time.Minute
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}
