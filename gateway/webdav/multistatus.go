package webdav

import (
	"bufio"
	"bytes"
	"encoding/xml"
	"net/http"
	"strconv"

	"golang.org/x/net/webdav"
)

// multistatus writes an answer 207 (section 13) as it is made. Nothing is sent
// before the buffer is full or it is closed.
type multistatus struct {
	w       http.ResponseWriter
	buf     *bufio.Writer
	count   int
	hold    bool // nothing is sent before close
	held    bytes.Buffer
	flushed bool // something was sent
}

func newMultistatus(w http.ResponseWriter) *multistatus {
	m := &multistatus{w: w}
	m.buf = bufio.NewWriterSize(begunBy{m}, 64<<10)
	return m
}

// begunBy is where the buffer goes.
type begunBy struct{ m *multistatus }

func (b begunBy) Write(p []byte) (int, error) {
	m := b.m
	if m.hold {
		return m.held.Write(p)
	}
	m.send()
	return m.w.Write(p)
}

// send sends the header, once.
func (m *multistatus) send() {
	if !m.flushed {
		m.flushed = true
		m.w.Header().Set("Content-Type", xmlType)
		m.w.WriteHeader(http.StatusMultiStatus)
	}
}

// begin starts the document, once.
func (m *multistatus) begin() {
	if m.count == 0 {
		m.buf.WriteString(xmlHeader + `<D:multistatus xmlns:D="DAV:">`)
	}
	m.count++
}

// properties adds an answer about the properties of a resource.
func (m *multistatus) properties(href string, stats []webdav.Propstat) {
	m.begin()
	m.buf.WriteString("<D:response><D:href>" + escape(href) + "</D:href>")
	for _, s := range stats {
		m.buf.WriteString("<D:propstat><D:prop>")
		for _, p := range s.Props {
			writeProperty(m.buf, p)
		}
		m.buf.WriteString("</D:prop>" + statusLine(s.Status))
		if s.XMLError != "" {
			m.buf.WriteString("<D:error>" + s.XMLError + "</D:error>")
		}
		m.buf.WriteString("</D:propstat>")
	}
	m.buf.WriteString("</D:response>\n")
}

// status adds an answer about what became of a resource.
func (m *multistatus) status(href string, code int, condition string) {
	m.begin()
	m.buf.WriteString("<D:response><D:href>" + escape(href) + "</D:href>" + statusLine(code))
	if condition != "" {
		m.buf.WriteString("<D:error>" + condition + "</D:error>")
	}
	m.buf.WriteString("</D:response>\n")
}

// close ends the document.
func (m *multistatus) close() {
	m.begin()
	m.buf.WriteString("</D:multistatus>\n")
	m.buf.Flush()
	if m.hold {
		m.send()
		// A client that has left needs no answer.
		_, _ = m.w.Write(m.held.Bytes())
	}
}

func statusLine(code int) string {
	return "<D:status>HTTP/1.1 " + strconv.Itoa(code) + " " + http.StatusText(code) + "</D:status>"
}

// writeProperty writes a property. Only DAV's namespace has a prefix in scope,
// since what is in a property must not depend on one.
func writeProperty(w *bufio.Writer, p webdav.Property) {
	open, end := propertyTag(p.XMLName)
	w.WriteString("<" + open)
	if p.Lang != "" {
		w.WriteString(` xml:lang="` + escape(p.Lang) + `"`)
	}
	if len(p.InnerXML) == 0 {
		w.WriteString("/>")
		return
	}
	w.WriteByte('>')
	w.Write(p.InnerXML)
	w.WriteString("</" + end + ">")
}

func propertyTag(n xml.Name) (open, end string) {
	switch n.Space {
	case nsDAV:
		return "D:" + n.Local, "D:" + n.Local
	case "":
		return n.Local + ` xmlns=""`, n.Local
	}
	return "p:" + n.Local + ` xmlns:p="` + escape(n.Space) + `"`, "p:" + n.Local
}
