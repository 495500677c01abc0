package vfs

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/index"
)

// DirHandle is an open directory. What it shows is the state at the last time
// that it was read from its start.
type DirHandle struct {
	node *node

	mu   sync.Mutex
	snap []index.Answer // guarded by mu: sorted by name; nil before the first read
	dir  string         // guarded by mu: path at the time of snap
	// typed is guarded by mu: types were asked for up to here.
	typed uint64
}

// OpenDir implements Directories.
func (fs *FS) OpenDir(ctx context.Context, id NodeID) (*DirHandle, error) {
	n := fs.nodes.get(id)
	if n == nil {
		return nil, &Error{Op: "opendir", Kind: Stale}
	}
	if n.typ != TypeDir {
		return nil, &Error{Op: "opendir", Path: fs.pathOf(n), Kind: NotDir}
	}
	return &DirHandle{node: n}, nil
}

// ReadDir implements Directories.
func (fs *FS) ReadDir(ctx context.Context, d *DirHandle, off uint64, emit func(DirEntry) bool) error {
	return fs.readDir(ctx, d, off, false, emit)
}

// ReadDirPlus implements Directories.
func (fs *FS) ReadDirPlus(ctx context.Context, d *DirHandle, off uint64, emit func(DirEntry) bool) error {
	return fs.readDir(ctx, d, off, true, emit)
}

// dots is the number of entries before the names of a directory.
const dots = 2

func (fs *FS) readDir(ctx context.Context, d *DirHandle, off uint64, plus bool, emit func(DirEntry) bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off == 0 || d.snap == nil {
		if err := fs.snapshotDir(ctx, d); err != nil {
			return err
		}
	}
	if off < dots && !fs.emitDots(d.node, off, emit) {
		return nil
	}
	for i := max(off, dots) - dots; i < uint64(len(d.snap)); i++ {
		if d.snap[i].Attr == nil && i >= d.typed {
			fs.findTypes(ctx, d, i)
		}
		if !emit(fs.dirEntry(d, i, plus)) {
			return nil
		}
	}
	return nil
}

func (fs *FS) emitDots(n *node, off uint64, emit func(DirEntry) bool) bool {
	if off == 0 && !emit(DirEntry{Name: ".", ID: n.ino, Type: TypeDir, Off: 1}) {
		return false
	}
	up := n
	if p, _ := fs.nodes.parentOf(n); p != nil {
		up = p
	}
	return emit(DirEntry{Name: "..", ID: up.ino, Type: TypeDir, Off: dots})
}

// dirEntry is the i-th name of a snapshot.
func (fs *FS) dirEntry(d *DirHandle, i uint64, plus bool) DirEntry {
	ans := d.snap[i]
	e := DirEntry{Name: ans.Name, Type: ans.Type, Off: i + dots + 1}
	e.TypeUnknown = ans.Attr == nil && ans.Type == TypeFile && ans.Size < pathMax
	if plus {
		if known, ok := fs.lookupLocal(d.node, ans.Name); ok {
			e.ID, e.Known = known.Ino, &known
			return e
		}
		if ans.Attr != nil {
			if n := fs.nodes.intern(d.node, ans.Name, ans.Type, true); n != nil {
				e.ID = n.ino
				if !n.fits(ans.Entry) { // leave it to a lookup
					fs.nodes.forget(n.id, 1)
					return e
				}
				known := fs.known(n, ans)
				e.Known = &known
				return e
			}
		}
	}
	if n := fs.nodes.child(d.node, ans.Name); n != nil {
		e.ID = n.ino
	} else {
		e.ID = nodeID(d.dir, ans.Name)
	}
	return e
}

// snapshotDir reads the names: those that S3 has and those that wait here.
func (fs *FS) snapshotDir(ctx context.Context, d *DirHandle) error {
	path, ok := fs.nodes.path(d.node)
	if !ok {
		d.snap = []index.Answer{} // removed while open: empty, as Linux shows it
		return nil
	}
	here := fs.uncommittedIn(d.node, nil)
	list, err := recall(fs, ctx, func(ctx context.Context) ([]index.Answer, error) { return fs.idx.List(ctx, path) },
		func() ([]index.Answer, bool) { return fs.idx.PeekList(path) })
	if err != nil {
		return fs.fault("readdir", path, err)
	}
	if extra := fs.uncommittedIn(d.node, list); len(extra) > 0 {
		list = append(slices.Clone(list), extra...)
		slices.SortFunc(list, byName)
	}
	for _, ans := range here { // what has been committed since the listing
		at, there := slices.BinarySearchFunc(list, ans, byName)
		if e, ok := fs.idx.Peek(joinPath(path, ans.Name)); ok && !there {
			list = slices.Insert(slices.Clone(list), at, index.Answer{Entry: e})
		}
	}
	if list == nil {
		list = []index.Answer{}
	}
	d.snap, d.dir, d.typed = list, path, 0
	return nil
}

// typeBatch is for how many names types are asked for at the same time.
const typeBatch = 128

// findTypes asks for the types of names that a listing leaves open, since
// programs that walk a tree take them from the directory: a small object may
// be a symbolic link. Whatever cannot be found out stays unknown.
func (fs *FS) findTypes(ctx context.Context, d *DirHandle, from uint64) {
	waiting := fs.whileThere(ctx, 0)
	defer waiting.release()
	var wg sync.WaitGroup
	i := from
	for started := 0; i < uint64(len(d.snap)) && started < typeBatch; i++ {
		ans := &d.snap[i]
		if ans.Attr != nil || ans.Type != TypeFile || ans.Size >= pathMax {
			continue
		}
		started++
		wg.Go(func() {
			if found, err := fs.idx.Stat(waiting, joinPath(d.dir, ans.Name)); err == nil {
				*ans = found
			}
		})
	}
	wg.Wait()
	d.typed = i
}

func byName(a, b index.Answer) int { return strings.Compare(a.Name, b.Name) }

// uncommittedIn returns the files of a directory that list does not have.
func (fs *FS) uncommittedIn(dir *node, list []index.Answer) []index.Answer {
	var extra []index.Answer
	for _, c := range fs.nodes.localChildren(dir) {
		_, name := fs.nodes.parentOf(c)
		c.mu.Lock()
		f := c.file
		local := f != nil && f.localLocked() && !f.removed
		var ans index.Answer
		if local {
			ans.Entry = f.entry
		}
		c.mu.Unlock()
		if !local || name == "" {
			continue
		}
		ans.Name = name
		if _, listed := slices.BinarySearchFunc(list, ans, byName); !listed {
			extra = append(extra, ans)
		}
	}
	return extra
}

// FsyncDir implements Directories.
func (fs *FS) FsyncDir(ctx context.Context, id NodeID) error {
	n := fs.nodes.get(id)
	if n == nil {
		return &Error{Op: "fsync", Kind: Stale}
	}
	if err := fs.flushAttr(ctx, n); err != nil {
		return err
	}
	if !fs.opts.CommitLocal || !fs.opts.FsyncLocal {
		return fs.Sync(ctx, "")
	}
	return fs.fault("fsync", fs.pathOf(n), fs.deleter.flush(ctx))
}
