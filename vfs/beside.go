package vfs

import (
	"context"
	"io"
	"time"
)

// Beside is an FS as a front end uses it beside the one that an Invalidator
// speaks for: what it changes, that one is told of before it returns.
type Beside struct{ *FS }

var (
	_ Operations = Beside{}
	_ Documents  = Beside{}
)

// Awaiter is an optional power of an Invalidator: it returns when what it was
// told about nodes has been done, or ctx ends.
type Awaiter interface {
	AwaitTold(ctx context.Context, ids ...NodeID)
}

// besidePatience bounds how long a front end waits for the other one, which may
// be held up by an operation that takes long.
const besidePatience = 2 * time.Second

// Beside returns fs for a further front end.
func (fs *FS) Beside() Beside { return Beside{fs} }

// Mkdir implements Directories.
func (b Beside) Mkdir(ctx context.Context, c Caller, parent NodeID, name string, mode uint32) (Known, error) {
	known, err := b.FS.Mkdir(ctx, c, parent, name, mode)
	b.changed(ctx, err, parent, name)
	return known, err
}

// Rmdir implements Directories.
func (b Beside) Rmdir(ctx context.Context, parent NodeID, name string) error {
	err := b.FS.Rmdir(ctx, parent, name)
	b.changed(ctx, err, parent, name)
	return err
}

// RemoveTree implements Documents.
func (b Beside) RemoveTree(ctx context.Context, parent NodeID, name string) error {
	err := b.FS.RemoveTree(ctx, parent, name)
	b.changed(ctx, nil, parent, name) // also after an error something may be gone
	return err
}

// Unlink implements Directories.
func (b Beside) Unlink(ctx context.Context, parent NodeID, name string) error {
	err := b.FS.Unlink(ctx, parent, name)
	b.changed(ctx, err, parent, name)
	return err
}

// Rename implements Directories.
func (b Beside) Rename(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, flags RenameFlags) error {
	err := b.FS.Rename(ctx, parent, name, newParent, newName, flags)
	b.changed(ctx, err, parent, name)
	b.changed(ctx, err, newParent, newName)
	return err
}

// SetAttr implements Lookups.
func (b Beside) SetAttr(ctx context.Context, c Caller, id NodeID, h *Handle, set SetAttr) (Known, error) {
	known, err := b.FS.SetAttr(ctx, c, id, h, set)
	if err == nil {
		b.invalidator().InvalidateNode(id)
		b.await(ctx, id)
	}
	return known, err
}

// Put implements Documents.
func (b Beside) Put(ctx context.Context, c Caller, parent NodeID, name string, body io.Reader, o PutOptions) (Attr, bool, error) {
	a, created, err := b.FS.Put(ctx, c, parent, name, body, o)
	if err == nil {
		b.await(ctx, parent, a.ID)
	}
	return a, created, err
}

// CopyFile implements Documents.
func (b Beside) CopyFile(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, o CopyOptions) (bool, error) {
	created, err := b.FS.CopyFile(ctx, parent, name, newParent, newName, o)
	if err == nil {
		b.await(ctx, newParent)
	}
	return created, err
}

// changed tells of a change of a name.
func (b Beside) changed(ctx context.Context, err error, parent NodeID, name string) {
	if err == nil {
		b.invalidator().InvalidateEntry(parent, name)
		b.await(ctx, parent)
	}
}

// await waits until the other front end has done what it was told.
func (b Beside) await(ctx context.Context, ids ...NodeID) {
	a, ok := b.invalidator().(Awaiter)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), besidePatience)
	defer cancel()
	a.AwaitTold(ctx, ids...)
}
