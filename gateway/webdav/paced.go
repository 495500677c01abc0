package webdav

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// paced is a ResponseWriter that gives up a client which takes nothing for a
// while, however long the whole answer takes.
type paced struct {
	http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
}

var _ io.ReaderFrom = (*paced)(nil)

// Unwrap serves http.ResponseController.
func (p *paced) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *paced) Write(b []byte) (int, error) {
	// Not every writer has deadlines, those of tests for one.
	_ = p.control.SetWriteDeadline(time.Now().Add(p.idle))
	return p.ResponseWriter.Write(b)
}

// copyStep is how much of a file is in memory for each answer under way.
const copyStep = 256 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyStep); return &b }}

// ReadFrom implements io.ReaderFrom, with larger steps than net/http.
func (p *paced) ReadFrom(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(struct{ io.Writer }{p}, struct{ io.Reader }{r}, *buf)
}

// pacedBody is the same for what the client sends.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	idle    time.Duration
}

func (b *pacedBody) Read(p []byte) (int, error) {
	_ = b.control.SetReadDeadline(time.Now().Add(b.idle))
	return b.ReadCloser.Read(p)
}
