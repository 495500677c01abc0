package webdav

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"strings"
)

const (
	xmlType   = `application/xml; charset="utf-8"`
	xmlHeader = `<?xml version="1.0" encoding="utf-8"?>` + "\n"

	nsDAV     = "DAV:"
	nsXML     = "http://www.w3.org/XML/1998/namespace"
	nsWin32   = "urn:schemas-microsoft-com:"
	nsApache  = "http://apache.org/dav/props/"
	maxDepth  = 64    // of elements in a request
	maxXMLEls = 20000 // elements in a request
)

// element is an element of a request body.
type element struct {
	name    xml.Name // with its namespace
	lang    string   // xml:lang that holds here
	attrs   []xml.Attr
	content []any // *element and text (string)
}

// is reports whether e is an element of DAV's namespace.
func (e *element) is(local string) bool { return e.name == xml.Name{Space: nsDAV, Local: local} }

// children returns the elements in e.
func (e *element) children() []*element {
	var all []*element
	for _, c := range e.content {
		if child, ok := c.(*element); ok {
			all = append(all, child)
		}
	}
	return all
}

// child returns the first element of DAV's namespace with a name, or nil.
func (e *element) child(local string) *element {
	for _, c := range e.children() {
		if c.is(local) {
			return c
		}
	}
	return nil
}

// readXML reads a request body that is a document with the given root; nil if
// there is no body.
func (r *request) readXML(root string) (*element, error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, r.h.MaxXML))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return nil, refused(http.StatusRequestEntityTooLarge, "too much XML")
		}
		return nil, statusError{code: http.StatusBadRequest, err: err}
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	e, err := parseXML(body)
	if err != nil {
		return nil, refused(http.StatusBadRequest, err.Error())
	}
	if !e.is(root) {
		return nil, refused(http.StatusBadRequest, "the document is not a DAV: "+root)
	}
	return e, nil
}

// xmlParser turns a document into elements. encoding/xml resolves namespaces
// too, but lets pass what is not well-formed with them ("Namespaces in XML 1.0"
// section 5 and 6): prefixes that are not declared, or declared as nothing.
type xmlParser struct {
	d     *xml.Decoder
	scope []map[string]string // namespaces by prefix, one map an element
	seen  int
}

// parseXML reads one document. It has no document type, and so no entities but
// the five of XML.
func parseXML(b []byte) (*element, error) {
	p := &xmlParser{d: xml.NewDecoder(bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff"))))}
	var root *element
	for {
		t, err := p.d.RawToken()
		if err == io.EOF {
			if root == nil {
				return nil, errors.New("no XML")
			}
			return root, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if root != nil {
				return nil, errors.New("XML with two roots")
			}
			if root, err = p.element(t, ""); err != nil {
				return nil, err
			}
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return nil, errors.New("text outside of XML")
			}
		case xml.EndElement:
			return nil, errors.New("XML that ends an element which it did not begin")
		case xml.Directive:
			return nil, errors.New("XML with a document type")
		}
	}
}

// element reads an element behind its start.
func (p *xmlParser) element(start xml.StartElement, lang string) (*element, error) {
	if p.seen++; p.seen > maxXMLEls || len(p.scope) >= maxDepth {
		return nil, errors.New("too much XML")
	}
	e := &element{lang: lang}
	if err := p.open(e, start); err != nil {
		return nil, err
	}
	defer func() { p.scope = p.scope[:len(p.scope)-1] }()
	for {
		t, err := p.d.RawToken()
		if err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		switch t := t.(type) {
		case xml.StartElement:
			child, err := p.element(t, e.lang)
			if err != nil {
				return nil, err
			}
			e.content = append(e.content, child)
		case xml.CharData:
			e.content = append(e.content, string(t))
		case xml.EndElement:
			if t.Name != start.Name {
				return nil, errors.New("XML whose elements overlap")
			}
			return e, nil
		case xml.Directive:
			return nil, errors.New("XML with a document type")
		}
	}
}

// open resolves the names of an element and its attributes.
func (p *xmlParser) open(e *element, start xml.StartElement) error {
	declared := map[string]string{}
	for _, a := range start.Attr {
		switch {
		case a.Name.Space == "xmlns" && a.Value == "":
			return errors.New("XML with a prefix for no namespace")
		case a.Name.Space == "xmlns":
			declared[a.Name.Local] = a.Value
		case a.Name.Space == "" && a.Name.Local == "xmlns":
			declared[""] = a.Value
		}
	}
	p.scope = append(p.scope, declared)
	var err error
	if e.name, err = p.resolve(start.Name, true); err != nil {
		return err
	}
	seen := make(map[xml.Name]bool, len(start.Attr))
	for _, a := range start.Attr {
		if seen[a.Name] {
			return errTwice
		}
		seen[a.Name] = true
		if a.Name.Space == "xmlns" || a.Name.Space == "" && a.Name.Local == "xmlns" {
			continue
		}
		name, err := p.resolve(a.Name, false)
		if err != nil {
			return err
		}
		if name != a.Name && seen[name] { // under two prefixes
			return errTwice
		}
		seen[name] = true
		if name == (xml.Name{Space: nsXML, Local: "lang"}) {
			e.lang = a.Value
		}
		e.attrs = append(e.attrs, xml.Attr{Name: name, Value: a.Value})
	}
	return nil
}

// errTwice: "Extensible Markup Language 1.0" section 3.1, "Namespaces in XML 1.0"
// section 6.3.
var errTwice = errors.New("XML with an attribute twice")

// resolve gives a name its namespace. Attributes without a prefix have none.
func (p *xmlParser) resolve(n xml.Name, isElement bool) (xml.Name, error) {
	if n.Local == "" || strings.ContainsRune(n.Local, ':') {
		return n, errors.New("XML with a name that is none")
	}
	if n.Space == "" && !isElement {
		return n, nil
	}
	if n.Space == "xml" {
		return xml.Name{Space: nsXML, Local: n.Local}, nil
	}
	for i := len(p.scope) - 1; i >= 0; i-- {
		if ns, ok := p.scope[i][n.Space]; ok {
			return xml.Name{Space: ns, Local: n.Local}, nil
		}
	}
	if n.Space == "" {
		return n, nil
	}
	return n, errors.New("XML with a prefix that is not declared")
}

// inner writes what is in e, so that it means the same wherever it stands.
func (e *element) inner() string {
	var b strings.Builder
	for _, c := range e.content {
		switch c := c.(type) {
		case string:
			b.WriteString(escape(c))
		case *element:
			c.writeTo(&b)
		}
	}
	return b.String()
}

// writeTo writes e with a declaration of its namespace.
func (e *element) writeTo(b *strings.Builder) {
	b.WriteString("<" + e.name.Local + ` xmlns="` + escape(e.name.Space) + `"`)
	for i, a := range e.attrs {
		switch a.Name.Space {
		case "":
			b.WriteString(" " + a.Name.Local + `="`)
		case nsXML:
			b.WriteString(" xml:" + a.Name.Local + `="`)
		default:
			prefix := "a" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)
			b.WriteString(" xmlns:" + prefix + `="` + escape(a.Name.Space) + `" ` + prefix + ":" + a.Name.Local + `="`)
		}
		b.WriteString(escape(a.Value) + `"`)
	}
	if len(e.content) == 0 {
		b.WriteString("/>")
		return
	}
	b.WriteString(">" + e.inner() + "</" + e.name.Local + ">")
}

// escape writes text for XML, also in attributes. Characters that XML 1.0 does
// not have become U+FFFD.
func escape(s string) string {
	var b strings.Builder
	// It cannot fail on a strings.Builder.
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
