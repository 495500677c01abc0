package vfs

import (
	"bytes"
	"io"
	"os"
	"time"
)

// Stats is a snapshot of what the filesystem is doing, for status pages.
type Stats struct {
	Nodes         int   `json:"nodes"`          // known to the kernel, open or uncommitted
	OpenHandles   int   `json:"open_handles"`   // files and directories
	StagedFiles   int   `json:"staged_files"`   // temporary names that wait to be renamed
	StagedBytes   int64 `json:"staged_bytes"`   // of files that are not committed
	DirtyFiles    int   `json:"dirty_files"`    // written and not committed
	Committing    int   `json:"committing"`     // commits in flight
	Commits       int64 `json:"commits"`        // that succeeded since the start
	CommitErrors  int64 `json:"commit_errors"`  // that failed since the start
	SpoolFiles    int   `json:"spool_files"`    // acknowledged with --commit local, not yet in S3
	SpoolBytes    int64 `json:"spool_bytes"`    // of these
	PendingUnlink int   `json:"pending_unlink"` // acknowledged removals not yet in S3
	PendingAttr   int   `json:"pending_attr"`   // attribute changes not yet in S3
	KeptVersions  int   `json:"kept_versions"`  // that `causeway recover` lists
	Recalled      int64 `json:"recalled"`       // answers from what is here, since S3 was away
	CacheBytes    int64 `json:"cache_bytes"`
	CacheFiles    int   `json:"cache_files"`
	IndexEntries  int   `json:"index_entries"`
	IndexDirs     int   `json:"index_dirs"`
	HiddenKeys    int64 `json:"hidden_keys"` // keys seen that cannot be a path
	Gateways      int   `json:"gateways"`    // others seen on this bucket

	JournalIntents int   `json:"journal_intents"` // acknowledged changes of all kinds that are not in S3
	JournalBytes   int64 `json:"journal_bytes"`   // of its files, with what has ended and is not cleaned yet

	SpoolOldest time.Time `json:"spool_oldest,omitzero"` // when the oldest of these was acknowledged

	Trees []TreeProgress `json:"trees,omitempty"` // renames and removals of directories under way here

	LastError     string    `json:"last_error,omitempty"`
	LastErrorTime time.Time `json:"last_error_time,omitzero"`
}

// KeptVersion is a version of a file that could not be committed. Its bytes
// are in File, in the state directory.
type KeptVersion struct {
	ID     string    `json:"id"`
	Path   string    `json:"path"` // where it was to be committed
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Base   string    `json:"base,omitempty"` // the ETag that it was edited from
	File   string    `json:"-"`              // empty if the bytes are in the journal

	data []byte
}

// Open returns the bytes.
func (k KeptVersion) Open() (io.ReadCloser, error) {
	if k.File == "" {
		return io.NopCloser(bytes.NewReader(k.data)), nil
	}
	return os.Open(k.File)
}
