package webdav

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// state is what conditions are about.
type state struct {
	there    bool
	etag     string // with its quotes; empty if there is none
	modified time.Time
}

// stateOf is the state of a place. A collection has no ETag, since its members
// change without one.
func (r *request) stateOf(p *place) state {
	if !p.there {
		return state{}
	}
	s := state{there: true, modified: p.known.Mtime}
	if p.known.Type != vfs.TypeDir {
		s.etag = quoted(p.known.ETag)
		if known, err := r.h.files.GetAttr(r.Context(), p.known.ID, nil); err == nil {
			s.modified = known.Mtime // a listing may not have told
		}
	}
	return s
}

// quoted is an ETag as HTTP has it (RFC 9110 section 8.8.3): a strong one.
func quoted(etag string) string {
	if etag == "" {
		return ""
	}
	return `"` + etag + `"`
}

// judge evaluates the conditions of the request, those of HTTP on the resource
// at p. A no is asked of S3 once, and p may be another place then. cond is what
// a change must demand so that a yes stays true.
func (r *request) judge(p *place) (now *place, cond vfs.Condition, err error) {
	if !r.conditional() {
		return p, vfs.Condition{}, nil
	}
	if cond, err = r.verdict(p); err == nil {
		return p, cond, nil
	}
	if p.orphan || p.name == "" {
		return p, cond, err
	}
	known, lookErr := r.h.files.Recheck(r.Context(), p.parent, p.name)
	switch {
	case lookErr == nil:
		p.refs = append(p.refs, known.ID)
		p.known, p.there = known, true
	case vfs.KindOf(lookErr) == vfs.NotExist:
		p.known, p.there = vfs.Known{}, false
	default:
		return p, cond, lookErr
	}
	cond, err = r.verdict(p)
	return p, cond, err
}

// conditional reports whether the request has conditions that are to be judged
// here: those of HTTP on reading are net/http's business.
func (r *request) conditional() bool {
	h := r.Header
	if h.Get("If") != "" {
		return true
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	return h.Get("If-Match") != "" || h.Get("If-None-Match") != "" || h.Get("If-Unmodified-Since") != ""
}

// verdict evaluates the conditions once.
func (r *request) verdict(p *place) (vfs.Condition, error) {
	s := r.stateOf(p)
	bound := false
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		ok, about := httpConditions(r.Header, s)
		if !ok {
			return vfs.Condition{}, refused(http.StatusPreconditionFailed, "")
		}
		bound = about
	}
	if text := r.Header.Get("If"); text != "" {
		lists, err := parseIf(text)
		if err != nil {
			return vfs.Condition{}, refused(http.StatusBadRequest, err.Error())
		}
		ok, about, err := r.anyHolds(lists, p, s)
		if err != nil {
			return vfs.Condition{}, err
		}
		if !ok {
			return vfs.Condition{}, refused(http.StatusPreconditionFailed, "")
		}
		bound = bound || about
	}
	switch {
	case !bound:
		return vfs.Condition{}, nil
	case !s.there:
		return vfs.Condition{Absent: true}, nil
	}
	return vfs.Condition{Match: strings.Trim(s.etag, `"`)}, nil
}

// httpConditions evaluates RFC 9110 section 13.2.2 for a method that changes
// something. about reports whether there was a condition.
func httpConditions(h http.Header, s state) (ok, about bool) {
	if m := strings.Join(h.Values("If-Match"), ","); m != "" {
		about = true
		if !matches(m, s, false) {
			return false, true
		}
	} else if t := h.Get("If-Unmodified-Since"); t != "" {
		// A date that is none is ignored (section 13.1.4), and so is the
		// condition where there is no date.
		if since, err := http.ParseTime(t); err == nil && s.there {
			about = true
			if s.modified.Truncate(time.Second).After(since) {
				return false, true
			}
		}
	}
	if m := strings.Join(h.Values("If-None-Match"), ","); m != "" {
		about = true
		if matches(m, s, true) {
			return false, true
		}
	}
	return true, about
}

// matches reports whether a list of ETags, or "*", has that of s. Weak ETags
// count only in a weak comparison (RFC 9110 section 8.8.3.2); ours are strong.
func matches(list string, s state, weak bool) bool {
	if strings.TrimSpace(list) == "*" {
		return s.there
	}
	for list = strings.TrimSpace(list); list != ""; list = strings.TrimLeft(list, " \t,") {
		isWeak := strings.HasPrefix(list, "W/")
		list = strings.TrimPrefix(list, "W/")
		tag, rest, ok := cutETag(list)
		if !ok {
			return false
		}
		if list = rest; tag == s.etag && s.etag != "" && (weak || !isWeak) {
			return true
		}
	}
	return false
}

// cutETag takes a quoted ETag from the start of s.
func cutETag(s string) (tag, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	end := strings.IndexByte(s[1:], '"')
	if end < 0 {
		return "", s, false
	}
	return s[:end+2], s[end+2:], true
}

// anyHolds evaluates an If header (section 10.4.4): one list has to hold. about
// reports whether an ETag had to do with the list about the resource of the
// request that holds.
func (r *request) anyHolds(lists []ifList, p *place, s state) (ok, about bool, err error) {
	for _, l := range lists {
		at, its := p.path, s
		if l.resource != "" {
			if at, its, err = r.tagged(l.resource, p, s); err != nil {
				return false, false, err
			}
		}
		holds, err := r.holds(l, at, its)
		if err != nil {
			return false, false, err
		}
		if holds {
			return true, at == p.path && l.hasETag(), nil
		}
	}
	return false, false, nil
}

// tagged is the state of a resource that a list names.
func (r *request) tagged(resource string, p *place, s state) (string, state, error) {
	path, err := r.ours(resource)
	if err != nil {
		return "\x00", state{}, nil // of another server: nothing holds there
	}
	other, err := r.find(path, true)
	if err != nil {
		return "", state{}, err
	}
	if other.path == p.path {
		return p.path, s, nil
	}
	return other.path, r.stateOf(other), nil
}

// holds evaluates one list.
func (r *request) holds(l ifList, path string, s state) (bool, error) {
	var locks []Lock
	for _, c := range l.conditions {
		met := false
		if c.ETag != "" {
			met = c.ETag == s.etag
		} else {
			if locks == nil {
				var err error
				if locks, err = r.h.Locks.Covering(r.Context(), path); err != nil {
					return false, err
				}
			}
			for _, lock := range locks {
				met = met || lock.Token == c.Token
			}
		}
		if met == c.Not {
			return false, nil
		}
	}
	return true, nil
}

// confirm says that the request may change scopes, as far as locks go.
func (r *request) confirm(ctx context.Context, scopes ...Scope) (func(gone ...string), error) {
	t := Tokens{Principal: r.h.User(r.Request)}
	if text := r.Header.Get("If"); text != "" {
		lists, err := parseIf(text)
		if err != nil {
			return nil, refused(http.StatusBadRequest, err.Error())
		}
		for _, l := range lists {
			for _, c := range l.conditions {
				if c.Token != "" && !c.Not {
					t.Tokens = append(t.Tokens, c.Token)
				}
			}
		}
	}
	return r.h.Locks.Confirm(ctx, t, scopes...)
}
