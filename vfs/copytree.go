package vfs

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// copies are the copies of trees that are under way.
type copies struct {
	mu  sync.Mutex
	all map[*copyTask]struct{}
}

// copyTask is one of them.
type copyTask struct {
	fs       *FS
	caller   Caller
	src, dst string
	since    time.Time
	opts     CopyOptions
	done     atomic.Int64
	total    atomic.Int64

	mu   sync.Mutex // held while opts.Failed is called
	refs []NodeID   // of the directories; only the walk has them
}

func (c *copies) add(t *copyTask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all == nil {
		c.all = map[*copyTask]struct{}{}
	}
	c.all[t] = struct{}{}
}

func (c *copies) drop(t *copyTask) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, t)
}

func (c *copies) progress() []TreeProgress {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []TreeProgress
	for t := range c.all {
		all = append(all, TreeProgress{Op: "copy", Src: t.src, Dst: t.dst, Phase: "copying", Since: t.since,
			Done: t.done.Load(), Total: t.total.Load()})
	}
	return all
}

// CopyTree implements Documents.
func (fs *FS) CopyTree(ctx context.Context, c Caller, parent NodeID, name string, newParent NodeID, newName string, o CopyOptions) error {
	_, src, err := fs.target("lookup", parent, name)
	if err != nil {
		return err
	}
	_, dst, err := fs.target("copy", newParent, newName)
	if err != nil {
		return err
	}
	if src == dst || strings.HasPrefix(dst, src+"/") {
		return &Error{Op: "copy", Path: dst, Kind: Invalid}
	}
	t := &copyTask{fs: fs, caller: c, src: src, dst: dst, since: fs.now(), opts: o}
	fs.copies.add(t)
	defer fs.copies.drop(t)
	from, err := fs.Lookup(ctx, parent, name)
	if err != nil {
		return err
	}
	t.refs = append(t.refs, from.ID)
	defer func() {
		for _, id := range t.refs {
			fs.Forget(id, 1)
		}
	}()
	group := &errgroup.Group{}
	group.SetLimit(treeParallel)
	err = t.dir(ctx, group, from.ID, newParent, newName)
	if werr := group.Wait(); err == nil {
		err = werr
	}
	return err
}

// fail reports one name that could not be copied.
func (t *copyTask) fail(path string, err error) error {
	if t.opts.Failed == nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opts.Failed(path, err)
	return nil
}

// dir copies one directory. Files are copied by group, directories below here.
func (t *copyTask) dir(ctx context.Context, group *errgroup.Group, src, parent NodeID, name string) error {
	made, err := t.mkdir(ctx, src, parent, name)
	if err != nil {
		return err
	}
	t.refs = append(t.refs, made)
	if t.opts.Shallow {
		return nil
	}
	entries, err := t.list(ctx, src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return t.fs.fault("copy", t.src, err)
		}
		t.total.Add(1)
		if e.Type == TypeDir {
			if err := t.below(ctx, group, src, made, e.Name); err != nil {
				return err
			}
			continue
		}
		group.Go(func() error {
			defer t.done.Add(1)
			_, err := t.fs.CopyFile(ctx, src, e.Name, made, e.Name, CopyOptions{NoReplace: t.opts.NoReplace})
			if err == nil || KindOf(err) == NotExist { // removed meanwhile
				return nil
			}
			return t.fail(joinPath(t.fs.pathOfID(made), e.Name), err)
		})
	}
	return nil
}

// below copies a directory inside the one that is copied.
func (t *copyTask) below(ctx context.Context, group *errgroup.Group, src, made NodeID, name string) error {
	defer t.done.Add(1)
	sub, err := t.fs.Lookup(ctx, src, name)
	if err != nil {
		if KindOf(err) == NotExist {
			return nil
		}
		return t.fail(joinPath(t.fs.pathOfID(made), name), err)
	}
	t.refs = append(t.refs, sub.ID)
	if err := t.dir(ctx, group, sub.ID, made, name); err != nil {
		return t.fail(joinPath(t.fs.pathOfID(made), name), err)
	}
	return nil
}

// mkdir makes the copy of a directory, with its attributes.
func (t *copyTask) mkdir(ctx context.Context, src, parent NodeID, name string) (NodeID, error) {
	fs := t.fs
	p, path, err := fs.target("copy", parent, name)
	if err != nil {
		return 0, err
	}
	if fs.exists(p, name, path) {
		return 0, &Error{Op: "copy", Path: path, Kind: Exist}
	}
	e := fs.newEntry(t.caller, p, name, TypeDir, 0o777&^fs.opts.Umask)
	if n := fs.nodes.get(src); n != nil {
		from, err := fs.entryOf(ctx, n)
		if err != nil {
			return 0, err
		}
		if from.Attr != nil {
			e.Attr, e.Mtime = from.Attr, from.Mtime
		}
	}
	if err := fs.claimName(ctx, path, &e, store.Body{}); err != nil {
		return 0, err
	}
	n := fs.nodes.intern(p, name, TypeDir, true)
	if n == nil {
		return 0, &Error{Op: "copy", Path: path, Kind: NotExist}
	}
	fs.touchDir(p)
	fs.invalidator().InvalidateEntry(p.id, name)
	return n.id, nil
}

// list reads the names of a directory.
func (t *copyTask) list(ctx context.Context, id NodeID) ([]DirEntry, error) {
	d, err := t.fs.OpenDir(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []DirEntry
	err = t.fs.ReadDir(ctx, d, dots, func(e DirEntry) bool {
		all = append(all, e)
		return true
	})
	return all, err
}
