// Package s3lock is a [locks.Coordinator] in the bucket itself: it needs no
// server besides S3, only conditional writes.
//
// # Objects
//
// All are below a prefix, .causeway/locks/ of the bucket's root or prefix:
//
//	r/KEY        the record KEY
//	s/SESSION    a session, while it lives
//
// Every body has a nonce, so that no two states of an object have the same
// ETag, which is the version of a record. Every write but one has a condition
// on the version that it replaces. The exception is the deletion of a session
// that has ended, and stays ended for good.
//
// The Store must settle lost answers of conditional writes, as package retry
// does. It should have connections of its own, so that locks do not wait behind
// bulk transfers.
//
// # Names of records
//
// A key is escaped in this order: '/' becomes '+'; control characters, '%', '+',
// '~', '!' and what servers or disks do not like in names (\ : * ? " < > |)
// become '%' and two upper-case hexadecimal digits for each byte; all else stays.
// Before the unit (character or escape) with which a segment would exceed 180
// bytes, the segment is ended by "!/". The last segment ends with "~". So no
// name is the directory of another one, none is "." or "..", and the keys that
// begin with a prefix are those whose names begin with its name without "~".
// A name has at most 1024 - 100 bytes, since a key has at most 900.
//
// # Records
//
// A record is a line, and the data of the record behind it:
//
//	causeway-lock-record 1 NONCE\n
//	DATA
//
// NONCE is 26 letters and digits (RFC 4648, base32). A record that was deleted
// is replaced by a tombstone, which is that line with "gone" instead of
// "record" and nothing behind it, because not every server deletes on a
// condition. A tombstone is shorter than every record, so that a listing tells
// them apart. It stays: it is smaller than what a listing says about it. The 1
// is the version of the format; others are refused.
//
// # Sessions
//
// A session is a JSON object:
//
//	{"version":1, "id":"…", "nonce":"…", "beat":7, "ttl_ms":15000,
//	 "state":"alive", "host":"…", "pid":1, "mount":"…", "wanted":["…"]}
//
// Its owner renews it by a write that counts beat up. Others may add to wanted,
// which does not change beat. The owner's next renewal is refused then; it reads
// what is wanted, and renews with an empty list. Who has seen the same beat for
// TTL by its own clock may write the state "ended" on the condition that nothing
// has changed since, and only if that succeeds the session counts as ended. The
// owner's next renewal is refused then, too, and it knows. An object that does
// not exist is a session that has ended. Unknown fields are dropped by the next
// write; a change that older programs must not drop needs another version.
//
// # Cost
//
// A session costs one PUT per third of TTL, and one GET per second while locks
// are in use. A record costs one GET and one PUT per change. A waiter costs a
// GET each time that its pace says so, most of which the server answers with
// "not modified".
package s3lock
