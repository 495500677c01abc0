package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"reflect"
	"strings"
	"time"
)

//go:embed assets templates
var files embed.FS

// policy is what pages of this package may do.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const assetsPath = "/-/assets/"

// assets are the files that pages refer to, by a name with a hash in it, so that
// browsers may keep them for good.
type assets struct {
	byName map[string][]byte // by the hashed name
	names  map[string]string // from the plain name
}

func loadAssets() assets {
	a := assets{byName: map[string][]byte{}, names: map[string]string{}}
	entries, err := fs.ReadDir(files, "assets")
	if err != nil {
		panic(err) // they are in the program
	}
	for _, e := range entries {
		data, err := files.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(data)
		ext := path.Ext(e.Name())
		name := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		a.byName[name], a.names[e.Name()] = data, name
	}
	return a
}

var loaded = loadAssets()

// ServeHTTP serves what is below assetsPath.
func (a assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, assetsPath)
	data, ok := a.byName[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

// asset returns the path of an asset for a template.
func asset(name string) (string, error) {
	hashed, ok := loaded.names[name]
	if !ok {
		return "", fmt.Errorf("there is no asset %q", name)
	}
	return assetsPath + hashed, nil
}

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"asset": asset, "size": humanSize, "ms": humanMs, "clock": clock, "iso": iso, "ago": humanAge,
	// Templates know no generic functions; these take int and int64.
	"count":  func(n any) string { return humanCount(reflect.ValueOf(n).Int()) },
	"plural": func(n any, noun string) string { return plural(reflect.ValueOf(n).Int(), noun) },
}).ParseFS(files, "templates/*.html"))

// render answers with a page.
func render(w http.ResponseWriter, status int, name string, data any) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, data); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache, private")
	w.WriteHeader(status)
	// The client is gone if this fails.
	_, _ = page.WriteTo(w)
}
