package access

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
)

// XMLLimits bound a request body in XML. The zero value is the defaults.
type XMLLimits struct {
	Bytes    int64 // 256 KiB
	Depth    int   // of elements: 32
	Elements int   // 4096
}

// The reasons why ReadXML refuses a body.
var (
	// ErrXMLTooLarge goes with 413 Content Too Large.
	ErrXMLTooLarge = errors.New("too much XML")
	// ErrXML goes with 400 Bad Request.
	ErrXML = errors.New("XML that is not taken")
)

func (l XMLLimits) filled() XMLLimits {
	if l.Bytes == 0 {
		l.Bytes = 256 << 10
	}
	if l.Depth == 0 {
		l.Depth = 32
	}
	if l.Elements == 0 {
		l.Elements = 4096
	}
	return l
}

// maxAttributes is how many attributes one element may have.
const maxAttributes = 64

// ReadXML reads a body and returns it when it is well-formed and within limits.
// Document types are refused, and with them entities of any kind (RFC 4918
// section 20.6). Errors are ErrXMLTooLarge, ErrXML, or that of the body.
func ReadXML(body io.Reader, limits XMLLimits) ([]byte, error) {
	l := limits.filled()
	data, err := io.ReadAll(io.LimitReader(body, l.Bytes+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > l.Bytes {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrXMLTooLarge, l.Bytes)
	}
	if err := checkXML(data, l); err != nil {
		return nil, err
	}
	return data, nil
}

func checkXML(data []byte, l XMLLimits) error {
	depth, elements := 0, 0
	d := xml.NewDecoder(bytes.NewReader(data))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil // also for an empty body, which is for the handler to judge
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrXML, err)
		}
		switch t := token.(type) {
		case xml.Directive:
			return fmt.Errorf("%w: it has a document type", ErrXML)
		case xml.StartElement:
			depth, elements = depth+1, elements+1
			if depth > l.Depth || elements > l.Elements || len(t.Attr) > maxAttributes {
				return fmt.Errorf("%w: more than %d levels, %d elements or %d attributes", ErrXMLTooLarge, l.Depth, l.Elements, maxAttributes)
			}
		case xml.EndElement:
			depth--
		}
	}
}
