package access

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
)

var (
	errForbidden = errors.New("this user may not do that here")
	errReadOnly  = errors.New("this gateway is read-only")
)

// statusPrefix is where pages about the gateway are, which name paths of the
// whole tree.
const statusPrefix = "-"

// permitted checks what a request does against what the identity may do. The
// error is ErrPath if the destination is.
func permitted(r *http.Request, id Identity, path string) error {
	if below(path, statusPrefix) {
		return need(id.AllowsTree("", Read))
	}
	level, tree := Write, false
	switch r.Method {
	case http.MethodOptions:
		return nil // it tells what the server can do, and nothing of what is there
	case http.MethodGet, http.MethodHead, "REPORT", "SEARCH":
		level = Read
	case "PROPFIND":
		// No Depth means infinity (RFC 4918 section 9.1).
		d := r.Header.Get("Depth")
		level, tree = Read, d != "0" && d != "1"
	case "COPY", "MOVE":
		return permittedTransfer(r, id, path)
	case http.MethodDelete:
		tree = true
	}
	if level == Write && id.readOnly {
		return errReadOnly
	}
	if tree {
		return need(id.AllowsTree(path, level))
	}
	return need(id.Allows(path, level))
}

// permittedTransfer is permitted for COPY and MOVE, which concern two trees.
func permittedTransfer(r *http.Request, id Identity, path string) error {
	if id.readOnly {
		return errReadOnly
	}
	level := Read
	if r.Method == "MOVE" {
		level = Write
	}
	if !id.AllowsTree(path, level) {
		return errForbidden
	}
	to, err := destination(r)
	if err != nil {
		return err
	}
	if below(to, statusPrefix) {
		return errForbidden
	}
	return need(id.AllowsTree(to, Write))
}

// destination returns the path of the Destination header (RFC 4918 section
// 10.3). Whether it is on this server is for the handler to say.
func destination(r *http.Request) (string, error) {
	text := r.Header.Get("Destination")
	if text == "" || len(r.Header.Values("Destination")) > 1 {
		return "", errors.Join(ErrPath, errors.New("there must be one Destination"))
	}
	u, err := url.Parse(strings.TrimSpace(text))
	if err != nil || u.Opaque != "" {
		return "", errors.Join(ErrPath, errors.New("the Destination is no URL"))
	}
	return Path(u)
}

func need(ok bool) error {
	if ok {
		return nil
	}
	return errForbidden
}
