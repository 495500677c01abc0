package vfs

import (
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
//	staged/    bytes that are not in S3, and of objects being read
//	cache/     whole files of known versions
//	boot       the boot of the machine during which cache/ was filled
//	kept/ID/   versions that could not be committed: data, and meta.json
//	uploads/   one file for each multipart upload that is not completed
type stateDir struct {
	dir  string
	lock *os.File
	next atomic.Uint64
	run  string     // sets the names of this run apart
	left []leftFile // temporary files of an earlier run, until they are taken up
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
	for _, sub := range []string{"staged", "cache", "kept", "uploads"} {
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
	if err := errors.Join(lock.Truncate(0), writeAll(lock, strconv.Itoa(os.Getpid())+"\n"), s.sweep(), s.dropAfterBoot()); err != nil {
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
	if err := os.RemoveAll(s.cacheDir()); err != nil {
		return err
	}
	if err := os.MkdirAll(s.cacheDir(), 0o700); err != nil {
		return err
	}
	return os.WriteFile(mark, boot, 0o600)
}

// newStaged returns a name for a new local file.
func (s *stateDir) newStaged() string {
	return filepath.Join(s.dir, "staged", s.run+"-"+strconv.FormatUint(s.next.Add(1), 36))
}

// discard removes a local file.
func (s *stateDir) discard(file string) { os.Remove(file) }

// signAttr is the extended attribute of a local file that says what its bytes
// are for, while they are not in S3 although that was acknowledged: those of
// temporary names.
const signAttr = "user.causeway.staged"

// signature is the value of signAttr.
type signature struct {
	Path string         `json:"path"`
	Meta store.Metadata `json:"meta,omitempty"`
}

// leftFile is a temporary file that an earlier run left.
type leftFile struct {
	signature
	file string
	size int64
	time time.Time
}

// leftStaged returns the temporary files in staged/.
func leftStaged(dir string) ([]leftFile, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "staged"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var left []leftFile
	for _, e := range entries {
		l := leftFile{file: filepath.Join(dir, "staged", e.Name())}
		text, ok := getAttr(l.file, signAttr)
		fi, err := os.Stat(l.file)
		if ok && err == nil && json.Unmarshal([]byte(text), &l.signature) == nil {
			l.size, l.time = fi.Size(), fi.ModTime()
			left = append(left, l)
		}
	}
	return left, nil
}

// sweep takes the temporary files that an earlier run left, and removes
// everything else from staged/.
func (s *stateDir) sweep() error {
	left, err := leftStaged(s.dir)
	if err != nil {
		return err
	}
	s.left = left
	entries, err := os.ReadDir(filepath.Join(s.dir, "staged"))
	for _, e := range entries {
		file := filepath.Join(s.dir, "staged", e.Name())
		if !slices.ContainsFunc(left, func(l leftFile) bool { return l.file == file }) {
			s.discard(file)
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
	return os.WriteFile(filepath.Join(dir, "meta.json"), meta, 0o600)
}

// Kept lists the versions that could not be committed, oldest first, and the
// temporary files of a gateway that has ended. It may be called while a gateway
// has the directory; its temporary files are its own business then.
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

// stagedID begins the id of a kept version that is a temporary file in staged/.
const stagedID = "staged-"

// keptStaged lists the temporary files of a gateway that has ended.
func keptStaged(dir string) ([]KeptVersion, error) {
	if inUse(dir) {
		return nil, nil
	}
	left, err := leftStaged(dir)
	if err != nil {
		return nil, err
	}
	var all []KeptVersion
	for _, l := range left {
		all = append(all, KeptVersion{ID: stagedID + filepath.Base(l.file), Path: l.Path, Size: l.size, Time: l.time,
			Reason: "a temporary file that was not renamed; the next mount shows it again", File: l.file})
	}
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
	path := filepath.Join(dir, "kept", id)
	if name, ok := strings.CutPrefix(id, stagedID); ok {
		if inUse(dir) {
			return fmt.Errorf("drop kept version: %w", &InUseError{Dir: dir})
		}
		path = filepath.Join(dir, "staged", name)
	}
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("drop kept version: %w", err)
	}
	return os.RemoveAll(path)
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
