package vfs

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// fileModel is what a program knows of a name; absent if it has none.
type fileModel struct {
	there bool
	data  string
	mode  uint32
}

// cutState is a gateway and its bucket at one moment: what a kill would leave.
type cutState struct {
	what    string
	dir     string
	bucket  *mem.Store
	before  map[string]fileModel // what was acknowledged
	after   map[string]fileModel // with the call that was under way
	current string               // that call
	log     []string
}

// explorer runs a history on a filesystem and takes states on the way: before
// and after every request that changes something, and after every call.
type explorer struct {
	store.Store
	t    *testing.T
	s    *mem.Store
	rnd  *rand.Rand
	luck *rand.Rand // guarded by mu
	lose float64    // the part of the PUTs whose answers are lost

	mu     sync.Mutex // held over every request
	dir    string     // of the filesystem
	count  int
	every  int
	states []cutState

	model         sync.Mutex
	before, after map[string]fileModel
	current       string
	steps         int // beginnings and ends of calls
	log           []string
}

func (x *explorer) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (info store.Info, err error) {
	if strings.HasPrefix(key, reserved) {
		return x.Store.Put(ctx, key, b, o)
	}
	lost := false
	x.around("PUT "+key, func() {
		info, err = x.Store.Put(ctx, key, b, o)
		lost = x.luck.Float64() < x.lose
	})
	if lost && err == nil {
		return store.Info{}, unavailable(store.OpPut, key)
	}
	return info, err
}

func (x *explorer) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (info store.Info, err error) {
	x.around("COPY "+src+" "+dst, func() { info, err = x.Store.Copy(ctx, src, dst, o) })
	return info, err
}

func (x *explorer) Delete(ctx context.Context, key string, p store.Precondition) (err error) {
	x.around("DELETE "+key, func() { err = x.Store.Delete(ctx, key, p) })
	return err
}

func (x *explorer) DeleteMany(ctx context.Context, keys []string) (failed map[string]error, err error) {
	x.around("DELETE "+strings.Join(keys, " "), func() { failed, err = x.Store.DeleteMany(ctx, keys) })
	return failed, err
}

func (x *explorer) around(what string, do func()) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cut("before " + what)
	do()
	x.cut("after " + what)
}

// cut takes a state, now and then. x.mu is held.
func (x *explorer) cut(what string) {
	if x.count++; x.count%x.every != 0 || x.dir == "" {
		return
	}
	c := cutState{what: what, dir: x.t.TempDir()}
	x.model.Lock()
	c.before, c.after, c.current = maps.Clone(x.before), maps.Clone(x.after), x.current
	steps := x.steps
	x.model.Unlock()
	// The journal may change meanwhile: then it is no state that ever was.
	for {
		was := journalBytes(x.dir)
		os.RemoveAll(c.dir)
		if err := copyTree(x.dir, c.dir); err == nil && journalBytes(x.dir) == was && journalBytes(c.dir) == was {
			break
		}
	}
	x.model.Lock()
	same := steps == x.steps
	c.log = slices.Clone(x.log)
	x.model.Unlock()
	if !same {
		return
	}
	c.bucket = cloneBucket(x.t, x.s)
	x.states = append(x.states, c)
}

func journalBytes(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "journal", "*"))
	var all strings.Builder
	for _, f := range files {
		b, _ := os.ReadFile(f)
		all.Write(b)
	}
	return all.String()
}

func cloneBucket(t *testing.T, s *mem.Store) *mem.Store {
	ctx, to := context.Background(), mem.New()
	page, err := s.List(ctx, store.ListOptions{})
	if err != nil {
		t.Error(err)
	}
	for _, o := range page.Objects {
		obj, err := s.Get(ctx, o.Key, store.GetOptions{})
		if err != nil {
			t.Error(err)
			continue
		}
		data, _ := io.ReadAll(obj.Body)
		obj.Body.Close()
		to.Now = func() time.Time { return obj.Info.Modified }
		if _, err := to.Put(ctx, o.Key, store.Body{Reader: strings.NewReader(string(data)), Size: int64(len(data))}, store.PutOptions{Meta: obj.Info.Meta}); err != nil {
			t.Error(err)
		}
	}
	to.Now = time.Now
	return to
}

// call does one thing and keeps the model.
func (x *explorer) call(w *world, i int, paths []string) {
	p, q := paths[x.rnd.IntN(len(paths))], paths[x.rnd.IntN(len(paths))]
	text := fmt.Sprintf("<%d>", i)
	if x.rnd.IntN(3) == 0 {
		text += strings.Repeat(text, inlineLimit/3)
	}
	x.model.Lock()
	old := x.before[p]
	next := maps.Clone(x.before)
	x.model.Unlock()
	var do func() error
	var what string
	switch k := x.rnd.IntN(10); {
	case !old.there || k < 2:
		what = "write " + p
		mode := uint32(0o644)
		if old.there {
			mode = old.mode
		}
		next[p] = fileModel{true, text, mode}
		do = func() error { return w.write(p, text, syscall.O_TRUNC) }
	case k == 2:
		what = "edit " + p
		data := text
		if len(old.data) > len(text) {
			data += old.data[len(text):]
		}
		next[p] = fileModel{true, data, old.mode}
		do = func() error { return w.writeAt(p, text, 0) }
	case k == 3:
		what = "grow " + p
		next[p] = fileModel{true, old.data + text, old.mode}
		do = func() error { return w.writeAt(p, text, int64(len(old.data))) }
	case k < 6:
		what = "unlink " + p
		next[p] = fileModel{}
		do = func() error { return w.unlink(p) }
	case k < 9:
		if p == q {
			return
		}
		what = "rename " + p + " " + q
		next[q], next[p] = old, fileModel{}
		do = func() error { return w.rename(p, q, 0) }
	default:
		what = "chmod " + p
		old.mode = 0o600 + uint32(x.rnd.IntN(64))
		next[p] = old
		do = func() error { return w.chmod(p, old.mode) }
	}
	x.model.Lock()
	x.after, x.current, x.steps = next, fmt.Sprint(i, " ", what), x.steps+1
	x.log = append(x.log, x.current)
	x.model.Unlock()
	if err := do(); err != nil {
		x.t.Errorf("%s: %v", what, err)
	}
	x.model.Lock()
	x.before, x.current, x.steps = next, "", x.steps+1
	x.model.Unlock()
	x.mu.Lock()
	x.cut("after call " + fmt.Sprint(i, " ", what))
	x.mu.Unlock()
	if got := w.modelOf(p); got != next[p] {
		x.t.Errorf("after %d %s: %s is %v, want %v", i, what, p, got, next[p])
	}
	time.Sleep([]time.Duration{0, 0, 0, 5 * time.Millisecond, 30 * time.Millisecond, 80 * time.Millisecond}[x.rnd.IntN(6)])
}

func (m fileModel) String() string {
	if !m.there {
		return "absent"
	}
	return fmt.Sprintf("%o %d bytes %q", m.mode, len(m.data), bytesWhere(m.data))
}

func (w *world) modelOf(p string) fileModel {
	w.t.Helper()
	k, err := w.lookup(p)
	if err == nil {
		k, err = w.fs.GetAttr(w.ctx, k.ID, nil)
	}
	if KindOf(err) == NotExist {
		return fileModel{}
	}
	if err != nil {
		w.t.Errorf("lookup of %s: %v", p, err)
		return fileModel{}
	}
	data, err := w.read(p)
	if err != nil {
		w.t.Errorf("read of %s: %v", p, err)
	}
	return fileModel{true, data, k.Mode}
}

// check starts a gateway on a state and compares.
func (c *cutState) check(t *testing.T, paths []string, change func(*Options)) {
	failed := false
	compare := func(w *world, where string, staged bool) {
		for _, p := range paths {
			if _, name := splitPath(p); !staged && (w.fs.staged.match(name)) {
				continue
			}
			got := w.modelOf(p)
			mixed := fileModel{true, c.after[p].data, c.before[p].mode} // of a rename that nobody was told of
			if got != c.before[p] && got != c.after[p] && got != mixed {
				failed = true
				t.Errorf("%s, during %q, %s: %s is %v, want %v or %v", c.what, c.current, where, p, got, c.before[p], c.after[p])
			}
		}
	}
	w := newWorld(t, c.bucket, func(o *Options) { change(o); o.StateDir = c.dir })
	compare(w, "at once", true)
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	if err := w.fs.Sync(ctx, ""); err != nil {
		failed = true
		t.Errorf("%s, during %q: sync: %v", c.what, c.current, err)
	}
	eventually(time.Second, func() bool { return w.fs.Stats().JournalIntents == w.fs.Stats().StagedFiles })
	compare(w, "later", true)
	st := w.fs.Stats()
	if st.KeptVersions != 0 || st.SpoolFiles != 0 || st.SpoolBytes != 0 || st.JournalIntents > st.StagedFiles+st.PendingAttr {
		failed = true
		t.Errorf("%s, during %q: stats %+v", c.what, c.current, st)
	}
	compare(newWorld(t, c.bucket, nil), "elsewhere", false)
	if failed {
		t.Log(strings.Join(c.log, "; "))
		t.FailNow()
	}
}

// TestExplore kills a gateway at many moments of random histories.
func TestExplore(t *testing.T) {
	seeds, calls, every := 2, 30, 4
	if n, err := strconv.Atoi(os.Getenv("EXPLORE_SEEDS")); err == nil {
		seeds, every = n, 1
	}
	from, _ := strconv.Atoi(os.Getenv("EXPLORE_FROM"))
	for _, mode := range []string{"remote", "local", "local, answers lost"} {
		for seed := from; seed < from+seeds; seed++ {
			t.Run(fmt.Sprint(mode, " ", seed), func(t *testing.T) {
				change := func(o *Options) { o.CommitLocal = mode != "remote" }
				s := mem.New()
				x := &explorer{Store: s, t: t, s: s, rnd: rand.New(rand.NewPCG(uint64(seed), 1)), luck: rand.New(rand.NewPCG(uint64(seed), 2)), every: every,
					before: map[string]fileModel{}, after: map[string]fileModel{}}
				w := newWorld(t, x, change)
				w.must(w.mkdir("d"))
				w.sync()
				x.mu.Lock()
				if mode == "local, answers lost" {
					x.lose = 0.3
				}
				x.dir = w.fs.opts.StateDir
				x.mu.Unlock()
				paths := []string{"a", "b", "d/c", ".t.tmp"}
				for i := range calls {
					x.call(w, i, paths)
				}
				w.sync()
				x.mu.Lock()
				x.dir = ""
				x.mu.Unlock()
				for _, p := range paths {
					if got := w.modelOf(p); got != x.before[p] {
						t.Errorf("at the end: %s is %v, want %v", p, got, x.before[p])
					}
				}
				other := newWorld(t, s, nil)
				for _, p := range slices.DeleteFunc(slices.Clone(paths), func(p string) bool { return p == ".t.tmp" }) {
					if got := other.modelOf(p); got != x.before[p] {
						t.Errorf("at the end elsewhere: %s is %v, want %v", p, got, x.before[p])
					}
				}
				atRest := func() bool {
					st := w.fs.Stats()
					return st.JournalIntents <= st.StagedFiles+st.PendingAttr && st.SpoolFiles == 0 && st.SpoolBytes == 0 && st.KeptVersions == 0
				}
				if !eventually(5*time.Second, atRest) {
					t.Errorf("at the end: %+v", w.fs.Stats())
				}
				for _, c := range x.states {
					t.Run("cut", func(t *testing.T) { c.check(t, paths, change) })
				}
			})
		}
	}
}
