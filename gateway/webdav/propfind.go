package webdav

import (
	"encoding/xml"
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/vfs"
)

// propfind implements PROPFIND (section 9.1).
func (r *request) propfind() error {
	depth, err := r.depth()
	if err != nil {
		return err
	}
	want, err := r.wanted()
	if err != nil {
		return err
	}
	p, err := r.here()
	if err != nil {
		return err
	}
	if p, _, err = r.judge(p); err != nil {
		return err
	}
	if !p.there || p.known.Type != vfs.TypeFile && !p.isDir() || r.dir && !p.isDir() {
		return statusError{code: http.StatusNotFound}
	}
	top, err := r.resource(r.path, p)
	if err != nil {
		return err
	}
	l := &lister{r: r, want: want, out: newMultistatus(r.w)}
	if depth > 1 {
		return l.infinite(top, p)
	}
	if err := l.add(top); err != nil {
		return err
	}
	if depth == 1 && p.isDir() {
		if err := l.members(r.path, p, func(m resource, _ *place) error { return l.add(m) }); err != nil {
			if l.out.flushed {
				panic(http.ErrAbortHandler) // what was sent must not look like the whole
			}
			return err
		}
	}
	l.out.close()
	return nil
}

// Depth header values (section 10.2).
const infinity = 2

func (r *request) depth() (int, error) {
	switch d := r.Header.Get("Depth"); {
	case d == "0":
		return 0, nil
	case d == "1":
		return 1, nil
	case d == "" || strings.EqualFold(d, "infinity"):
		return infinity, nil
	}
	return 0, refused(http.StatusBadRequest, "Depth is 0, 1 or infinity")
}

// wanted reads the body of a PROPFIND (section 14.20).
func (r *request) wanted() (wanted, error) {
	e, err := r.readXML("propfind")
	if err != nil {
		return wanted{}, err
	}
	if e == nil {
		return wanted{all: true}, nil
	}
	all, only, prop, include := e.child("allprop"), e.child("propname"), e.child("prop"), e.child("include")
	count := 0
	for _, c := range []*element{all, only, prop} {
		if c != nil {
			count++
		}
	}
	if count != 1 || include != nil && all == nil {
		return wanted{}, refused(http.StatusBadRequest, "a propfind has one of allprop, propname and prop")
	}
	w := wanted{all: all != nil, only: only != nil}
	if prop == nil {
		prop = include
	}
	if prop != nil {
		seen := map[xml.Name]bool{}
		for _, c := range prop.children() {
			if !seen[c.name] {
				seen[c.name] = true
				w.names = append(w.names, c.name)
			}
		}
	}
	return w, nil
}

// resource is what is at p, with attributes that are current.
func (r *request) resource(path string, p *place) (resource, error) {
	known, err := r.h.files.GetAttr(r.Context(), p.known.ID, nil)
	return resource{path: path, real: p.path, attr: known.Attr}, err
}

// lister writes what a PROPFIND has found.
type lister struct {
	r     *request
	want  wanted
	out   *multistatus
	count int
	limit int // 0: none
}

func (l *lister) add(m resource) error {
	if l.count++; l.limit > 0 && l.count > l.limit {
		return errTooMany
	}
	stats, err := l.r.h.propstats(l.r.Context(), m, l.want)
	if err != nil {
		return err
	}
	l.out.properties(href(m.path, m.isDir()), stats)
	return nil
}

// infinite lists all that is below, if it is not too much: then the answer is
// that Depth must be finite (section 9.1.1).
func (l *lister) infinite(top resource, p *place) error {
	l.limit = l.r.h.MaxInfinity
	l.out.hold = true
	err := l.add(top)
	if err == nil && p.isDir() {
		err = l.below(top, p)
	}
	if errors.Is(err, errTooMany) {
		return statusError{code: http.StatusForbidden, condition: "<D:propfind-finite-depth/>", err: err}
	}
	if err != nil {
		return err
	}
	l.out.close()
	return nil
}

func (l *lister) below(dir resource, p *place) error {
	return l.members(dir.path, p, func(m resource, at *place) error {
		if err := l.add(m); err != nil || !m.isDir() || m.real != joined(dir.real, baseName(m.path)) {
			return err // what a link leads to is not gone into: it may lead up
		}
		return l.below(m, at)
	})
}

// attrParallel is for how many members attributes are asked for at a time.
const attrParallel = 64

// listStep is how many members are looked up before they are written.
const listStep = 512

// members calls do for each member of a collection that can be shown, in order.
func (l *lister) members(path string, p *place, do func(resource, *place) error) error {
	files, ctx := l.r.h.files, l.r.Context()
	d, err := files.OpenDir(ctx, p.known.ID)
	if err != nil {
		return err
	}
	const dots = 2 // entries "." and ".." come first
	for off, more := uint64(dots), true; more; {
		step := &members{r: l.r, dir: p, path: path}
		more = false
		if off == dots {
			off = 0 // the start takes a new snapshot
		}
		err := files.ReadDirPlus(ctx, d, off, func(e vfs.DirEntry) bool {
			if len(step.all) == listStep {
				more = true
				if e.Known != nil {
					files.Forget(e.Known.ID, 1)
				}
				return false
			}
			off = e.Off
			if e.Name != "." && e.Name != ".." {
				step.take(e)
			}
			return true
		})
		if err == nil {
			err = step.each(do)
		}
		step.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// members are some names of a collection.
type members struct {
	r    *request
	dir  *place
	path string
	all  []member
}

type member struct {
	name  string
	place *place
	attr  resource
	err   error
}

// take takes over a name, and the reference to its node if it has one.
func (m *members) take(e vfs.DirEntry) {
	if m.r.h.refuses(e.Name) {
		if e.Known != nil {
			m.r.h.files.Forget(e.Known.ID, 1)
		}
		return
	}
	at := &place{path: joined(m.dir.path, e.Name), parent: m.dir.known.ID, name: e.Name}
	if e.Known != nil {
		at.known, at.there, at.refs = *e.Known, true, []vfs.NodeID{e.Known.ID}
	}
	m.all = append(m.all, member{name: e.Name, place: at})
}

// each fills in what a listing does not tell, and calls do.
func (m *members) each(do func(resource, *place) error) error {
	var wg sync.WaitGroup
	turn := make(chan struct{}, attrParallel)
	for i := range m.all {
		e := &m.all[i]
		e.attr = resource{path: joined(m.path, e.name), real: e.place.path, attr: e.place.known.Attr}
		if e.place.there && e.place.known.Type != vfs.TypeSymlink {
			continue
		}
		turn <- struct{}{}
		wg.Go(func() {
			e.err = m.fill(e)
			<-turn
		})
	}
	wg.Wait()
	for i := range m.all {
		e := &m.all[i]
		switch {
		case e.err != nil:
			return e.err
		case !e.place.there || e.attr.attr.Type != vfs.TypeFile && e.attr.attr.Type != vfs.TypeDir:
			continue // gone meanwhile, leads nowhere, or nothing that HTTP could show
		}
		if err := do(e.attr, e.place); err != nil {
			return err
		}
	}
	return nil
}

// fill looks a member up, and asks for attributes.
func (m *members) fill(e *member) error {
	r := m.r
	w := &walk{files: r.h.files, ctx: r.Context(), place: &place{}, follow: true}
	if err := w.to(e.place.path); err != nil {
		w.place.release(r.h.files)
		return err
	}
	w.place.refs = append(w.place.refs, e.place.refs...)
	e.place = w.place
	if !e.place.there {
		return nil
	}
	known, err := r.h.files.GetAttr(r.Context(), e.place.known.ID, nil)
	if err != nil && (vfs.KindOf(err) == vfs.NotExist || vfs.KindOf(err) == vfs.Stale) {
		e.place.there = false
		return nil
	}
	e.attr.attr, e.attr.real = known.Attr, e.place.path
	return err
}

func (m *members) release() {
	for _, e := range m.all {
		e.place.release(m.r.h.files)
	}
}
