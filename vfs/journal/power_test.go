package journal

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
)

// disk is a file system that knows what of it would survive a power cut. Every
// change is a step, before which the hook is called.
type disk struct {
	mu    sync.Mutex
	names map[string]*inode // as programs see it
	safe  map[string]*inode // as synced
	loose []nameChange      // in order, not synced
	// step, if set, may fail a change before it happens. It may call cuts.
	step func(op, name string) error
}

// nameChange is a change of a directory: name is now node, or nothing.
type nameChange struct {
	from string // the name that a rename takes away, or ""
	name string
	node *inode
}

// inode is the content of a file.
type inode struct {
	data  []byte
	safe  []byte
	loose []change // in order, not synced
}

// change is a write, or of the size.
type change struct {
	off  int64
	p    []byte // nil: the size becomes off
	size bool
}

func (c change) apply(data []byte) []byte {
	end := c.off + int64(len(c.p))
	if c.size {
		if end <= int64(len(data)) {
			return slices.Clone(data[:end])
		}
	}
	data = slices.Clone(data)
	if n := end - int64(len(data)); n > 0 {
		data = append(data, make([]byte, n)...)
	}
	copy(data[c.off:], c.p)
	return data
}

var (
	_ files = (*disk)(nil)
	_ file  = diskFile{}
)

func newDisk() *disk { return &disk{names: map[string]*inode{}, safe: map[string]*inode{}} }

// do makes a change, unless the hook fails it.
func (d *disk) do(op, name string, f func() error) error {
	if d.step != nil {
		if err := d.step(op, name); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return f()
}

func (d *disk) MkdirAll(string) error { return nil }

func (d *disk) ReadDir(string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.names {
		names = append(names, filepath.Base(name))
	}
	return names, nil
}

func (d *disk) Create(name string) (file, error) {
	n := &inode{}
	err := d.do("create", name, func() error {
		if d.names[name] != nil {
			return fs.ErrExist
		}
		d.names[name] = n
		d.loose = append(d.loose, nameChange{name: name, node: n})
		return nil
	})
	return diskFile{d, n, name}, err
}

func (d *disk) Open(name string, _ bool) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	return diskFile{d, n, name}, nil
}

func (d *disk) Rename(from, to string) error {
	return d.do("rename", to, func() error {
		d.names[to] = d.names[from]
		delete(d.names, from)
		d.loose = append(d.loose, nameChange{from: from, name: to, node: d.names[to]})
		return nil
	})
}

func (d *disk) Remove(name string) error {
	return d.do("remove", name, func() error {
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		delete(d.names, name)
		d.loose = append(d.loose, nameChange{name: name})
		return nil
	})
}

func (d *disk) SyncDir(dir string) error {
	return d.do("syncdir", dir, func() error {
		d.safe, d.loose = maps.Clone(d.names), nil
		return nil
	})
}

// diskFile is an open file.
type diskFile struct {
	d    *disk
	n    *inode
	name string
}

func (f diskFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f diskFile) change(op string, c change) error {
	return f.d.do(op, f.name, func() error {
		f.n.data = c.apply(f.n.data)
		f.n.loose = append(f.n.loose, c)
		return nil
	})
}

func (f diskFile) WriteAt(p []byte, off int64) (int, error) {
	return len(p), f.change("write", change{off: off, p: slices.Clone(p)})
}
func (f diskFile) Allocate(size int64) error {
	return f.change("allocate", change{off: size, size: true})
}
func (f diskFile) Truncate(size int64) error {
	return f.change("truncate", change{off: size, size: true})
}
func (f diskFile) Close() error { return nil }

func (f diskFile) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f diskFile) Sync() error {
	return f.d.do("sync", f.name, func() error {
		f.n.safe, f.n.loose = f.n.data, nil
		return nil
	})
}
func (f diskFile) SyncAll() error { return f.Sync() }

// contents returns what a power cut may leave of a file: of its unsynced
// changes any first ones and nothing else, and the last of these cut at any
// byte, either end of it; or only the last. With coarse set, only none or all.
func (n *inode) contents(coarse bool) [][]byte {
	all, data := [][]byte{n.safe}, n.safe
	for _, c := range n.loose {
		if !coarse && !c.size {
			for i := 1; i < len(c.p); i++ {
				all = append(all, change{off: c.off, p: c.p[:i]}.apply(data))
				all = append(all, change{off: c.off + int64(i), p: c.p[i:]}.apply(data))
			}
		}
		data = c.apply(data)
		if !coarse || len(n.loose) == 1 {
			all = append(all, data)
		}
	}
	if coarse {
		return [][]byte{n.safe, data}
	}
	return append(all, n.loose[len(n.loose)-1].apply(n.safe))
}

// cuts calls visit with every disk that a power cut now may leave: each set of
// the unsynced changes of names, with each content of each file, the others
// having all that was written.
func (d *disk) cuts(coarse bool, visit func(*disk)) {
	for set := range 1 << len(d.loose) {
		names := maps.Clone(d.safe)
		for i, c := range d.loose {
			if set&(1<<i) == 0 {
				continue
			}
			if c.node == nil {
				delete(names, c.name)
				continue
			}
			delete(names, c.from)
			names[c.name] = c.node
		}
		visit(after(names, nil, nil))
		for _, n := range names {
			if len(n.loose) == 0 {
				continue
			}
			for _, p := range n.contents(coarse) {
				visit(after(names, n, p))
			}
		}
	}
}

// after is a disk with these files, and one of them with another content.
func after(names map[string]*inode, odd *inode, p []byte) *disk {
	d := newDisk()
	for name, n := range names {
		data := n.data
		if n == odd {
			data = p
		}
		d.names[name] = &inode{data: data, safe: data}
	}
	d.safe = maps.Clone(d.names)
	return d
}
