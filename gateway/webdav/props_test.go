package webdav

import (
	"net/http"
	"strings"
	"testing"

	"github.com/causewayfs/causeway/store/mem"
)

func userOfHeader(r *http.Request) string { return r.Header.Get("X-User") }

const (
	setProps = `<?xml version="1.0" encoding="utf-8"?><D:propertyupdate xmlns:D="DAV:" xmlns:z="urn:z">
<D:set><D:prop><z:color xml:lang="en">bl&amp;ue</z:color><z:deep><z:in a="1" z:b="2"><plain/></z:in>tail</z:deep><D:displayname>shown</D:displayname></D:prop></D:set>
<D:remove><D:prop><z:none/></D:prop></D:remove></D:propertyupdate>`
	getProps = `<D:propfind xmlns:D="DAV:" xmlns:z="urn:z"><D:prop><z:color/><z:deep/><D:displayname/><z:none/></D:prop></D:propfind>`
)

// Sections 4.3, 9.2, 9.8.2, 9.9.1: dead properties are kept as they are, and go
// with their resource.
func TestDeadProperties(t *testing.T) {
	s := mem.New()
	w := newWorld(t, s, nil)
	has := func(w *world, path string) {
		t.Helper()
		a := w.want(207, "PROPFIND "+path, getProps, "Depth: 0")
		for _, part := range []string{`<p:color xmlns:p="urn:z" xml:lang="en">bl&amp;ue</p:color>`, `<D:displayname>shown</D:displayname>`,
			`<in xmlns="urn:z" a="1" xmlns:ab="urn:z" ab:b="2"><plain xmlns=""/></in>tail`, `<p:none xmlns:p="urn:z"/></D:prop><D:status>HTTP/1.1 404 Not Found`} {
			if !strings.Contains(a.body, part) {
				t.Errorf("%s: got %s, want %s", path, a.body, part)
			}
		}
	}
	w.want(201, "PUT /f", "one")
	a := w.want(207, "PROPPATCH /f", setProps)
	if strings.Count(a.body, "<D:propstat>") != 1 || !strings.Contains(a.body, "200 OK") {
		t.Errorf("PROPPATCH: got %s", a.body)
	}
	has(w, "/f")
	w.want(204, "PUT /f", "two") // section 9.7.1
	has(w, "/f")
	w.want(201, "COPY /f", "", "Destination: URL/g")
	has(w, "/g")
	w.want(201, "MOVE /f", "", "Destination: URL/h")
	has(w, "/h")
	w.want(201, "MKCOL /d", "")
	w.want(207, "PROPPATCH /d", setProps)
	w.want(201, "MOVE /h", "", "Destination: URL/d/h")
	w.want(201, "COPY /d", "", "Destination: URL/e")
	has(w, "/e")
	w.want(201, "MOVE /e", "", "Destination: URL/i")
	if err := w.fs.Sync(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	again := newWorld(t, s, nil)
	for _, path := range []string{"/g", "/d", "/d/h", "/i", "/i/h"} {
		has(again, path)
	}
	if a := w.want(207, "PROPFIND /g", `<propfind xmlns="DAV:"><propname/></propfind>`, "Depth: 0"); !strings.Contains(a.body, `<p:color xmlns:p="urn:z"/>`) {
		t.Errorf("propname: got %s", a.body)
	}
	if a := w.want(207, "PROPFIND /g", "", "Depth: 0"); !strings.Contains(a.body, `<p:color xmlns:p="urn:z" xml:lang="en">`) {
		t.Errorf("allprop: got %s", a.body)
	}
}

// Section 9.2: all or nothing; section 9.2.1: 403 and 424.
func TestPropPatchFails(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "PUT /f", "one")
	a := w.want(207, "PROPPATCH /f", `<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="y:">1</x><D:getetag>mine</D:getetag></D:prop></D:set></D:propertyupdate>`)
	for _, part := range []string{"403 Forbidden</D:status><D:error><D:cannot-modify-protected-property/></D:error>", "424 Failed Dependency"} {
		if !strings.Contains(a.body, part) {
			t.Errorf("got %s, want %s", a.body, part)
		}
	}
	if a := w.want(207, "PROPFIND /f", "", "Depth: 0"); strings.Contains(a.body, "y:") {
		t.Errorf("a property was set: %s", a.body)
	}
	big := `<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x xmlns="y:">` + noise(4000) + `</x></D:prop></D:set></D:propertyupdate>`
	if a := w.want(207, "PROPPATCH /f", big); !strings.Contains(a.body, "507 Insufficient Storage") {
		t.Errorf("too large: got %s", a.body)
	}
	w.want(400, "PROPPATCH /f", "")
	w.want(404, "PROPPATCH /g", setProps)
}

// noise is text that does not compress.
func noise(n int) string {
	var b strings.Builder
	x := uint64(1)
	for b.Len() < n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b.WriteByte("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"[x>>58])
	}
	return b.String()
}

// Section 15, RFC 4331, and what Windows and davfs2 ask for.
func TestLiveProperties(t *testing.T) {
	w := newWorld(t, nil, nil)
	etag := w.want(201, "PUT /a b%25.txt", "four").Get("ETag")
	a := w.want(207, "PROPFIND /", "", "Depth: 1")
	for _, part := range []string{"<D:href>/a%20b%25.txt</D:href>", "<D:getcontentlength>4</D:getcontentlength>", "<D:getetag>" + strings.ReplaceAll(etag, `"`, "&#34;"),
		"<D:getcontenttype>text/plain; charset=utf-8<", "<D:resourcetype/>", "<D:resourcetype><D:collection/></D:resourcetype>", "<D:lockscope><D:shared/>", "<D:href>/</D:href>"} {
		if !strings.Contains(a.body, part) {
			t.Errorf("got %s, want %s", a.body, part)
		}
	}
	if strings.Contains(a.body, "quota") {
		t.Error("quota is in allprop (RFC 4331 section 2)")
	}
	a = w.want(207, "PROPFIND /", `<propfind xmlns="DAV:"><prop><quota-available-bytes/><quota-used-bytes/></prop></propfind>`, "Depth: 0")
	if strings.Count(a.body, "bytes>0<")+strings.Count(a.body, "404") > 1 {
		t.Errorf("quota: got %s", a.body)
	}
	w.want(207, "PROPPATCH /a%20b%25.txt", `<D:propertyupdate xmlns:D="DAV:" xmlns:Z="urn:schemas-microsoft-com:" xmlns:A="http://apache.org/dav/props/"><D:set><D:prop>
<Z:Win32LastModifiedTime>Tue, 15 Nov 1994 12:45:26 GMT</Z:Win32LastModifiedTime><Z:Win32FileAttributes>00000020</Z:Win32FileAttributes><A:executable>T</A:executable></D:prop></D:set></D:propertyupdate>`)
	a = w.want(207, "PROPFIND /a%20b%25.txt", `<propfind xmlns="DAV:" xmlns:Z="urn:schemas-microsoft-com:" xmlns:A="http://apache.org/dav/props/"><prop><getlastmodified/><Z:Win32FileAttributes/><A:executable/></prop></propfind>`, "Depth: 0")
	for _, part := range []string{"Tue, 15 Nov 1994 12:45:26 GMT", ">00000020<", ">T<"} {
		if !strings.Contains(a.body, part) {
			t.Errorf("got %s, want %s", a.body, part)
		}
	}
	w.want(201, "PUT /timed", "x", "X-OC-Mtime: 784903526")
	if got := w.send("HEAD /timed", "").Get("Last-Modified"); got != "Tue, 15 Nov 1994 12:45:26 GMT" {
		t.Errorf("X-OC-Mtime: got %s", got)
	}
}

// Section 9.1, "Namespaces in XML 1.0" section 6: bodies that are refused.
func TestBadXML(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, body := range []string{
		"<propfind", "text", `<propfind xmlns="DAV:">`, `<propfind xmlns="other:"><allprop/></propfind>`, `<D:propfind/>`,
		`<D:propfind xmlns:D="DAV:"><D:prop><bar:foo xmlns:bar=""/></D:prop></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:prop><b:foo/></D:prop></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:allprop/><D:propname/></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"/>`,
		`<D:propfind xmlns:D="DAV:"><D:allprop></D:prop></D:propfind>`,
		`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><D:propfind xmlns:D="DAV:"><D:prop><a>&e;</a></D:prop></D:propfind>`,
		`<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind><more/>`,
		`<D:propfind xmlns:D="DAV:"><D:prop>` + strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100) + `</D:prop></D:propfind>`,
		`<?xml version="1.0"?><!DOCTYPE x SYSTEM "file:///etc/passwd"><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:prop><a>&undefined;</a></D:prop></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:prop>` + strings.Repeat("<b/>", 30_000) + `</D:prop></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:prop><a` + strings.Repeat(` x="y"`, 1000) + `/></D:prop></D:propfind>`,
		`<D:propfind xmlns:D="DAV:"><D:prop><a xmlns:b="u" xmlns:c="u" b:x="1" c:x="2"/></D:prop></D:propfind>`,
		strings.Repeat("<a>", 50_000), "</a>", "\x00", "<D:propfind xmlns:D=\"DAV:\"><D:prop><a>\xff</a></D:prop></D:propfind>",
		`<?xml version="1.0" encoding="utf-7"?><D:propfind xmlns:D="DAV:"><D:allprop/></D:propfind>`,
	} {
		w.want(400, "PROPFIND /", body, "Depth: 0")
	}
	w.want(413, "PROPFIND /", `<D:propfind xmlns:D="DAV:"><D:prop>`+strings.Repeat("<a/>", 1<<19)+`</D:prop></D:propfind>`, "Depth: 0")
}
