// Package webdav serves a vfs over HTTP as RFC 4918 has it, classes 1, 2 and 3:
// a translation of requests into vfs operations, which decides nothing that
// these could decide. Sections cited are those of RFC 4918 unless another
// document is named.
//
// Types of golang.org/x/net/webdav serve for properties, conditions and lock
// errors. Its handler does not: it answers MOVE without an Overwrite header as
// if that were F, ignores HTTP's conditions, keeps what came of a body that was
// cut short, has no shared locks, and keeps the locks of what was removed. Its
// LockSystem cannot tell the root of a lock, wait, or hold a lock that is shared;
// [LockSystem] can.
//
// # Names
//
// A URL's path is the file's path. What cannot be a path is 400, not something
// like it: empty components, "." and "..", encoded slashes, NUL, text that is
// not UTF-8. Symbolic links are followed as long as they lead to a name inside;
// others are not there. DELETE and MOVE are about the link itself. FIFOs,
// sockets and devices are not listed.
//
// # Versions
//
// A resource's ETag is that of its object, and strong: the bytes that an answer
// has are of that version. A file that is being written on the mount has none
// until it is committed. HTTP's conditions (RFC 9110 section 13) and those of
// the If header about ETags are judged by what the index knows; when that says
// no, S3 is asked once before the answer is 412. When it says yes, a PUT demands
// of S3 that the name is still as it was judged. So If-Match and If-None-Match
// hold over all gateways, and of writers who all demand the same version one
// succeeds. A PUT without conditions demands nothing, and the last one wins.
//
// PUT is vfs.Documents.Put: nothing changes before all of the body is here, and
// then all of it at once.
//
// # Locks
//
// Write locks are advisory for the mount and mandatory here: a change needs a
// token of the locks that cover what it changes (section 7). They are checked
// when a request comes, and once more, with the locks held, when its body is
// here. What is removed or moved away loses its locks (section 9.6).
//
// # Properties
//
// Dead properties are one extended attribute of their file, deadKey, so that
// they are with the object, survive what else happens to it, and a PROPPATCH is
// one change. S3 has 2 KiB for all attributes of an object; more is 507.
//
// # Memory
//
// Bodies go to the state directory, or from the cache, in pieces. Answers to
// PROPFIND with Depth 1 are written as they are made. With Depth infinity they
// are held back until it is certain that there are not too many, so that more
// than Config.MaxInfinity is a clean 403 (section 9.1.1). Request XML is limited
// in size, depth and number of elements, and knows no entities but those of XML.
package webdav
