package vfs

import (
	"context"
	"strings"

	"github.com/causewayfs/causeway/index"
	"github.com/causewayfs/causeway/store"
	"golang.org/x/sync/errgroup"
)

// settlePasses is how often the sources are listed for what has changed since
// they were copied, before the first of them goes. What arrives later moves
// too, while they go.
const settlePasses = 4

// rename moves the tree: all copies, then the sources.
func (t *treeTask) rename(ctx context.Context) error {
	switch t.rec.Phase {
	case phaseUndoing:
		return t.undo(ctx)
	case phaseCopying:
		if err := t.copyAll(ctx); err != nil {
			return err
		}
		if err := t.swap(ctx, func(r *treeRecord) { r.Phase = phaseRemoving }); err != nil {
			return err
		}
	}
	for n := range treePasses + 1 {
		// What comes after the last but one stays where it is.
		found, err := t.runPass(ctx, passMode{copies: n < treePasses, removes: true})
		if err != nil {
			return err
		}
		if found == 0 {
			break
		}
	}
	t.landed()
	t.end(ctx)
	return nil
}

func (t *treeTask) copyAll(ctx context.Context) error {
	if t.rec.Exclusive && len(t.known) == 0 {
		if err := t.claim(ctx); err != nil {
			return err
		}
	}
	for range settlePasses {
		copied, err := t.runPass(ctx, passMode{copies: true})
		if err != nil {
			return err
		}
		if err := t.dropGone(ctx); err != nil {
			return err
		}
		if copied == 0 {
			break
		}
	}
	if _, marked := t.known[""]; marked || len(t.known) > 0 && !t.rec.Exclusive {
		return nil
	}
	// A directory without a marker: one without entries needs one, and the
	// claim's still has the sign of this operation.
	return t.putMarker(ctx, t.rec.Meta, store.Always)
}

// dropGone removes the copies of sources that the last listing did not show:
// somebody has removed them since they were copied.
func (t *treeTask) dropGone(ctx context.Context) error {
	var gone []store.Info
	for rel, f := range t.known {
		if f.pass == t.pass {
			continue
		}
		delete(t.known, rel)
		info, err := t.fs.store.Head(ctx, t.rec.Dst+"/"+rel)
		switch {
		case store.IsKind(err, store.NotExist):
		case err != nil:
			return err
		case f.made(info.ETag):
			gone = append(gone, info)
		}
	}
	return t.deleteAs(ctx, gone)
}

// claimKey is the metadata key of a marker that claims a name.
const claimKey = "causeway-tree"

// claim makes the target's marker if nobody has it. Nothing was copied before.
func (t *treeTask) claim(ctx context.Context) error {
	meta := store.Metadata{claimKey: t.rec.ID}
	for k, v := range t.rec.Meta {
		meta[k] = v
	}
	err := t.putMarker(ctx, meta, store.IfAbsent())
	if !store.IsKind(err, store.PreconditionFailed) {
		return err
	}
	info, e := t.fs.store.Head(ctx, t.rec.Dst+"/")
	switch {
	case e == nil && info.Meta[claimKey] == t.rec.ID:
		return nil // by an earlier owner, or by an attempt whose answer was lost
	case e != nil && !store.IsKind(e, store.NotExist):
		return e
	}
	if e := t.finish(ctx); e != nil {
		return e
	}
	return &Error{Op: "rename", Path: t.rec.Dst, Kind: Exist, Err: err}
}

func (t *treeTask) putMarker(ctx context.Context, meta store.Metadata, cond store.Precondition) error {
	if err := t.hold(ctx); err != nil {
		return err
	}
	opts := store.PutOptions{Meta: meta, ContentType: contentType(index.Entry{Type: TypeDir}), If: cond}
	_, err := t.fs.store.Put(ctx, t.rec.Dst+"/", store.Body{}, opts)
	return err
}

// treeCopy is one copy to make.
type treeCopy struct {
	src  store.Info
	fact treeFact
	cond store.Precondition // on the target
	look bool               // the condition must be checked just before, if the server cannot
}

// passMode says what is done about what a listing shows.
type passMode struct {
	copies  bool // what is not copied as it is
	removes bool // sources that are
}

// runPass lists the sources and does what the mode says. It returns how many
// sources it found that were not copied, or, if they are removed, of any kind.
func (t *treeTask) runPass(ctx context.Context, mode passMode) (found int, err error) {
	t.pass++
	t.total.Store(0)
	target := &treeCursor{t: t, prefix: t.rec.Dst + "/"}
	opts := store.ListOptions{Prefix: t.rec.Src + "/"}
	for {
		page, err := t.fs.store.List(ctx, opts)
		if err != nil {
			return found, err
		}
		t.total.Add(int64(len(page.Objects)))
		todo, copied, err := t.planPage(ctx, page.Objects, target)
		if err != nil {
			return found, err
		}
		found += len(todo)
		if mode.removes {
			found += len(copied)
			if err := t.deleteAs(ctx, copied); err != nil {
				return found, err
			}
		}
		if mode.copies {
			if err := t.copyPage(ctx, todo); err != nil {
				return found, err
			}
		}
		if page.Next == "" {
			return found, nil
		}
		opts.Token = page.Next
	}
}

// planPage tells what must be copied from what is copied as it is.
func (t *treeTask) planPage(ctx context.Context, page []store.Info, target *treeCursor) (todo []treeCopy, copied []store.Info, err error) {
	for _, obj := range page {
		c, err := t.plan(ctx, obj, target)
		if err != nil {
			return nil, nil, err
		}
		if c == nil {
			copied = append(copied, obj)
		} else {
			todo = append(todo, *c)
		}
	}
	return todo, copied, nil
}

// plan decides what becomes of a source: nil if it is copied, or need not be.
func (t *treeTask) plan(ctx context.Context, src store.Info, target *treeCursor) (*treeCopy, error) {
	rel := strings.TrimPrefix(src.Key, t.rec.Src+"/")
	fact, known := t.known[rel]
	if known && fact.Done && fact.of(src) {
		fact.pass = t.pass
		t.known[rel] = fact
		return nil, nil
	}
	dst, there, err := target.find(ctx, rel)
	if err != nil {
		return nil, err
	}
	c := &treeCopy{src: src, look: t.resumed || known, cond: store.IfAbsent(),
		fact: treeFact{Key: rel, ETag: src.ETag, Modified: src.Modified, pass: t.pass}}
	if rel == "" {
		c.cond = store.Always // the directory itself replaces what it is renamed to
		return c, nil
	}
	if !there {
		return c, nil
	}
	c.cond, c.look, c.fact.Before = store.IfMatch(dst.ETag), true, dst.ETag
	switch {
	case !known:
	case fact.Done && fact.Copy == dst.ETag, !fact.Done && fact.Ours && fact.Before == dst.ETag,
		!fact.Done && !fact.of(src) && fact.ETag == dst.ETag:
		c.fact.Ours = true // the copy of an older source
		return c, nil
	case !fact.Done && fact.of(src) && dst.ETag != fact.Before:
		// Copied, and not noted; or somebody's who came after.
		c.fact.Done, c.fact.Before, c.fact.Ours = true, fact.Before, fact.Ours
		if dst.ETag == src.ETag {
			c.fact.Copy = dst.ETag
		}
		return c, nil
	}
	// Somebody else's: the later one stands.
	c.fact.Done = !src.Modified.After(dst.Modified)
	return c, nil
}

// copyPage makes copies. What it is about to do, and what it has done, is in
// S3 before anything that relies on it.
func (t *treeTask) copyPage(ctx context.Context, todo []treeCopy) error {
	if len(todo) == 0 {
		return nil
	}
	n := t.parts
	t.parts++
	facts := make([]treeFact, len(todo))
	for i, c := range todo {
		facts[i] = c.fact
		t.known[c.fact.Key] = c.fact
	}
	if err := t.saveFacts(ctx, n, facts); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(treeParallel)
	for i, c := range todo {
		if c.fact.Done {
			t.done.Add(1)
			continue
		}
		group.Go(func() error {
			etag, done, err := t.copyOne(gctx, c)
			facts[i].Copy, facts[i].Done = etag, done
			if done {
				t.done.Add(1)
			}
			return err
		})
	}
	err := group.Wait()
	for _, f := range facts {
		t.known[f.Key] = f
	}
	if err != nil {
		return err
	}
	return t.saveFacts(ctx, n, facts)
}

// copyOne makes one copy. It reports false if the source or the target has
// changed: the next listing shows.
func (t *treeTask) copyOne(ctx context.Context, c treeCopy) (store.ETag, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	dst := t.rec.Dst + "/" + c.fact.Key
	cond, err := t.condition(ctx, dst, c)
	if err == nil {
		err = t.hold(ctx)
	}
	var info store.Info
	switch {
	case err != nil:
	case strings.HasSuffix(c.src.Key, "/"):
		info, err = t.copyMarker(ctx, c, dst)
	default:
		info, err = t.copyFile(ctx, c, dst, cond)
	}
	if store.IsKind(err, store.PreconditionFailed) || store.IsKind(err, store.NotExist) {
		return "", false, nil
	}
	return info.ETag, err == nil, err
}

// condition is what CopyObject can demand of the target. What it cannot is
// looked at just before.
func (t *treeTask) condition(ctx context.Context, dst string, c treeCopy) (store.Precondition, error) {
	if strings.HasSuffix(dst, "/") || c.src.Size > store.MaxCopySize && t.fs.opts.Capabilities.CompleteIf || t.fs.opts.Capabilities.CopyIf {
		return c.cond, nil
	}
	if !c.look {
		return store.Always, nil
	}
	info, err := t.fs.store.Head(ctx, dst)
	changed := &store.Error{Op: store.OpCopy, Key: dst, Kind: store.PreconditionFailed}
	switch absent := store.IsKind(err, store.NotExist); {
	case err != nil && !absent:
		return store.Always, err
	case c.cond.Absent && !absent, c.cond.Match != "" && info.ETag != c.cond.Match:
		return store.Always, changed
	}
	return store.Always, nil
}

func (t *treeTask) copyFile(ctx context.Context, c treeCopy, dst string, cond store.Precondition) (store.Info, error) {
	e := index.Entry{ETag: c.src.ETag, Size: c.src.Size}
	var meta store.Metadata
	if c.src.Size > store.MaxCopySize {
		info, err := t.fs.store.Head(ctx, c.src.Key)
		if err != nil {
			return store.Info{}, err
		}
		meta = info.Meta
	}
	return t.fs.copyObject(ctx, c.src.Key, dst, e, meta, cond)
}

// copyMarker makes a directory's marker anew: some servers do not copy keys
// that end in a slash.
func (t *treeTask) copyMarker(ctx context.Context, c treeCopy, dst string) (store.Info, error) {
	info, err := t.fs.store.Head(ctx, c.src.Key)
	if err != nil {
		return store.Info{}, err
	}
	opts := store.PutOptions{Meta: info.Meta, ContentType: contentType(index.Entry{Type: TypeDir}), If: c.cond}
	return t.fs.store.Put(ctx, dst, store.Body{}, opts)
}
