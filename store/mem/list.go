package mem

import (
	"context"
	"slices"
	"sort"
	"strings"

	"github.com/causewayfs/causeway/store"
)

// List implements [store.Reader]. A token is the last key or prefix of the
// page before, with its kind in front.
func (s *Store) List(ctx context.Context, opts store.ListOptions) (store.Page, error) {
	if err := ended(ctx, store.OpList, opts.Prefix); err != nil {
		return store.Page{}, err
	}
	limit := opts.Max
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	var page store.Page
	last := ""
	for i := s.startLocked(opts); i < len(s.keys); {
		key := s.keys[i]
		if !strings.HasPrefix(key, opts.Prefix) {
			break
		}
		if len(page.Objects)+len(page.Prefixes) == limit {
			page.Next = last
			break
		}
		if prefix := group(key, opts); prefix != "" {
			page.Prefixes = append(page.Prefixes, prefix)
			last = "prefix:" + prefix
			i = s.behindLocked(i, prefix)
			continue
		}
		info := s.objects[key].info
		info.Meta = nil
		page.Objects = append(page.Objects, info)
		last = "key:" + key
		i++
	}
	return page, nil
}

// startLocked returns the index of the first key that List looks at.
func (s *Store) startLocked(opts store.ListOptions) int {
	after := opts.After
	kind, token, continued := strings.Cut(opts.Token, ":")
	if continued {
		after = token
	}
	i, found := slices.BinarySearch(s.keys, max(after, opts.Prefix))
	switch {
	case continued && kind == "prefix":
		return s.behindLocked(i, token)
	case found && s.keys[i] == after:
		return i + 1
	}
	return i
}

// behindLocked returns the index of the first key from i on that does not
// begin with prefix; those that do are next to each other.
func (s *Store) behindLocked(i int, prefix string) int {
	return i + sort.Search(len(s.keys)-i, func(n int) bool {
		return !strings.HasPrefix(s.keys[i+n], prefix)
	})
}

// group returns the common prefix that key is part of, or "".
func group(key string, opts store.ListOptions) string {
	if opts.Delimiter == "" {
		return ""
	}
	rest := key[len(opts.Prefix):]
	if i := strings.Index(rest, opts.Delimiter); i >= 0 {
		return key[:len(opts.Prefix)+i+len(opts.Delimiter)]
	}
	return ""
}
