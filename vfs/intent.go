package vfs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/journal"
)

// intentOp says what an intent is about.
type intentOp string

// The intents. Each is recorded before the call that it is about returns, and
// ended when what it stands for is in S3, or no longer wanted.
const (
	// intentRemove: the object Key, of the version ETag as far as known, goes.
	intentRemove intentOp = "remove"
	// intentAttr: the version ETag of Path gets the metadata Meta.
	intentAttr intentOp = "attr"
	// intentStaged: the bytes are those of the temporary name Path.
	intentStaged intentOp = "staged"
	// intentMove: Path is being copied to To; if that was carried out, the
	// version ETag of Path goes.
	intentMove intentOp = "move"
	// intentPut: the bytes and Meta become the object of Path, which held the
	// version ETag, or none.
	intentPut intentOp = "put"
	// intentMkdir: the directory Path, which was absent, gets a marker with Meta,
	// unless something that is in it makes that needless.
	intentMkdir intentOp = "mkdir"
)

// intent is the body of a journal record: something that was acknowledged and
// is not in S3 yet. It is encoded as the length of a JSON header (uvarint),
// the header, and the bytes of the file if these are not in a file of their
// own.
type intent struct {
	Op       intentOp       `json:"op"`
	Path     string         `json:"path"`
	Time     time.Time      `json:"time"` // when it was acknowledged, on this gateway's clock
	Key      string         `json:"key,omitempty"`
	To       string         `json:"to,omitempty"`
	ETag     store.ETag     `json:"etag,omitempty"`
	Modified time.Time      `json:"modified,omitzero"`
	Type     FileType       `json:"type,omitempty"`
	Marker   bool           `json:"marker,omitempty"`
	Size     int64          `json:"size,omitempty"`
	Meta     store.Metadata `json:"meta,omitempty"`
	File     string         `json:"file,omitempty"`   // in staged/; empty: the bytes are here
	Whole    bool           `json:"whole,omitempty"`  // put: written anew, not edited
	Mine     []string       `json:"mine,omitempty"`   // earlier puts of this path that may have been carried out
	Append   *appended      `json:"append,omitempty"` // put: only appends to the version ETag
	Attrs    bool           `json:"attrs,omitempty"`  // put: attributes were changed, and go with it

	data     []byte
	reserved bool // the ledger keeps File for it
}

// appended tells where the appends in the bytes of a put begin.
type appended struct {
	From  int64         `json:"from"`            // in the bytes
	Base  int64         `json:"base"`            // size of the version that they go behind
	Tries []appendedTry `json:"tries,omitempty"` // earlier ones that may have been carried out
}

// appendedTry is an earlier put whose appends are the first of a later one's.
type appendedTry struct {
	Seq  uint64 `json:"seq"`
	Upto int64  `json:"upto"` // bytes of the later one's appends that it had
}

// inlineLimit is the size in bytes up to which the bytes of a file go into the
// journal: one write and one sync for all of it.
const inlineLimit = 64 << 10

func (it intent) encode() ([]byte, error) {
	header, err := json.Marshal(it)
	if err != nil {
		return nil, fmt.Errorf("encode intent: %w", err)
	}
	body := binary.AppendUvarint(make([]byte, 0, len(header)+len(it.data)+binary.MaxVarintLen64), uint64(len(header)))
	return append(append(body, header...), it.data...), nil
}

func decodeIntent(body []byte) (intent, error) {
	size, n := binary.Uvarint(body)
	if n <= 0 || size > uint64(len(body)-n) {
		return intent{}, errors.New("decode intent: the length of the header is wrong")
	}
	it := intent{}
	if err := json.Unmarshal(body[n:n+int(size)], &it); err != nil {
		return intent{}, fmt.Errorf("decode intent: %w", err)
	}
	it.data = body[n+int(size):]
	return it, nil
}

// ledger is the journal of a filesystem. Without one, on a read-only mount,
// nothing is recorded. It also keeps the local files that intents name as they
// are: a content which uses one goes on with a copy before it changes it.
type ledger struct {
	j     *journal.Journal
	state *stateDir
	room  func() bool // frees space on the disk, and reports whether it did

	mu    sync.Mutex
	names map[journal.ID]string  // local files of intents, by base name; guarded by mu
	files map[string]*ledgerFile // guarded by mu
}

// ledgerFile is a local file that intents name.
type ledgerFile struct {
	intents int
	content *content // that goes on with the file; nil if it ended
}

func newLedger(j *journal.Journal, state *stateDir, room func() bool) *ledger {
	return &ledger{j: j, state: state, room: room, names: map[journal.ID]string{}, files: map[string]*ledgerFile{}}
}

// add ends some intents and adds others, all or none. They are durable after
// the next sync. Local files of those that ended are given back by then.
func (l *ledger) add(done []journal.ID, its ...intent) ([]journal.ID, error) {
	bodies := make([][]byte, len(its))
	for i, it := range its {
		var err error
		if bodies[i], err = it.encode(); err != nil {
			return nil, err
		}
	}
	ids, err := l.j.Append(realIDs(done), bodies...)
	if err != nil {
		return nil, fmt.Errorf("write the journal: %w", err)
	}
	for i := range its {
		if its[i].reserved {
			l.mu.Lock()
			l.names[ids[i]] = its[i].File
			l.mu.Unlock()
		}
	}
	return ids, nil
}

// sync returns when all that was added and ended before the call is durable.
func (l *ledger) sync() error {
	if l == nil {
		return nil
	}
	if err := l.j.Sync(); err != nil {
		return fmt.Errorf("sync the journal: %w", err)
	}
	return nil
}

// record is add and sync.
func (l *ledger) record(done []journal.ID, its ...intent) ([]journal.ID, error) {
	if done = realIDs(done); len(done)+len(its) == 0 {
		return nil, nil
	}
	ids, err := l.add(done, its...)
	if noSpace(err) && l.room() {
		ids, err = l.add(done, its...)
	}
	if err != nil {
		l.unreserve(its)
		return nil, err
	}
	if err := l.sync(); err != nil {
		l.done(ids...) // the caller says that it did not happen
		return nil, err
	}
	l.giveBack(done)
	return ids, nil
}

// done ends intents some time soon: that they are carried out once more after
// a crash does no harm.
func (l *ledger) done(ids ...journal.ID) {
	if ids = realIDs(ids); len(ids) > 0 {
		l.j.Done(ids...)
		l.giveBack(ids)
	}
}

// read returns a live intent with its bytes.
func (l *ledger) read(id journal.ID) (intent, error) {
	body, err := l.j.Read(id)
	if err != nil {
		return intent{}, fmt.Errorf("read the journal: %w", err)
	}
	return decodeIntent(body)
}

// reserve keeps a local file, which c uses, for an intent that is about to name
// it: add takes that over, or unreserve ends it.
func (l *ledger) reserve(file string, c *content) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reserveLocked(file, c)
}

func (l *ledger) reserveLocked(file string, c *content) {
	if l.files[file] == nil {
		l.files[file] = &ledgerFile{}
	}
	l.files[file].intents++
	l.files[file].content = c
}

// unreserve gives back the files of intents that could not be added.
func (l *ledger) unreserve(its []intent) {
	var files []string
	for _, it := range its {
		if it.reserved {
			files = append(files, it.File)
		}
	}
	l.release(files)
}

// hold notes that an intent of an earlier run names a local file, which c uses.
func (l *ledger) hold(id journal.ID, file string, c *content) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.names[id] == file {
		l.files[file].content = c
		return
	}
	l.names[id] = file
	l.reserveLocked(file, c)
}

// giveBack lets the local files of intents go that have ended.
func (l *ledger) giveBack(ids []journal.ID) {
	var files []string
	l.mu.Lock()
	for _, id := range ids {
		if name, ok := l.names[id]; ok {
			delete(l.names, id)
			files = append(files, name)
		}
	}
	l.mu.Unlock()
	l.release(files)
}

// release takes one intent off each file. Files that no intent names go to the
// contents that use them, or away.
func (l *ledger) release(files []string) {
	free := map[string]*content{}
	l.mu.Lock()
	for _, name := range files {
		f := l.files[name]
		if f.intents--; f.intents == 0 {
			delete(l.files, name)
			free[name] = f.content
		}
	}
	l.mu.Unlock()
	for name, c := range free {
		if c == nil || !c.unshare(l.state.stagedFile(name), func() bool { return l.named(name) }) {
			l.state.discard(l.state.stagedFile(name))
		}
	}
}

// named reports whether an intent names a local file.
func (l *ledger) named(file string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.files[file] != nil
}

// leave tells that c goes on without the local file path, or has ended. It
// reports whether an intent still names that.
func (l *ledger) leave(c *content, path string) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.files[filepath.Base(path)]
	if f == nil || l.state.stagedFile(filepath.Base(path)) != path {
		return false
	}
	if f.content == c { // else a later version uses it too
		f.content = nil
	}
	return true
}

// realIDs leaves the zero IDs out.
func realIDs(ids []journal.ID) []journal.ID {
	var real []journal.ID
	for _, id := range ids {
		if id != 0 {
			real = append(real, id)
		}
	}
	return real
}

// intentIDs are the intents of one file that are not ended.
type intentIDs struct {
	attr   journal.ID // attributes not in S3
	staged journal.ID // bytes of a temporary name
	put    journal.ID // bytes and attributes that wait to be sent
}

// all returns the IDs; some may be zero.
func (i intentIDs) all() []journal.ID { return []journal.ID{i.attr, i.staged, i.put} }

// openIntents returns the intents of the file of n, which may be nil, that are
// not ended.
func (n *node) openIntents() []journal.ID {
	if n == nil {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return nil
	}
	return n.file.intents.all()
}

// forgetIntentsLocked ends the intents of f some time soon, but for that of
// bytes that wait to be sent, which ends when the spool has done with them.
func (fs *FS) forgetIntentsLocked(f *file) {
	fs.ledger.done(f.intents.attr, f.intents.staged)
	f.intents = intentIDs{}
}
