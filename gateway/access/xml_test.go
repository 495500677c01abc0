package access

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// bombs are bodies that are small and would be large, or costly.
var bombs = []string{
	`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]><x>&b;&b;</x>`,
	`<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>`,
	`<!DOCTYPE x [<!ENTITY e SYSTEM "http://127.0.0.1:1/">]><x>&e;</x>`,
	`<x>&undefined;</x>`,
	strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100),
	"<a>" + strings.Repeat("<b/>", 10_000) + "</a>",
	"<a" + strings.Repeat(` x="y"`, 1000) + "/>",
	strings.Repeat("<a>", 50_000),
	"<a>" + strings.Repeat(" ", 300<<10) + "</a>",
	"<a></b>", "<a", "</a>", "<a>", "\x00", "<a>\xff</a>", `<?xml version="1.0" encoding="utf-7"?><a/>`,
}

func TestReadXML(t *testing.T) {
	for _, good := range []string{
		"", `<a/>`, `<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`,
		"<a>&lt;&#65;</a>", "<a><![CDATA[<b>]]></a><!-- x -->",
	} {
		if data, err := ReadXML(strings.NewReader(good), XMLLimits{}); err != nil || string(data) != good {
			t.Errorf("%q: %q, %v", good, data, err)
		}
	}
	for _, bad := range bombs {
		_, err := ReadXML(strings.NewReader(bad), XMLLimits{})
		if !errors.Is(err, ErrXML) && !errors.Is(err, ErrXMLTooLarge) {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
	cut := io.MultiReader(strings.NewReader("<a>"), failing{})
	if _, err := ReadXML(cut, XMLLimits{}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that is cut short: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func FuzzReadXML(f *testing.F) {
	for _, b := range bombs {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body string) {
		data, err := ReadXML(strings.NewReader(body), XMLLimits{Bytes: 4 << 10})
		if err != nil || len(data) == 0 {
			return
		}
		// What is taken is bounded, and has nothing that would be expanded.
		d := xml.NewDecoder(strings.NewReader(string(data)))
		for {
			token, err := d.Token()
			if err != nil {
				break
			}
			if _, is := token.(xml.Directive); is {
				t.Errorf("%q has a document type", body)
			}
		}
	})
}
