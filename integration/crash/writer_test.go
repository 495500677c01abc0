//go:build integration

package crash

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// step is one operation of a writer: what it does, and what a tree is after it.
type step struct {
	text string
	do   func(root string) error
	done func(t crashTree)
	// half is another state that a call which was not answered may leave: after
	// a rename both names of the file.
	half    func(t crashTree)
	renamed [2]string // the names of what it renames
	// from and to are the same if that is a directory, which takes a while.
	from, to string
}

// historyLine is a step that was begun.
type historyLine struct {
	text       string
	begun, end time.Time
	answered   bool
	err        error
}

// String returns a line of a failure's report.
func (l historyLine) String() string {
	switch {
	case !l.answered:
		return fmt.Sprintf("%s %s: in flight", l.begun.Format("05.000000"), l.text)
	case l.err != nil:
		return fmt.Sprintf("%s-%s %s: %v", l.begun.Format("05.000000"), l.end.Format("05.000000"), l.text, l.err)
	}
	return fmt.Sprintf("%s-%s %s: ok", l.begun.Format("05.000000"), l.end.Format("05.000000"), l.text)
}

// crashWriter is the only one who changes what is below its directory.
type crashWriter struct {
	name string
	rng  *rand.Rand
	ops  int

	mu       sync.Mutex // guards all below while the writer runs
	tree     crashTree  // as acknowledged
	gone     map[string]goneFile
	inFlight *step // not answered, or answered with an error
	history  []historyLine
}

func newCrashWriter(name string, seed uint64) *crashWriter {
	return &crashWriter{name: name, rng: rand.New(rand.NewPCG(seed, 1)), tree: crashTree{}, gone: map[string]goneFile{}}
}

// run carries out the steps that next returns until it returns none, one fails
// or stop is closed. It returns the error of a step.
func (w *crashWriter) run(root string, stop <-chan struct{}, next func() []step) error {
	for {
		steps := next()
		for _, s := range steps {
			select {
			case <-stop:
				return nil
			default:
			}
			if err := w.try(root, s); err != nil {
				return fmt.Errorf("%s: %s: %w", w.name, s.text, err)
			}
		}
		if len(steps) == 0 {
			return nil
		}
	}
}

func (w *crashWriter) try(root string, s step) error {
	w.mu.Lock()
	w.inFlight = &s
	w.history = append(w.history, historyLine{text: s.text, begun: time.Now()})
	line := &w.history[len(w.history)-1]
	w.mu.Unlock()
	err := s.do(root)
	w.mu.Lock()
	defer w.mu.Unlock()
	line.answered, line.err, line.end = true, err, time.Now()
	if err != nil {
		return err
	}
	w.acknowledge(s, line.end)
	return nil
}

// acknowledge takes a step's effect for granted from now on.
func (w *crashWriter) acknowledge(s step, now time.Time) {
	before := maps.Clone(w.tree)
	s.done(w.tree)
	w.inFlight = nil
	for p, f := range before {
		if _, there := w.tree[p]; !there {
			w.gone[p] = goneFile{f, now}
		}
	}
	for p := range w.tree {
		delete(w.gone, p)
	}
	for p, f := range w.tree { // attributes that were changed at this time
		if old := before[p]; f.wasAt.IsZero() && len(f.was) > len(old.was) {
			f.wasAt = now
			w.tree[p] = f
		}
	}
}

// last returns the latest lines of the history that mention one of the paths,
// and the last few of all.
func (w *crashWriter) last(paths []string) string {
	var lines []string
	for i, l := range w.history {
		about := slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(l.text, p) })
		if about || i >= len(w.history)-12 {
			lines = append(lines, "    "+l.String())
		}
	}
	return strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// store writes a file with flags and waits for the close.
func storeFile(p string, flags int, put func(f *os.File) error) error {
	f, err := os.OpenFile(p, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(put(f), f.Close())
}

// written is a file after a commit: its time is not known, and attributes went
// along.
func (t crashTree) written(p string, content []byte) {
	mode := t[p].mode
	if mode == 0 {
		mode = 0o644
	}
	t[p] = crashFile{content: content, crashAttrs: crashAttrs{mode: mode}}
}

func overwrite(p string, content []byte, id string) step {
	return step{
		text: fmt.Sprintf("write %s (op %s)", p, id),
		do: func(root string) error {
			return storeFile(filepath.Join(root, p), os.O_CREATE|os.O_TRUNC, func(f *os.File) error {
				half := len(content) / 2
				_, err := f.Write(content[:half])
				_, err2 := f.Write(content[half:])
				return errors.Join(err, err2)
			})
		},
		done: func(t crashTree) { t.written(p, content) },
	}
}

func appendTo(p string, content []byte, id string) step {
	return step{
		text: fmt.Sprintf("append to %s (op %s)", p, id),
		do: func(root string) error {
			return storeFile(filepath.Join(root, p), os.O_CREATE|os.O_APPEND, func(f *os.File) error {
				_, err := f.Write(content)
				return err
			})
		},
		done: func(t crashTree) { t.written(p, append(slices.Clip(slices.Clone(t[p].content)), content...)) },
	}
}

// edit replaces both ends of a file in place, with two writes.
func edit(p string, content []byte, id string) step {
	return step{
		text: fmt.Sprintf("edit %s in place (op %s)", p, id),
		do: func(root string) error {
			return storeFile(filepath.Join(root, p), 0, func(f *os.File) error {
				half := len(content) / 2
				_, err := f.WriteAt(content[half:], int64(half))
				_, err2 := f.WriteAt(content[:half], 0)
				return errors.Join(err, err2)
			})
		},
		done: func(t crashTree) {
			rest := t[p].content[min(len(content), len(t[p].content)):]
			t.written(p, append(slices.Clone(content), rest...))
		},
	}
}

func unlink(p string) step {
	return step{
		text: "unlink " + p,
		do:   func(root string) error { return os.Remove(filepath.Join(root, p)) },
		done: func(t crashTree) { delete(t, p) },
	}
}

func renameFile(from, to string) step {
	return step{
		text: fmt.Sprintf("rename %s to %s", from, to),
		do:   func(root string) error { return os.Rename(filepath.Join(root, from), filepath.Join(root, to)) },
		done: func(t crashTree) { t.move(from, to) },
		half: func(t crashTree) { t[to] = t[from] },

		renamed: [2]string{from, to},
	}
}

func renameDir(from, to string) step {
	s := renameFile(from, to)
	s.text, s.half, s.from, s.to = "rename directory "+strings.TrimPrefix(s.text, "rename "), nil, from, to
	return s
}

func mkdir(p string) step {
	return step{
		text: "mkdir " + p,
		do:   func(root string) error { return os.Mkdir(filepath.Join(root, p), 0o755) },
		done: func(t crashTree) { t[p] = crashFile{dir: true, crashAttrs: crashAttrs{mode: 0o755}} },
	}
}

func rmdir(p string) step {
	s := unlink(p)
	s.text = "rmdir " + p
	return s
}

// changeAttrs changes the mode and the modification time of a file.
func changeAttrs(p string, a crashAttrs) []step {
	set := func(t crashTree, change func(f *crashFile)) {
		f := t[p]
		f.was = append(slices.Clone(f.was), f.crashAttrs)
		f.wasAt = time.Time{} // acknowledge knows
		change(&f)
		t[p] = f
	}
	return []step{{
		text: fmt.Sprintf("chmod %s %v", p, a.mode),
		do:   func(root string) error { return os.Chmod(filepath.Join(root, p), a.mode) },
		done: func(t crashTree) { set(t, func(f *crashFile) { f.mode = a.mode }) },
	}, {
		text: fmt.Sprintf("utimes %s %v", p, a.mtime),
		do:   func(root string) error { return os.Chtimes(filepath.Join(root, p), a.mtime, a.mtime) },
		done: func(t crashTree) { set(t, func(f *crashFile) { f.mtime = a.mtime }) },
	}}
}

// id names the next operation.
func (w *crashWriter) id() string {
	w.ops++
	return fmt.Sprintf("%s.%d", w.name, w.ops)
}

// save is how editors store: a temporary file, and a rename.
func (w *crashWriter) save(p string, size int) []step {
	id := w.id()
	tmp := path.Join(path.Dir(p), "."+path.Base(p)+".tmp")
	return []step{overwrite(tmp, record(id, size), id), renameFile(tmp, p)}
}

// some returns one of the paths that fit, in order, by chance; or "".
func (w *crashWriter) some(fit func(p string, f crashFile) bool) string {
	var paths []string
	for p, f := range w.tree {
		if fit(p, f) {
			paths = append(paths, p)
		}
	}
	if len(paths) == 0 {
		return ""
	}
	slices.Sort(paths)
	return paths[w.rng.IntN(len(paths))]
}

// randomSteps returns a random operation that can succeed.
func (w *crashWriter) randomSteps() []step {
	for {
		steps := w.anySteps()
		if !slices.ContainsFunc(steps, unwanted) {
			return steps
		}
	}
}

// unwanted says whether a step is of a kind that the run is to do without.
func unwanted(s step) bool {
	kinds := strings.Split(os.Getenv("CRASH_WITHOUT"), ",")
	return slices.ContainsFunc(kinds, func(k string) bool { return k != "" && strings.HasPrefix(s.text, k) })
}

func (w *crashWriter) anySteps() []step {
	isFile := func(p string, f crashFile) bool { return !f.dir && !temporary(p) }
	dirs := []string{""}
	for p, f := range w.tree {
		if f.dir {
			dirs = append(dirs, p)
		}
	}
	slices.Sort(dirs)
	place := path.Join(dirs[w.rng.IntN(len(dirs))], fmt.Sprint("f", w.rng.IntN(3))) // there or not
	size := []int{0, 10, 300, 5000, 70000}[w.rng.IntN(5)]
	file, id := w.some(isFile), w.id()
	switch n := w.rng.IntN(20); {
	case n < 4 || file == "":
		return []step{overwrite(place, record(id, size), id)}
	case n < 8:
		return w.save(place, size)
	case n < 10:
		return []step{appendTo(place, record(id, size/10), id)}
	case n < 12:
		return []step{edit(file, record(id, size), id)}
	case n < 14:
		return []step{unlink(file)}
	case n < 16 && file != place:
		return []step{renameFile(file, place)}
	case n < 17:
		mtime := time.Unix(1_600_000_000+int64(w.ops), 0)
		return changeAttrs(file, crashAttrs{mode: []os.FileMode{0o600, 0o640, 0o444 | 0o200}[w.rng.IntN(3)], mtime: mtime})
	case n < 18:
		return []step{overwrite(path.Join(parent(place), ".left.tmp"), record(id, size), id)}
	}
	return w.randomDirStep(dirs[1:])
}

// randomDirStep makes, renames or removes a directory.
func (w *crashWriter) randomDirStep(dirs []string) []step {
	fresh := fmt.Sprint("d", w.ops)
	if len(dirs) < 2 {
		return []step{mkdir(fresh)}
	}
	dir := dirs[w.rng.IntN(len(dirs))]
	if w.rng.IntN(2) == 0 {
		return []step{renameDir(dir, fresh)}
	}
	var steps []step
	for _, p := range slices.Backward(w.tree.below(dir)) {
		if w.tree[p].dir {
			steps = append(steps, rmdir(p))
		} else {
			steps = append(steps, unlink(p))
		}
	}
	return steps
}

// script returns all kinds of operations once or more, in the same order
// always.
func (w *crashWriter) script() []step {
	put := func(p string, size int) step { id := w.id(); return overwrite(p, record(id, size), id) }
	add := func(p string, size int) step { id := w.id(); return appendTo(p, record(id, size), id) }
	change := func(p string, size int) step { id := w.id(); return edit(p, record(id, size), id) }
	return slices.Concat(
		[]step{put("a", 100), put("b", 70000), put("a", 200)},
		w.save("c", 3000), w.save("a", 50),
		[]step{add("log", 100), add("log", 200), change("b", 100), mkdir("d"), put("d/x", 10), put("d/y", 20)},
		changeAttrs("a", crashAttrs{0o600, time.Unix(1_500_000_000, 0)}),
		[]step{put(".left.tmp", 500), renameFile("a", "e"), renameFile("c", "b"), add("log", 70000)},
		[]step{mkdir("d/sub"), put("d/sub/z", 30), renameDir("d", "g"), put("g/x", 40)},
		w.save("g/y", 60),
		[]step{unlink("e"), put("e", 70), unlink("b"), unlink("g/sub/z"), rmdir("g/sub"), add("log", 5)},
		[]step{unlink("g/x"), unlink("g/y"), rmdir("g"), mkdir("g"), put("g/x", 80)},
		changeAttrs("e", crashAttrs{0o640, time.Unix(1_500_000_001, 0)}),
		[]step{put("last", 90)},
	)
}
