package fuse

import (
	"syscall"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// bridge translates requests of the kernel into vfs.Operations. Node numbers
// are passed through, so it has no state but the open handles.
type bridge struct {
	raw.RawFileSystem // answers ENOSYS to what is not translated

	// Constant data.
	ops        vfs.Operations
	pages      PageWriter  // nil if ops is none
	bytes      BytesReader // nil if ops is none
	untouched  Untouched   // nil if ops is none
	mover      Mover       // nil if ops is none
	private    Private     // nil if ops is none
	mountPoint string
	kernel     kernel // set by Init
	log        *eventLog
	now        func() time.Time

	// Mutable state.
	files table[vfs.Handle]
	dirs  table[vfs.DirHandle]
}

var _ raw.RawFileSystem = (*bridge)(nil)

func newBridge(ops vfs.Operations, log *eventLog, now func() time.Time) *bridge {
	pages, _ := ops.(PageWriter)
	untouched, _ := ops.(Untouched)
	mover, _ := ops.(Mover)
	bytes, _ := ops.(BytesReader)
	private, _ := ops.(Private)
	return &bridge{
		RawFileSystem: raw.NewDefaultRawFileSystem(),
		ops:           ops,
		pages:         pages,
		untouched:     untouched,
		mover:         mover,
		private:       private,
		bytes:         bytes,
		log:           log,
		now:           now,
	}
}

// Private is what vfs.Operations may have beside, for names whose absence must be
// asked for each time.
type Private interface {
	// Volatile reports whether it must not be kept that name does not exist.
	Volatile(parent vfs.NodeID, name string) bool
}

// Init is called before the first request.
func (b *bridge) Init(s *raw.Server) { b.kernel = s }

func (b *bridge) String() string { return fsType }

// OnUnmount releases what the kernel did not: it drops RELEASE requests that
// are queued when the last mount goes.
func (b *bridge) OnUnmount() {
	for _, h := range b.files.takeAll() {
		b.ops.Release(h)
	}
	for _, d := range b.dirs.takeAll() {
		b.releaseDir(d)
	}
}

// begin returns the context of a request; its finish must be called.
func (b *bridge) begin(cancel <-chan struct{}, h *raw.InHeader) *requestContext {
	return &requestContext{cancel: cancel, pid: h.Pid, dying: dying}
}

// status translates the outcome of op for the kernel, and logs it.
func (b *bridge) status(op string, node uint64, err error) raw.Status {
	if err == nil {
		return raw.OK
	}
	kind := vfs.KindOf(err)
	b.log.failed(op, node, kind, err)
	return raw.Status(errno(kind))
}

// Lookup finds a name. That there is none may be cached too.
func (b *bridge) Lookup(cancel <-chan struct{}, h *raw.InHeader, name string, out *raw.EntryOut) raw.Status {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	k, err := b.ops.Lookup(ctx, vfs.NodeID(h.NodeId), name)
	if err != nil && vfs.KindOf(err) == vfs.NotExist {
		volatile := b.private != nil && b.private.Volatile(vfs.NodeID(h.NodeId), name)
		if ttl := b.ops.NegativeTTL(vfs.NodeID(h.NodeId)); ttl > 0 && !volatile {
			out.NodeId = 0
			out.SetEntryTimeout(ttl)
			return raw.OK
		}
	}
	return b.entry("lookup", h.NodeId, out, &k, err)
}

// entry answers a request whose outcome is a node.
func (b *bridge) entry(op string, parent uint64, out *raw.EntryOut, k *vfs.Known, err error) raw.Status {
	if err == nil {
		fillEntry(out, k)
	}
	return b.status(op, parent, err)
}

// Forget gives back references.
func (b *bridge) Forget(node, n uint64) { b.ops.Forget(vfs.NodeID(node), n) }

// GetAttr is stat(2).
func (b *bridge) GetAttr(cancel <-chan struct{}, in *raw.GetAttrIn, out *raw.AttrOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	var h *vfs.Handle
	if in.Flags()&raw.FUSE_GETATTR_FH != 0 {
		h = b.files.get(in.Fh())
	}
	k, err := b.ops.GetAttr(ctx, vfs.NodeID(in.NodeId), h)
	if err == nil {
		fillAttrOut(out, &k)
	}
	return b.status("stat", in.NodeId, err)
}

// SetAttr is chmod(2), chown(2), truncate(2) and utimensat(2). The access
// time is not kept; setting it succeeds.
func (b *bridge) SetAttr(cancel <-chan struct{}, in *raw.SetAttrIn, out *raw.AttrOut) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	var h *vfs.Handle
	if fh, ok := in.GetFh(); ok {
		h = b.files.get(fh)
	}
	set, changes := b.setAttrOf(in)
	if in.Valid&raw.FATTR_KILL_SUIDGID != 0 && set.Mode == nil {
		if mode := b.killedMode(ctx, in.NodeId, h); mode != nil {
			set.Mode, changes = mode, true
		}
	}
	var k vfs.Known
	var err error
	if changes {
		k, err = b.ops.SetAttr(ctx, callerOf(&in.InHeader), vfs.NodeID(in.NodeId), h, set)
	} else {
		k, err = b.ops.GetAttr(ctx, vfs.NodeID(in.NodeId), h)
	}
	if err == nil {
		fillAttrOut(out, &k)
	}
	return b.status("setattr", in.NodeId, err)
}

// setAttrOf returns what in changes; changes is false if that is nothing.
func (b *bridge) setAttrOf(in *raw.SetAttrIn) (set vfs.SetAttr, changes bool) {
	if mode, ok := in.GetMode(); ok {
		set.Mode = &mode
	}
	if uid, ok := in.GetUID(); ok {
		set.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		set.GID = &gid
	}
	if size, ok := in.GetSize(); ok {
		n := int64(size)
		set.Size = &n
	}
	if in.Valid&(raw.FATTR_MTIME|raw.FATTR_MTIME_NOW) != 0 {
		t := b.now()
		if in.Valid&raw.FATTR_MTIME_NOW == 0 {
			t = time.Unix(int64(in.Mtime), int64(in.Mtimensec))
		}
		set.Mtime = &t
	}
	return set, set != vfs.SetAttr{}
}

// killedMode returns the mode of node without its setuid bit, and without its
// setgid bit if the group may execute it; nil if it has neither. The kernel
// asks for it when somebody without CAP_FSETID writes, truncates, or anybody
// changes the owner.
func (b *bridge) killedMode(ctx *requestContext, node uint64, h *vfs.Handle) *uint32 {
	k, err := b.ops.GetAttr(ctx, vfs.NodeID(node), h)
	if err != nil || k.Type != vfs.TypeFile {
		return nil
	}
	mode := k.Mode &^ syscall.S_ISUID
	if mode&syscall.S_IXGRP != 0 {
		mode &^= syscall.S_ISGID
	}
	if mode == k.Mode {
		return nil
	}
	return &mode
}

// StatFs is statfs(2).
func (b *bridge) StatFs(cancel <-chan struct{}, h *raw.InHeader, out *raw.StatfsOut) raw.Status {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	st, err := b.ops.StatFS(ctx)
	if err != nil {
		return b.status("statfs", h.NodeId, err)
	}
	*out = raw.StatfsOut{
		Blocks: st.Blocks, Bfree: st.BlocksFree, Bavail: st.BlocksFree,
		Files: st.Files, Ffree: st.FilesFree,
		Bsize: st.BlockSize, Frsize: st.BlockSize, NameLen: st.NameLen,
	}
	return raw.OK
}

// Access is access(2). With default_permissions the kernel decides itself and
// does not ask. Without, only root gets in, who may do anything but execute a
// file that nobody may (path_resolution(7), "Bypassing permission checks").
func (b *bridge) Access(cancel <-chan struct{}, in *raw.AccessIn) raw.Status {
	const execute = 1 // X_OK
	if in.Mask&execute == 0 {
		return raw.OK
	}
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	k, err := b.ops.GetAttr(ctx, vfs.NodeID(in.NodeId), nil)
	if err == nil && k.Type == vfs.TypeFile && k.Mode&0o111 == 0 {
		return raw.EACCES
	}
	return b.status("access", in.NodeId, err)
}

// Statx makes the kernel use GetAttr.
func (b *bridge) Statx(<-chan struct{}, *raw.StatxIn, *raw.StatxOut) raw.Status { return raw.ENOSYS }

// Ioctl knows none.
func (b *bridge) Ioctl(<-chan struct{}, *raw.IoctlIn, []byte, *raw.IoctlOut, []byte) raw.Status {
	return raw.Status(syscall.ENOTTY)
}
