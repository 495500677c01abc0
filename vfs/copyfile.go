package vfs

import (
	"context"
	"io"
	"syscall"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
)

// CopyFile implements Documents.
func (fs *FS) CopyFile(ctx context.Context, parent NodeID, name string, newParent NodeID, newName string, o CopyOptions) (bool, error) {
	from, src, err := fs.target("lookup", parent, name)
	if err != nil {
		return false, err
	}
	to, dst, err := fs.target("copy", newParent, newName)
	if err != nil {
		return false, err
	}
	if src == dst {
		return false, &Error{Op: "copy", Path: src, Kind: Invalid}
	}
	if n := fs.nodes.child(from, name); n != nil {
		if f := n.fileState(); f != nil && f.isStaged() {
			return fs.copyStaged(ctx, n, to, newName, o)
		}
	}
	waiting := fs.patient(ctx)
	defer waiting.release()
	e, err := fs.copySource(waiting, from, name, src)
	if err != nil {
		return false, waiting.explain(err)
	}
	created, err := fs.copyObjectTo(context.WithoutCancel(ctx), src, e, named{dir: to, name: newName, path: dst}, o)
	return created, err
}

// copySource returns the committed version of a name. What was written here and
// not committed is committed before.
func (fs *FS) copySource(ctx context.Context, dir *node, name, path string) (index.Entry, error) {
	if n := fs.nodes.child(dir, name); n != nil {
		if f := n.fileState(); f != nil && n.typ != TypeDir {
			if err := fs.commitFile(ctx, f); err != nil {
				return index.Entry{}, err
			}
			if err := fs.flushAttr(ctx, n); err != nil {
				return index.Entry{}, err
			}
		}
	}
	if err := fs.quiet(ctx, path); err != nil {
		return index.Entry{}, fs.fault("copy", path, err)
	}
	ans, err := fs.idx.Lookup(ctx, path)
	if err == nil && ans.Attr == nil {
		ans, err = fs.idx.Stat(ctx, path)
	}
	if err != nil {
		return index.Entry{}, fs.fault("copy", path, err)
	}
	if ans.Type == TypeDir {
		return index.Entry{}, &Error{Op: "copy", Path: path, Kind: IsDir}
	}
	return ans.Entry, nil
}

// copyObjectTo lets S3 copy the version e of src, or if others replace it
// meanwhile, what is there then.
func (fs *FS) copyObjectTo(ctx context.Context, src string, e index.Entry, t named, o CopyOptions) (bool, error) {
	waiting := fs.patient(ctx)
	defer waiting.release()
	ctx = waiting
	unlock, err := fs.locks.lock(ctx, t.path)
	if err != nil {
		return false, fs.fault("copy", t.path, waiting.explain(err))
	}
	defer unlock()
	if err := fs.quiet(ctx, t.path); err != nil {
		return false, fs.fault("copy", t.path, waiting.explain(err))
	}
	if t, err = fs.named(ctx, "copy", t.dir, t.name, t.path); err != nil {
		return false, waiting.explain(err)
	}
	switch {
	case t.there && o.NoReplace:
		return false, &Error{Op: "copy", Path: t.path, Kind: Exist}
	case !fs.stillNamed(t.dir, t.path):
		return false, &Error{Op: "copy", Path: t.path, Kind: NotExist}
	}
	if err := fs.announce(ctx); err != nil {
		return false, fs.fault("copy", t.path, waiting.explain(err))
	}
	fs.spareReaders(ctx, t)
	for try := 1; ; try++ {
		copied, err := fs.copyVersion(ctx, src, e, t, o)
		if err == nil {
			fs.installed(t, copied, nil)
			return !t.there, nil
		}
		changed := store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist)
		if changed && o.NoReplace {
			if _, there := fs.store.Head(ctx, t.path); !store.IsKind(there, store.NotExist) {
				fs.idx.Forget(t.path)
				return false, &Error{Op: "copy", Path: t.path, Kind: Exist, Err: err}
			}
		}
		if !changed || try == renameTries {
			return false, fs.fault("copy", t.path, waiting.explain(err))
		}
		fs.idx.Forget(src)
		ans, err := fs.idx.Stat(ctx, src)
		if err != nil {
			return false, fs.fault("copy", src, waiting.explain(err))
		}
		e = ans.Entry
	}
}

// copyVersion makes the version e of src the object of t, once.
func (fs *FS) copyVersion(ctx context.Context, src string, e index.Entry, t named, o CopyOptions) (index.Entry, error) {
	cond := store.Precondition{Absent: o.NoReplace}
	settled, err := fs.deleter.claim(ctx, t.path, cond.Absent)
	if err != nil {
		return e, err
	}
	ctx, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	e.Name = t.name
	info, err := fs.copyObject(ctx, src, t.path, e, nil, cond)
	settled(err == nil)
	if err != nil {
		return e, err
	}
	e.ETag, e.Modified = info.ETag, info.Modified
	return e, nil
}

// copyStaged copies a temporary file, which is only here.
func (fs *FS) copyStaged(ctx context.Context, n *node, to *node, newName string, o CopyOptions) (bool, error) {
	h, err := fs.Open(ctx, n.id, syscall.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer fs.Release(h)
	known, err := fs.GetAttr(ctx, n.id, h)
	if err != nil {
		return false, err
	}
	_, created, err := fs.Put(ctx, Caller{UID: known.UID, GID: known.GID}, to.id, newName, &handleReader{ctx, fs, h, 0},
		PutOptions{If: Condition{Absent: o.NoReplace}, Mode: known.Mode, Mtime: known.Mtime, Size: -1})
	return created, err
}

// handleReader reads an open file from its start.
type handleReader struct {
	ctx context.Context
	fs  *FS
	h   *Handle
	off int64
}

func (r *handleReader) Read(p []byte) (int, error) {
	n, err := r.fs.Read(r.ctx, r.h, p, r.off)
	r.off += int64(n)
	if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}
