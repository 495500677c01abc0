// Package powercut is a filesystem that loses what was not synced. A test puts
// the state directory of a gateway on it, ends the gateway at a chosen moment,
// and cuts the power: what is left is what a disk would have been obliged to
// keep, or anything that it would have been allowed to.
//
//	f, err := powercut.Mount(dir)              // empty, at dir, until Close
//	f.Arm(powercut.Trip{Match: …, At: 17, Do: kill})
//	…                                          // the gateway works, and is killed
//	f.Cut(powercut.Strict, 1)                  // dir now shows what was durable
//
// # What is durable
//
// All of it is in memory. Every inode has its contents as programs see them,
// and beside them what is durable, with a list of the changes in between.
//
//   - fsync of a file makes its bytes, its size and its attributes durable, and
//     fdatasync (which the kernel also sends for O_DSYNC) its bytes and size. Nothing
//     else does; syncfs and sync do not, since the kernel does not pass them on.
//   - fsync of a directory makes its entries durable: creations, links, renames
//     and removals. An entry that was never synced is gone after a cut, and with
//     it a file whose bytes were synced.
//   - Changes of entries happen in order within a directory. A rename from one
//     directory to another happens in both or in none, and whatever came before it in either
//     of them comes with it.
//
// [Strict] keeps that and nothing more. [Random] keeps some of the rest, as a
// disk may: of the bytes of a file each write as a whole, not at all, or some of its
// sectors of 512 bytes; changes of size by truncate and fallocate, and changes of
// attributes, up to some moment; changes of entries up to some moment in each directory.
//
// # Moments
//
// A [Trip] runs a function before or after the k-th change of some kind, and
// freezes the filesystem at that moment: a change that comes later fails with
// EIO and does nothing, so that nothing which the dying process still does is
// seen by anybody.
package powercut
