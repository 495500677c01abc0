package access

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
)

// ErrPath says that a path is refused for how it is written.
var ErrPath = errors.New("a path that is not what it looks like")

// maxName is the longest component of a path, in bytes (NAME_MAX).
const maxName = 255

// Path returns what the path of a URL stands for: relative to the root, without
// slashes around it. It is ErrPath where two readers could take it for different
// things: dot segments, empty components, encoded slashes, NUL, text that is not
// UTF-8, and components that are too long for a name.
func Path(u *url.URL) (string, error) {
	raw := u.EscapedPath()
	if strings.Contains(strings.ToLower(raw), "%2f") {
		return "", fmt.Errorf("%w: it has an encoded slash", ErrPath)
	}
	return cleanPath(u.Path)
}

func cleanPath(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return "", fmt.Errorf("%w: it does not begin with a slash", ErrPath)
	}
	rest = strings.TrimSuffix(rest, "/")
	if rest == "" && len(path) <= 1 {
		return "", nil
	}
	if !utf8.ValidString(rest) || strings.ContainsRune(rest, 0) {
		return "", fmt.Errorf("%w: it is not text", ErrPath)
	}
	for c := range strings.SplitSeq(rest, "/") {
		switch {
		case c == "" || c == "." || c == "..":
			return "", fmt.Errorf("%w: it has empty or dot segments", ErrPath)
		case len(c) > maxName:
			return "", fmt.Errorf("%w: it has a name of more than %d bytes", ErrPath, maxName)
		}
	}
	return rest, nil
}
