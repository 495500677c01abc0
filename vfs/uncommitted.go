package vfs

import (
	"slices"
	"time"
)

// Uncommitted is a file whose bytes are not in S3, as of this gateway.
type Uncommitted struct {
	Path   string    `json:"path"`
	Size   int64     `json:"size"`
	Since  time.Time `json:"since"`  // the last change
	Staged bool      `json:"staged"` // a temporary name, which waits to be renamed
}

// Uncommitted lists what Stats counts as staged and dirty, oldest first, and not
// more than limit of it.
func (fs *FS) Uncommitted(limit int) []Uncommitted {
	var all []Uncommitted
	for _, n := range fs.localNodes() {
		n.mu.Lock()
		f := n.file
		listed := f != nil && f.dirtyLocked() && f.content.generation() != f.accepted.gen
		var u Uncommitted
		if listed {
			u = Uncommitted{Size: f.content.length(), Since: f.entry.Mtime, Staged: f.staged}
		}
		n.mu.Unlock()
		if !listed {
			continue
		}
		var named bool
		if u.Path, named = fs.nodes.path(n); named {
			all = append(all, u)
		}
	}
	slices.SortFunc(all, func(a, b Uncommitted) int { return a.Since.Compare(b.Since) })
	return all[:min(len(all), limit)]
}
