package fuse

import (
	"os"
	"path/filepath"
	"strconv"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// Untouched is what vfs.Operations may have beside, to close duplicated
// descriptors without a commit.
//
// A shell that redirects output opens the file, duplicates the descriptor and
// closes the first one before anything is written. Committing then would make
// a second request for each redirection, and show others an empty file for a
// moment. While the process still has the file open, nothing that it wrote has
// been acknowledged, so the commit can wait for the close that ends it.
type Untouched interface {
	// Untouched reports whether h made or emptied its file, and nothing was
	// written since.
	Untouched(h *vfs.Handle) bool
	// PathOf returns the path of a node from the root.
	PathOf(id vfs.NodeID) (path string, ok bool)
}

// Flush is close(2) of one descriptor of a file.
func (b *bridge) Flush(cancel <-chan struct{}, in *raw.FlushIn) raw.Status {
	if h := b.files.get(in.Fh); h != nil && b.untouched != nil && b.untouched.Untouched(h) {
		path, ok := b.untouched.PathOf(vfs.NodeID(in.NodeId))
		if ok && holds(in.Pid, filepath.Join(b.mountPoint, path)) {
			return raw.OK
		}
	}
	return b.onHandle(cancel, "close", &in.InHeader, in.Fh, b.ops.Flush)
}

// holds reports whether a process has a descriptor of the file name. Reading
// the link asks nothing of the filesystem. It is false where there is no
// /proc.
func holds(pid uint32, name string) bool {
	dir := "/proc/" + strconv.FormatUint(uint64(pid), 10) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, fd := range fds {
		if link, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && link == name {
			return true
		}
	}
	return false
}
