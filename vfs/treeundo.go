package vfs

import (
	"context"
	"strings"

	"github.com/causewayfs/causeway/store"
)

// undo removes copies that are still what was copied, and leaves the sources.
func (t *treeTask) undo(ctx context.Context) error {
	if t.rec.Phase != phaseUndoing {
		if err := t.swap(ctx, func(r *treeRecord) { r.Phase = phaseUndoing }); err != nil {
			return err
		}
	}
	opts := store.ListOptions{Prefix: t.rec.Dst + "/"}
	for {
		page, err := t.fs.store.List(ctx, opts)
		if err != nil {
			return err
		}
		var ours []store.Info
		for _, obj := range page.Objects {
			f, known := t.known[strings.TrimPrefix(obj.Key, opts.Prefix)]
			if known && f.made(obj.ETag) {
				ours = append(ours, obj)
			}
		}
		if err := t.deleteAs(ctx, ours); err != nil {
			return err
		}
		if page.Next == "" {
			return t.finish(ctx)
		}
		opts.Token = page.Next
	}
}

// made reports whether the version etag of the target is a copy that the
// operation has made.
func (f *treeFact) made(etag store.ETag) bool {
	if etag == f.Before {
		return f.Ours
	}
	return f.Copy == etag || f.Copy == "" && f.ETag == etag
}
