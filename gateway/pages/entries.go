package pages

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causewayfs/causeway/gateway/access"
	"github.com/causewayfs/causeway/vfs"
)

// Files is what a listing needs of a vfs.Operations.
type Files interface {
	Lookup(ctx context.Context, parent vfs.NodeID, name string) (vfs.Known, error)
	Forget(id vfs.NodeID, n uint64)
	OpenDir(ctx context.Context, id vfs.NodeID) (*vfs.DirHandle, error)
	ReadDirPlus(ctx context.Context, d *vfs.DirHandle, off uint64, emit func(vfs.DirEntry) bool) error
}

// entry is one name of a listing.
type entry struct {
	Name  string
	Kind  string // "dir", "file", "link", "other"
	Size  int64
	Mtime time.Time // zero if it is not known
}

// Href is relative to the directory.
func (e entry) Href() string {
	// The dot keeps a colon in the name from being taken for a scheme.
	href := "./" + url.PathEscape(e.Name)
	if e.Kind == "dir" {
		href += "/"
	}
	return href
}

func kindOf(t vfs.FileType) string {
	switch t {
	case vfs.TypeFile:
		return "file"
	case vfs.TypeDir:
		return "dir"
	case vfs.TypeSymlink:
		return "link"
	}
	return "other"
}

// walk finds path, and calls do with it while it is known. vfs.NotExist if there
// is none.
func walk(ctx context.Context, files Files, path string, do func(vfs.NodeID, vfs.FileType) error) error {
	id, kind := vfs.RootID, vfs.TypeDir
	for name := range strings.SplitSeq(path, "/") {
		if name == "" {
			continue // the root itself
		}
		known, err := files.Lookup(ctx, id, name)
		if err != nil {
			return err
		}
		defer files.Forget(known.ID, 1)
		id, kind = known.ID, known.Type
	}
	return do(id, kind)
}

// lookups is how many names are looked up at the same time.
const lookups = 16

// list returns the names of a directory that who may read.
func list(ctx context.Context, files Files, id vfs.NodeID, path string, who access.Identity) ([]entry, error) {
	d, err := files.OpenDir(ctx, id)
	if err != nil {
		return nil, err
	}
	var all []entry
	var unknown []int
	err = files.ReadDirPlus(ctx, d, 0, func(e vfs.DirEntry) bool {
		if e.Known != nil {
			defer files.Forget(e.Known.ID, 1)
		}
		full := strings.TrimPrefix(path+"/"+e.Name, "/")
		if e.Name == "." || e.Name == ".." || full == "-" || !who.Allows(full, access.Read) {
			return true
		}
		item := entry{Name: e.Name, Kind: kindOf(e.Type)}
		if e.Known != nil {
			item.know(*e.Known)
		} else {
			unknown = append(unknown, len(all))
		}
		all = append(all, item)
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, complete(ctx, files, id, all, unknown)
}

func (e *entry) know(k vfs.Known) { e.Kind, e.Size, e.Mtime = kindOf(k.Type), k.Size, k.Mtime }

// complete looks up the entries that the directory did not tell all about. Of one
// that is gone by now the name stays.
func complete(ctx context.Context, files Files, id vfs.NodeID, all []entry, unknown []int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(lookups)
	for _, i := range unknown {
		group.Go(func() error {
			known, err := files.Lookup(ctx, id, all[i].Name)
			if vfs.KindOf(err) == vfs.NotExist && err != nil {
				return nil
			}
			if err != nil {
				return err
			}
			files.Forget(known.ID, 1)
			all[i].know(known)
			return nil
		})
	}
	return group.Wait()
}

// order is how a listing is sorted.
type order struct {
	By   string // "name", "size", "time"
	Desc bool
}

// orderOf reads the query of a listing. What it does not know is by name.
func orderOf(q url.Values) order {
	o := order{By: q.Get("sort"), Desc: q.Get("order") == "desc"}
	if o.By != "size" && o.By != "time" {
		o.By = "name"
	}
	return o
}

// sort puts directories first; equal entries are by name.
func (o order) sort(all []entry) {
	byName := func(a, b entry) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.Name, b.Name))
	}
	slices.SortFunc(all, func(a, b entry) int {
		if a.Kind == "dir" != (b.Kind == "dir") {
			if a.Kind == "dir" {
				return -1
			}
			return 1
		}
		by := 0
		switch o.By {
		case "size":
			by = cmp.Compare(a.Size, b.Size)
		case "time":
			by = a.Mtime.Compare(b.Mtime)
		default:
			by = byName(a, b)
		}
		if o.Desc {
			by = -by
		}
		return cmp.Or(by, byName(a, b))
	})
}

// query is how a link asks for o.
func (o order) query() string {
	v := url.Values{}
	if o.By != "name" {
		v.Set("sort", o.By)
	}
	if o.Desc {
		v.Set("order", "desc")
	}
	return v.Encode()
}
