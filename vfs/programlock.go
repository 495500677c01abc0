package vfs

import (
	"context"
	"errors"
	"maps"
	"path"
	"strings"
	"time"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs/lockfile"
	lru "github.com/hashicorp/golang-lru/v2"
)

// Lock files of other programs (Options.LockFiles). A program that takes a lock
// over when its holder is dead judges that by a process id and a time, which
// mean nothing on another host, or in another PID namespace. Such a file is
// therefore shown to each reader with an id that lives where the reader runs,
// and with a time by the reader's clock; and it is removed only if the holder
// is dead, or has not renewed it for as long as it says itself.

// DefaultLockFiles are the lock files of swamp.
var DefaultLockFiles = []string{".lock", ".datastore.lock", ".locks/*.lock"}

const (
	// keyHolder is the metadata key that tells which process made a lock file.
	keyHolder = "causeway-holder"
	// busyDelay is how long the refusal of a removal takes: the caller tries
	// again at once.
	busyDelay = 100 * time.Millisecond
	// defaultLockTTL is after how long a lock file that does not say may be removed.
	defaultLockTTL = 30 * time.Second
	lockFilesSeen  = 4096
)

// errHeld is why a lock file stays.
var errHeld = errors.New("its holder is alive")

// programLocks is what is known of lock files.
type programLocks struct {
	globs []string
	procs Processes
	seen  *lru.Cache[string, lockSeen] // by path
}

// lockSeen is a version of a lock file, and when this gateway saw it first.
type lockSeen struct {
	etag store.ETag
	at   time.Time
	ttl  time.Duration // 0: not known
}

func newProgramLocks(globs []string, procs Processes) (*programLocks, error) {
	if _, err := parseGlobs(globs); err != nil {
		return nil, err
	}
	seen, err := lru.New[string, lockSeen](lockFilesSeen)
	return &programLocks{globs: globs, procs: procs, seen: seen}, err
}

// match reports whether a path is that of a lock file: a glob is about as many
// of the last components as it has.
func (l *programLocks) match(name string) bool {
	for _, g := range l.globs {
		tail, rest := "", name
		for range strings.Count(g, "/") + 1 {
			dir, last := splitPath(rest)
			tail, rest = path.Join(last, tail), dir
		}
		if ok, _ := path.Match(g, tail); ok {
			return true
		}
	}
	return false
}

// age is for how long this gateway has seen no other version of a lock file.
func (l *programLocks) age(path string, etag store.ETag, now time.Time) (age, ttl time.Duration) {
	s, ok := l.seen.Get(path)
	if !ok || s.etag != etag {
		s = lockSeen{etag: etag, at: now}
		l.seen.Add(path, s)
	}
	return now.Sub(s.at), s.ttl
}

func (l *programLocks) setTTL(path string, etag store.ETag, ttl time.Duration) {
	if s, ok := l.seen.Get(path); ok && s.etag == etag {
		s.ttl = ttl
		l.seen.Add(path, s)
	}
}

// caller returns the process that a request comes from.
func (l *programLocks) caller(ctx context.Context) (Process, bool) {
	thread, _ := ctx.Value(CallerKey{}).(uint32)
	return l.procs.Of(thread)
}

// mark notes who makes a lock file.
func (l *programLocks) mark(ctx context.Context, path string, e *index.Entry) {
	if !l.match(path) {
		return
	}
	p, ok := l.caller(ctx)
	if !ok {
		return
	}
	a := *e.Attr
	a.Other = maps.Clone(a.Other)
	if a.Other == nil {
		a.Other = store.Metadata{}
	}
	a.Other[keyHolder] = holderText(l.procs.Host(), p)
	e.Attr = &a
}

// holder returns who made a lock file, if that was on this host.
func (l *programLocks) holder(e index.Entry) (Process, bool) {
	if e.Attr == nil {
		return Process{}, false
	}
	host, p, ok := parseHolder(e.Attr.Other[keyHolder])
	return p, ok && host == l.procs.Host()
}

// viewLock gives a new handle of a lock file the bytes that its reader is to
// see, if they are not those that the file has.
func (fs *FS) viewLock(ctx context.Context, h *Handle, path string) error {
	l := fs.programLocks
	if h.writable || !l.match(path) {
		return nil
	}
	h.node.mu.Lock()
	e, size := h.f.entry, h.f.sizeLocked()
	h.node.mu.Unlock()
	if size == 0 || size > lockfile.MaxSize {
		return nil
	}
	text := make([]byte, size)
	n, err := fs.Read(ctx, h, text, 0)
	if err != nil {
		return err
	}
	rec, err := lockfile.Parse(text[:n])
	if err != nil {
		return nil // being written
	}
	now := fs.now()
	age, _ := l.age(path, e.ETag, now)
	ttl := rec.TTL
	if ttl == 0 {
		ttl = defaultLockTTL
	}
	l.setTTL(path, e.ETag, ttl)
	holder, here := l.holder(e)
	reader, known := l.caller(ctx)
	switch {
	case here && known && holder.Namespace == reader.Namespace:
		return nil // the numbers and the clock are the reader's
	case here && !l.procs.Alive(holder):
		age = max(age, ttl+time.Second)
	}
	for _, pid := range l.procs.Living(reader) {
		if view, err := lockfile.Rewrite(text[:n], pid, now.Add(-age)); err == nil {
			h.view = view
			return nil
		}
	}
	return nil
}

// readView reads from a view.
func readView(view, p []byte, off int64) int {
	if off >= int64(len(view)) {
		return 0
	}
	return copy(p, view[off:])
}

// Volatile reports whether that a name does not exist must not be kept: it is
// that of a lock file which others may make.
func (fs *FS) Volatile(parent NodeID, name string) bool {
	p := fs.nodes.get(parent)
	if p == nil || fs.alone() {
		return false
	}
	dir, ok := fs.nodes.path(p)
	return ok && fs.programLocks.match(joinPath(dir, name))
}

// lookAtLock asks S3 what a lock file is now, unless this gateway is alone or
// knows better. Kind NotExist: there is none.
func (fs *FS) lookAtLock(ctx context.Context, path string) error {
	if !fs.programLocks.match(path) || fs.alone() || fs.deleter.has(path) || len(fs.spool.of(path)) > 0 {
		return nil
	}
	if e, known := fs.idx.Peek(path); known && e.Type == TypeDir {
		return nil
	}
	asOf := fs.now()
	waiting := fs.whileThere(ctx, 0)
	defer waiting.release()
	ctx, cancel := fs.withTimeout(waiting)
	defer cancel()
	info, err := fs.store.Head(ctx, path)
	if store.IsKind(err, store.NotExist) {
		fs.idx.Remove(path)
		return err
	}
	if err != nil {
		return waiting.explain(err)
	}
	e := index.Decode(info)
	_, e.Name = splitPath(path)
	fs.idx.Put(path, e, asOf)
	return nil
}

// mayRemove is Busy if path is a lock file whose holder lives, and the caller is
// not it. The lock of path is held.
func (fs *FS) mayRemove(ctx context.Context, op, path string) error {
	l := fs.programLocks
	if !l.match(path) {
		return nil
	}
	e, known := fs.idx.Peek(path)
	if n := fs.nodes.find(path); n != nil {
		if f := n.fileState(); f != nil && f.dirty() { // newer than what S3 has
			e, known = fs.entryNow(f), true
		}
	}
	if !known || e.Type != TypeFile {
		return nil
	}
	holder, here := l.holder(e)
	if here {
		if caller, ok := l.caller(ctx); ok && l.procs.Within(caller, holder) || !l.procs.Alive(holder) {
			return nil
		}
	}
	age, ttl := l.age(path, e.ETag, fs.now())
	if ttl == 0 {
		ttl = defaultLockTTL
	}
	if age >= ttl {
		return nil
	}
	return &Error{Op: op, Path: path, Kind: Busy, Err: errHeld}
}

// refuseLater delays the refusal of a removal.
func refuseLater(ctx context.Context, err error) error {
	timer := time.NewTimer(busyDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return err
}
