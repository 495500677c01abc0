// Package participant makes one gateway take part in the locks of a bucket: it
// implements [locks.Service] with a [locks.Table], which is its own queue, and
// records that all gateways change through a [locks.Coordinator].
//
// # Who is asked
//
// A request is granted when the table says so, and when every record that it
// needs allows it: that of its path, and with an intent those of all directories
// above. What a record gives to the session of this gateway stays there when it
// is not needed any more, until somebody else wants it. So a lock that only this
// gateway uses is taken, given back and handed from process to process without a
// request, and the intents of a directory are paid for once.
//
// Each record that something is wanted of has an agent, a goroutine that reads
// the record, works out what it should be (node.plan, without I/O), and replaces
// it if it has not changed, until the record is as it should be. Agents are the
// only ones who write; only Break, which marks an entry, is done elsewhere.
//
// # Order
//
// When others wait for a record, or did in the last seconds (heat), a request
// does not use what is there but gets a ticket in the record's queue. Requests
// that came one behind the other share one. Whoever lets a record go writes the
// next holder into it in the same step, and the waiters poll it (three round
// trips apart for the first) or are told.
//
// A gateway learns a moment late that somebody waits for what it holds. Requests
// that it has put in its own queue meanwhile get their place by the time of their
// arrival (record.Enqueue). This is the one place where clocks of hosts are
// compared; if they differ, some of that moment's requests are served in another
// order, and nothing else happens. What was granted in that moment stays granted.
//
// The records of one request are asked for all at once. If one has to be waited
// for, those below it are given back and asked for anew later, so that whoever
// waits has nothing that is below what it waits for, and waiting for records
// closes no cycle. For the same reason a request that all records allow passes
// one in the table that they do not (see [locks.Table]). An owner that has
// something of a record already passes tickets in it: they wait for that owner.
//
// # Why there is never more than one
//
// A record has at most one exclusive holder, since it is replaced by
// compare-and-swap only, by the rules of package record. It remains to show that
// nobody uses what the record does not say.
//
//   - The session. What it holds is given to others when it has ended, which the
//     coordinator says only after it has stopped being Valid on its own gateway.
//     A grant is returned only if the session is Valid then. Check asks again
//     before each commit, and Guard is closed when it ends. A session that is not
//     Valid is never used again: all of it is forgotten, its waiters fail, and
//     the next request begins another one.
//   - A write under way. While one is, nothing is given out by what the record
//     said before (node.sure); requests wait for the agent.
//   - A write whose answer was lost. It may have been carried out, or be carried
//     out later, and give up what the record says that we hold. Nothing is given
//     out until another write has succeeded: after that, the earlier one fails,
//     as the version it replaces is gone (node.unsure). What is in use is never
//     given up by any write, and so is safe meanwhile.
//   - The session ends between a write and its answer. The record may name a
//     session that has ended. Nobody acts for it; whoever waits asks
//     Coordinator.Ended and drops it.
//   - A grant that arrives after its request was cancelled finds an entry that
//     nobody needs; the agent gives it on like any other.
//   - A ticket or an entry that arrives after this gateway has forgotten it is
//     found when another gateway wants the record (Session.Wanted): the agent
//     reads it and removes what nobody here needs.
//   - Release while a hand-over is under way. What is released is not in the
//     write yet, or it is; the agent plans again after every write.
//   - Break. The entry is marked, and stays in everybody's way until its gateway
//     has read that and called off what is under way under it, or its session has
//     ended. Only then somebody else is let in.
//
// # Fences
//
// The grants of a record have growing numbers, multiples of record.Step; this
// gateway gives each grant under an entry a number of its own behind that of the
// entry, and the last one again if there were too many. Records are not removed,
// so numbers never begin anew. Grants without a record (below) have numbers of
// the era: the count of grants in the record of the bucket, above eraBits. The
// numbers of records begin behind that, too (session.floor), and within an era
// behind those without records once there were any. An era in which somebody is
// alone begins with a grant, and ends with one, so what is granted after it is
// larger. A record with no entries may therefore be removed while a gateway is
// alone, and at no other time. There is room for 2^30 grants of a path in an era
// and for 2^23 eras.
//
// # Alone in the bucket
//
// The record "bucket" has an entry of every session that does anything: shared,
// or exclusive when nobody else is there. Nobody writes another record before it
// is in that one. So while a session is in it exclusively and Valid, all entries
// of others in all records are of sessions that have ended, and the gateway
// grants without records, and may decide on its own what names exist.
//
// Somebody else who comes gets a ticket there. The gateway then stops deciding
// (Sole is false), has everything published (Options.Publish), writes records
// for all that is held, with its fences, and for all that waits, in its order,
// and only then makes its entry a shared one, which lets the other in. Should it
// die at any time before, the other one waits for the end of its session; the
// locks that it held are lost then. After a minute without work it gives the
// bucket up by itself; at work it tries now and then to have it again.
//
// Entries of its own session that it kept from before it was alone are older
// than what it granted since; they are not used again (bucket.stale).
//
// # Deadlock
//
// The table finds cycles within the gateway. Over gateways, a request that has
// waited for chaseEvery has the records of what its owner holds, and of who
// waits for that owner here, say in which records they wait; and follows such
// notes from record to record. If that leads back to it twice with the same
// tickets, which is then true at one moment, and it is the youngest on the way,
// it is refused.
//
// # Lock order
//
// Participant.mu guards all state, is a leaf, and is never held during a request
// or a hook.
package participant
