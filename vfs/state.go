package vfs

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/store"
)

// stateDir is what a gateway keeps on local disk:
//
//	lock       held while a gateway runs; holds its process id
//	version    the version of this layout
//	bucket     the bucket and prefix that the journal is about
//	journal/   what was acknowledged and is not in S3, see package journal
//	id         names the directory in records of operations on trees, and parcels of the spool
//	staged/    bytes that are not in S3, and of objects being read
//	cache/     whole files of known versions
//	boot       the boot of the machine during which cache/ was filled
//	kept/ID/   versions that could not be committed: data, and meta.json
//	uploads/   one file for each multipart upload that is not completed
type stateDir struct {
	dir  string
	lock *os.File
	next atomic.Uint64
	run  string // sets the names of this run apart
}

// stateVersion is the version of the layout that this program writes. One that
// is larger is of a newer program, and refused.
const stateVersion = 1

// NewerStateError says that a newer version of this program has written the
// state directory.
type NewerStateError struct {
	Dir            string
	Version, Known int
}

func (e *NewerStateError) Error() string {
	return fmt.Sprintf("state directory %s has version %d and this program knows %d: a newer version of causeway wrote it", e.Dir, e.Version, e.Known)
}

// OtherBucketError says that the state directory holds changes of another
// bucket that are not in S3 yet.
type OtherBucketError struct {
	Dir, Bucket, Wanted string
	Changes             int
}

func (e *OtherBucketError) Error() string {
	return fmt.Sprintf("state directory %s belongs to %s, not to %s, and holds %d changes that are not in S3 yet", e.Dir, e.Bucket, e.Wanted, e.Changes)
}

// InUseError says that another gateway has the state directory.
type InUseError struct {
	Dir string
	PID int // 0 if not known
}

func (e *InUseError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("state directory %s is in use by another gateway", e.Dir)
	}
	return fmt.Sprintf("state directory %s is in use by the gateway with process id %d", e.Dir, e.PID)
}

// openStateDir takes the directory, making it if needed.
func openStateDir(dir string, now time.Time) (*stateDir, error) {
	if dir == "" {
		return nil, errors.New("no state directory given")
	}
	for _, sub := range []string{"journal", "staged", "cache", "kept", "uploads"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		text, _ := io.ReadAll(lock)
		lock.Close()
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return nil, &InUseError{Dir: dir, PID: pid}
	}
	s := &stateDir{dir: dir, lock: lock, run: strconv.FormatInt(now.UnixNano(), 36)}
	if err := errors.Join(lock.Truncate(0), writeAll(lock, strconv.Itoa(os.Getpid())+"\n"), s.checkVersion(), s.dropAfterBoot(),
		syncDir(dir), syncDir(filepath.Dir(dir))); err != nil {
		lock.Close()
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	return s, nil
}

func writeAll(f *os.File, s string) error {
	_, err := f.WriteAt([]byte(s), 0)
	return err
}

func (s *stateDir) close() error { return s.lock.Close() }

func (s *stateDir) journalDir() string { return filepath.Join(s.dir, "journal") }

func (s *stateDir) cacheDir() string { return filepath.Join(s.dir, "cache") }

// dropAfterBoot empties the cache if the machine was started anew since it was
// filled: a power cut may have left files of the right size whose bytes never
// reached the disk.
func (s *stateDir) dropAfterBoot() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown")
	}
	mark := filepath.Join(s.dir, "boot")
	if was, err := os.ReadFile(mark); err == nil && string(was) == string(boot) && string(boot) != "unknown" {
		return nil
	}
	if err := s.emptyCache(); err != nil {
		return err
	}
	return os.WriteFile(mark, boot, 0o600)
}

func (s *stateDir) emptyCache() error {
	if err := os.RemoveAll(s.cacheDir()); err != nil {
		return err
	}
	return os.MkdirAll(s.cacheDir(), 0o700)
}

// newStaged returns a name for a new local file.
func (s *stateDir) newStaged() string {
	return filepath.Join(s.dir, "staged", s.run+"-"+strconv.FormatUint(s.next.Add(1), 36))
}

// stagedFile returns the local file of a base name.
func (s *stateDir) stagedFile(name string) string { return filepath.Join(s.dir, "staged", name) }

// discard removes a local file.
func (s *stateDir) discard(file string) { os.Remove(file) }

// checkVersion refuses a directory of a newer version, and marks a new one.
func (s *stateDir) checkVersion() error {
	mark := filepath.Join(s.dir, "version")
	text, err := os.ReadFile(mark)
	if errors.Is(err, os.ErrNotExist) {
		return writeDurably(mark, []byte(strconv.Itoa(stateVersion)+"\n"))
	}
	if err != nil {
		return err
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("read %s: %w", mark, err)
	}
	if v > stateVersion {
		return &NewerStateError{Dir: s.dir, Version: v, Known: stateVersion}
	}
	return nil
}

// bind ties the directory to a bucket and prefix. One that has changes of
// another bucket is refused; otherwise it changes hands without its cache.
func (s *stateDir) bind(bucket string, changes int) error {
	mark := filepath.Join(s.dir, "bucket")
	text, err := os.ReadFile(mark)
	was := strings.TrimSpace(string(text))
	switch {
	case err == nil && was == bucket:
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case err == nil && changes > 0:
		return &OtherBucketError{Dir: s.dir, Bucket: was, Wanted: bucket, Changes: changes}
	}
	if err == nil {
		if err := s.emptyCache(); err != nil {
			return err
		}
	}
	return writeDurably(mark, []byte(bucket+"\n"))
}

// writeDurably replaces a small file.
func writeDurably(name string, data []byte) error {
	temp := name + ".new"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sweep removes everything from staged/ but the files named.
func (s *stateDir) sweep(keep map[string]bool) error {
	entries, err := os.ReadDir(filepath.Join(s.dir, "staged"))
	for _, e := range entries {
		if !keep[e.Name()] {
			s.discard(filepath.Join(s.dir, "staged", e.Name()))
		}
	}
	return err
}

// keep stores a version under kept/, sharing the bytes with file.
func (s *stateDir) keep(k KeptVersion, file string) error {
	dir := filepath.Join(s.dir, "kept", k.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	meta, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	if err := os.Link(file, data); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := syncFile(data); err != nil {
		return err
	}
	if err := writeDurably(filepath.Join(dir, "meta.json"), meta); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Kept lists the versions that could not be committed, oldest first, and of a
// gateway that has ended the temporary files and those that wait to be sent. It
// may be called while a gateway has the directory; its journal is its own
// business then.
func Kept(dir string) ([]KeptVersion, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "kept"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all, err := keptStaged(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		meta, err := os.ReadFile(filepath.Join(dir, "kept", e.Name(), "meta.json"))
		if errors.Is(err, os.ErrNotExist) {
			continue // being made, or being dropped
		}
		if err != nil {
			return nil, err
		}
		k := KeptVersion{}
		if err := json.Unmarshal(meta, &k); err != nil {
			return nil, fmt.Errorf("read kept version %s: %w", e.Name(), err)
		}
		k.ID, k.File = e.Name(), filepath.Join(dir, "kept", e.Name(), "data")
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b KeptVersion) int { return a.Time.Compare(b.Time) })
	return all, nil
}

// inUse reports whether a gateway has the directory.
func inUse(dir string) bool {
	lock, err := os.Open(filepath.Join(dir, "lock"))
	if err != nil {
		return false
	}
	defer lock.Close()
	return syscall.Flock(int(lock.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// DropKept removes a kept version for good.
func DropKept(dir, id string) error {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return fmt.Errorf("%q is not the id of a kept version", id)
	}
	for _, prefix := range []string{stagedID, unsentID} {
		if number, ok := strings.CutPrefix(id, prefix); ok {
			return dropIntent(dir, number)
		}
	}
	path := filepath.Join(dir, "kept", id)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("drop kept version: %w", err)
	}
	return os.RemoveAll(path)
}

// stateID is the random id of the directory, made on first use. It tells what
// earlier runs have begun in the bucket from what others have.
func (s *stateDir) stateID() (string, error) {
	file := filepath.Join(s.dir, "id")
	text, err := os.ReadFile(file)
	if err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text)), nil
	}
	id := rand.Text()
	return id, writeDurably(file, []byte(id+"\n"))
}

func (s *stateDir) countKept() int {
	entries, _ := os.ReadDir(filepath.Join(s.dir, "kept"))
	return len(entries)
}

// noteUpload remembers an upload until forgetUpload, so that the next run can
// abort it if this one dies.
func (s *stateDir) noteUpload(key string, id store.UploadID) {
	text, err := json.Marshal(store.Upload{Key: key, ID: id})
	if err == nil {
		os.WriteFile(s.uploadFile(id), text, 0o600) // without it the upload is only found by doctor
	}
}

func (s *stateDir) forgetUpload(id store.UploadID) { os.Remove(s.uploadFile(id)) }

func (s *stateDir) uploadFile(id store.UploadID) string {
	return filepath.Join(s.dir, "uploads", cacheHash(string(id)))
}

// leftUploads are the uploads that an earlier run did not end.
func (s *stateDir) leftUploads() []store.Upload {
	entries, _ := os.ReadDir(filepath.Join(s.dir, "uploads"))
	var left []store.Upload
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(s.dir, "uploads", e.Name()))
		up := store.Upload{}
		if err == nil && json.Unmarshal(text, &up) == nil {
			left = append(left, up)
		}
	}
	return left
}
