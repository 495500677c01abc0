package webdav

import (
	"encoding/xml"
	"net/http"
	"slices"
	"time"

	"github.com/causewayfs/causeway/vfs"
	"golang.org/x/net/webdav"
)

// proppatch implements PROPPATCH (section 9.2): all of it or nothing.
func (r *request) proppatch() error {
	e, err := r.readXML("propertyupdate")
	if err != nil {
		return err
	}
	patches, err := parsePatches(e)
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
	if !p.there {
		return statusError{code: http.StatusNotFound}
	}
	done, err := r.confirm(r.Context(), Scope{Path: p.path})
	if err != nil {
		return err
	}
	defer done()
	failed := map[xml.Name]patchFailure{}
	set, props, err := r.patch(p, patches, failed)
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		if err := r.store(p, set, props); err != nil {
			e := asStatus(err)
			for _, n := range namesOf(patches) {
				failed[n] = patchFailure{code: e.code}
			}
		}
	}
	m := newMultistatus(r.w)
	m.properties(href(r.path, p.isDir()), patchStats(namesOf(patches), failed))
	m.close()
	return nil
}

// patchFailure says why a property was not changed.
type patchFailure struct {
	code      int
	condition string
}

// parsePatches reads the body of a PROPPATCH, whose order counts (section 9.2).
func parsePatches(e *element) ([]webdav.Proppatch, error) {
	if e == nil {
		return nil, refused(http.StatusBadRequest, "there is no propertyupdate")
	}
	var patches []webdav.Proppatch
	for _, c := range e.children() {
		if !c.is("set") && !c.is("remove") {
			continue // section 17: what is not known is ignored
		}
		prop := c.child("prop")
		if prop == nil {
			return nil, refused(http.StatusBadRequest, "a set or remove has no prop")
		}
		patch := webdav.Proppatch{Remove: c.is("remove")}
		for _, p := range prop.children() {
			one := webdav.Property{XMLName: p.name, Lang: p.lang}
			if !patch.Remove {
				one.InnerXML = []byte(p.inner())
			}
			patch.Props = append(patch.Props, one)
		}
		patches = append(patches, patch)
	}
	if len(namesOf(patches)) == 0 {
		return nil, refused(http.StatusBadRequest, "a propertyupdate without properties")
	}
	return patches, nil
}

// namesOf are the properties that patches are about.
func namesOf(patches []webdav.Proppatch) []xml.Name {
	var names []xml.Name
	for _, patch := range patches {
		for _, p := range patch.Props {
			if !slices.Contains(names, p.XMLName) {
				names = append(names, p.XMLName)
			}
		}
	}
	return names
}

// patch works out what patches make of the properties at p: attributes to set,
// and all dead properties; nil if none of these changes.
func (r *request) patch(p *place, patches []webdav.Proppatch, failed map[xml.Name]patchFailure) (vfs.SetAttr, []webdav.Property, error) {
	var set vfs.SetAttr
	dead, err := r.h.deadProps(r.Context(), p.known.ID)
	if err != nil {
		return set, nil, err
	}
	known, err := r.h.files.GetAttr(r.Context(), p.known.ID, nil)
	if err != nil {
		return set, nil, err
	}
	changed := false
	for _, patch := range patches {
		for _, prop := range patch.Props {
			l, isLive := liveProps[prop.XMLName]
			switch {
			case isLive && !l.writable:
				failed[prop.XMLName] = patchFailure{http.StatusForbidden, "<D:cannot-modify-protected-property/>"}
			case isLive && prop.XMLName.Space != nsDAV:
				if !setLive(&set, known, prop, patch.Remove) {
					failed[prop.XMLName] = patchFailure{code: http.StatusConflict}
				}
			case p.name == "":
				failed[prop.XMLName] = patchFailure{code: http.StatusForbidden} // the root has no object
			default:
				changed = true
				dead = slices.DeleteFunc(dead, func(d webdav.Property) bool { return d.XMLName == prop.XMLName })
				if !patch.Remove {
					dead = append(dead, prop)
				}
			}
		}
	}
	if !changed {
		return set, nil, nil
	}
	return set, append([]webdav.Property{}, dead...), nil
}

// setLive turns a property into an attribute; it reports whether it can.
func setLive(set *vfs.SetAttr, known vfs.Known, p webdav.Property, remove bool) bool {
	if remove {
		return false
	}
	text := string(p.InnerXML)
	if p.XMLName.Local == "executable" {
		mode := known.Mode &^ 0o111
		if text == "T" {
			mode |= known.Mode & 0o444 >> 2
		}
		set.Mode = &mode
		return text == "T" || text == "F"
	}
	t, err := http.ParseTime(text)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	set.Mtime = &t
	return err == nil
}

// store makes the changes. The filesystem sends them to S3 as one.
func (r *request) store(p *place, set vfs.SetAttr, props []webdav.Property) error {
	if props != nil {
		if err := r.h.setDeadProps(r.Context(), p.known.ID, props); err != nil {
			return err
		}
	}
	if set == (vfs.SetAttr{}) {
		return nil
	}
	_, err := r.h.files.SetAttr(r.Context(), r.caller(), p.known.ID, nil, set)
	return err
}

// patchStats is the answer. If one property failed, the others have failed
// because of it (section 9.2.1).
func patchStats(names []xml.Name, failed map[xml.Name]patchFailure) []webdav.Propstat {
	byCode := map[patchFailure]*webdav.Propstat{}
	var order []patchFailure
	for _, n := range names {
		f, ok := failed[n]
		switch {
		case !ok && len(failed) > 0:
			f = patchFailure{code: http.StatusFailedDependency}
		case !ok:
			f = patchFailure{code: http.StatusOK}
		}
		if byCode[f] == nil {
			byCode[f] = &webdav.Propstat{Status: f.code, XMLError: f.condition}
			order = append(order, f)
		}
		byCode[f].Props = append(byCode[f].Props, webdav.Property{XMLName: n})
	}
	var stats []webdav.Propstat
	for _, f := range order {
		stats = append(stats, *byCode[f])
	}
	return stats
}
