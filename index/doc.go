// Package index answers what names there are, and what they stand for,
// without asking S3 each time. All it knows is derived from the objects and
// can be dropped at any moment: where it and an object disagree, the object is
// right.
//
// [Index] is the contract. [Listing] is its implementation by one LIST per
// directory. [Decode] and [Encode] translate between objects' metadata and
// attributes.
//
// # Terms
//
// A path names an entry of the filesystem. The object of a file has the path
// as its key. A directory is there if any key begins with its path and a
// slash; its marker is the empty object whose key is just that. A directory
// without a marker is implicit. Keys that no path can stand for are hidden:
// they are counted and never shown; so is an object beside a directory of the
// same name. What begins with [Reserved] is neither shown nor counted.
//
// A tick is a moment on this process's monotonic clock, made unique. Knowledge
// has the tick at which the request that brought it began: an answer is about
// a moment between the beginning and the end of its request, so it is never
// older than that. Knowledge is fresh for a question if its tick is not more
// than a window before that of the question.
//
// # What is kept
//
// A directory ([Listing] keeps a table of them) has its names, each with a
// tick for its existence and version (seen) and one for its attributes
// (attrSeen). If a LIST has told all names, the directory is complete as of
// that LIST's beginning, and a name that is not there is absent.
//
// The first question about a directory costs one page of a LIST. If that is
// not all, names that are not known are asked for one by one: a HEAD of the
// object and a LIST of one key below it, at the same time. [Listing.List] loads
// all pages. A LIST has no attributes, so they come from a HEAD of the object,
// or of a directory's marker. There is one request at a time for a directory
// and for a name; whoever has the same question waits for its answer. Requests
// are not tied to the caller who was first: one who gives up returns at once,
// and the request goes on.
//
// Programs that ask for attributes in the order of a listing (`ls -l`, find,
// tar) are noticed, and the next ones are asked for in parallel (walk.go).
//
// The number of names kept is bounded. Beyond it, directories that nobody has
// asked about for the longest time are dropped, except names that are held.
//
// # Own changes
//
// What this gateway has done is told with Put, Made and Remove, and wins over
// whatever S3 answers to a request that began before:
//
//   - A Put has the tick of the call, and answers from before do not touch a
//     name of which something later is known.
//   - A Remove leaves a guard with a barrier: answers to requests that began
//     before it tell nothing about the name. Only when the last of those
//     requests has ended is the guard dropped (clock.go).
//   - While a name is held, no answer tells anything about it, because the
//     change that this gateway has acknowledged is not in S3 yet. The release
//     sets a barrier: an answer that was under way may be from before the
//     change.
//   - Dropping a directory sets a floor, which is a barrier for all its names.
//
// A directory in which a held name is shown does not vanish, whatever a LIST
// says. A file that is put proves that the directories it lies in exist.
//
// # Freshness
//
// The window is DirTTL. Four things are more exact:
//
//   - Lookup of a known name is answered however old the knowledge is; its
//     Until says so. Opening the file asks S3 anyway.
//   - A NotExist from a complete directory is given for another 250 ms (the
//     grace), while the LIST is repeated in the background. So a program that
//     creates files does not wait for a LIST now and then.
//   - List never answers from anything older than DirTTL, even when alone: who
//     lists a directory wants to see what other tools have written. Empty asks
//     for one LIST, unless the gateway is alone.
//   - A name that was denied and is asked for again, DirTTL later or more, is
//     looked up: somebody waits for it to appear.
//
// With Strict, every question is asked of S3.
//
// Whoever wins a lock must see all that was committed before it was let go.
// [Listing.Acquire] therefore sets a mark, and what has an earlier tick is
// never fresh, also for a gateway that is alone: no answer is given from it,
// neither of a name nor of its absence, except of what is held. It costs
// nothing by itself.
//
// Attributes change without the ETag: a LIST that shows the same ETag and
// LastModified proves that they are the same only if they were asked for when
// the second of that LastModified had safely passed on the server's clock, and
// only on servers that change LastModified with the metadata
// ([Options.ModifiedCoversMeta]; versitygw on POSIX does not). The server's clock is
// bounded from below by the times it has reported, and by the 15 minutes that
// request signatures allow. Otherwise attributes have the age of their HEAD.
//
// OnChange is told about each name of which S3 said something else than was
// known, but not about names learned for the first time. [Answer].Until and
// NegativeTTL never reach beyond the moment at which the index itself would
// ask again, so that a cache that obeys them is as fresh as the index.
//
// # Being alone
//
// Most buckets have one gateway, which knows all changes because it makes
// them. A gateway that is alone therefore uses Verify as its window, so that
// only changes by other tools are seen as late as that.
//
// Protocol. Each gateway that changes objects puts a record,
// .causeway/gateways/ID, before its first change ([Listing.Announce]), again
// every 20 s while it is in use, and before a change if the last record is 30 s
// old or more. When it leaves it puts ID.left, then deletes ID. Every gateway
// LISTs the records (a poll) at most once in DirTTL, and only while it is asked
// questions. Another gateway is present if its record was new or different
// less than 60 s ago, by the poller's monotonic clock; clocks of hosts are never
// compared. (A record that was more than 90 s older than the poller's own, both
// by the server's clock, is dead from the beginning.) A gateway is alone since
// the end of the first poll that found nobody present, and stays so as long as
// each poll finds nobody present and no record new, changed or gone.
//
// Claim: knowledge with a tick t, not before the beginning of "alone", is still
// right at the beginning of the last poll p, as far as gateways are concerned.
// For suppose that X changed an object between t and the beginning of p. X's
// record was stored at most 30 s before (plus the time the change took, see
// below), so before p. If that record was deleted before p looked at its name,
// X.left had been stored before, and sorts behind it, so p found it. So p found
// X or X.left. It had been found in the same version by the poll at the
// beginning of "alone", or by one since; but then that one had found X present,
// or, if X.left, it was the version of an earlier leave, since X had yet to put
// its record for this change. Both contradict that this gateway was alone.
//
// Hence the long window is used only if the last poll began not more than
// DirTTL and the grace ago, and what a gateway changes at the moment c is seen
// by every other one that is asked after c + DirTTL + grace: either it has
// polled since, and uses the short window, or it has not and must.
//
// A gateway that is stopped between its record and its change for more than 30
// s, or a single request that takes as long without a renewal, can break that;
// the change is then seen after Verify. A name that is held, as those of
// changes under way are, counts as use, so the record is renewed. Nothing but
// the time at which changes are seen depends on this protocol, and whether a
// removal demands the version that it is about ([Stats.Alone]).
//
// Deleting records of gateways that crashed, after a day, is conditional on
// their version. A server that ignores the condition could lose a record that
// is put in the same moment, until its renewal 20 s later.
//
// With Strict there are no polls, and a gateway does not count as alone.
//
// # Locks
//
// From the outside in; a goroutine that holds one may take those behind it:
//
//	dir.mu               of a directory, then of one below it
//	presence.mu          not together with dir.mu
//	dirTable shard, inflight.mu, Listing.mu, interned.mu, denials.mu, holdings.mu
//	                     leaves
//
// None is held during a request or a call of OnChange.
//
// # What comes later
//
// A log of changes that gateways write, and shards folded from it, will tell
// names, versions and attributes of the whole bucket with one poll. They
// replace the LIST and HEAD requests and the presence protocol behind the same
// interface; the rules for own changes stay as they are. Of it, packages format
// (how facts are written down) and deltalog (how gateways tell them) are there,
// and not used yet.
package index
