package fuse

import (
	"context"
	"maps"
	"slices"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

const seekHole = 4 // SEEK_HOLE

func (f *fakeFS) Create(ctx context.Context, c vfs.Caller, parent vfs.NodeID, name string, flags int, mode uint32) (vfs.Known, *vfs.Handle, error) {
	if err := f.enter(ctx, "create"); err != nil {
		return vfs.Known{}, nil, err
	}
	defer f.mu.Unlock()
	n, err := f.child("create", parent, name)
	switch {
	case err != nil:
		n = f.add(c, parent, name, vfs.TypeFile, mode)
	case flags&syscall.O_EXCL != 0:
		return vfs.Known{}, nil, fail("create", vfs.Exist)
	default:
		f.refs[n.ID]++
	}
	return f.known(n), f.open(n, flags), nil
}

func (f *fakeFS) Open(ctx context.Context, id vfs.NodeID, flags int) (*vfs.Handle, error) {
	if err := f.enter(ctx, "open"); err != nil {
		return nil, err
	}
	defer f.mu.Unlock()
	return f.open(f.nodes[id], flags), nil
}

func (f *fakeFS) open(n *fakeNode, flags int) *vfs.Handle {
	if flags&syscall.O_TRUNC != 0 {
		n.resize(0)
	}
	h := new(vfs.Handle)
	f.handles[h] = &fakeHandle{node: n, flags: flags}
	return h
}

func (f *fakeFS) Read(ctx context.Context, h *vfs.Handle, p []byte, off int64) (int, error) {
	if err := f.enter(ctx, "read"); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	data := f.handles[h].node.data
	if off >= int64(len(data)) {
		return 0, nil
	}
	return copy(p, data[off:]), nil
}

func (f *fakeFS) Write(ctx context.Context, h *vfs.Handle, p []byte, off int64) (int, error) {
	if err := f.enter(ctx, "write"); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	fh := f.handles[h]
	if fh.flags&syscall.O_APPEND != 0 {
		off = int64(len(fh.node.data))
	}
	return f.write(fh.node, p, off), nil
}

func (f *fakeFS) WritePage(ctx context.Context, h *vfs.Handle, p []byte, off int64) (int, error) {
	if err := f.enter(ctx, "writepage"); err != nil {
		return 0, err
	}
	defer f.mu.Unlock()
	return f.write(f.handles[h].node, p, off), nil
}

func (f *fakeFS) write(n *fakeNode, p []byte, off int64) int {
	f.sizes = append(f.sizes, len(p))
	if end := int(off) + len(p); end > len(n.data) {
		n.resize(end)
	}
	n.Mtime = n.Mtime.Add(time.Second)
	return copy(n.data[off:], p)
}

func (f *fakeFS) Flush(ctx context.Context, h *vfs.Handle) error { return f.sync(ctx, "flush") }
func (f *fakeFS) Fsync(ctx context.Context, h *vfs.Handle) error { return f.sync(ctx, "fsync") }

func (f *fakeFS) sync(ctx context.Context, op string) error {
	if err := f.enter(ctx, op); err != nil {
		return err
	}
	f.mu.Unlock()
	return nil
}

func (f *fakeFS) Release(h *vfs.Handle) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handles[h] == nil {
		panic("handle released twice")
	}
	delete(f.handles, h)
	f.released++
}

func (f *fakeFS) Allocate(ctx context.Context, h *vfs.Handle, mode uint32, off, length int64) error {
	if err := f.enter(ctx, "allocate"); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if n := f.handles[h].node; mode == 0 && int(off+length) > len(n.data) {
		n.resize(int(off + length))
	}
	return nil
}

func (f *fakeFS) Seek(ctx context.Context, h *vfs.Handle, off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := int64(len(f.handles[h].node.data))
	switch {
	case off >= size:
		return 0, fail("lseek", vfs.NoDevice)
	case whence == seekHole:
		return size, nil
	}
	return off, nil
}

func (f *fakeFS) KeepCache(*vfs.Handle) bool { return f.keep }

func (f *fakeFS) GetXAttr(ctx context.Context, id vfs.NodeID, name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, ok := f.nodes[id].xattrs[name]
	if !ok {
		return nil, fail("getxattr", vfs.NoAttr)
	}
	return v, nil
}

func (f *fakeFS) SetXAttr(ctx context.Context, id vfs.NodeID, name string, value []byte, flags int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[id]
	if _, ok := n.xattrs[name]; ok && flags == 1 {
		return fail("setxattr", vfs.Exist)
	}
	if n.xattrs == nil {
		n.xattrs = make(map[string][]byte)
	}
	n.xattrs[name] = slices.Clone(value)
	return nil
}

func (f *fakeFS) ListXAttr(ctx context.Context, id vfs.NodeID) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.nodes[id].xattrs)), nil
}

func (f *fakeFS) RemoveXAttr(ctx context.Context, id vfs.NodeID, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.nodes[id].xattrs, name)
	return nil
}
