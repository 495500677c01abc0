package vfs

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/store"
	lru "github.com/hashicorp/golang-lru/v2"
)

// diskCache keeps whole files of known versions on the local disk, up to a
// number of bytes. A file is named by a hash of its path, its ETag and its
// size, so that a restart finds them again. Whether a version is still
// current is for the caller to ask.
type diskCache struct {
	dir   string
	limit int64

	mu    sync.Mutex
	bytes int64
	files *lru.Cache[string, cached] // by hash of the path, oldest first
	users map[uint64]int             // contents on a local file, by its inode number
}

// cached is one file of the cache.
type cached struct {
	file string
	etag store.ETag
	size int64
	// checked is a moment after which this was the current version; zero for
	// what an earlier run left.
	checked time.Time
}

// maxCachedFiles bounds the memory that the cache's table takes.
const maxCachedFiles = 100_000

// openCache opens the cache with what earlier runs left.
func openCache(dir string, limit int64) *diskCache {
	d := &diskCache{dir: dir, limit: limit, users: map[uint64]int{}}
	d.files, _ = lru.NewWithEvict(maxCachedFiles, func(_ string, c cached) { // the size is positive
		d.bytes -= c.size
		os.Remove(c.file)
	})
	f, err := os.Open(dir)
	if err != nil {
		return d
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1024)
		for _, name := range names {
			d.adopt(name)
		}
		if err != nil {
			return d
		}
	}
}

func (d *diskCache) adopt(name string) {
	file := filepath.Join(d.dir, name)
	hash, rest, ok1 := strings.Cut(name, ".")
	size, etag, ok2 := strings.Cut(rest, ".")
	n, err := strconv.ParseInt(size, 10, 64)
	raw, err2 := hex.DecodeString(etag)
	fi, err3 := os.Stat(file)
	if !ok1 || !ok2 || err != nil || err2 != nil || err3 != nil || fi.Size() != n {
		os.Remove(file)
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addLocked(hash, cached{file: file, etag: store.ETag(raw), size: n})
}

func cacheHash(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:16])
}

func (d *diskCache) addLocked(hash string, c cached) {
	if old, ok := d.files.Peek(hash); ok && old.file == c.file {
		return
	}
	d.files.Remove(hash)
	d.files.Add(hash, c)
	d.bytes += c.size
	for d.bytes > d.limit {
		if _, _, ok := d.files.RemoveOldest(); !ok {
			return
		}
	}
}

// put moves a local file into the cache.
func (d *diskCache) put(path string, etag store.ETag, size int64, file string, checked time.Time) {
	hash := cacheHash(path)
	name := filepath.Join(d.dir, hash+"."+strconv.FormatInt(size, 10)+"."+hex.EncodeToString([]byte(etag)))
	d.mu.Lock()
	defer d.mu.Unlock()
	if size > d.limit || os.Rename(file, name) != nil {
		os.Remove(file)
		return
	}
	d.addLocked(hash, cached{file: name, etag: etag, size: size, checked: checked})
}

// note remembers that the version of path that is here was checked.
func (d *diskCache) note(path string, etag store.ETag, checked time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hash := cacheHash(path)
	if c, ok := d.files.Peek(hash); ok && c.etag == etag && checked.After(c.checked) {
		c.checked = checked
		d.files.Add(hash, c)
	}
}

// open returns the content of the version of path that is here, or nil, and
// when it was checked.
func (d *diskCache) open(f fetcher, path string) (*content, store.ETag, time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, ok := d.files.Get(cacheHash(path))
	if !ok {
		return nil, "", time.Time{}
	}
	content, err := openContent(f, c.file, origin{key: path, etag: c.etag, size: c.size})
	if err != nil {
		d.files.Remove(cacheHash(path))
		return nil, "", time.Time{}
	}
	ino := inodeOf(content.file)
	d.users[ino]++
	content.vacate = sync.OnceFunc(func() { d.left(ino) })
	return content, c.etag, c.checked
}

// left notes that a content does not use a file of the cache any more.
func (d *diskCache) left(ino uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.users[ino]--; d.users[ino] <= 0 {
		delete(d.users, ino)
	}
}

// inodeOf returns the number of an open file, which no other one has until it
// is closed; 0 if there is none.
func inodeOf(file *os.File) uint64 {
	if fi, err := file.Stat(); err == nil {
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			return st.Ino
		}
	}
	return 0
}

// take moves a file out of the cache to become file, since it is about to be
// changed. open is the caller's descriptor of it, from which the bytes are
// copied if the cache has dropped or replaced it meanwhile, or if another
// content has the same file: that of a node that has lost its name.
func (d *diskCache) take(from, file string, open *os.File) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	hash, _, _ := strings.Cut(filepath.Base(from), ".")
	if c, ok := d.files.Peek(hash); ok && c.file == from && d.users[inodeOf(open)] <= 1 && sameFile(open, from) && os.Rename(from, file) == nil {
		d.files.Remove(hash)
		return nil
	}
	dst, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := io.Copy(dst, io.NewSectionReader(open, 0, 1<<62)); err != nil {
		os.Remove(file)
		return err
	}
	return nil
}

func sameFile(open *os.File, name string) bool {
	a, err1 := open.Stat()
	b, err2 := os.Stat(name)
	return err1 == nil && err2 == nil && os.SameFile(a, b)
}

// rename makes the version was of one path the version etag of another: after a
// copy in S3.
func (d *diskCache) rename(from, to string, was, etag store.ETag) {
	d.mu.Lock()
	c, ok := d.files.Peek(cacheHash(from))
	if ok = ok && c.etag == was; ok {
		d.bytes += c.size // the eviction below takes it off
		c.file = moveAside(c.file)
		d.files.Remove(cacheHash(from))
	}
	d.mu.Unlock()
	if ok && c.file != "" {
		d.mu.Lock()
		d.bytes -= c.size
		d.mu.Unlock()
		d.put(to, etag, c.size, c.file, c.checked)
	}
}

// moveAside renames a file so that its removal from the table does not remove
// it from the disk.
func moveAside(file string) string {
	aside := file + ".moving"
	if os.Rename(file, aside) != nil {
		return ""
	}
	return aside
}

// shrink gives up n bytes, oldest first, and reports whether there were any.
func (d *diskCache) shrink(n int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	goal, any := d.bytes-n, false
	for d.bytes > goal {
		if _, _, ok := d.files.RemoveOldest(); !ok {
			return any
		}
		any = true
	}
	return any
}

// usage returns the number of files and bytes.
func (d *diskCache) usage() (int, int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.files.Len(), d.bytes
}
