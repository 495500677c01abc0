package webdav

import (
	"context"
	"errors"
	"io"
	"net/http"
	"syscall"

	"github.com/causewayfs/causeway/vfs"
)

// openTries bounds how often an open follows a name that others replace.
const openTries = 10

// get implements GET and HEAD. Conditions, ranges and If-Range are those of
// net/http (RFC 9110 sections 13 and 14).
func (r *request) get() error {
	p, err := r.here()
	if err != nil {
		return err
	}
	if p, _, err = r.judge(p); err != nil {
		return err
	}
	switch {
	case !p.there || r.dir && !p.isDir():
		return statusError{code: http.StatusNotFound}
	case p.isDir():
		return r.directory()
	case p.known.Type != vfs.TypeFile:
		return refused(http.StatusForbidden, "this is no file")
	}
	if r.Method == http.MethodHead {
		return r.head(p)
	}
	p, h, err := r.open(p)
	if err != nil {
		return err
	}
	defer r.h.files.Release(h)
	known, err := r.h.files.GetAttr(r.Context(), p.known.ID, h)
	if err != nil {
		return err
	}
	body := &fileReader{ctx: r.Context(), files: r.h.files, h: h, size: known.Size}
	r.serveContent(known, body)
	if body.failed != nil {
		r.h.Log.Warn("webdav: an answer was cut short", "path", r.path, "err", body.failed)
	}
	return nil
}

// head answers without opening the file: it needs no request to S3 if its
// attributes are known.
func (r *request) head(p *place) error {
	known, err := r.h.files.GetAttr(r.Context(), p.known.ID, nil)
	if err != nil {
		return err
	}
	r.serveContent(known, &fileReader{size: known.Size})
	return nil
}

func (r *request) serveContent(known vfs.Known, body io.ReadSeeker) {
	h := r.w.Header()
	h.Set("Content-Type", mediaType(r.path))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Accept-Ranges", "bytes")
	if known.ETag != "" {
		h.Set("ETag", quoted(known.ETag))
	}
	http.ServeContent(r.w, r.Request, "", known.Mtime, body)
}

// directory answers for a collection.
func (r *request) directory() error {
	if r.h.Directory == nil {
		r.w.Header().Set("Allow", "OPTIONS, PROPFIND, PROPPATCH, DELETE, COPY, MOVE, LOCK, UNLOCK")
		return statusError{code: http.StatusMethodNotAllowed}
	}
	r.h.Directory.ServeHTTP(r.w, r.Request)
	return nil
}

// open opens the file at p for reading. A name that was given to something else
// meanwhile is followed.
func (r *request) open(p *place) (*place, *vfs.Handle, error) {
	for try := 1; ; try++ {
		h, err := r.h.files.Open(r.Context(), p.known.ID, syscall.O_RDONLY)
		if err == nil {
			return p, h, nil
		}
		if k := vfs.KindOf(err); k != vfs.Stale && k != vfs.NotExist || try == openTries {
			return nil, nil, err
		}
		if p, err = r.here(); err != nil {
			return nil, nil, err
		}
		if !p.there || p.known.Type != vfs.TypeFile {
			return nil, nil, statusError{code: http.StatusNotFound}
		}
	}
}

// fileReader reads an open file.
type fileReader struct {
	ctx    context.Context
	files  Files
	h      *vfs.Handle
	size   int64
	off    int64
	failed error
}

var _ io.ReadSeeker = (*fileReader)(nil)

func (f *fileReader) Read(p []byte) (int, error) {
	if f.off >= f.size {
		return 0, io.EOF
	}
	n, err := f.files.Read(f.ctx, f.h, p[:min(int64(len(p)), f.size-f.off)], f.off)
	f.off += int64(n)
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF // shorter by now
	}
	if err != nil {
		f.failed = err
	}
	return n, err
}

func (f *fileReader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += f.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	f.off = offset
	return offset, nil
}
