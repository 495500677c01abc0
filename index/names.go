package index

import (
	"strings"
	"unicode/utf8"

	"github.com/causewayfs/causeway/store"
)

// Reserved is the directory, at the root, for what Causeway keeps for itself.
// It is never shown.
const Reserved = ".causeway"

// MaxName is the length limit of a path component in bytes, as NAME_MAX.
const MaxName = 255

// ValidName reports whether name can be a path component in a bucket and in a
// filesystem.
func ValidName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= MaxName &&
		strings.IndexByte(name, 0) < 0 && strings.IndexByte(name, '/') < 0 && utf8.ValidString(name)
}

// split returns the directory and the last component of path. ok is false for
// a path that no entry can have.
func split(path string) (dir, name string, ok bool) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	} else {
		name = path
	}
	ok = ValidName(name) && len(path) < store.MaxKeyBytes && !reserved(path)
	return dir, name, ok
}

// parent returns the directory of path; that of the root is the root.
func parent(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '/'))]
}

func reserved(path string) bool {
	return path == Reserved || strings.HasPrefix(path, Reserved+"/")
}

// prefix returns the key prefix of a directory, which is also the key of its
// marker.
func prefix(dir string) string {
	if dir == "" {
		return ""
	}
	return dir + "/"
}

func join(dir, name string) string { return prefix(dir) + name }

// below reports whether path is dir or lies in it.
func below(path, dir string) bool {
	return dir == "" || path == dir || len(path) > len(dir) && path[len(dir)] == '/' && path[:len(dir)] == dir
}
