package pages

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"github.com/causewayfs/causeway/gateway/access"
	"github.com/causewayfs/causeway/vfs"
)

// perPage is how many names one page of a listing has.
const perPage = 1000

// Listing shows directories.
type Listing struct {
	Files  Files
	Bucket string // what the root is called: s3://BUCKET[/PREFIX]
}

var _ http.Handler = (*Listing)(nil)

// ServeHTTP answers GET and HEAD of a directory, whose path is that of the URL.
// One that does not end in a slash is redirected to the one that does.
func (l *Listing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a directory is shown, and nothing else", http.StatusMethodNotAllowed)
		return
	}
	dir, err := access.Path(r.URL)
	if err != nil {
		l.fail(w, http.StatusBadRequest, "That is not the path of a directory.")
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/") {
		to := url.URL{Path: "/" + dir + "/", RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to.String(), http.StatusMovedPermanently)
		return
	}
	page, err := l.page(r.Context(), dir, r.URL.Query(), access.From(r.Context()))
	if err != nil {
		l.failed(w, err)
		return
	}
	render(w, http.StatusOK, "listing.html", page)
}

// errNotDir says that the path is a file.
var errNotDir = errors.New("not a directory")

func (l *Listing) page(ctx context.Context, dir string, q url.Values, who access.Identity) (*listingPage, error) {
	var all []entry
	err := walk(ctx, l.Files, dir, func(id vfs.NodeID, kind vfs.FileType) (err error) {
		if kind != vfs.TypeDir {
			return errNotDir
		}
		all, err = list(ctx, l.Files, id, dir, who)
		return err
	})
	if err != nil {
		return nil, err
	}
	o := orderOf(q)
	o.sort(all)
	number, _ := strconv.Atoi(q.Get("page"))
	return newListingPage(l.Bucket, dir, all, o, number, who.Allows(dir, access.Write), who.AllowsTree("", access.Read)), nil
}

func (l *Listing) failed(w http.ResponseWriter, err error) {
	if errors.Is(err, errNotDir) {
		l.fail(w, http.StatusNotFound, "This is a file and not a directory.")
		return
	}
	switch vfs.KindOf(err) {
	case vfs.NotExist, vfs.NotDir:
		l.fail(w, http.StatusNotFound, "There is no such directory.")
	case vfs.Access, vfs.Permission:
		l.fail(w, http.StatusForbidden, "This directory may not be read.")
	case vfs.Timeout, vfs.Interrupted:
		l.fail(w, http.StatusGatewayTimeout, "S3 does not answer in time. Try again in a moment.")
	default:
		l.fail(w, http.StatusBadGateway, "S3 could not be asked for this directory. The status page may tell why.")
	}
}

func (l *Listing) fail(w http.ResponseWriter, status int, text string) {
	render(w, status, "message.html", struct{ Title, Text string }{http.StatusText(status), text})
}

// listingPage is what the template shows.
type listingPage struct {
	Title    string
	Crumbs   []crumb
	Columns  []column
	Entries  []entry
	Dirs     int
	Count    int   // of files
	Bytes    int64 // of files
	Writable bool
	Status   bool // the status page may be read
	Up       bool
	Pager    *pager
}

// crumb is a link to a directory above; the last one is this one.
type crumb struct {
	Name, Href string
	Last       bool
}

// column is a heading that sorts.
type column struct {
	Name, Href, Class string
	Sort              string // aria-sort; empty if it is another column
}

type pager struct {
	First, Last, Total int
	Prev, Next         string // empty where there is none
}

func newListingPage(bucket, dir string, all []entry, o order, number int, writable, status bool) *listingPage {
	p := &listingPage{Title: bucket, Crumbs: crumbs(bucket, dir), Writable: writable, Status: status, Up: dir != "", Columns: columns(o)}
	if dir != "" {
		p.Title = path.Base(dir)
	}
	for _, e := range all {
		if e.Kind == "dir" {
			p.Dirs++
			continue
		}
		p.Count++
		p.Bytes += e.Size
	}
	p.Entries, p.Pager = cut(all, o, number)
	return p
}

// cut returns the page with a number from 1 on; others are the nearest there is.
func cut(all []entry, o order, number int) ([]entry, *pager) {
	if len(all) <= perPage {
		return all, nil
	}
	pages := (len(all) + perPage - 1) / perPage
	number = min(max(number, 1), pages)
	from := (number - 1) * perPage
	to := min(from+perPage, len(all))
	link := func(n int) string {
		if n < 1 || n > pages {
			return ""
		}
		q, _ := url.ParseQuery(o.query()) // what query made
		q.Set("page", strconv.Itoa(n))
		return "?" + q.Encode()
	}
	return all[from:to], &pager{First: from + 1, Last: to, Total: len(all), Prev: link(number - 1), Next: link(number + 1)}
}

func crumbs(bucket, dir string) []crumb {
	all := []crumb{{Name: bucket, Href: "/"}}
	if dir != "" {
		href := "/"
		for name := range strings.SplitSeq(dir, "/") {
			href += url.PathEscape(name) + "/"
			all = append(all, crumb{Name: name, Href: href})
		}
	}
	all[len(all)-1].Last = true
	return all
}

// columns are the headings. A link sorts by its column, and the other way round
// if that is what the page is sorted by already; sizes and times begin with the
// largest.
func columns(o order) []column {
	all := []column{{Name: "Name", Class: "name"}, {Name: "Size", Class: "size"}, {Name: "Modified", Class: "time"}}
	for i := range all {
		c := &all[i]
		next := order{By: c.Class, Desc: c.Class != "name"}
		if c.Class == o.By {
			next.Desc = !o.Desc
			c.Sort = "ascending"
			if o.Desc {
				c.Sort = "descending"
			}
		}
		c.Href = "?" + next.query()
	}
	return all
}
