//go:build integration

package crash

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// What a gateway may have lost together with its state directory, although it
// was acknowledged, if that was not longer than lastInstants before the kill:
// a removal that was journaled and not sent, always.
const lastInstants = 500 * time.Millisecond

// attrsInLastInstants extends that to attribute changes that follow a commit
// (chmod, utimes), which are gathered for 100 ms as removals are for 50 ms.
const attrsInLastInstants = true

// crashAttrs are attributes that a crash must not lose. A zero time is not
// known.
type crashAttrs struct {
	mode  fs.FileMode
	mtime time.Time
}

func (a crashAttrs) like(found crashAttrs) bool {
	return a.mode == found.mode && (a.mtime.IsZero() || a.mtime.Equal(found.mtime))
}

// crashFile is a file or directory as it is expected, or as it was found.
type crashFile struct {
	dir     bool
	content []byte
	crashAttrs
	was   []crashAttrs // before changes that may not have been sent, oldest first
	wasAt time.Time    // when the last of these was acknowledged
}

// crashTree is all below a writer's directory, by path.
type crashTree map[string]crashFile

func (t crashTree) below(dir string) []string {
	var paths []string
	for p := range t {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	return paths
}

// move gives everything at or below from the new name to.
func (t crashTree) move(from, to string) {
	for _, p := range t.below(from) {
		t[to+strings.TrimPrefix(p, from)] = t[p]
		delete(t, p)
	}
}

// readTree reads all below dir through a mount.
func readTree(dir string) (crashTree, error) {
	t := crashTree{}
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		f := crashFile{dir: info.IsDir(), crashAttrs: crashAttrs{mode: info.Mode().Perm(), mtime: info.ModTime()}}
		if !f.dir {
			if f.content, err = os.ReadFile(p); err != nil {
				return err
			}
			if int64(len(f.content)) != info.Size() {
				return fmt.Errorf("%s: read %d bytes, stat says %d", p, len(f.content), info.Size())
			}
		}
		rel, _ := filepath.Rel(dir, p)
		t[rel] = f
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) && len(t) == 0 {
		_, err = os.Lstat(filepath.Dir(dir))
	}
	return t, err
}

// temporary says whether a name is private to its gateway.
func temporary(p string) bool { return strings.HasSuffix(p, ".tmp") }

// goneFile is a file that was removed, and when that was acknowledged.
type goneFile struct {
	crashFile
	at time.Time
}

// leniency says what may differ from what was acknowledged, because the state
// directory is lost too.
type leniency struct {
	stateLost bool
	killed    time.Time
	gone      map[string]goneFile
}

func (l leniency) justBefore(t time.Time) bool { return l.stateLost && l.killed.Sub(t) < lastInstants }

// differences says how found differs from want, in ways that l does not allow.
func differences(want, found crashTree, l leniency) (diffs []string) {
	add := func(format string, args ...any) { diffs = append(diffs, fmt.Sprintf(format, args...)) }
	for _, p := range slices.Sorted(maps.Keys(want)) {
		w := want[p]
		f, ok := found[p]
		switch {
		case !ok:
			if !l.stateLost || !temporary(p) {
				add("%s is lost: want %s", p, w)
			}
		case f.dir != w.dir || !bytes.Equal(f.content, w.content):
			add("%s: found %s, want %s", p, f, w)
		case !w.like(f.crashAttrs):
			recent := attrsInLastInstants && l.justBefore(w.wasAt)
			if !recent || !slices.ContainsFunc(w.was, func(a crashAttrs) bool { return a.like(f.crashAttrs) }) {
				add("%s: found attributes %v, want %v", p, f.crashAttrs, w.crashAttrs)
			}
		}
	}
	var back []string // removed names that may be there
	for p, g := range l.gone {
		if f, ok := found[p]; ok && l.justBefore(g.at) && f.dir == g.dir && bytes.Equal(f.content, g.content) {
			back = append(back, p)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(found)) {
		_, wanted := want[p]
		implied := slices.ContainsFunc(back, func(b string) bool { return p == b || found[p].dir && strings.HasPrefix(b, p+"/") })
		if !wanted && !implied {
			add("%s is there: found %s, want it gone", p, found[p])
		}
	}
	return diffs
}

// String describes what a file holds.
func (f crashFile) String() string {
	if f.dir {
		return "a directory"
	}
	var parts []string
	for b := f.content; len(b) > 0; {
		id, rest, ok := cutRecord(b)
		if !ok {
			parts = append(parts, fmt.Sprintf("%d bytes of no whole record (%.40q)", len(b), b))
			break
		}
		parts, b = append(parts, "op "+id), rest
	}
	return fmt.Sprintf("%d bytes [%s]", len(f.content), strings.Join(parts, ", "))
}

// record returns size bytes (or a few more) that say which operation wrote
// them: its id, the length and a checksum, and a pattern.
func record(id string, size int) []byte {
	b := append([]byte{0xC5, byte(len(id))}, id...)
	b = binary.BigEndian.AppendUint32(b, uint32(size))
	fill := rand.New(rand.NewPCG(uint64(crc32.ChecksumIEEE([]byte(id))), uint64(size)))
	for range size {
		b = append(b, byte(fill.Uint32()))
	}
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// cutRecord takes the first record off b.
func cutRecord(b []byte) (id string, rest []byte, ok bool) {
	if len(b) < 2 || b[0] != 0xC5 || len(b) < 2+int(b[1])+4 {
		return "", nil, false
	}
	head := 2 + int(b[1])
	end := head + 4 + int(binary.BigEndian.Uint32(b[head:]))
	if len(b) < end+4 || crc32.ChecksumIEEE(b[:end]) != binary.BigEndian.Uint32(b[end:]) {
		return "", nil, false
	}
	return string(b[2:head]), b[end+4:], true
}

// mixture says whether found is a stage of renaming the directory from to to:
// every file is under its old or its new name, or both, and all else is as it
// was.
func mixture(was, found crashTree, from, to string, l leniency) []string {
	undone := maps.Clone(found)
	for _, p := range found.below(to) {
		old := from + strings.TrimPrefix(p, to)
		f := found[p]
		if w, ok := was[old]; ok && f.dir == w.dir && bytes.Equal(f.content, w.content) {
			f.crashAttrs = w.crashAttrs
			undone[old] = f
			delete(undone, p)
		}
	}
	if len(was.below(from)) > 0 {
		if _, ok := undone[from]; !ok {
			undone[from] = was[from]
		}
	}
	for _, p := range was.below(from) { // directories come and go meanwhile
		if _, ok := undone[p]; !ok && was[p].dir {
			undone[p] = was[p]
		}
	}
	return differences(was, undone, l)
}

// parent is the directory of a path, "" at the top.
func parent(p string) string {
	if d := path.Dir(p); d != "." {
		return d
	}
	return ""
}
