package format

import (
	"bytes"
	"strings"
)

// separator is between directory and name. It is less than any byte of a path.
const separator = 0

// AppendKey adds the key of path to b. The root has none.
func AppendKey(b []byte, path string) []byte {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	b = append(b, dir...)
	b = append(b, separator)
	return append(b, name...)
}

// Key is AppendKey to nothing.
func Key(path string) []byte { return AppendKey(make([]byte, 0, len(path)+1), path) }

// Path is the inverse of Key. It reports false for what is not a key.
func Path(key []byte) (path string, ok bool) {
	dir, name, found := bytes.Cut(key, []byte{separator})
	if !found || len(name) == 0 || bytes.IndexByte(name, separator) >= 0 {
		return "", false
	}
	if len(dir) == 0 {
		return string(name), true
	}
	return string(dir) + "/" + string(name), true
}

// Names returns the bounds of the keys of all names in dir: from lower, without
// upper.
func Names(dir string) (lower, upper []byte) {
	lower = append([]byte(dir), separator)
	return lower, append([]byte(dir), separator+1)
}

// Below returns the bounds of the keys of all that lies in the directories in
// dir, at any depth; with Names these are all below dir. dir must not be the
// root.
func Below(dir string) (lower, upper []byte) {
	return append([]byte(dir), '/'), append([]byte(dir), '/'+1)
}
