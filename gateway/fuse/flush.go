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
			return b.flushLocks(cancel, in)
		}
	}
	st := b.onHandle(cancel, "close", &in.InHeader, in.Fh, b.ops.Flush)
	b.resize(in.NodeId, in.Fh)
	if lst := b.flushLocks(cancel, in); st == raw.OK {
		st = lst
	}
	return st
}

// Mover is what vfs.Operations may have beside. What is appended may come to
// lie elsewhere than where the kernel believes, since others append too.
type Mover interface {
	// Moved reports whether that happened since the last call for h.
	Moved(h *vfs.Handle) bool
}

// resize makes the kernel ask for the size of a file whose bytes have moved
// before the call that moved them returns. Its pages follow soon after, by the
// way of vfs.Invalidator. Attributes alone are dropped without a lock.
func (b *bridge) resize(node, fh uint64) {
	if h := b.files.get(fh); h != nil && b.mover != nil && b.kernel != nil && b.mover.Moved(h) {
		b.kernel.InodeNotify(node, -1, 0)
	}
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
