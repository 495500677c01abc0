package main

import (
	"fmt"
	"strings"

	"github.com/causewayfs/causeway/index"
)

// keyScan finds keys that a filesystem cannot show, in keys visited in order.
type keyScan struct {
	seen int64
	more bool // there are keys that were not visited

	invalid       int64 // keys that are no path
	firstInvalid  string
	shadowed      int64 // objects beside a directory of the same name
	firstShadowed string

	// above are the visited keys that the current one begins with, shortest
	// first: since keys come in order, everything between "a" and "a/b"
	// begins with "a" too.
	above []visitedKey
}

type visitedKey struct {
	key     string
	counted bool // as shadowed
}

func (s *keyScan) visit(key string) {
	if key == index.Reserved || strings.HasPrefix(key, index.Reserved+"/") {
		return
	}
	s.seen++
	for len(s.above) > 0 && !strings.HasPrefix(key, s.above[len(s.above)-1].key) {
		s.above = s.above[:len(s.above)-1]
	}
	for i := range s.above {
		if file := &s.above[i]; !file.counted && strings.HasPrefix(key[len(file.key):], "/") {
			file.counted = true
			if s.shadowed++; s.shadowed == 1 {
				s.firstShadowed = file.key
			}
		}
	}
	s.above = append(s.above, visitedKey{key: key})
	if !validKey(key) {
		if s.invalid++; s.invalid == 1 {
			s.firstInvalid = key
		}
	}
}

// validKey reports whether key is the path of a file, or of a directory's
// marker.
func validKey(key string) bool {
	for component := range strings.SplitSeq(strings.TrimSuffix(key, "/"), "/") {
		if !index.ValidName(component) {
			return false
		}
	}
	return true
}

// report adds what was found to d.
func (s *keyScan) report(d *diagnosis) {
	some := ""
	if s.more {
		some = " (there are more: --scan-keys 0 looks at all)"
	}
	if s.invalid > 0 {
		d.warn("keys", fmt.Sprintf("%s not a path, such as %.80q%s", plural(s.invalid, "key"), s.firstInvalid, some),
			"They are left alone and not shown; to see them, copy them to keys without empty, . and .. components and components over 255 bytes")
	}
	if s.shadowed > 0 {
		d.warn("keys", fmt.Sprintf("%s beside a directory of the same name, such as %.80q%s", plural(s.shadowed, "object"), s.firstShadowed, some),
			"The directory is shown and the object is not; copy it to another key to see it")
	}
	if s.invalid == 0 && s.shadowed == 0 {
		d.ok("keys", "all of %d can be shown%s", s.seen, some)
	}
}
