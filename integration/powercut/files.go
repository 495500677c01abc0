package powercut

import (
	"maps"
	"slices"
	"strings"
	"syscall"

	raw "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// Open implements raw.RawFileSystem. The kernel truncates by itself.
func (h *handler) Open(_ <-chan struct{}, in *raw.OpenIn, out *raw.OpenOut) raw.Status {
	out.OpenFlags = raw.FOPEN_KEEP_CACHE
	return raw.OK
}

// OpenDir implements raw.RawFileSystem.
func (h *handler) OpenDir(<-chan struct{}, *raw.OpenIn, *raw.OpenOut) raw.Status { return raw.OK }

// Read implements raw.RawFileSystem.
func (h *handler) Read(_ <-chan struct{}, in *raw.ReadIn, buf []byte) (raw.ReadResult, raw.Status) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return nil, status
	}
	if n.bytes == nil {
		return nil, raw.EINVAL
	}
	buf = buf[:min(len(buf), int(in.Size))]
	return raw.ReadResultData(buf[:n.bytes.live.read(buf, int64(in.Offset))]), raw.OK
}

// Write implements raw.RawFileSystem.
func (h *handler) Write(_ <-chan struct{}, in *raw.WriteIn, data []byte) (uint32, raw.Status) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return 0, status
	}
	if n.bytes == nil {
		return 0, raw.EINVAL
	}
	status = h.f.do(Write, n.path(), func() raw.Status {
		n.bytes.do(change{kind: changeWrite, off: int64(in.Offset), data: slices.Clone(data)})
		n.touch()
		return raw.OK
	})
	if status != raw.OK {
		return 0, status
	}
	return uint32(len(data)), raw.OK
}

// syncDataOnly is the flag of a FSYNC request that stands for fdatasync.
const syncDataOnly = 1

// Fsync implements raw.RawFileSystem.
func (h *handler) Fsync(_ <-chan struct{}, in *raw.FsyncIn) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	return h.f.do(Sync, n.path(), func() raw.Status {
		n.syncData()
		if in.FsyncFlags&syncDataOnly == 0 {
			n.syncAttr()
		}
		return raw.OK
	})
}

// FsyncDir implements raw.RawFileSystem.
func (h *handler) FsyncDir(_ <-chan struct{}, in *raw.FsyncIn) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	return h.f.do(Sync, n.path(), func() raw.Status {
		h.f.tree.syncDir(n)
		return raw.OK
	})
}

// Fallocate implements raw.RawFileSystem.
func (h *handler) Fallocate(_ <-chan struct{}, in *raw.FallocateIn) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	if n.bytes == nil {
		return raw.EINVAL
	}
	off, length := int64(in.Offset), int64(in.Length)
	var changes []change
	switch in.Mode {
	case unix.FALLOC_FL_KEEP_SIZE:
		return raw.OK
	case 0:
		changes = []change{{kind: changeExtend, off: off + length}}
	case unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE:
		changes = []change{{kind: changeZero, off: off, n: length}}
	case unix.FALLOC_FL_ZERO_RANGE:
		changes = []change{{kind: changeExtend, off: off + length}, {kind: changeZero, off: off, n: length}}
	default:
		return raw.Status(syscall.EOPNOTSUPP)
	}
	return h.f.do(Allocate, n.path(), func() raw.Status {
		for _, c := range changes {
			n.bytes.do(c)
		}
		n.touch()
		return raw.OK
	})
}

// Lseek implements raw.RawFileSystem.
func (h *handler) Lseek(_ <-chan struct{}, in *raw.LseekIn, out *raw.LseekOut) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	if n.bytes == nil {
		return raw.EINVAL
	}
	off, p := int64(in.Offset), n.bytes.live
	if off >= p.size {
		return raw.Status(syscall.ENXIO)
	}
	data := in.Whence == unix.SEEK_DATA
	for off < p.size && (p.at[off/pageSize] != nil) != data {
		off = (off/pageSize + 1) * pageSize
	}
	if off >= p.size && data {
		return raw.Status(syscall.ENXIO)
	}
	out.Offset = uint64(min(off, p.size))
	return raw.OK
}

// ReadDir implements raw.RawFileSystem. An offset is a place in the sorted
// names, after the two dots: names that go while a directory is read may hide
// others from that reader, which nobody depends on here who lists before
// removing.
func (h *handler) ReadDir(_ <-chan struct{}, in *raw.ReadIn, out *raw.DirEntryList) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	list := []raw.DirEntry{{Name: ".", Ino: n.ino, Mode: unix.S_IFDIR}, {Name: "..", Ino: n.ino, Mode: unix.S_IFDIR}}
	for _, name := range slices.Sorted(maps.Keys(n.entries)) {
		child := n.entries[name]
		list = append(list, raw.DirEntry{Name: name, Ino: child.ino, Mode: child.kind})
	}
	for i := int(in.Offset); i < len(list); i++ {
		list[i].Off = uint64(i + 1)
		if !out.AddDirEntry(list[i]) {
			break
		}
	}
	return raw.OK
}

// GetXAttr implements raw.RawFileSystem.
func (h *handler) GetXAttr(_ <-chan struct{}, in *raw.InHeader, name string, dest []byte) (uint32, raw.Status) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return 0, status
	}
	value, ok := n.attr.xattrs[name]
	if !ok {
		return 0, raw.ENOATTR
	}
	return answer(value, dest)
}

// ListXAttr implements raw.RawFileSystem.
func (h *handler) ListXAttr(_ <-chan struct{}, in *raw.InHeader, dest []byte) (uint32, raw.Status) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return 0, status
	}
	var list strings.Builder
	for _, name := range slices.Sorted(maps.Keys(n.attr.xattrs)) {
		list.WriteString(name + "\x00")
	}
	return answer(list.String(), dest)
}

// answer copies a value to where it fits.
func answer(value string, dest []byte) (uint32, raw.Status) {
	if len(dest) == 0 {
		return uint32(len(value)), raw.OK
	}
	if len(value) > len(dest) {
		return uint32(len(value)), raw.ERANGE
	}
	return uint32(copy(dest, value)), raw.OK
}

// SetXAttr implements raw.RawFileSystem.
func (h *handler) SetXAttr(_ <-chan struct{}, in *raw.SetXAttrIn, name string, value []byte) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	_, there := n.attr.xattrs[name]
	switch {
	case !strings.HasPrefix(name, "user."):
		return raw.Status(syscall.EOPNOTSUPP)
	case there && in.Flags&unix.XATTR_CREATE != 0:
		return raw.Status(syscall.EEXIST)
	case !there && in.Flags&unix.XATTR_REPLACE != 0:
		return raw.ENOATTR
	}
	text := string(value)
	return h.f.do(Attribute, n.path(), func() raw.Status {
		n.setAttr(n.attr.with(name, text))
		return raw.OK
	})
}

// RemoveXAttr implements raw.RawFileSystem.
func (h *handler) RemoveXAttr(_ <-chan struct{}, in *raw.InHeader, name string) raw.Status {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	n, status := h.node(in.NodeId)
	if status != raw.OK {
		return status
	}
	if _, ok := n.attr.xattrs[name]; !ok {
		return raw.ENOATTR
	}
	return h.f.do(Attribute, n.path(), func() raw.Status {
		n.setAttr(n.attr.without(name))
		return raw.OK
	})
}
