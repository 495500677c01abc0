package webdav

import (
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/causewayfs/causeway/vfs"
)

// Handler answers WebDAV requests.
type Handler struct {
	Config
	files Files
}

var _ http.Handler = (*Handler)(nil)

// New returns a Handler.
func New(c Config) *Handler {
	c.setDefaults()
	return &Handler{Config: c, files: c.Files}
}

// request is one request on its way.
type request struct {
	*http.Request
	h    *Handler
	w    http.ResponseWriter
	path string   // of the request's URL, without slashes at its ends
	dir  bool     // the URL ended in a slash
	used []*place // to be released
}

// methods are what a Handler knows.
var methods = map[string]func(*request) error{
	http.MethodOptions: (*request).options,
	http.MethodGet:     (*request).get,
	http.MethodHead:    (*request).get,
	http.MethodPut:     (*request).put,
	http.MethodDelete:  (*request).delete,
	"MKCOL":            (*request).mkcol,
	"COPY":             (*request).copy,
	"MOVE":             (*request).move,
	"PROPFIND":         (*request).propfind,
	"PROPPATCH":        (*request).proppatch,
	"LOCK":             (*request).lock,
	"UNLOCK":           (*request).unlock,
}

const allMethods = "OPTIONS, GET, HEAD, PUT, DELETE, MKCOL, COPY, MOVE, PROPFIND, PROPPATCH, LOCK, UNLOCK"

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w = &paced{ResponseWriter: w, control: http.NewResponseController(w), idle: h.BodyIdle}
	req := &request{Request: r, h: h, w: w}
	defer req.release()
	err := req.serve()
	if err != nil {
		req.fail(err)
	}
}

func (r *request) serve() error {
	do := methods[r.Method]
	if do == nil {
		r.w.Header().Set("Allow", allMethods)
		return statusError{code: http.StatusMethodNotAllowed}
	}
	if r.Method == http.MethodOptions && r.URL.Path == "*" {
		return r.options()
	}
	var err error
	if r.path, r.dir, err = parsePath(r.URL); err != nil {
		return err
	}
	if r.h.refuses(r.path) {
		return r.refuse()
	}
	r.Body = &pacedBody{ReadCloser: r.Body, control: http.NewResponseController(r.w), idle: r.h.BodyIdle}
	return do(r)
}

// release gives back what the request has looked up.
func (r *request) release() {
	for _, p := range r.used {
		p.release(r.h.files)
	}
}

// caller is who makes files for this request.
func (r *request) caller() vfs.Caller { return r.h.Caller }

// statusError is an answer other than success.
type statusError struct {
	code int
	// condition is an element of section 16, with its content, that says what
	// was not met; empty for none.
	condition string
	text      string
	err       error
}

func (e statusError) Error() string {
	s := http.StatusText(e.code)
	if e.text != "" {
		s += ": " + e.text
	}
	if e.err != nil {
		s += ": " + e.err.Error()
	}
	return s
}

func (e statusError) Unwrap() error { return e.err }

func refused(code int, text string) error { return statusError{code: code, text: text} }

// asStatus is err as the client is told.
func asStatus(err error) statusError {
	var e statusError
	if errors.As(err, &e) {
		return e
	}
	var conflict *LockedError
	if errors.As(err, &conflict) {
		return statusError{code: http.StatusLocked, condition: tokenSubmitted(conflict.Roots), err: err}
	}
	var own *vfs.Error
	if !errors.As(err, &own) && errors.Is(err, io.ErrUnexpectedEOF) {
		return statusError{code: http.StatusBadRequest, err: err}
	}
	return statusError{code: statusOf(vfs.KindOf(err)), err: err}
}

// fail answers with an error.
func (r *request) fail(err error) {
	e := asStatus(err)
	if e.code >= 500 {
		r.h.Log.Warn("webdav", "method", r.Method, "path", r.path, "status", e.code, "err", err)
	} else {
		r.h.Log.Debug("webdav", "method", r.Method, "path", r.path, "status", e.code, "err", err)
	}
	if e.code == http.StatusServiceUnavailable {
		r.w.Header().Set("Retry-After", "2")
	}
	if e.condition != "" {
		r.w.Header().Set("Content-Type", xmlType)
		r.w.WriteHeader(e.code)
		io.WriteString(r.w, xmlHeader+`<D:error xmlns:D="DAV:">`+e.condition+"</D:error>\n")
		return
	}
	text := http.StatusText(e.code)
	if e.text != "" {
		text += ": " + e.text
	} else if own := (*vfs.Error)(nil); errors.As(err, &own) {
		text += ": " + own.Kind.String()
	}
	http.Error(r.w, text, e.code)
}

// options implements OPTIONS (section 10.1).
func (r *request) options() error {
	h := r.w.Header()
	h.Set("DAV", "1, 2, 3")
	h.Set("Allow", allMethods)
	h.Set("MS-Author-Via", "DAV") // without it Windows tries FrontPage first
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", "0")
	r.w.WriteHeader(http.StatusOK)
	return nil
}

// refuses reports whether a path is one of those that MacRefuse is about.
func (h *Handler) refuses(path string) bool {
	if h.MacFiles != MacRefuse {
		return false
	}
	name := path[strings.LastIndexByte(path, '/')+1:]
	return strings.HasPrefix(name, "._") || name == ".DS_Store"
}

func (r *request) refuse() error {
	switch r.Method {
	case http.MethodPut, "MKCOL", "LOCK":
		return refused(http.StatusForbidden, "files of macOS's own are not kept here")
	case http.MethodOptions:
		return r.options()
	}
	return statusError{code: http.StatusNotFound}
}
