package webdav

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/causewayfs/causeway/vfs"
)

// parsePath returns the path of a URL from the root, without slashes at its
// ends, and whether it ended in one.
func parsePath(u *url.URL) (path string, dir bool, err error) {
	bad := func(why string) (string, bool, error) { return "", false, refused(http.StatusBadRequest, why) }
	if !strings.HasPrefix(u.Path, "/") {
		return bad("the path is not absolute")
	}
	if strings.Contains(strings.ToLower(u.EscapedPath()), "%2f") {
		return bad("a name has no slash in it")
	}
	if !utf8.ValidString(u.Path) {
		return bad("the path is not UTF-8")
	}
	path = u.Path[1:]
	if path, dir = strings.CutSuffix(path, "/"); path == "" {
		if dir {
			return bad("a name is empty")
		}
		return "", true, nil
	}
	for name := range strings.SplitSeq(path, "/") {
		switch {
		case name == "":
			return bad("a name is empty")
		case name == "." || name == "..":
			return bad("dots are not names")
		case strings.IndexByte(name, 0) >= 0:
			return bad("a name has a NUL in it")
		}
	}
	return path, dir, nil
}

// href is a path as it stands in answers.
func href(path string, dir bool) string {
	if path != "" && dir {
		path += "/"
	}
	return (&url.URL{Path: "/" + path}).EscapedPath()
}

// place is what a path leads to. The filesystem keeps the nodes for it until
// it is released.
type place struct {
	path   string // with links followed
	parent vfs.NodeID
	name   string // in parent; empty for the root
	known  vfs.Known
	there  bool
	orphan bool // the parent is not there, or no directory; nothing but path is set
	refs   []vfs.NodeID
}

func (p *place) isDir() bool { return p.there && p.known.Type == vfs.TypeDir }

func (p *place) release(files Files) {
	for _, id := range p.refs {
		files.Forget(id, 1)
	}
	p.refs = nil
}

// maxLinks is how many links a path may lead through (path_resolution(7)).
const maxLinks = 40

// find follows a path. Errors are those of a lookup, except that a name which
// does not exist is no error. With follow, a link at the end is followed too.
func (r *request) find(path string, follow bool) (*place, error) {
	w := &walk{files: r.h.files, ctx: r.Context(), place: &place{}, follow: follow}
	r.used = append(r.used, w.place)
	if err := w.to(path); err != nil {
		return nil, err
	}
	return w.place, nil
}

// here finds what the request is about.
func (r *request) here() (*place, error) { return r.find(r.path, true) }

// walk is a path being followed.
type walk struct {
	files  Files
	ctx    context.Context
	place  *place
	follow bool
	links  int
}

// to goes from the root to path.
func (w *walk) to(path string) error {
	p := w.place
	root, err := w.files.GetAttr(w.ctx, vfs.RootID, nil)
	if err != nil {
		return err
	}
	p.known, p.there, p.path, p.name, p.parent = root, true, "", "", vfs.RootID
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		if !p.isDir() {
			p.orphan, p.there, p.path = true, false, joined(p.path, path)
			return nil
		}
		dir, in := p.path, p.known.ID
		known, err := w.files.Lookup(w.ctx, in, name)
		p.parent, p.name, p.path = in, name, joined(dir, name)
		switch {
		case err != nil && vfs.KindOf(err) == vfs.NotExist:
			p.known, p.there = vfs.Known{}, false
		case err != nil:
			return err
		default:
			p.refs = append(p.refs, known.ID)
			p.known, p.there = known, true
		}
		if p.there && known.Type == vfs.TypeSymlink && (rest != "" || w.follow) {
			to, ok := w.target(dir, known.ID)
			if !ok {
				p.there, p.orphan = false, true
				return nil
			}
			return w.to(joined(to, rest))
		}
		path = rest
	}
	return nil
}

// target is where a link in dir leads; ok is false if that is not inside, or
// too many links were followed.
func (w *walk) target(dir string, link vfs.NodeID) (path string, ok bool) {
	if w.links++; w.links > maxLinks {
		return "", false
	}
	to, err := w.files.Readlink(w.ctx, link)
	if err != nil || strings.HasPrefix(to, "/") {
		return "", false
	}
	var names []string
	if dir != "" {
		names = strings.Split(dir, "/")
	}
	for name := range strings.SplitSeq(to, "/") {
		switch {
		case name == "" || name == ".":
		case name != "..":
			names = append(names, name)
		case len(names) == 0:
			return "", false
		default:
			names = names[:len(names)-1]
		}
	}
	return strings.Join(names, "/"), true
}

func joined(dir, name string) string {
	if dir == "" || name == "" {
		return dir + name
	}
	return dir + "/" + name
}

// parentOf returns the path of the directory that a path is in.
func parentOf(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i]
	}
	return ""
}

// under reports whether path is dir or below it.
func under(path, dir string) bool {
	return dir == "" || path == dir || strings.HasPrefix(path, dir+"/")
}

// baseName is the last name of a path.
func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }
