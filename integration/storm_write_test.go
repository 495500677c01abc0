//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// stormFile is a file that one worker writes and all read.
type stormFile struct {
	id      int
	path    string       // below the mount point
	other   string       // a rename to it failed: either may be there, or both
	mount   int          // through which it is written now
	states  []stormState // one, unless calls failed
	version int

	name atomic.Pointer[string] // path, for readers
	// busy is held by the writer, of the mount that it writes through, as what
	// it does is seen there before it is complete.
	busy [2]sync.RWMutex
}

// stormWorker writes files of its own and reads everybody's.
type stormWorker struct {
	*storm
	rng   *rand.Rand
	files []*stormFile
}

// stormKinds are what workers do, with the share of each.
var stormKinds = []struct {
	name  string
	share int
	do    func(*stormWorker, *stormFile) error
}{
	{"rewrite", 20, (*stormWorker).rewrite}, {"save", 20, (*stormWorker).save}, {"append", 12, (*stormWorker).append},
	{"edit", 12, (*stormWorker).edit}, {"shorten", 5, (*stormWorker).shorten}, {"unlink", 6, (*stormWorker).unlink},
	{"rename", 6, (*stormWorker).rename}, {"directory", 3, (*stormWorker).directory}, {"read", 16, nil},
}

// step does one thing, and notes how it went.
func (w *stormWorker) step() {
	dice, f := w.rng.IntN(100), w.files[w.rng.IntN(len(w.files))]
	for _, k := range stormKinds {
		if dice -= k.share; dice >= 0 {
			continue
		}
		if slices.Contains(w.without, k.name) {
			return
		}
		if k.name == "read" {
			w.did(k.name, w.read())
			return
		}
		if k.name == "rewrite" {
			f.mount = w.rng.IntN(len(w.mounts))
		}
		f.busy[f.mount].Lock()
		w.did(k.name, k.do(w, f))
		path := f.path
		f.name.Store(&path)
		f.busy[f.mount].Unlock()
		return
	}
}

// now returns the one state that a file is in, having looked if need be; ok is
// false if nobody can say.
func (w *stormWorker) now(f *stormFile) (s stormState, ok bool) {
	if f.other != "" {
		return nil, false
	}
	if len(f.states) == 1 {
		return f.states[0], true
	}
	content, err := w.content(f.mount, f.path)
	if err != nil {
		return nil, false
	}
	s, err = matches(f.id, content, f.states)
	if err != nil {
		w.t.Errorf("%s on mount %d, after a call failed: %v", f.path, f.mount, err)
		return nil, false
	}
	f.states = []stormState{s}
	return s, true
}

// content reads a file through a mount: nil if there is none.
func (w *storm) content(mount int, path string) (b []byte, err error) {
	err = w.dog.call("open, read and close "+path, func() error {
		b, err = os.ReadFile(w.mounts[mount].Path(path))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && b == nil {
		b = []byte{}
	}
	return b, err
}

// became notes what a call made of a file, or may have made of it.
func (w *stormWorker) became(f *stormFile, next stormState, err error) error {
	if err == nil {
		f.states = []stormState{next}
		return nil
	}
	f.states = append(f.states, next)
	if next != nil {
		w.wantStored(f, next, err)
	}
	return err
}

// wantStored wants the bytes of a close that failed to be in S3 or to be kept.
func (w *stormWorker) wantStored(f *stormFile, s stormState, failure error) {
	if w.dropped(failure) {
		return
	}
	want := s.bytes(f.id)
	if o := w.envs[f.mount].Get(w.t, f.path); o != nil && bytes.Equal(o.Body, want) {
		return
	}
	for _, v := range kept(w.t, w.envs[f.mount], w.mounts[f.mount]) {
		if strings.Trim(v.Path, "/") != f.path || v.Size != int64(len(want)) {
			continue
		}
		to := fmt.Sprintf("%s/copy-%d-%d", w.scratch, f.id, f.version)
		r := w.envs[f.mount].Causeway(w.t, nil, "recover", "cp", v.ID, to, "--state-dir", w.mounts[f.mount].StateDir)
		got, err := os.ReadFile(to)
		os.Remove(to)
		if r.Code == 0 && err == nil && bytes.Equal(got, want) {
			w.foundKept.Add(1)
			return
		}
	}
	w.t.Errorf("%s: %v; its %d bytes are neither in S3 nor kept", f.path, failure, len(want))
}

// size is how many blocks a file gets: mostly few, sometimes as many as a
// multipart upload needs.
func (w *stormWorker) size() int {
	if w.rng.IntN(w.largeOneIn) == 0 {
		return 17_000 + w.rng.IntN(6000)
	}
	return 1 + w.rng.IntN(12)
}

// put writes b at an offset of an open file and closes it, sometimes with an
// fsync before, and sometimes in several pieces.
func (w *stormWorker) put(f *os.File, b []byte, at int64) error {
	piece := len(b)
	if w.rng.IntN(3) == 0 {
		piece = max(1, len(b)/(2+w.rng.IntN(5)))
	}
	var err error
	for p := range slices.Chunk(b, max(1, piece)) {
		err = errors.Join(err, w.dog.call("write", func() error {
			var err error
			if at < 0 {
				_, err = f.Write(p)
			} else {
				_, err = f.WriteAt(p, at)
				at += int64(len(p))
			}
			return err
		}))
		if err != nil {
			break // the program gives up
		}
	}
	if w.rng.IntN(3) == 0 {
		w.dog.call("fsync", f.Sync) // if it cannot, close tries again
	}
	return errors.Join(err, w.dog.call("close", f.Close))
}

// open opens a file on the mount that it is written through.
func (w *stormWorker) open(f *stormFile, path string, flags int) (file *os.File, err error) {
	err = w.dog.call("open "+path, func() error {
		file, err = os.OpenFile(w.mounts[f.mount].Path(path), flags, 0o644)
		return err
	})
	return file, err
}

// rewrite replaces a file from its beginning, perhaps through the other mount.
func (w *stormWorker) rewrite(f *stormFile) error {
	if f.other != "" {
		return nil
	}
	f.version++
	next := uniform(w.size(), f.version)
	file, err := w.open(f, f.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		f.states = append(f.states, stormState{}) // made, and not filled
		return err
	}
	return w.became(f, next, w.put(file, next.bytes(f.id), 0))
}

// save replaces a file by renaming another one over it.
func (w *stormWorker) save(f *stormFile) error {
	if f.other != "" {
		return nil
	}
	f.version++
	next := uniform(w.size(), f.version)
	tmp := f.path + ".tmp"
	file, err := w.open(f, tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	if err = w.put(file, next.bytes(f.id), 0); err == nil {
		err = w.dog.call("rename over", func() error {
			return os.Rename(w.mounts[f.mount].Path(tmp), w.mounts[f.mount].Path(f.path))
		})
	}
	if err != nil {
		f.states = append(f.states, next) // the bytes stay under the temporary name
		w.dog.call("unlink the temporary file", func() error { return os.Remove(w.mounts[f.mount].Path(tmp)) })
		return err
	}
	return w.became(f, next, nil)
}

// change edits a file that is there: do returns the new state and what to
// write where.
func (w *stormWorker) change(f *stormFile, flags int, do func(s stormState) (next stormState, b []byte, at int64)) error {
	s, ok := w.now(f)
	if !ok || len(s) == 0 {
		return nil
	}
	f.version++
	next, b, at := do(s)
	file, err := w.open(f, f.path, os.O_WRONLY|flags)
	if err != nil {
		return err
	}
	return w.became(f, next, w.put(file, b, at))
}

func (w *stormWorker) append(f *stormFile) error {
	return w.change(f, os.O_APPEND, func(s stormState) (stormState, []byte, int64) {
		n := 1 + w.rng.IntN(3)
		next := slices.Concat(s, uniform(n, f.version))
		return next, next.bytes(f.id)[len(s)*stormBlock:], -1
	})
}

func (w *stormWorker) edit(f *stormFile) error {
	return w.change(f, 0, func(s stormState) (stormState, []byte, int64) {
		i := w.rng.IntN(len(s))
		next := slices.Clone(s)
		next[i] = f.version
		return next, block(f.id, i, f.version), int64(i) * stormBlock
	})
}

func (w *stormWorker) shorten(f *stormFile) error {
	s, ok := w.now(f)
	if !ok || len(s) < 2 {
		return nil
	}
	next := s[:len(s)-1-w.rng.IntN(len(s)-1)]
	file, err := w.open(f, f.path, os.O_WRONLY)
	if err != nil {
		return err
	}
	err = w.dog.call("ftruncate", func() error { return file.Truncate(int64(len(next)) * stormBlock) })
	return w.became(f, next, errors.Join(err, w.dog.call("close", file.Close)))
}

func (w *stormWorker) unlink(f *stormFile) error {
	if s, ok := w.now(f); !ok || s == nil {
		return nil
	}
	return w.became(f, nil, w.dog.call("unlink", func() error { return os.Remove(w.mounts[f.mount].Path(f.path)) }))
}

func (w *stormWorker) rename(f *stormFile) error {
	if s, ok := w.now(f); !ok || s == nil {
		return nil
	}
	to := fmt.Sprintf("%s-%d", strings.Split(f.path, "-")[0], w.names.Add(1))
	err := w.dog.call("rename", func() error {
		return os.Rename(w.mounts[f.mount].Path(f.path), w.mounts[f.mount].Path(to))
	})
	if err != nil {
		f.other = to
		return err
	}
	f.path = to
	return nil
}

// directory makes a directory, and removes it.
func (w *stormWorker) directory(f *stormFile) error {
	dir := w.mounts[f.mount].Path(fmt.Sprintf("%s-dir%d", strings.Split(f.path, "-")[0], w.names.Add(1)))
	err := w.dog.call("mkdir", func() error { return os.Mkdir(dir, 0o755) })
	if err != nil {
		return err
	}
	err = w.dog.call("rmdir", func() error { return os.Remove(dir) })
	if err != nil {
		w.mu.Lock()
		w.leftDirs = append(w.leftDirs, dir)
		w.mu.Unlock()
	}
	return err
}

// read checks any file of anybody, through any mount. What it finds may be of
// any moment since the open, so only that it is whole can be told.
func (w *stormWorker) read() error {
	f, mount := w.all[w.rng.IntN(len(w.all))], w.rng.IntN(len(w.mounts))
	f.busy[mount].RLock()
	defer f.busy[mount].RUnlock()
	path := *f.name.Load()
	b, err := w.content(mount, path)
	if errors.Is(err, unix.ESTALE) { // the rest of a version that is gone
		return nil
	}
	if err != nil || b == nil {
		return err
	}
	if _, err := parseStorm(f.id, b); err != nil {
		w.t.Errorf("%s, read through mount %d: %v", path, mount, err)
	}
	return nil
}
