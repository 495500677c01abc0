// Package journal is a crash-safe log of intents: of what a gateway has
// acknowledged and not yet carried out in S3. What an intent is, is not known
// here: its body is bytes. An intent is live from the [Journal.Append] that
// adds it to the Append or [Journal.Done] that ends it.
//
// # Promises
//
// What was appended before a [Journal.Sync] that returned nil is there after
// any crash, and a record is there whole or not at all. Ends that were appended
// hold likewise; those of Done may be forgotten by a crash, and then the intent
// is live again. Cleaning never loses an intent and never brings one back.
//
// # Files
//
// The log is cut into segments, in files named by their number in 16 lower case
// hexadecimal digits, and ".log". Numbers are consecutive. Records go to the
// last segment, the head, which is preallocated: so ends can be written although
// the disk is full, and a sync need not write the size of the file. A segment
// that cannot hold the next record is followed by one that can; a record larger
// than Options.SegmentSize gets a segment of its own size. Every Open begins a
// new segment with its first record, so that nothing that a crash left behind
// the last good record is ever in front of new ones.
//
// All numbers are little endian. A segment begins with a header of 56 bytes:
//
//	 0  magic "CWJOURN\n"
//	 8  u32 format version, 1
//	12  u32 flags: 1 the segment was repaired, see below
//	16  u64 number of the segment, as in its name
//	24  u64 ID: this and all above had not been given out when it was made
//	32  u64 salt, random
//	40  u64 offset behind the last record of the segment before, 0 for none
//	48  u32 zero
//	52  u32 CRC-32C of the 52 bytes before
//
// Magic and version stay where they are in all versions. A directory in which
// one segment has a higher version is refused with [ErrNewer], untouched.
//
// Records follow, each at a multiple of 8 bytes, with zeros between them:
//
//	 0  u32 length of the payload, 0 for the end, at most 1 GiB
//	 4  u32 CRC-32C of: number and salt of the segment, offset of the record
//	        (u64 each), length (u32); bytes 8 to 16 of this; the payload
//	 8  u32 mark: offset, salt and salt>>32, exclusive-or of their low words
//	12  u32 offset, in units of 8 bytes, up to which the segment was known to be
//	        durable when the record was made
//	16  payload
//
// The checksum covers where a record is, so stale bytes of a block that is used
// again, or of another segment, or of a body that holds such bytes, do not
// pass. The mark only makes it cheap to look for records. A payload is one or
// more of:
//
//	u8 1, u32 count (at least 1), count times u64 ID     these intents ended
//	u8 2, u64 ID, u32 length, length bytes               this intent was added
//
// The live intents are found by applying all records in order. An intent that
// is added again, with the same ID, was moved by cleaning.
//
// # Order of writes
//
// A segment is created, allocated, given its header and synced, and then the
// directory is synced, before a record is written to it; and before that, all
// records of the segment before it are synced. So only the head can end in the
// middle, and what its records build on is always there.
//
// Only the oldest segment is removed; once nothing is live in it, all that was
// appended until then is durable, and the removal of the one before it is so
// too. Hence a record that ends an intent goes only when all segments have gone
// that may hold the intent. When much is dead, the live intents of the oldest
// segment are appended to the head first: a record that ends one of them is
// then behind the copy. The bytes of all segments stay below twice those that
// are live, and four segments.
//
// # Torn tails and damage
//
// Reading a segment ends at the first record that does not check. In the last
// segment that is what a crash leaves of records that nobody was told are
// durable; Open cuts the file there. It is damage if a good record behind it
// says that more had been durable, or if the segment is not the last and ends
// before the offset that its successor has. Then the intents up to there and
// those of later segments are used, the file is copied to a name with
// ".damaged" instead of leaving it to be overwritten, for a person to look at,
// and the segment is replaced by its good part, flagged as repaired. A segment
// whose header does not check is set aside as a whole, unless it is the last
// one and empty: then its creation was not finished. Damage does not fail Open:
// see [Journal.Damage].
//
// # Failures
//
// An error of a write or a sync is final for the journal, since the kernel may
// have dropped what it could not write and tell nobody a second time. Lack of
// space is not: a segment that cannot be made fails the Append that wanted it,
// and records that could not be written are kept and written later.
//
// # Locks
//
// Journal.cleaning before Journal.mu. No I/O happens under mu; the one that has
// set Journal.running writes to the head, and the one that has set
// Journal.switching replaces it, while other Appends wait.
package journal
