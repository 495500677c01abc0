// Package vfs is the filesystem: names, handles, staging, commit and caches,
// over an index of names and an object store. It knows no protocol. Front ends
// translate FUSE or WebDAV into [Operations]; each operation has this one
// implementation.
//
// # Terms
//
// A node is an inode: an identity that the kernel, an open handle or an
// uncommitted change refers to. It has at most one name, and loses it when the
// name is removed or given to something else, here or elsewhere. A file is the
// state of a node that is open or has changes which are not in S3; a node
// without one is a few words, and all else that is known of it is in the index.
// A content is the bytes of a file, in a sparse local file: bytes that were
// written or fetched are valid there, all others are those of the version that
// the content was made from.
//
// # The write path
//
// A file that is opened for writing is staged: writes go to the local file and
// to nothing else. close(2) and fsync(2) commit it, which is one PUT of the
// object PREFIX/path up to 16 MiB, and otherwise a multipart upload whose parts
// start while the file is still being written. Nothing shared is read, written
// or locked for that, except the path's own lock in this process.
//
// What a commit demands depends on where the content came from:
//
//	new, or emptied by O_TRUNC     nothing: the last close wins
//	made with O_EXCL               the version that O_EXCL made
//	edited in place                the version that was opened
//	only appended to               nothing that it does not bring about: see Appends
//
// When the demand fails, somebody else has replaced or removed the file: the
// call is [Stale], the edited version is kept for `causeway recover`, and the
// name shows what S3 has. When S3 fails, the call says so, the bytes are kept
// in the same way, and a later fsync or close through the same handle tries
// again.
//
// A commit covers all that was written before it began. Callers that ask while
// one is under way share the next one, so that a descriptor that was duplicated
// (and is flushed once for each copy) sends the file once, and many writers of
// one file send it about once per round trip.
//
// Temporary names (Options.Staged) are not committed by close. Renaming such a
// file to an ordinary name is its commit: one PUT to the final key. One that
// nobody renames is uploaded under its own name after Options.StagedTTL. Until
// then the name belongs to this gateway alone, so O_EXCL of a temporary name is
// exclusive here and not over gateways. A restart shows temporary files again.
//
// Removals are acknowledged when they are in the journal and sent 50 ms after
// the last one, or 500 ms after the first, up to 1000 with one request; until
// then the index holds the name, so that no
// listing brings it back. Unless this gateway has just seen that it is alone, and
// for the old name of a rename, a removal demands the version that was removed,
// so that it spares what somebody stored since. A PUT of a key whose removal still waits
// takes the removal over; a PUT that demands absence waits for it. Attribute
// changes that come before a commit go with it; later ones are in the journal,
// and one copy of the object onto itself, 100 ms after the first.
//
// # The journal
//
// What a caller was told and S3 was not is an intent in a journal (package
// journal) in the state directory, durable before the call returns: removals,
// attribute changes, temporary files, renames under way, and with
// Options.CommitLocal every commit; while alone, new directories. The bytes of a file up to 64 KiB are in the
// intent; those of a larger one are in a local file of their own, which stays
// as it is while an intent names it: a change copies it first.
//
// An intent ends when S3 has what it stands for, or when the caller has asked
// for something else since. The record that begins one thing ends what it
// replaces, so that a crash leaves one or the other. Opening a filesystem shows
// all intents at once, as if they had just been made, and carries them out in
// the background. That is safe to do twice, and late, by a state directory that
// was copied or lay idle:
//
//	remove   goes only if the key has the version that was removed. Equal bytes
//	         have equal ETags; so where it was stored later than the removal was
//	         acknowledged (S3's clock against this one's, 2 s are allowed for),
//	         it stays
//	attr     is a copy that demands the version that was changed
//	move     only ends: the old name goes if the new one has its bytes
//	staged   shows the temporary file
//	put      demands the version that the file was based on, or absence
//	mkdir    stores the marker, if there is none
//
// # Alone on the bucket
//
// While Locks.Sole, no other gateway decides anything exclusive. A name that a
// fresh listing of all names lacks, from after the lease began, and that nobody
// here has made since, does not exist then (index.Absent). So a directory is made
// by an intent in the journal (mkdir), and a file with O_EXCL by its node. The
// index holds the path of such a directory. Its marker is stored after
// decideDelay, or earlier by whoever needs it there: [FS.Sync], an operation on
// trees, chmod. One with the usual attributes that has something in S3 needs
// none. While alone, a directory whose last entry goes gets its marker only if
// nothing else is in it and it is not removed by then. Files are stored by their
// commit, or made empty after decideDelay. All of these demand absence.
//
// Claim: no name is made exclusively by two callers, but in the case below.
//
//   - Two callers on one gateway: both hold the path's lock while they ask whether
//     the name exists, and until others here see it.
//   - Two gateways, neither alone: both send a PUT with If-None-Match for the same
//     key, of which S3 carries out one. A directory may exist without a marker;
//     then it was decided by a gateway that was alone, and had something in it in
//     S3 before that ended, and since, or else got its marker before its last
//     entry went. Who makes a directory looks for it once more after
//     Locks.Enter has returned, with no knowledge from before: Enter in a new
//     session calls Acquired first. So that one is found.
//   - A, alone, and B: B sends nothing before its Enter has returned. If A has
//     handed over, it was after [FS.Publish] returned. Publish first waits for the
//     decisions under way: each holds decisions.gate from its question whether A
//     is alone until the name can be seen, and Sole is false before Publish
//     begins. Then it stores what was decided: every such name is in S3 when B
//     begins, as an object of that key or, for a directory, as something below it,
//     and B finds it or its PUT is refused.
//   - B was alone before A: A's Acquired was called before A's Sole became true,
//     so A decides from listings that began after B's Publish.
//   - A's lease ran out without Publish. If that was before the second question
//     whether A is alone, which is asked when the decision is ready, the decision
//     is taken back, or made by a PUT. If it was later, A's caller was told that
//     it made the name while A still had the lease, and others can make it again
//     at least a lease later: this is the case that remains. It ends for A by the
//     PUT that is refused: a file is [Stale] at close, a directory is superseded
//     with all that is open below it, and the versions are kept. After a restart
//     a directory that others have made too is theirs and ours.
//
// # Acquire and release
//
// [FS.Acquired] is called when this gateway was granted something that another
// one may have had, and by the creation of a name with O_EXCL unless alone. It
// marks the moment: what the index knew before is stale (index.Acquire), and an
// open does not believe a check from before, whatever OpenTTL says. What front
// ends keep is lent: for lendAlone at most while alone, for lendShared otherwise,
// not at all within lendPause of an acquire. Acquired returns when all that was
// lent is over. lend notes the end before it looks again whether it may lend, and
// Acquired forbids lending before it looks at the latest end, so one of them sees
// the other. An answer that is on its way to the kernel for longer than
// lendSlack after it was given here is kept for that much too long.
//
// A release is the removal or replacement of a name that O_EXCL made here, if
// small enough for a lock, or its rename: before it begins, all that was
// acknowledged is in S3 ([FS.Sync]). So is fsync of a directory. Alone, there is
// nobody to see it, and Publish sends all of it before there is; only what local
// commits left here is sent.
//
// # Lock files
//
// Files that match Options.LockFiles carry in their metadata which process made
// them. A reader in the same PID namespace of the same host gets the bytes. Any
// other gets a view, made when it opens the file, with a process id and a time
// that it can judge (package lockfile); front ends must not keep what is read
// through such a handle. The moment from which the age is counted is that at
// which this gateway first saw the version. Removal and replacement look whether
// the holder lives, under the lock of the path.
//
// # Local commits
//
// With Options.CommitLocal a close returns when the file is in the journal. The
// spool sends it soon after: one PUT of a path at a time, in the order of the
// closes, leaving out what was replaced before it was begun. Renames and
// removals take along or drop what waits. Each PUT carries the name of its
// intent in the metadata key causeway-commit. When it is refused, because the
// key has another version than the one that the file is based on, that is read:
// an earlier PUT of the same path here whose answer was lost is followed; a
// version that is older than the close is replaced if the file was written anew
// (the last close wins); anything else is a conflict. Then both versions stay:
// theirs at the name, ours for `causeway recover`.
//
// fsync waits for S3, unless Options.FsyncLocal; so do fsync of a directory,
// [FS.Sync] and Close. fsync ends when S3 has taken nothing for as long as the
// file may take; what is waited for goes first. A close without room in the
// journal or the spool fails and gives up what was written since the last
// acknowledged version, as one whose writes found the disk full (spoilt.go). Names that must be exclusive (O_EXCL and mkdir unless
// alone, NOREPLACE) and renames of what is only in S3 need S3 as ever. When the spool holds
// Options.SpoolFiles or SpoolBytes, a write waits while S3 takes some, and is
// NoSpace when it does not.
//
// # Appends
//
// A file to which nothing was done since its version but writes through O_APPEND
// handles is that version and a tail; one that an open with O_CREAT|O_APPEND
// made is a tail alone. Its commit is a compare-and-swap: the version with the
// tail behind it, on condition that the key still holds that version, or none.
// When somebody else was first, the tail goes behind what is there then, and so
// on until the deadline. No lock is taken. Below 5 MiB the object is written
// anew; from there on it is a multipart upload of which S3 copies the version
// and only the tail is sent, and while one such commit is under way the upload
// of the next one is begun. A file that was also edited in place keeps the rule
// for that, and so does one that was removed elsewhere: [Stale].
//
// An attempt whose answer was lost may have been carried out before others went
// behind it. Each append therefore writes its name, session and number, in front
// of a list in the object's metadata ([AppendsKey]), and whatever is based on
// the object carries that list on. It tells whether the attempt is in there;
// only if more than a list's length of others came since, nothing can tell, and
// the call is [IO] with the version kept: nothing is ever appended twice. A
// commit that failed leaves the names of its attempts with the file, so that a
// later fsync settles them first.
//
// A record is what one write call has. The kernel cuts a call of more than
// [MaxWrite] bytes into several requests, and a commit that begins between two
// of them leaves out the record that is not complete. (A writev(2) of more than
// 256 pieces is cut, too, into requests that look like records of their own.)
//
// Appenders of one gateway share commits. Those that were told of the last one
// are back a moment after it, so a commit waits for as many as had to do with
// the last one, as long as they keep coming, and for half a round trip at most;
// who appends alone waits for nobody (gather.go). A gateway that has won against
// another one waits until that had the time to win in turn.
//
// A commit that went behind others' appends moves the bytes that were here. Until
// then all handles on this gateway see them where they were written. The content
// becomes the new version at once, whose missing bytes are fetched when they are
// asked for, and front ends are told that size and pages have changed. Handles of
// a file that somebody here appends to are therefore the exception from the rule
// that handles keep their version: they go on with what the appends went behind.
//
// An open that can only append asks S3 as any other, so that the sizes it sees
// are right, but not if no other gateway is on the bucket: what is known is then
// the current version, and a commit would notice if it were not.
//
// With Options.CommitLocal the parcel of a file that was only appended to has all
// its bytes, as they were here, and says at which offset the appends begin that
// are not in S3, and behind which version. It is sent as any append. The next
// parcel, made while it waits or is sent, begins with the same appends, and says
// so by naming it; but at which offset is its own, for the bytes of the file move
// when one goes behind others' appends. A parcel learns what has become of the one
// that it is based on when the file does, under spool.mu. One that is to be
// recorded then is made anew: a restart shows what an intent has as the version
// with its appends. An edit in place keeps its rule, and replaces no version with
// appends that are not its own or of the version that it was made from.
//
// # What an open sees
//
// Open asks S3, with one conditional GET, whether the version at hand is still
// the current one, and gets the first MiB of a newer one with the answer. So an
// open sees every close that returned before it, on whichever gateway
// (close-to-open). Handles of one node share one content, and so see each
// other's writes at once. A node never shows two versions at the same time: if
// S3 has another one while handles are open, these keep theirs, the node loses
// its name, Open is [Stale], and the name gets a new node at the lookup with
// which the kernel answers that. Bytes that a handle still needs from a version
// that is gone are [Stale] too, never zeros. A version of another size is a new
// node also if nobody has the file open, since a kernel cannot be told reliably
// that a node has another size than before; what is written or appended here
// changes the size of a node as ever (sizes.go).
//
// Names and attributes may be as old as the index says (Options.DirTTL).
//
// While S3 is away (store.Health says so) what is here is the answer: names and
// attributes however old, bytes of the version that the index knows without a
// check. What is not here is an error and never NotExist, except that with
// Options.CommitLocal new files can be made where the last listing had none.
// Questions that were under way are given up for that; all else that callers
// wait for under a directory's lock of the kernel ends after some seconds, and
// commits by their deadline (away.go).
//
// # Memory and disk
//
// Nodes that only the kernel holds are counted against Options.MaxNodes; above
// that the kernel is asked to forget some. Whole files that were read or
// written stay on local disk, up to Options.CacheSize, by path and ETag, also
// over restarts. When the disk is full, the cache gives way before a write is
// [NoSpace]. What is staged is never evicted. Readers in sequence are answered
// from a window of memory, at most 64 MiB for all files, while what was fetched
// for them goes to the local disk, past the page cache if the disk keeps up.
//
// # Trees
//
// The rename of a directory copies every object below it and then deletes the
// sources; [FS.RemoveTree] deletes all that is below a directory. Both survive
// a crash at any request, because any gateway can go on where another stopped.
//
// A record, .causeway/trees/ID, is stored with If-None-Match before anything
// else: a JSON object with version, operation, paths, phase, owner (gateway,
// and the id of its state directory), epoch (how often it was taken over), a
// counter of heartbeats and a nonce. Whoever begins then lists the records, and
// is [Busy] if another one is about the same trees. A record is changed only
// with If-Match and a new nonce, which also tells, when an answer was lost,
// whose change it was. A record of a newer version is reported and left alone.
//
// Facts about a rename's copies are in parts, .causeway/tree-parts/ID/EPOCH-N,
// a JSON array for each page of the listing that had something to copy. A fact
// names a source with its ETag and time. It is stored before its copy is begun,
// with what the target held, and again when the copy is made. So a resumer knows:
//
//	no fact               the copy was not begun
//	not done              the target is as it was before, or is the copy (or
//	                      somebody's later version, which stands in its place)
//	done, same source     nothing is left to do, whatever became of the target
//	done, other source    the source was written since, and is copied again
//
// Phases of a rename:
//
//	copying           the sources are listed and copied, until a listing shows
//	                  nothing that is not copied as it is, a few times at most
//	removing sources  entered by a change of the record before the first source
//	                  goes. A source goes only if a fact says that it was
//	                  copied as it is; what has arrived since is copied first.
//	                  Ends when a listing is empty.
//	undoing           entered from copying if S3 refuses something for good:
//	                  copies that are still what was made are removed
//
// Otherwise a rename is always carried forward, whatever its caller was told. An
// exclusive one claims the target's marker before the first fact; if the target
// is somebody else's by then, the record is dropped. The parts go before the
// record.
//
// All that was acknowledged here below the directories is in S3 before an
// operation on them begins or goes on. A source that is gone when the copies
// are checked takes its copy along. Temporary files below, and attributes that
// are not in S3, are put into the journal under their new names before the
// record goes; if another gateway finishes the rename, they stay where they
// were.
//
// A target that this operation has not made is replaced only if the source is
// later by the server's clock. Copies demand that the target is as it was
// listed, and deletions that the source is; a server that cannot do that for
// copies (Capabilities.CopyIf) is asked just before, except for first copies to
// names that were free, and one that cannot for deletions (DeleteIf) lists just
// before. Then a change between the question and the request is lost.
//
// A removal deletes all that its first owner finds in one listing. A resumer
// deletes only what is not younger than the record, by the server's clock and
// give or take a second, since the directory may have been made anew.
//
// An owner changes its record every 10 s, and sends no request that changes
// something if its last change began more than 20 s ago: it proves first that
// the record is still its own. One that finds another's nonce is fenced and
// stops. A gateway takes a record over, by changing its owner, at once if it is
// that of its own state directory, otherwise if it saw no change for 30 s of its
// own clock. A request that was under way when its sender was stopped can still
// arrive then; it is one copy or one deletion of the version that was meant,
// where the server honours conditions.
//
// Records are looked for at Open, when gateways come or go, when an operation on
// a directory has failed, and every 10 s while there are any. That costs an idle
// gateway nothing. Trees are locked here while an operation on them is under
// way, also when it is resumed. Whoever waits for such a lock is told [Timeout]
// after OpTimeout.
//
// # Not POSIX
//
// Hard links do not exist. Access times are not kept. The rename of a directory
// is a copy of every object below it (see Trees). A directory is also removed when it was
// empty at a listing not older than DirTTL and somebody else put a file there
// since; nothing is lost then, since only its marker object goes and the file
// still implies the directory.
//
// # Lock order
//
//	pathLocks (held over requests)
//	treeTask.proving, treeTask.beating (held over requests about their record)
//	flights (never held while waiting)
//	decisions.gate (for reading; never held while waiting for S3)
//	spool.mu
//	node.mu
//	trees.mu, treeTask.mu
//	nodeTable.mu, FS.mu, decisions.mu, deleter.mu, diskCache.mu, content.mu
//	ledger.mu
//
// Locks of the last two lines are leaves, except that content.mu may be held
// when diskCache.mu or ledger.mu is taken. Waiting for S3 happens with pathLocks
// and the locks of a record only; waiting for the local disk also with spool.mu and node.mu. A parcel is sent without a
// path lock, so that nobody waits for it: whoever removes or replaces its name
// drops it from the spool, and if it is under way, lets what follows in S3 wait
// until it is over. Invalidators are called with no lock of this list held but
// pathLocks.
package vfs
