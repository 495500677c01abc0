// Package locks decides who may do what to a path, in one process and over all
// hosts: one lock at a time for those that conflict, in the order in which they
// were asked for, for no longer than the holder lives.
//
// [Table] is the queue of one gateway: a state machine without goroutines, I/O
// or clock. [Coordinator] is what gateways agree through; packages s3lock,
// etcdlock and memlock implement it, and package coordtest is their contract as
// tests. [Service] is what the rest of Causeway uses, and package participant
// implements it with a Table and a Coordinator.
//
// # Terms
//
// A claim is what somebody wants of a path: shared or exclusive; of the path
// alone or of the tree below it (Tree); of all of it or, in the space of fcntl(2)
// record locks, of a range of bytes. An owner is who holds claims: an open file
// (flock, open file description locks), a process (fcntl), a token (causeway
// lock, WebDAV, the control socket). An owner may re-enter what it holds.
// A gateway is one participant. Its session is its lease on everything it holds;
// it lives as long as the gateway renews it. A fence is a number that grows with
// every grant of a path to a participant, over all hosts.
//
// # Modes
//
// A claim on a path takes intents on all paths above it, so that it meets a
// claim on a tree that has the path in it, and nothing else. What may be held
// together by different owners:
//
//	            IS   IX   S    X    TS   TX
//	IS          yes  yes  yes  yes  yes  -
//	IX          yes  yes  yes  yes  -    -
//	S  shared   yes  yes  yes  -    yes  -
//	X  excl.    yes  yes  -    -    -    -
//	TS tree     yes  -    yes  -    yes  -
//	TX tree     -    -    -    -    -    -
//
// Locks of the two spaces never conflict, as on a local disk (flock(2), NOTES).
// A claim on a directory without Tree says nothing about what is in it.
package locks
