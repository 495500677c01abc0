package vfs

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/causewayfs/causeway/vfs/journal"
)

// savedState is what the journal has of a temporary file: the generations of
// its bytes and attributes.
type savedState struct{ gen, attrGen uint64 }

// keepStaged makes the bytes and attributes of a temporary file durable here,
// under its name. It does nothing for other files, and for one that was kept as
// it is.
func (fs *FS) keepStaged(ctx context.Context, f *file) error {
	for f.isStaged() {
		path, ok := fs.nodes.path(f.node)
		if !ok {
			return nil
		}
		unlock, err := fs.locks.lock(ctx, path)
		if err != nil {
			return err
		}
		if now, ok := fs.nodes.path(f.node); ok && now == path {
			defer unlock()
			return fs.keepStagedAt(ctx, f, path)
		}
		unlock()
	}
	return nil
}

// keepStagedAt is keepStaged with the lock of path held, which may be the name
// that the file is about to get.
func (fs *FS) keepStagedAt(ctx context.Context, f *file, path string) error {
	f.node.mu.Lock()
	c, e := f.content, f.entry
	now := savedState{attrGen: f.attrGen}
	current, _ := fs.nodes.path(f.node)
	same := current == path && f.saved.gen == c.generation() && f.saved.attrGen == now.attrGen
	old, full := f.intents.staged, f.full
	f.node.mu.Unlock()
	switch {
	case full:
		return &Error{Op: "close", Path: path, Kind: NoSpace, Err: errors.New("a write failed since the disk of the state directory is full")}
	case same && old != 0:
		return nil
	}
	it := intent{Op: intentStaged, Path: path, Time: fs.now()}
	var err error
	if it.Meta, err = fs.encode(e); err != nil {
		return err
	}
	if now.gen, err = fs.preserve(ctx, &it, c); err != nil {
		return err
	}
	ids, err := fs.ledger.record([]journal.ID{old}, it)
	if err != nil {
		return err
	}
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	f.intents.staged, f.saved = ids[0], now
	return nil
}

// preserve makes the bytes of c durable: in the intent if they are few, else in
// their own file, which stays as it is from then on. It returns the generation
// of what it preserved.
func (fs *FS) preserve(ctx context.Context, it *intent, c *content) (gen uint64, err error) {
	if err := c.ensure(ctx, 0, c.length()); err != nil {
		return 0, err
	}
	if c.length() <= inlineLimit {
		it.data, gen, err = c.snapshot()
		it.Size = int64(len(it.data))
		return gen, err
	}
	for {
		path, gen, size, err := c.sync()
		if err != nil {
			return 0, err
		}
		file := filepath.Base(path)
		if c.share(path, gen, size, func() { fs.ledger.reserve(file, c) }) {
			it.File, it.Size, it.reserved = file, size, true
			return gen, nil
		}
	}
}
