package webdav

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/causewayfs/causeway/vfs"
)

// newMode is that of files which are made here, before the umask of nobody: the
// gateway's own users are those of HTTP.
const (
	newMode    = 0o644
	newDirMode = 0o755
)

// put implements PUT (section 9.7, RFC 9110 section 9.3.4).
func (r *request) put() error {
	if r.Header.Get("Content-Range") != "" {
		return refused(http.StatusBadRequest, "parts of a file cannot be put") // RFC 9110 section 14.5
	}
	p, err := r.here()
	if err != nil {
		return err
	}
	switch {
	case p.isDir() || r.dir:
		return refused(http.StatusMethodNotAllowed, "this is a collection")
	case p.orphan:
		return refused(http.StatusConflict, "there is no such collection to put it into")
	}
	p, cond, err := r.judge(p)
	if err != nil {
		return err
	}
	o := vfs.PutOptions{If: cond, Mode: newMode, Size: r.ContentLength}
	if o.Size < 0 {
		o.Size = r.expectedLength()
	}
	if o.Mtime = r.givenTime(); !o.Mtime.IsZero() {
		r.w.Header().Set("X-OC-Mtime", "accepted")
	}
	scope := Scope{Path: p.path, Names: !p.there}
	// Twice: before the body is sent for nothing, and when it is here.
	done, err := r.confirm(r.Context(), scope)
	if err != nil {
		return err
	}
	done()
	o.Ready = func(ctx context.Context) (func(), error) {
		done, err := r.confirm(ctx, scope)
		if err != nil {
			return nil, err
		}
		return func() { done() }, nil
	}
	attr, created, err := r.h.files.Put(r.Context(), r.caller(), p.parent, p.name, r.Body, o)
	if err != nil {
		return putError(err)
	}
	if attr.ETag != "" {
		r.w.Header().Set("ETag", quoted(attr.ETag))
	}
	r.created(created)
	return nil
}

// created answers that something was made, or replaced.
func (r *request) created(is bool) {
	if is {
		r.w.WriteHeader(http.StatusCreated)
		return
	}
	r.w.WriteHeader(http.StatusNoContent)
}

// putError is what a PUT is told of an error that means something else there.
func putError(err error) error {
	switch vfs.KindOf(err) {
	case vfs.NotExist, vfs.NotDir:
		return statusError{code: http.StatusConflict, err: err} // the collection went away
	}
	return err
}

// expectedLength is what macOS says of a chunked body; -1 if nothing.
func (r *request) expectedLength() int64 {
	n, err := strconv.ParseInt(r.Header.Get("X-Expected-Entity-Length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// givenTime is the time of modification that clients of ownCloud send, in
// seconds since 1970; zero if there is none.
func (r *request) givenTime() time.Time {
	sec, err := strconv.ParseFloat(r.Header.Get("X-OC-Mtime"), 64)
	if err != nil || !(sec > 0 && sec < 1<<33) {
		return time.Time{}
	}
	whole := int64(sec)
	return time.Unix(whole, int64((sec-float64(whole))*1e9))
}
