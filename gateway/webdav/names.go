package webdav

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/causewayfs/causeway/vfs"
)

// mkcol implements MKCOL (section 9.3).
func (r *request) mkcol() error {
	if n, _ := r.Body.Read(make([]byte, 1)); n > 0 {
		return statusError{code: http.StatusUnsupportedMediaType}
	}
	p, err := r.find(r.path, false)
	if err != nil {
		return err
	}
	switch {
	case p.there:
		return refused(http.StatusMethodNotAllowed, "there is something already")
	case p.orphan:
		return refused(http.StatusConflict, "there is no such collection to make it in")
	}
	if p, _, err = r.judge(p); err != nil {
		return err
	}
	done, err := r.confirm(r.Context(), Scope{Path: p.path, Names: true})
	if err != nil {
		return err
	}
	defer done()
	known, err := r.h.files.Mkdir(r.Context(), r.caller(), p.parent, p.name, newDirMode)
	if err != nil {
		if vfs.KindOf(err) == vfs.Exist {
			return statusError{code: http.StatusMethodNotAllowed, err: err}
		}
		return putError(err)
	}
	r.h.files.Forget(known.ID, 1)
	r.created(true)
	return nil
}

// delete implements DELETE (section 9.6).
func (r *request) delete() error {
	if d := r.Header.Get("Depth"); d != "" && !strings.EqualFold(d, "infinity") && r.dir {
		return refused(http.StatusBadRequest, "DELETE of a collection has Depth infinity")
	}
	p, err := r.find(r.path, false)
	if err != nil {
		return err
	}
	if p, _, err = r.judge(p); err != nil {
		return err
	}
	switch {
	case !p.there || r.dir && !p.isDir():
		return statusError{code: http.StatusNotFound}
	case p.name == "":
		return refused(http.StatusForbidden, "the root stays")
	}
	done, err := r.confirm(r.Context(), Scope{Path: p.path, Names: true, Tree: p.isDir()})
	if err != nil {
		return err
	}
	if err := r.remove(p); err != nil {
		done()
		return err
	}
	done(p.path)
	r.w.WriteHeader(http.StatusNoContent)
	return nil
}

// remove removes what is at p, with all that is below.
func (r *request) remove(p *place) error {
	if p.isDir() {
		return r.h.files.RemoveTree(r.Context(), p.parent, p.name)
	}
	return r.h.files.Unlink(r.Context(), p.parent, p.name)
}

// transfer is a COPY or MOVE.
type transfer struct {
	from, to  *place
	overwrite bool
	shallow   bool // of a COPY: Depth 0
}

// transfer reads and checks what COPY and MOVE have in common (sections 9.8 and
// 9.9).
func (r *request) transfer() (*transfer, error) {
	t := &transfer{}
	switch r.Header.Get("Overwrite") {
	case "", "T", "t": // section 10.6
		t.overwrite = true
	case "F", "f":
	default:
		return nil, refused(http.StatusBadRequest, "Overwrite is T or F")
	}
	path, err := r.destination()
	if err != nil {
		return nil, err
	}
	if t.from, err = r.find(r.path, false); err != nil {
		return nil, err
	}
	if t.from, _, err = r.judge(t.from); err != nil {
		return nil, err
	}
	if !t.from.there {
		return nil, statusError{code: http.StatusNotFound}
	}
	if t.to, err = r.find(path, false); err != nil {
		return nil, err
	}
	switch {
	case t.from.name == "" || t.to.path == "" || t.from.path == t.to.path:
		return nil, refused(http.StatusForbidden, "source and destination are the same, or the root")
	case t.from.isDir() && under(t.to.path, t.from.path):
		return nil, refused(http.StatusForbidden, "the destination is in the source")
	case under(t.from.path, t.to.path):
		return nil, refused(http.StatusForbidden, "the source is in the destination")
	case t.to.orphan:
		return nil, refused(http.StatusConflict, "there is no such collection to put it into")
	case t.to.there && !t.overwrite:
		return nil, refused(http.StatusPreconditionFailed, "the destination is taken")
	case r.h.refuses(t.to.path):
		return nil, refused(http.StatusForbidden, "files of macOS's own are not kept here")
	}
	return t, nil
}

// destination is the path that the Destination header names (section 10.3).
func (r *request) destination() (string, error) {
	text := r.Header.Get("Destination")
	if text == "" {
		return "", refused(http.StatusBadRequest, "there is no Destination")
	}
	return r.ours(text)
}

// ours is the path of a URL, or of an absolute path, of this server.
func (r *request) ours(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Fragment != "" || u.RawQuery != "" || u.Opaque != "" {
		return "", refused(http.StatusBadRequest, "a URL cannot be understood")
	}
	if u.Host != "" && !strings.EqualFold(u.Host, r.Host) && !strings.EqualFold(u.Host, r.Header.Get("X-Forwarded-Host")) {
		return "", refused(http.StatusBadGateway, "the destination is on another server") // section 9.8.5
	}
	path, _, err := parsePath(u)
	return path, err
}

// clear removes what is at the destination if the change cannot replace it in
// one step: a collection, or what a collection is to replace (sections 9.8.4
// and 9.9.3).
func (r *request) clear(t *transfer) error {
	if !t.to.there || !t.to.isDir() && !t.from.isDir() {
		return nil
	}
	return r.remove(t.to)
}

// copy implements COPY (section 9.8). The bytes stay at the server.
func (r *request) copy() error {
	t, err := r.transfer()
	if err != nil {
		return err
	}
	switch d := r.Header.Get("Depth"); {
	case d == "0":
		t.shallow = true
	case d != "" && !strings.EqualFold(d, "infinity"):
		return refused(http.StatusBadRequest, "COPY has Depth 0 or infinity")
	}
	done, err := r.confirm(r.Context(), Scope{Path: t.to.path, Names: true, Tree: t.to.isDir()})
	if err != nil {
		return err
	}
	var gone []string
	defer func() { done(gone...) }()
	if err := r.clear(t); err != nil {
		return err
	}
	if t.to.isDir() {
		gone = append(gone, t.to.path)
	}
	o := vfs.CopyOptions{NoReplace: !t.overwrite, Shallow: t.shallow}
	if !t.from.isDir() {
		_, err := r.h.files.CopyFile(r.Context(), t.from.parent, t.from.name, t.to.parent, t.to.name, o)
		if err != nil {
			return putError(err)
		}
		r.created(!t.to.there)
		return nil
	}
	return r.copyTree(t, o)
}

// copyTree copies a collection. What could not be copied is told by name
// (section 9.8.3).
func (r *request) copyTree(t *transfer, o vfs.CopyOptions) error {
	type failure struct {
		path string
		err  error
	}
	var failures []failure
	o.Failed = func(path string, err error) { failures = append(failures, failure{path, err}) }
	if err := r.h.files.CopyTree(r.Context(), r.caller(), t.from.parent, t.from.name, t.to.parent, t.to.name, o); err != nil {
		return putError(err)
	}
	if len(failures) == 0 {
		r.created(!t.to.there)
		return nil
	}
	m := newMultistatus(r.w)
	for _, f := range failures {
		m.status(href(f.path, false), asStatus(f.err).code, "")
	}
	m.close()
	return nil
}

// move implements MOVE (section 9.9). A file replaces a file in one step.
func (r *request) move() error {
	t, err := r.transfer()
	if err != nil {
		return err
	}
	if d := r.Header.Get("Depth"); d != "" && !strings.EqualFold(d, "infinity") && t.from.isDir() {
		return refused(http.StatusBadRequest, "MOVE of a collection has Depth infinity")
	}
	done, err := r.confirm(r.Context(), Scope{Path: t.from.path, Names: true, Tree: t.from.isDir()},
		Scope{Path: t.to.path, Names: true, Tree: t.to.isDir()})
	if err != nil {
		return err
	}
	var gone []string
	defer func() { done(gone...) }()
	if err := r.clear(t); err != nil {
		return err
	}
	if t.to.isDir() {
		gone = append(gone, t.to.path)
	}
	flags := vfs.RenameFlags(0)
	if !t.overwrite {
		flags = vfs.RenameNoReplace
	}
	err = r.h.files.Rename(r.Context(), t.from.parent, t.from.name, t.to.parent, t.to.name, flags)
	if err != nil {
		return moveError(err)
	}
	gone = append(gone, t.from.path)
	r.created(!t.to.there)
	return nil
}

func moveError(err error) error {
	switch vfs.KindOf(err) {
	case vfs.NotExist: // the source, or either's parent, went away meanwhile
		return statusError{code: http.StatusNotFound, err: err}
	case vfs.NotEmpty, vfs.IsDir, vfs.NotDir: // somebody put it there meanwhile
		return statusError{code: http.StatusConflict, err: err}
	}
	return err
}

var errTooMany = errors.New("too many resources")
