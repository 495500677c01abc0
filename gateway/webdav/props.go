package webdav

import (
	"context"
	"encoding/xml"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/causewayfs/causeway/vfs"
	"golang.org/x/net/webdav"
)

// resource is what properties are about.
type resource struct {
	path string // as its URL has it
	real string // with links followed
	attr vfs.Attr
}

func (r resource) isDir() bool { return r.attr.Type == vfs.TypeDir }

func dav(local string) xml.Name { return xml.Name{Space: nsDAV, Local: local} }

// live are the properties that the server knows. A value that is not ok is not
// there.
type live struct {
	value func(ctx context.Context, h *Handler, r resource) (inner string, ok bool, err error)
	// onDemand properties are not part of allprop (section 9.1.5, RFC 4331
	// section 2).
	onDemand bool
	// writable ones may be changed by PROPPATCH.
	writable bool
}

var liveProps = map[xml.Name]live{
	dav("resourcetype"):                              {value: resourceType},
	dav("displayname"):                               {value: displayName, writable: true},
	dav("getcontentlength"):                          {value: contentLength},
	dav("getcontenttype"):                            {value: contentTypeOf},
	dav("getetag"):                                   {value: etagOf},
	dav("getlastmodified"):                           {value: lastModified},
	dav("lockdiscovery"):                             {value: lockDiscovery},
	dav("supportedlock"):                             {value: supportedLock},
	dav("quota-available-bytes"):                     {value: quotaAvailable, onDemand: true},
	dav("quota-used-bytes"):                          {value: quotaUsed, onDemand: true},
	dav("creationdate"):                              {value: absent},
	{Space: nsWin32, Local: "Win32LastModifiedTime"}: {value: win32Modified, onDemand: true, writable: true},
	{Space: nsApache, Local: "executable"}:           {value: executable, onDemand: true, writable: true},
}

// liveOrder is the order of properties in answers to allprop.
var liveOrder = []xml.Name{
	dav("resourcetype"), dav("displayname"), dav("getcontentlength"), dav("getlastmodified"),
	dav("getetag"), dav("getcontenttype"), dav("supportedlock"), dav("lockdiscovery"),
}

func absent(context.Context, *Handler, resource) (string, bool, error) { return "", false, nil }

func resourceType(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	if r.isDir() {
		return "<D:collection/>", true, nil
	}
	return "", true, nil
}

func displayName(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	if r.path == "" {
		return "/", true, nil
	}
	return escape(baseName(r.path)), true, nil
}

func contentLength(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	return strconv.FormatInt(r.attr.Size, 10), !r.isDir(), nil
}

func contentTypeOf(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	return escape(mediaType(r.path)), !r.isDir(), nil
}

// mediaType guesses from the name alone: the bytes may be far away.
func mediaType(name string) string {
	if t := mime.TypeByExtension(path.Ext(name)); t != "" {
		return t
	}
	return "application/octet-stream"
}

func etagOf(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	return escape(quoted(r.attr.ETag)), !r.isDir() && r.attr.ETag != "", nil
}

func lastModified(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	return r.attr.Mtime.UTC().Format(http.TimeFormat), true, nil
}

// win32Modified is the same for Windows, which sets it.
func win32Modified(ctx context.Context, h *Handler, r resource) (string, bool, error) {
	return lastModified(ctx, h, r)
}

// executable is the property with which mod_dav tells of the mode bit.
func executable(_ context.Context, _ *Handler, r resource) (string, bool, error) {
	if r.attr.Mode&0o100 != 0 {
		return "T", !r.isDir(), nil
	}
	return "F", !r.isDir(), nil
}

func supportedLock(context.Context, *Handler, resource) (string, bool, error) {
	const write = "<D:locktype><D:write/></D:locktype></D:lockentry>"
	return "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope>" + write +
		"<D:lockentry><D:lockscope><D:shared/></D:lockscope>" + write, true, nil
}

func lockDiscovery(ctx context.Context, h *Handler, r resource) (string, bool, error) {
	locks, err := h.Locks.Covering(ctx, r.real)
	if err != nil {
		return "", false, err
	}
	return activeLocks(locks, h.Now()), true, nil
}

// activeLocks writes locks as section 14.1 has them.
func activeLocks(locks []Lock, now time.Time) string {
	var b strings.Builder
	for _, l := range locks {
		scope, depth := "exclusive", "0"
		if l.Shared {
			scope = "shared"
		}
		if l.Infinite {
			depth = "infinity"
		}
		b.WriteString("<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:" + scope + "/></D:lockscope><D:depth>" + depth + "</D:depth>")
		if l.Owner != "" {
			b.WriteString("<D:owner>" + l.Owner + "</D:owner>")
		}
		left := max(int64(l.Expires.Sub(now).Round(time.Second)/time.Second), 0)
		b.WriteString("<D:timeout>Second-" + strconv.FormatInt(left, 10) + "</D:timeout><D:locktoken><D:href>" + escape(l.Token) +
			"</D:href></D:locktoken><D:lockroot><D:href>" + escape(href(l.Root, false)) + "</D:href></D:lockroot></D:activelock>")
	}
	return b.String()
}

func quotaAvailable(ctx context.Context, h *Handler, r resource) (string, bool, error) {
	return quota(ctx, h, r, func(s vfs.StatFS) uint64 { return s.BlocksFree })
}

func quotaUsed(ctx context.Context, h *Handler, r resource) (string, bool, error) {
	return quota(ctx, h, r, func(s vfs.StatFS) uint64 { return s.Blocks - s.BlocksFree })
}

// quota is what statfs(2) shows on the mount (RFC 4331 sections 3 and 4).
func quota(ctx context.Context, h *Handler, r resource, of func(vfs.StatFS) uint64) (string, bool, error) {
	if !r.isDir() {
		return "", false, nil
	}
	s, err := h.files.StatFS(ctx)
	if err != nil {
		return "", false, err
	}
	return strconv.FormatUint(of(s)*uint64(s.BlockSize), 10), true, nil
}

// wanted is what a PROPFIND asks for (section 9.1).
type wanted struct {
	names []xml.Name // of prop, or those that allprop is to include
	all   bool
	only  bool // propname: names without values
}

// needsDead reports whether dead properties are asked for.
func (w wanted) needsDead() bool {
	if w.all || w.only {
		return true
	}
	for _, n := range w.names {
		if l, ok := liveProps[n]; !ok || l.writable && n.Space == nsDAV {
			return true
		}
	}
	return false
}

// propstats answers for one resource.
func (h *Handler) propstats(ctx context.Context, r resource, w wanted) ([]webdav.Propstat, error) {
	var dead []webdav.Property
	if w.needsDead() {
		var err error
		if dead, err = h.deadProps(ctx, r.attr.ID); err != nil {
			return nil, err
		}
	}
	names := w.names
	if w.all || w.only {
		names = allNames(w, dead)
	}
	found := webdav.Propstat{Status: http.StatusOK}
	missing := webdav.Propstat{Status: http.StatusNotFound}
	for _, n := range names {
		p, ok, err := h.property(ctx, r, n, dead)
		switch {
		case err != nil:
			return nil, err
		case ok && w.only:
			found.Props = append(found.Props, webdav.Property{XMLName: n})
		case ok:
			found.Props = append(found.Props, p)
		case !w.all && !w.only:
			missing.Props = append(missing.Props, webdav.Property{XMLName: n})
		}
	}
	var stats []webdav.Propstat
	if len(found.Props) > 0 || len(missing.Props) == 0 {
		stats = append(stats, found)
	}
	if len(missing.Props) > 0 {
		stats = append(stats, missing)
	}
	return stats, nil
}

// allNames are the properties that allprop and propname are about.
func allNames(w wanted, dead []webdav.Property) []xml.Name {
	names := append([]xml.Name{}, liveOrder...)
	seen := map[xml.Name]bool{}
	for _, n := range names {
		seen[n] = true
	}
	add := func(n xml.Name) {
		if !seen[n] {
			seen[n] = true
			names = append(names, n)
		}
	}
	for _, p := range dead {
		add(p.XMLName)
	}
	for _, n := range w.names {
		add(n)
	}
	return names
}

// property returns one property. A dead one goes before a live one that is
// writable: somebody has set it.
func (h *Handler) property(ctx context.Context, r resource, n xml.Name, dead []webdav.Property) (webdav.Property, bool, error) {
	for _, p := range dead {
		if p.XMLName == n {
			return p, true, nil
		}
	}
	l, ok := liveProps[n]
	if !ok {
		return webdav.Property{}, false, nil
	}
	inner, ok, err := l.value(ctx, h, r)
	return webdav.Property{XMLName: n, InnerXML: []byte(inner)}, ok, err
}
