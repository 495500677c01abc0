package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/causewayfs/causeway/store"
)

func listCases() []testCase {
	return []testCase{
		{"List/empty", listEmpty},
		{"List/describes", listDescribes},
		{"List/order", listOrder},
		{"List/prefix", listPrefix},
		{"List/delimiter", listDelimiter},
		{"List/after", listAfter},
		{"List/pages", listPages},
		{"List/more than a page", listMany},
		{"List/sees writes at once", listFresh},
	}
}

func listEmpty(s *suite) {
	for _, opts := range []store.ListOptions{{}, {Prefix: "no/such/"}, {Delimiter: "/"}, {After: "x"}} {
		page, err := s.List(s.ctx, opts)
		if err != nil || len(page.Objects)+len(page.Prefixes) > 0 || page.Next != "" {
			s.Errorf("list %+v: got %+v, %v, want an empty page", opts, page, err)
		}
	}
}

func listDescribes(s *suite) {
	put, err := s.Put(s.ctx, "l/file", body([]byte("12345")), store.PutOptions{Meta: store.Metadata{"a": "b"}})
	s.must("put", err)
	page, err := s.List(s.ctx, store.ListOptions{Prefix: "l/"})
	s.must("list", err)
	if len(page.Objects) != 1 {
		s.Fatalf("list: %+v", page)
	}
	o := page.Objects[0]
	if o.Key != "l/file" || o.Size != 5 || o.ETag != put.ETag || o.Modified.IsZero() || o.Meta != nil {
		s.Errorf("list describes %+v, put said %+v", o, put)
	}
}

// listOrder uses names that sort differently as paths, as text and as bytes.
func listOrder(s *suite) {
	keys := []string{
		"a-b", "a.b", "a/b", "a/b-c", "a0", "A", "Z", "a b", "ab", "é", "e", "f", "z", "～", "𐀀", "a/c/d", "a/c-d",
	}
	for _, k := range keys {
		s.put(k, k)
	}
	slices.Sort(keys)
	if got := s.keys(""); !slices.Equal(got, keys) {
		s.Errorf("order:\n got %q\nwant %q", got, keys)
	}
}

func listPrefix(s *suite) {
	for _, k := range []string{"p/a", "p/ab", "p/b", "pq", "q/p/a"} {
		s.put(k, "")
	}
	for prefix, want := range map[string][]string{
		"p/":   {"p/a", "p/ab", "p/b"},
		"p":    {"p/a", "p/ab", "p/b", "pq"},
		"p/a":  {"p/a", "p/ab"},
		"p/b":  {"p/b"},
		"p/c":  nil,
		"p/b/": nil,
		"q/p":  {"q/p/a"},
	} {
		if got := s.keys(prefix); !slices.Equal(got, want) {
			s.Errorf("prefix %q: got %q, want %q", prefix, got, want)
		}
	}
}

// pageText is a page in one line.
func pageText(p store.Page) string {
	var b strings.Builder
	for _, o := range p.Objects {
		b.WriteString(o.Key + " ")
	}
	b.WriteString("|")
	for _, p := range p.Prefixes {
		b.WriteString(" " + p)
	}
	return b.String()
}

func listDelimiter(s *suite) {
	for _, k := range []string{"d/", "d/f", "d/g", "d/sub/x", "d/sub/y/z", "d/sub2/x", "d-", "e/x"} {
		s.put(k, "")
	}
	for prefix, want := range map[string]string{
		"":        "d- | d/ e/",
		"d":       "d- | d/",
		"d/":      "d/ d/f d/g | d/sub/ d/sub2/",
		"d/s":     "| d/sub/ d/sub2/",
		"d/sub/":  "d/sub/x | d/sub/y/",
		"d/sub/y": "| d/sub/y/",
	} {
		page, err := s.List(s.ctx, store.ListOptions{Prefix: prefix, Delimiter: "/"})
		s.must("list", err)
		if got := pageText(page); got != want {
			s.Errorf("prefix %q: got %q, want %q", prefix, got, want)
		}
	}
}

func listAfter(s *suite) {
	for _, k := range []string{"k1", "k2", "k3/a", "k3/b", "k4"} {
		s.put(k, "")
	}
	for after, want := range map[string]string{
		"k1":   "k2 k3/a k3/b k4 |",
		"k15":  "k2 k3/a k3/b k4 |",
		"k3/a": "k3/b k4 |",
		"k3":   "k3/a k3/b k4 |",
		"k4":   "|",
		"a":    "k1 k2 k3/a k3/b k4 |",
	} {
		page, err := s.List(s.ctx, store.ListOptions{After: after})
		s.must("list", err)
		if got := pageText(page); got != want {
			s.Errorf("after %q: got %q, want %q", after, got, want)
		}
	}
}

// listPages reads pages of every small size and demands that nothing is lost
// or repeated, with and without groups.
func listPages(s *suite) {
	keys := []string{"a", "b/", "b/1", "b/2", "c", "d/x/y", "d/z", "e e", "f+f", "g%g", "h"}
	for _, k := range keys {
		s.put(k, "")
	}
	for _, tc := range []struct {
		delimiter string
		want      []string
	}{
		{"", keys},
		{"/", []string{"a", "b/", "c", "d/", "e e", "f+f", "g%g", "h"}},
	} {
		for limit := 1; limit <= 5; limit++ {
			got := s.pages(store.ListOptions{Delimiter: tc.delimiter, Max: limit})
			if s.known.PagesOfOneEnd && limit == 1 && tc.delimiter != "" {
				if slices.Equal(got, tc.want) {
					s.Error("pages of one are whole on a server that ends them early")
				}
				continue
			}
			if !slices.Equal(got, tc.want) {
				s.Errorf("delimiter %q, pages of %d:\n got %q\nwant %q", tc.delimiter, limit, got, tc.want)
			}
		}
	}
}

// pages returns the names of all pages, in the order of their bytes.
func (s *suite) pages(opts store.ListOptions) []string {
	var got []string
	for range 100 {
		page, err := s.List(s.ctx, opts)
		s.must("list", err)
		if n := len(page.Objects) + len(page.Prefixes); n > opts.Max {
			s.Errorf("page of %d entries, at most %d wanted", n, opts.Max)
		}
		var names []string
		for _, o := range page.Objects {
			names = append(names, o.Key)
		}
		names = append(names, page.Prefixes...)
		slices.Sort(names)
		got = append(got, names...)
		if page.Next == "" {
			return got
		}
		opts.Token = page.Next
	}
	s.Errorf("pages without end: %q", got)
	return nil
}

func listMany(s *suite) {
	const n = 1100
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < n; i += 16 {
				if _, err := s.Put(s.ctx, fmt.Sprintf("many/%05d", i), body(nil), store.PutOptions{}); err != nil {
					s.Errorf("put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	page, err := s.List(s.ctx, store.ListOptions{Prefix: "many/"})
	s.must("list", err)
	if len(page.Objects) != 1000 || page.Next == "" {
		s.Errorf("first page has %d keys, Next %q; want 1000 and a token", len(page.Objects), page.Next)
	}
	got := s.keys("many/")
	if len(got) != n {
		s.Fatalf("%d keys, want %d", len(got), n)
	}
	for i, k := range got {
		if k != fmt.Sprintf("many/%05d", i) {
			s.Fatalf("key %d is %q", i, k)
		}
	}
}

func listFresh(s *suite) {
	for i := range 20 {
		key := fmt.Sprintf("fresh/%02d", i)
		s.put(key, "x")
		if got := s.keys("fresh/"); !slices.Equal(got, []string{key}) {
			s.Errorf("after put: %q", got)
		}
		s.must("delete", s.Delete(s.ctx, key, store.Always))
		if got := s.keys("fresh/"); len(got) != 0 {
			s.Errorf("after delete: %q", got)
		}
	}
}
