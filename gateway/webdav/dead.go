package webdav

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"

	"github.com/causewayfs/causeway/vfs"
	"golang.org/x/net/webdav"
)

// Dead properties are those that clients make up (section 4.1). All those of a
// resource are the extended attribute deadKey: a JSON array of deadProp, in the
// order in which they were first set, or if that is shorter a byte 0x01 and the
// array compressed (RFC 1951). The format must not change.
const (
	deadKey    = "user.webdav"
	deadFlated = 1
	maxDead    = 64 << 10 // bytes of the array
)

// deadProp is one dead property as it is stored.
type deadProp struct {
	Space string `json:"s,omitempty"`
	Local string `json:"n"`
	Lang  string `json:"l,omitempty"`
	Value string `json:"v,omitempty"` // XML
}

var errDead = errors.New("properties are not in the format that is known")

// deadProps returns the dead properties of a node. Attributes that others have
// set, and that are none, are as if they were not there.
func (h *Handler) deadProps(ctx context.Context, id vfs.NodeID) ([]webdav.Property, error) {
	value, err := h.files.GetXAttr(ctx, id, deadKey)
	if vfs.KindOf(err) == vfs.NoAttr && err != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	props, err := decodeDead(value)
	if err != nil {
		h.Log.Warn("properties of a file cannot be read", "err", err)
		return nil, nil
	}
	return props, nil
}

// setDeadProps replaces the dead properties of a node.
func (h *Handler) setDeadProps(ctx context.Context, id vfs.NodeID, props []webdav.Property) error {
	if len(props) > 0 {
		value, err := encodeDead(props)
		if err != nil {
			return err
		}
		return h.files.SetXAttr(ctx, id, deadKey, value, 0)
	}
	err := h.files.RemoveXAttr(ctx, id, deadKey)
	if err != nil && vfs.KindOf(err) == vfs.NoAttr {
		return nil
	}
	return err
}

func encodeDead(props []webdav.Property) ([]byte, error) {
	all := make([]deadProp, len(props))
	for i, p := range props {
		all[i] = deadProp{p.XMLName.Space, p.XMLName.Local, p.Lang, string(p.InnerXML)}
	}
	plain, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	if len(plain) > maxDead {
		return nil, &vfs.Error{Op: "proppatch", Kind: vfs.AttrTooLarge}
	}
	var b bytes.Buffer
	b.WriteByte(deadFlated)
	// A buffer takes all, and the level is one that exists.
	w, _ := flate.NewWriter(&b, flate.BestCompression)
	_, _ = w.Write(plain)
	_ = w.Close()
	if b.Len() < len(plain) {
		return b.Bytes(), nil
	}
	return plain, nil
}

func decodeDead(value []byte) ([]webdav.Property, error) {
	if len(value) > 0 && value[0] == deadFlated {
		var err error
		if value, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(value[1:])), maxDead+1)); err != nil {
			return nil, errors.Join(errDead, err)
		}
	}
	var all []deadProp
	if len(value) > maxDead {
		return nil, errDead
	}
	if err := json.Unmarshal(value, &all); err != nil {
		return nil, errors.Join(errDead, err)
	}
	props := make([]webdav.Property, len(all))
	for i, p := range all {
		// Others can write attributes, too: what is no XML must not get out.
		if !wellFormed(p) {
			return nil, errDead
		}
		props[i] = webdav.Property{XMLName: xml.Name{Space: p.Space, Local: p.Local}, Lang: p.Lang, InnerXML: []byte(p.Value)}
	}
	return props, nil
}

// wellFormed reports whether a property can be written into an answer.
func wellFormed(p deadProp) bool {
	_, end := propertyTag(xml.Name{Space: p.Space, Local: p.Local})
	var b bytes.Buffer
	b.WriteString("<" + end + ` xmlns:D="DAV:" xmlns:p="p:">` + p.Value + "</" + end + ">")
	e, err := parseXML(b.Bytes())
	return err == nil && e.name.Local == p.Local
}
