// Package fuse mounts vfs.Operations with FUSE, on Linux and, through macFUSE,
// on macOS. It translates requests and nothing else: what a file is, what is
// current and when something is committed is decided in vfs.
//
// # Nodes
//
// It is built on go-fuse's raw API. The kernel's node numbers are vfs's
// NodeIDs, passed through, so a node that the kernel knows costs nothing here;
// the table that vfs needs anyway is the only one. go-fuse's node API keeps a
// tree besides: with a million known nodes that are only a name and a size
// (BenchmarkKnownNodes), its tree takes 457 bytes a node and 1.8 µs a lookup,
// a table by number 194 bytes and 1.0 µs. Lookup, Create and the like count
// one reference, and so does each entry that READDIRPLUS gives with
// attributes; an entry that did not fit into the answer is given back at once.
// FORGET gives back the others.
//
// # Handles
//
// An open file is a number in a sharded table. The kernel releases each once;
// what it does not release because the mount is gone is released after the
// last request is answered. Server.Wait returns after that.
//
// # What the kernel caches
//
// Names, attributes and that a name does not exist: as long as vfs says.
// Expired ones are asked for again. Changes by others are passed on through
// vfs.Invalidator (see notifier for why that never waits).
//
// Data: pages live across open and close if vfs.KeepCache says that they are of
// the version opened, else the kernel drops them at open. They are also dropped
// when the server is told that the node changed, and by the kernel itself when
// it learns a size that is not the one it knows. They are not dropped because
// the modification time differs: it does after every write of our own. All
// handles of a node share the pages, so vfs must not read different versions
// through two handles of one node.
//
// Sizes: the kernel keeps one for a node, and what a read brings less than that
// it fills up with zeros. It cannot be told of another one with certainty: while
// a notification or any answer about the node is taken in, the sizes in answers
// to requests under way are ignored, be it a stat or a read that was short
// (TestMountOtherSize lets that happen each time). So vfs gives a version of
// another size another node, whose size comes with its number, and open is
// ESTALE, upon which the kernel looks the name up again. Where vfs cannot do
// that (Handle.Direct), the file is opened with FOPEN_DIRECT_IO, and the size
// that the kernel keeps does not matter to reads.
//
// Writes go through to vfs at once; the kernel's writeback cache, which turns
// appends into overwrites, is off. A file opened O_WRONLY|O_APPEND bypasses
// the pages, for the kernel would fill in its appends where it believes the
// end to be. Pages of shared mappings come with their offset, through any
// writable handle of the file; see PageWriter.
//
// Targets of symbolic links are not cached: the number of a link that was
// replaced may be the same.
//
// FUSE passthrough is not used. The kernel refuses to open a file in any other
// mode while it is open with passthrough, and a file that is read directly from
// its copy in the local cache cannot be switched back: a local writer would
// either get EIO or not be seen by the readers.
//
// # Locks
//
// flock(2) and the record locks of fcntl(2) are passed on (FUSE_FLOCK_LOCKS,
// FUSE_POSIX_LOCKS), each with the number that the kernel has for its owner: an
// open file description for flock and for open file description locks, a
// table of descriptors for those of a process. Which of the two record locks
// have cannot be told, and need not be: at FLUSH, which comes for each close(2)
// and names the table, those of a process go; at RELEASE all that was taken
// through the handle. The kernel sends RELEASE after close(2) has returned, and
// no unlock before it (fuse_setlk, fuse_release_common), so that who does not
// wait for a lock could find it held by a process that is gone; vfs gives it a
// moment.
//
// When a grant has brought a newer version to a handle, the kernel drops the
// file's pages before it hears of the grant.
//
// # Interrupts
//
// A request ends early only if its caller is being killed; see
// requestContext. One that waits for a lock ends at any signal, as on a local
// disk (the kernel restarts it if the program wants that, and it queues anew).
// Everything else is bounded by vfs's deadlines.
//
// # Permissions
//
// The kernel checks modes and owners (default_permissions) if others than the
// mounting user get in, or if that user is not root. Setuid and setgid bits are
// taken off here when the kernel says so (HANDLE_KILLPRIV_V2); otherwise it
// would ask for security.capability before each write, and 20,000 writes of
// 4 KiB take 0.28 s instead of 0.21 s.
package fuse
