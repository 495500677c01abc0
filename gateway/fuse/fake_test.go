package fuse

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// fakeFS is vfs.Operations in memory. It counts references and handles, so
// that tests can see whether each is given back exactly once.
type fakeFS struct {
	mu       sync.Mutex
	lastID   vfs.NodeID
	nodes    map[vfs.NodeID]*fakeNode
	refs     map[vfs.NodeID]int
	handles  map[*vfs.Handle]*fakeHandle
	dirs     map[*vfs.DirHandle]*fakeDir
	released int // handles
	calls    map[string]int

	// What tests set.
	ttl      time.Duration
	negative time.Duration
	keep     bool
	plain    map[string]bool                                 // names that ReadDirPlus gives without attributes
	hook     func(ctx context.Context, op string) *vfs.Error // called first in each operation; may be nil
	sizes    []int                                           // of the writes
	locks    []fakeLock
}

type fakeNode struct {
	vfs.Attr
	parent   vfs.NodeID
	name     string
	children map[string]vfs.NodeID
	data     []byte
	target   string
	xattrs   map[string][]byte
}

type fakeHandle struct {
	node  *fakeNode
	flags int
}

type fakeDir struct {
	node    *fakeNode
	entries []vfs.DirEntry
}

var (
	_ vfs.Operations = (*fakeFS)(nil)
	_ PageWriter     = (*fakeFS)(nil)
	_ Namer          = (*fakeFS)(nil)
)

func newFakeFS() *fakeFS {
	f := &fakeFS{
		lastID:  vfs.RootID,
		nodes:   make(map[vfs.NodeID]*fakeNode),
		refs:    make(map[vfs.NodeID]int),
		handles: make(map[*vfs.Handle]*fakeHandle),
		dirs:    make(map[*vfs.DirHandle]*fakeDir),
		calls:   make(map[string]int),
		plain:   make(map[string]bool),
		ttl:     time.Second,
		keep:    true,
	}
	f.nodes[vfs.RootID] = &fakeNode{
		Attr:     vfs.Attr{ID: vfs.RootID, Type: vfs.TypeDir, Mode: 0o755, UID: uint32(os.Getuid()), Nlink: 2, Mtime: time.Unix(1, 0)},
		children: make(map[string]vfs.NodeID),
	}
	return f
}

func fail(op string, k vfs.Kind) *vfs.Error { return &vfs.Error{Op: op, Kind: k} }

// enter begins an operation; f.mu is held after it unless it failed.
func (f *fakeFS) enter(ctx context.Context, op string) error {
	f.mu.Lock()
	f.calls[op]++
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, op); err != nil {
			return err
		}
	}
	f.mu.Lock()
	return nil
}

// setHook makes each operation call hook first.
func (f *fakeFS) setHook(hook func(ctx context.Context, op string) *vfs.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

func (f *fakeFS) count(op string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

func (f *fakeFS) known(n *fakeNode) vfs.Known {
	n.Size = int64(len(n.data))
	return vfs.Known{Attr: n.Attr, EntryTTL: f.ttl, AttrTTL: f.ttl}
}

func (f *fakeFS) child(op string, parent vfs.NodeID, name string) (*fakeNode, error) {
	p := f.nodes[parent]
	if p == nil {
		return nil, fail(op, vfs.Stale)
	}
	id, ok := p.children[name]
	if !ok {
		return nil, fail(op, vfs.NotExist)
	}
	return f.nodes[id], nil
}

// add makes a node and counts a reference.
func (f *fakeFS) add(c vfs.Caller, parent vfs.NodeID, name string, typ vfs.FileType, mode uint32) *fakeNode {
	f.lastID++
	n := &fakeNode{parent: parent, name: name, Attr: vfs.Attr{
		ID: f.lastID, Type: typ, Mode: mode & 0o7777, UID: c.UID, GID: c.GID, Nlink: 1, Mtime: time.Unix(int64(f.lastID), 5), Ctime: time.Unix(int64(f.lastID), 6),
	}}
	if typ == vfs.TypeDir {
		n.children = make(map[string]vfs.NodeID)
		n.Nlink = 2
	}
	f.nodes[n.ID] = n
	f.nodes[parent].children[name] = n.ID
	f.refs[n.ID]++
	return n
}

func (f *fakeFS) Lookup(ctx context.Context, parent vfs.NodeID, name string) (vfs.Known, error) {
	if err := f.enter(ctx, "lookup"); err != nil {
		return vfs.Known{}, err
	}
	defer f.mu.Unlock()
	n, err := f.child("lookup", parent, name)
	if err != nil {
		return vfs.Known{}, err
	}
	f.refs[n.ID]++
	return f.known(n), nil
}

func (f *fakeFS) NegativeTTL(vfs.NodeID) time.Duration { return f.negative }

func (f *fakeFS) Forget(id vfs.NodeID, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refs[id] -= int(n)
}

func (f *fakeFS) NameOf(id vfs.NodeID) (vfs.NodeID, string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[id]
	if n == nil || n.Nlink == 0 {
		return 0, "", false
	}
	return n.parent, n.name, true
}

func (f *fakeFS) GetAttr(ctx context.Context, id vfs.NodeID, h *vfs.Handle) (vfs.Known, error) {
	if err := f.enter(ctx, "getattr"); err != nil {
		return vfs.Known{}, err
	}
	defer f.mu.Unlock()
	n := f.nodes[id]
	if h != nil {
		n = f.handles[h].node
	}
	if n == nil {
		return vfs.Known{}, fail("getattr", vfs.NotExist)
	}
	return f.known(n), nil
}

func (f *fakeFS) SetAttr(ctx context.Context, c vfs.Caller, id vfs.NodeID, h *vfs.Handle, set vfs.SetAttr) (vfs.Known, error) {
	if err := f.enter(ctx, "setattr"); err != nil {
		return vfs.Known{}, err
	}
	defer f.mu.Unlock()
	n := f.nodes[id]
	if set.Mode != nil {
		n.Mode = *set.Mode
	}
	if set.UID != nil {
		n.UID = *set.UID
	}
	if set.GID != nil {
		n.GID = *set.GID
	}
	if set.Mtime != nil {
		n.Mtime = *set.Mtime
	}
	if set.Size != nil {
		n.resize(int(*set.Size))
	}
	return f.known(n), nil
}

func (n *fakeNode) resize(size int) {
	if size <= len(n.data) {
		n.data = n.data[:size]
		return
	}
	n.data = append(n.data, make([]byte, size-len(n.data))...)
}

func (f *fakeFS) StatFS(context.Context) (vfs.StatFS, error) {
	return vfs.StatFS{BlockSize: 4096, Blocks: 100, BlocksFree: 50, Files: 10, FilesFree: 5, NameLen: 255}, nil
}

func (f *fakeFS) OpenDir(ctx context.Context, id vfs.NodeID) (*vfs.DirHandle, error) {
	if err := f.enter(ctx, "opendir"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	d := new(vfs.DirHandle)
	f.dirs[d] = &fakeDir{node: f.nodes[id]}
	return d, nil
}

// ReleaseDir takes a handle back.
func (f *fakeFS) ReleaseDir(d *vfs.DirHandle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.dirs, d)
}

func (f *fakeFS) ReadDir(ctx context.Context, d *vfs.DirHandle, off uint64, emit func(vfs.DirEntry) bool) error {
	return f.readDir(ctx, "readdir", d, off, emit)
}

func (f *fakeFS) ReadDirPlus(ctx context.Context, d *vfs.DirHandle, off uint64, emit func(vfs.DirEntry) bool) error {
	return f.readDir(ctx, "readdirplus", d, off, emit)
}

func (f *fakeFS) readDir(ctx context.Context, op string, d *vfs.DirHandle, off uint64, emit func(vfs.DirEntry) bool) error {
	if err := f.enter(ctx, op); err != nil {
		return err
	}
	dir := f.dirs[d]
	if off == 0 {
		dir.entries = f.snapshot(dir.node)
	}
	entries, hook := dir.entries[off:], f.hook
	f.mu.Unlock()
	for _, e := range entries {
		if hook != nil {
			if err := hook(ctx, op+" "+e.Name); err != nil {
				return err
			}
		}
		if op == "readdirplus" && e.Name != "." && e.Name != ".." && !f.plain[e.Name] {
			f.mu.Lock()
			k := f.known(f.nodes[e.ID])
			f.refs[e.ID]++
			f.mu.Unlock()
			e.Known = &k
		}
		if !emit(e) {
			return nil
		}
	}
	return nil
}

func (f *fakeFS) snapshot(n *fakeNode) []vfs.DirEntry {
	entries := []vfs.DirEntry{{Name: ".", ID: n.ID, Type: vfs.TypeDir, Off: 1}, {Name: "..", ID: n.ID, Type: vfs.TypeDir, Off: 2}}
	for _, name := range slices.Sorted(maps.Keys(n.children)) {
		c := f.nodes[n.children[name]]
		entries = append(entries, vfs.DirEntry{Name: name, ID: c.ID, Type: c.Type, Off: uint64(len(entries) + 1)})
	}
	return entries
}

func (f *fakeFS) FsyncDir(ctx context.Context, id vfs.NodeID) error { return nil }

func (f *fakeFS) Mkdir(ctx context.Context, c vfs.Caller, parent vfs.NodeID, name string, mode uint32) (vfs.Known, error) {
	return f.make(ctx, c, parent, name, vfs.TypeDir, mode, "")
}

func (f *fakeFS) Symlink(ctx context.Context, c vfs.Caller, parent vfs.NodeID, name, target string) (vfs.Known, error) {
	return f.make(ctx, c, parent, name, vfs.TypeSymlink, 0o777, target)
}

func (f *fakeFS) Mknod(ctx context.Context, c vfs.Caller, parent vfs.NodeID, name string, mode, rdev uint32) (vfs.Known, error) {
	typ := vfs.TypeFile
	if mode&syscall.S_IFMT == syscall.S_IFIFO {
		typ = vfs.TypeFIFO
	}
	return f.make(ctx, c, parent, name, typ, mode, "")
}

func (f *fakeFS) make(ctx context.Context, c vfs.Caller, parent vfs.NodeID, name string, typ vfs.FileType, mode uint32, target string) (vfs.Known, error) {
	if err := f.enter(ctx, "make"); err != nil {
		return vfs.Known{}, err
	}
	defer f.mu.Unlock()
	if _, err := f.child("make", parent, name); err == nil {
		return vfs.Known{}, fail("make", vfs.Exist)
	}
	n := f.add(c, parent, name, typ, mode)
	n.target = target
	n.data = []byte(target)
	return f.known(n), nil
}

func (f *fakeFS) Readlink(ctx context.Context, id vfs.NodeID) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.nodes[id].target, nil
}

func (f *fakeFS) Rmdir(ctx context.Context, parent vfs.NodeID, name string) error {
	return f.remove(ctx, "rmdir", parent, name)
}

func (f *fakeFS) Unlink(ctx context.Context, parent vfs.NodeID, name string) error {
	return f.remove(ctx, "unlink", parent, name)
}

func (f *fakeFS) remove(ctx context.Context, op string, parent vfs.NodeID, name string) error {
	if err := f.enter(ctx, op); err != nil {
		return err
	}
	defer f.mu.Unlock()
	n, err := f.child(op, parent, name)
	if err != nil {
		return err
	}
	if len(n.children) > 0 {
		return fail(op, vfs.NotEmpty)
	}
	n.Nlink = 0
	delete(f.nodes[parent].children, name)
	return nil
}

func (f *fakeFS) Rename(ctx context.Context, parent vfs.NodeID, name string, newParent vfs.NodeID, newName string, flags vfs.RenameFlags) error {
	if err := f.enter(ctx, "rename"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	n, err := f.child("rename", parent, name)
	if err != nil {
		return err
	}
	if old, err := f.child("rename", newParent, newName); err == nil {
		if flags&vfs.RenameNoReplace != 0 {
			return fail("rename", vfs.Exist)
		}
		old.Nlink = 0
	}
	delete(f.nodes[parent].children, name)
	f.nodes[newParent].children[newName] = n.ID
	n.parent, n.name = newParent, newName
	return nil
}
