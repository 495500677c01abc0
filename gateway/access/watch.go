package access

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkEvery is how often files are looked at for changes, at most.
const checkEvery = time.Second

// maxFile bounds the size of a file of this package, in bytes.
const maxFile = 16 << 20

// watched is what some files say, read again when one of them has changed. It
// has no goroutine: whoever asks looks.
type watched[T any] struct {
	paths []string
	parse func(files [][]byte) (T, error)
	now   func() time.Time
	log   *slog.Logger

	mu      sync.Mutex // guards all below
	checked time.Time
	stamps  []os.FileInfo
	value   T
	gen     uint64 // grows when value changes
}

// watch reads the files; the first time there is nothing to fall back on, so
// that an error is one.
func watch[T any](c Config, parse func([][]byte) (T, error), paths ...string) (*watched[T], error) {
	w := &watched[T]{paths: paths, parse: parse, now: c.Now, log: c.Log, gen: 1, checked: c.Now()}
	var err error
	if w.value, w.stamps, err = w.read(); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *watched[T]) read() (value T, stamps []os.FileInfo, err error) {
	files := make([][]byte, len(w.paths))
	stamps = make([]os.FileInfo, len(w.paths))
	for i, path := range w.paths {
		if files[i], stamps[i], err = readFile(path); err != nil {
			return value, nil, err
		}
	}
	value, err = w.parse(files)
	return value, stamps, err
}

// readFile returns what is in a file, and what tells whether it has changed
// since, as of before it was read.
func readFile(path string) ([]byte, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return data, info, err
}

// get returns what the files say, and a number that changes with it.
func (w *watched[T]) get() (T, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := w.now(); now.Sub(w.checked) >= checkEvery {
		w.checked = now
		w.refresh()
	}
	return w.value, w.gen
}

// refresh reads the files if they changed. The caller holds mu.
func (w *watched[T]) refresh() {
	if !w.changed() {
		return
	}
	value, stamps, err := w.read()
	if err != nil {
		w.log.Error("a file for access control has changed and cannot be used; what it said before holds", "err", err)
		return
	}
	w.value, w.stamps = value, stamps
	w.gen++
	w.log.Info("read again since it changed", "files", w.paths)
}

// changed also notes what it saw, so that a file with an error is reported once
// and not at every look.
func (w *watched[T]) changed() bool {
	changed := false
	for i, path := range w.paths {
		info, err := os.Stat(path)
		if err != nil {
			info = nil // being replaced, or gone: what was read last holds
		}
		old := w.stamps[i]
		switch {
		case info == nil && old == nil:
			continue
		case info != nil && old != nil && os.SameFile(info, old) && info.Size() == old.Size() && info.ModTime().Equal(old.ModTime()):
			continue
		}
		w.stamps[i], changed = info, true
	}
	return changed
}
