// Package deltalog is the append-only log by which gateways tell each other, and
// the compactor, what they have changed. It is never waited for by a commit.
//
// # Objects
//
// A gateway writes segments (package format) under keys of its own,
//
//	.causeway/index/log/GATEWAY/NUMBER    16 hexadecimal digits, from 1
//
// without a condition, one after the other, so that segment n is stored before
// n+1 is sent. GATEWAY is never used again after a restart. Segments are
// deleted when a shard map says that they are folded, and by nobody else.
//
// # Writing
//
// [Writer.Tell] takes facts in the order in which they became true here; it
// never blocks. A segment is written Interval after the first fact that waits,
// and at once in [Writer.Flush], which a release point waits for. If S3 fails,
// facts are kept and sent later; beyond MaxWaiting the oldest are dropped, and
// the number of the next segment jumps, which tells readers that something is
// missing.
//
// # Following
//
// [Follower.Poll] LISTs the log and reads the segments that are new. Its result
// holds for the moment at which it began: all facts that were flushed by then
// are in it. A gateway's segments are given in order. If a number is missing,
// because it was folded and deleted or dropped, the result says so, and whatever
// was derived from the log alone must be asked for again.
package deltalog
