package fuse

import (
	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// GetXAttr reads an attribute. An empty dest asks for its size.
func (b *bridge) GetXAttr(cancel <-chan struct{}, h *raw.InHeader, name string, dest []byte) (uint32, raw.Status) {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	value, err := b.ops.GetXAttr(ctx, vfs.NodeID(h.NodeId), name)
	if err != nil {
		return 0, b.status("getxattr", h.NodeId, err)
	}
	return copyOut(dest, value)
}

// ListXAttr reads the names, each with a zero byte behind it.
func (b *bridge) ListXAttr(cancel <-chan struct{}, h *raw.InHeader, dest []byte) (uint32, raw.Status) {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	names, err := b.ops.ListXAttr(ctx, vfs.NodeID(h.NodeId))
	if err != nil {
		return 0, b.status("listxattr", h.NodeId, err)
	}
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return copyOut(dest, list)
}

// copyOut follows the rule of getxattr(2): the size if dest is empty, ERANGE
// if it is too small.
func copyOut(dest, value []byte) (uint32, raw.Status) {
	n := uint32(len(value))
	if len(dest) == 0 {
		return n, raw.OK
	}
	if len(dest) < len(value) {
		return n, raw.ERANGE
	}
	copy(dest, value)
	return n, raw.OK
}

// SetXAttr sets an attribute.
func (b *bridge) SetXAttr(cancel <-chan struct{}, in *raw.SetXAttrIn, name string, value []byte) raw.Status {
	ctx := b.begin(cancel, &in.InHeader)
	defer ctx.finish()
	err := b.ops.SetXAttr(ctx, vfs.NodeID(in.NodeId), name, value, xattrFlags(in.Flags))
	return b.status("setxattr", in.NodeId, err)
}

// RemoveXAttr removes an attribute.
func (b *bridge) RemoveXAttr(cancel <-chan struct{}, h *raw.InHeader, name string) raw.Status {
	ctx := b.begin(cancel, h)
	defer ctx.finish()
	return b.status("removexattr", h.NodeId, b.ops.RemoveXAttr(ctx, vfs.NodeID(h.NodeId), name))
}
