package webdav

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store/mem"
)

// Section 10.6: without an Overwrite header, COPY and MOVE are as with T.
// Sections 9.8.5 and 9.9.4: 204 if something was replaced, 201 if not, 412 if it
// must not be.
func TestOverwrite(t *testing.T) {
	w := newWorld(t, nil, nil)
	for _, method := range []string{"COPY", "MOVE"} {
		w.want(201, "PUT /"+method, "new")
		w.want(201, "PUT /to", "old")
		w.want(412, method+" /"+method, "", "Destination: URL/to", "Overwrite: F")
		w.holds("/to", "old")
		w.want(204, method+" /"+method, "", "Destination: URL/to")
		w.holds("/to", "new")
		w.want(204, "DELETE /to", "")
	}
	w.holds("/COPY", "new")
	w.absent("/MOVE")
	w.want(201, "COPY /COPY", "", "Destination: /by-path", "Overwrite: F")
	w.want(201, "MOVE /COPY", "", "Destination: URL/moved", "Overwrite: F")
	w.want(400, "MOVE /moved", "", "Destination: URL/x", "Overwrite: perhaps")
	w.want(400, "MOVE /moved", "")
	w.want(502, "MOVE /moved", "", "Destination: http://elsewhere.example/x") // section 9.9.4
	w.want(403, "MOVE /moved", "", "Destination: URL/moved")                  // section 9.9.4
	w.want(409, "MOVE /moved", "", "Destination: URL/no/such")                // section 9.9.4
	w.want(404, "MOVE /nothing", "", "Destination: URL/x")
	w.holds("/moved", "new")
}

// RFC 9110 section 9.3.4: 201 for what is new, 204 for what was replaced.
func TestPutStatus(t *testing.T) {
	w := newWorld(t, nil, nil)
	first := w.want(201, "PUT /f", "one")
	second := w.want(204, "PUT /f", "two")
	if a, b := first.Get("ETag"), second.Get("ETag"); !strings.HasPrefix(a, `"`) || a == b {
		t.Errorf("ETags: got %q and %q, want two strong ones", a, b)
	}
	w.want(409, "PUT /no/such", "text") // section 9.7.1
	w.want(201, "MKCOL /d", "")
	w.want(405, "PUT /d", "text") // section 9.7.2
	w.want(400, "PUT /f", "x", "Content-Range: bytes 0-0/3")
	w.holds("/f", "two")
}

// RFC 9110 sections 13.1.1, 13.1.2, 13.1.4.
func TestConditions(t *testing.T) {
	s := mem.New()
	w, other := newWorld(t, s, nil), newWorld(t, s, nil)
	w.want(412, "PUT /f", "x", "If-Match: *")
	etag := w.want(201, "PUT /f", "one", "If-None-Match: *").Get("ETag")
	w.want(412, "PUT /f", "x", "If-None-Match: *")
	w.want(412, "PUT /f", "x", `If-Match: "other"`)
	w.want(412, "PUT /f", "x", "If-Match: W/"+etag)
	w.want(412, "PUT /f", "x", "If-None-Match: "+etag)
	w.holds("/f", "one")
	next := w.want(204, "PUT /f", "two", `If-Match: "other", `+etag).Get("ETag")
	w.want(412, "DELETE /f", "", "If-Match: "+etag)
	w.want(412, "PUT /f", "x", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT")
	w.want(204, "PUT /f", "three", "If-Unmodified-Since: "+time.Now().Add(time.Hour).UTC().Format(time.RFC1123))
	w.want(412, "MOVE /f", "", "Destination: URL/g", "If-Match: "+next)

	// Over gateways it is S3 that decides: this one cannot know yet.
	etag = w.want(204, "PUT /f", "four").Get("ETag")
	other.holds("/f", "four")
	w.want(204, "PUT /f", "five", "If-Match: "+etag)
	other.want(412, "PUT /f", "x", "If-Match: "+etag)
	other.holds("/f", "five")
	w.want(201, "PUT /g", "w")
	other.want(412, "PUT /g", "x", "If-None-Match: *")
	// And what it knows is not believed when it says no.
	w.want(204, "DELETE /g", "")
	w.fs.Sync(t.Context(), "")
	other.want(201, "PUT /g", "again", "If-None-Match: *")
	w.want(304, "GET /f", "", "If-None-Match: "+w.send("HEAD /f", "").Get("ETag"))
	w.want(412, "GET /f", "", `If-Match: "other"`)
}

// RFC 9112 section 8: a message that is cut short changes nothing. RFC 9110
// section 9.3.4.
func TestBodyCutShort(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "PUT /f", "whole")
	for _, path := range []string{"/f", "/new"} {
		w.raw("PUT "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nonly this", true)
		w.raw("PUT "+path+" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nagain\r\n5\r\nag", true)
	}
	// macOS says how much it will send in chunks.
	w.raw("PUT /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Expected-Entity-Length: 10\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nagain\r\n0\r\n\r\n", false)
	w.holds("/f", "whole")
	w.absent("/new")
	if a := w.raw("PUT /f HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Expected-Entity-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nagain\r\n0\r\n\r\n", false); !strings.Contains(a, " 204 ") {
		t.Errorf("a chunked body: got %q", a)
	}
	w.holds("/f", "again")
	if n := w.fs.Stats().KeptVersions; n != 0 {
		t.Errorf("%d versions were kept of bodies that nobody acknowledged", n)
	}
}

var token = regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

// Sections 6.5, 7, 9.10, 9.11: tokens are URIs, a change needs one, and an
// answer 423 names the root of the lock (section 16).
func TestLocks(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "MKCOL /d", "")
	w.want(201, "PUT /d/f", "one")
	l := w.lock("/d", lockBody, "Depth: infinity", "Timeout: Second-600")
	if !token.MatchString(l) {
		t.Errorf("lock token: got %q, want a urn:uuid", l)
	}
	for _, line := range []string{"PUT /d/f", "PUT /d/new", "DELETE /d/f", "DELETE /d", "MKCOL /d/e", "PROPPATCH /d/f", "LOCK /d/new"} {
		body := "x"
		if strings.HasPrefix(line, "PROPPATCH") {
			body = `<propertyupdate xmlns="DAV:"><set><prop><x xmlns="y:"/></prop></set></propertyupdate>`
		}
		if strings.HasPrefix(line, "LOCK") {
			body = lockBody
		}
		if strings.HasPrefix(line, "MKCOL") {
			body = ""
		}
		a := w.want(423, line, body)
		if !strings.Contains(a.body, "<D:href>/d</D:href>") {
			t.Errorf("%s: got %q, want the lock's root", line, a.body)
		}
	}
	w.want(201, "PUT /g", "g")
	w.want(423, "MOVE /g", "", "Destination: URL/d/f")
	w.want(423, "MOVE /d/f", "", "Destination: URL/h")
	w.want(423, "COPY /g", "", "Destination: URL/d/f")
	w.want(201, "COPY /d/f", "", "Destination: URL/copy") // section 7.6: nothing locked is changed
	w.want(204, "PUT /d/f", "two", "If: (<"+l+">)")
	w.want(204, "PUT /d/f", "three", "If: <URL/d> (<"+l+">)")
	w.want(412, "PUT /d/f", "x", "If: (<urn:uuid:00000000-0000-4000-8000-000000000000>)")
	w.want(423, "PUT /d/f", "x", "If: (Not <DAV:no-lock>)")
	w.want(204, "PUT /d/f", "four", "If: (<"+l+">) (Not <DAV:no-lock>)")
	w.want(400, "PUT /d/f", "x", "If: (<")
	a := w.want(200, "LOCK /d/f", "", "If: (<"+l+">)", "Timeout: Second-30") // section 9.10.2, through a member
	if !strings.Contains(a.body, "<D:timeout>Second-30</D:timeout>") || a.Get("Lock-Token") != "" {
		t.Errorf("refresh: got %q %q", a.Get("Lock-Token"), a.body)
	}
	w.want(409, "UNLOCK /g", "", "Lock-Token: <"+l+">")
	w.want(409, "UNLOCK /d", "", "Lock-Token: <urn:uuid:x>")
	w.want(400, "UNLOCK /d", "")
	w.want(204, "UNLOCK /d/f", "", "Lock-Token: <"+l+">")
	w.want(204, "PUT /d/f", "five")
	l = w.lock("/d/f", lockBody, "Timeout: Second-60")
	w.skew = 2 * time.Minute
	w.want(204, "PUT /d/f", "after its time")
	w.want(412, "LOCK /d/f", "", "If: (<"+l+">)")
}

// Section 7.4: a lock on a collection that is not deep protects its names.
func TestLockOfNames(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "MKCOL /d", "")
	w.want(201, "PUT /d/f", "one")
	l := w.lock("/d", lockBody, "Depth: 0")
	w.want(204, "PUT /d/f", "two")
	w.want(423, "PUT /d/g", "x")
	w.want(423, "DELETE /d/f", "")
	w.want(201, "PUT /d/g", "x", "If: <URL/d> (<"+l+">)")
	w.want(204, "DELETE /d/g", "", "If: </d> (<"+l+">)")
}

// Sections 6.2, 7 and 9.10.6: shared locks.
func TestSharedLocks(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "PUT /f", "one")
	a, b := w.lock("/f", sharedBody), w.lock("/f", sharedBody)
	if a == b {
		t.Error("two locks have one token")
	}
	w.want(423, "LOCK /f", lockBody)
	w.want(423, "PUT /f", "x")
	w.want(204, "PUT /f", "two", "If: (<"+b+">)")
	w.want(204, "UNLOCK /f", "", "Lock-Token: <"+a+">")
	w.want(423, "PUT /f", "x")
	w.want(204, "UNLOCK /f", "", "Lock-Token: <"+b+">")
	w.want(204, "PUT /f", "three")
	w.lock("/f", lockBody)
	w.want(423, "LOCK /f", sharedBody)
}

// Section 9.10.3: a deep lock that somebody's lock below prevents.
func TestLockBelow(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "MKCOL /d", "")
	w.want(201, "PUT /d/f", "one")
	w.lock("/d/f", lockBody)
	a := w.want(207, "LOCK /d", lockBody)
	if !strings.Contains(a.body, "<D:href>/d/f</D:href><D:status>HTTP/1.1 423") || !strings.Contains(a.body, "<D:href>/d/</D:href><D:status>HTTP/1.1 424") {
		t.Errorf("got %q", a.body)
	}
	w.want(200, "LOCK /d", lockBody, "Depth: 0")
}

// Sections 9.6 and 9.9.3, and 7.7 of RFC 2518: what goes loses its locks.
func TestLocksOfWhatIsGone(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "PUT /f", "one")
	l := w.lock("/f", lockBody)
	w.want(204, "DELETE /f", "", "If: (<"+l+">)")
	w.want(201, "PUT /f", "two")
	l = w.lock("/f", lockBody)
	w.want(201, "MOVE /f", "", "Destination: URL/g", "If: (<"+l+">)")
	w.want(204, "PUT /g", "three")
	w.want(201, "PUT /f", "four")
	w.want(201, "MKCOL /d", "")
	w.want(201, "PUT /d/f", "five")
	l = w.lock("/d/f", lockBody)
	w.want(423, "DELETE /d", "")
	w.want(204, "DELETE /d", "", "If: </d/f> (<"+l+">)")
	w.want(201, "MKCOL /d", "")
	w.want(201, "PUT /d/f", "six")
}

// Section 7.3: a lock on what does not exist reserves the name with an empty
// file; a lock on what has no parent is 409 (section 9.10.6).
func TestLockOfNothing(t *testing.T) {
	w := newWorld(t, nil, nil)
	l := w.lock("/new", lockBody)
	w.holds("/new", "")
	w.want(423, "PUT /new", "x")
	w.want(204, "PUT /new", "text", "If: (<"+l+">)")
	w.want(409, "LOCK /no/such", lockBody)
	w.want(422, "LOCK /new", `<D:lockinfo xmlns:D="DAV:"/>`)
	w.want(400, "LOCK /new", lockBody, "Depth: 1")
	w.want(400, "LOCK /new", lockBody, "Timeout: soon")
}

// Section 6.4: a token is of use to its owner only.
func TestLockOfSomebodyElse(t *testing.T) {
	w := newWorld(t, nil, func(c *Config) { c.User = userOfHeader })
	l := w.lock("/f", lockBody, "X-User: anna")
	w.want(204, "PUT /f", "one", "X-User: anna", "If: (<"+l+">)")
	w.want(423, "PUT /f", "two", "X-User: bert", "If: (<"+l+">)")
	w.want(403, "UNLOCK /f", "", "X-User: bert", "Lock-Token: <"+l+">")
	w.want(403, "LOCK /f", "", "X-User: bert", "If: (<"+l+">)")
	w.want(204, "UNLOCK /f", "", "X-User: anna", "Lock-Token: <"+l+">")
}

// Section 9.1.1: Depth infinity may be refused; ours is where it is too much.
func TestDepthInfinity(t *testing.T) {
	w := newWorld(t, nil, func(c *Config) { c.MaxInfinity = 5 })
	w.want(201, "MKCOL /d", "")
	w.want(201, "MKCOL /d/e", "")
	w.want(201, "PUT /d/e/f", "x")
	a := w.want(207, "PROPFIND /", "", "Depth: infinity")
	if n := strings.Count(a.body, "<D:response>"); n != 4 {
		t.Errorf("got %d resources, want 4: %s", n, a.body)
	}
	w.want(201, "PUT /d/g", "x")
	w.want(201, "PUT /d/h", "x")
	a = w.want(403, "PROPFIND /", "")
	if !strings.Contains(a.body, "<D:propfind-finite-depth/>") {
		t.Errorf("got %q", a.body)
	}
	w.want(207, "PROPFIND /d", "", "Depth: 1")
	w.want(400, "PROPFIND /d", "", "Depth: 2")
}

// Sections 10.1, 18.
func TestOptions(t *testing.T) {
	w := newWorld(t, nil, nil)
	a := w.want(200, "OPTIONS /", "")
	if a.Get("DAV") != "1, 2, 3" || a.Get("MS-Author-Via") != "DAV" || !strings.Contains(a.Get("Allow"), "PROPPATCH") {
		t.Errorf("got %v", a.Header)
	}
	if a := w.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", false); !strings.Contains(a, " 200 ") {
		t.Errorf("OPTIONS *: got %q", a)
	}
	w.want(405, "PATCH /", "")
}

// Sections 9.3 and 9.6.
func TestCollections(t *testing.T) {
	w := newWorld(t, nil, nil)
	w.want(201, "MKCOL /d/", "")
	w.want(405, "MKCOL /d", "")
	w.want(409, "MKCOL /no/such", "")
	w.want(415, "MKCOL /e", "<x/>")
	w.want(405, "GET /d", "")
	w.want(201, "PUT /d/f", "x")
	w.want(404, "DELETE /d/f/", "")
	w.want(409, "PUT /d/f/g", "x")
	w.want(400, "DELETE /d/", "", "Depth: 0")
	w.want(204, "DELETE /d/", "")
	w.want(404, "DELETE /d", "")
	w.want(403, "DELETE /", "")
}

// Sections 9.8.3, 9.8.4, 9.9.2, 9.9.3: collections.
func TestTransferOfCollections(t *testing.T) {
	w := newWorld(t, nil, nil)
	tree := func(name string) {
		w.want(201, "MKCOL /"+name, "")
		w.want(201, "MKCOL /"+name+"/e", "")
		w.want(201, "PUT /"+name+"/f", "f of "+name)
		w.want(201, "PUT /"+name+"/e/g", "g of "+name)
	}
	tree("a")
	tree("b")
	w.want(412, "COPY /a", "", "Destination: URL/b", "Overwrite: F")
	w.want(204, "COPY /a/", "", "Destination: URL/b/")
	w.holds("/b/e/g", "g of a")
	w.want(201, "COPY /a", "", "Destination: URL/shallow", "Depth: 0")
	w.absent("/shallow/f")
	w.want(400, "COPY /a", "", "Destination: URL/c", "Depth: 1")
	w.want(403, "COPY /a", "", "Destination: URL/a/e/x")
	w.want(403, "MOVE /a", "", "Destination: URL/a/x")
	w.want(403, "MOVE /a/e", "", "Destination: URL/a")
	w.want(201, "PUT /file", "file")
	w.want(204, "COPY /a", "", "Destination: URL/file") // onto a file
	w.holds("/file/e/g", "g of a")
	w.want(204, "COPY /a/f", "", "Destination: URL/b") // and a file onto a collection
	w.holds("/b", "f of a")
	w.want(201, "MOVE /a", "", "Destination: URL/moved")
	w.holds("/moved/e/g", "g of a")
	w.absent("/a")
	w.want(204, "MOVE /moved", "", "Destination: URL/file")
	w.holds("/file/f", "f of a")
}
