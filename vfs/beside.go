package vfs

import "context"

// Beside is an FS as a front end uses it beside the one that an Invalidator
// speaks for: what it changes, that one is told of.
type Beside struct{ *FS }

var (
	_ Operations = Beside{}
	_ Documents  = Beside{}
)

// Beside returns fs for a further front end.
func (fs *FS) Beside() Beside { return Beside{fs} }

// Mkdir implements Directories.
func (b Beside) Mkdir(ctx context.Context, c Caller, parent NodeID, name string, mode uint32) (Known, error) {
	known, err := b.FS.Mkdir(ctx, c, parent, name, mode)
	b.changed(err, parent, name)
	return known, err
}

// Rmdir implements Directories.
func (b Beside) Rmdir(ctx context.Context, parent NodeID, name string) error {
	err := b.FS.Rmdir(ctx, parent, name)
	b.changed(err, parent, name)
	return err
}

// RemoveTree implements Documents.
func (b Beside) RemoveTree(ctx context.Context, parent NodeID, name string) error {
	err := b.FS.RemoveTree(ctx, parent, name)
	b.changed(nil, parent, name) // also after an error something may be gone
	return err
}

// Unlink implements Directories.
func (b Beside) Unlink(ctx context.Context, parent NodeID, name string) error {
	err := b.FS.Unlink(ctx, parent, name)
	b.changed(err, parent, name)
	return err
}

// Rename implements Directories.
func (b Beside) Rename(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, flags RenameFlags) error {
	err := b.FS.Rename(ctx, parent, name, newParent, newName, flags)
	b.changed(err, parent, name)
	b.changed(err, newParent, newName)
	return err
}

// SetAttr implements Lookups.
func (b Beside) SetAttr(ctx context.Context, c Caller, id NodeID, h *Handle, set SetAttr) (Known, error) {
	known, err := b.FS.SetAttr(ctx, c, id, h, set)
	if err == nil {
		b.invalidator().InvalidateNode(id)
	}
	return known, err
}

// changed tells of a change of a name.
func (b Beside) changed(err error, parent NodeID, name string) {
	if err == nil {
		b.invalidator().InvalidateEntry(parent, name)
	}
}
