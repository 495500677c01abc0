// Package record is what gateways write to a coordinator about one path: who
// holds it, and who waits for it in which order. It is pure: a record is read,
// changed by the functions here, and put back if nobody else has changed it
// meanwhile.
//
// # Format
//
// A record is a JSON object. Its version is 1; a gateway refuses a newer one,
// and grants nothing there. The record of a path has the key that [Key] gives.
//
//	{"v":1, "path":"a/b", "space":0, "fence":7168, "seq":12, "nonce":"…", "last":"s1",
//	 "holders":[{"session":"s1", "ticket":"t1", "mode":"X", "end":18446744073709551615, "seq":11, "fence":7168,
//	             "since":"…", "owners":[{"owner":"flock:5", "host":"h", "pid":17, "since":"…"}], "used":true}],
//	 "queue":[{"session":"s2", "ticket":"t2", "mode":"X", "end":18446744073709551615, "seq":12, "since":"…"}]}
//
// fence is that of the last grant, a multiple of [Step], seq the number of the last arrival. The
// nonce differs in every version. last is the session that was last granted
// more than an intent. An entry is something that a session holds, or a ticket
// with which it waits; start and end are its first and last byte in the space
// of fcntl locks. used says that the gateway has written down who holds the
// lock there at present; without it, it may keep it for nobody. broken is a
// fence that somebody wants to be taken away from a holder that lives: the
// gateway does so as soon as it reads that, and nobody else is let in before. If
// nobody there has that fence, the gateway says so in spared.
//
// # Rules
//
// Entries of one session never exclude each other: its gateway has a table for
// that. A ticket is granted when no holder of another session conflicts with
// it, and no ticket in front of it, of any session. Whoever changes a record
// grants what has become possible in the same step: so the lock is handed over
// by the one that lets it go, and there is no moment in which it is nobody's
// while somebody waits.
//
// A fence is larger than every one before in the record, and not less than a
// floor that the caller gives, which is larger than those of all records that
// have been removed.
package record
