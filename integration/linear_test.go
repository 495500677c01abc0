//go:build integration

package integration

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// Clients on two mounts read, rewrite, save, create, edit, unlink and rename
// the same few names while S3 fails; porcupine judges what they saw.
//
// Names of other gateways may be as old as --dir-ttl, and an unlink is sent
// after it has returned. So that existence can be judged too, the mounts have
// --foreign strict, which asks S3 at every lookup, and no time to live; and
// unlink and rename are followed by fsync of the directory, which waits for
// removals. Changes that are not committed yet are seen on their own mount
// alone, as POSIX wants it. Therefore clients of one mount take turns where a
// name is being rewritten, edited or removed there; reads and saves by rename
// meet everything else, and clients of different mounts meet always.
const (
	linClients = 32  // for each mount
	linHot     = 12  // pairs of names in use at a time
	linEach    = 200 // operations on a pair before the next ones are used
)

// linWorld is one run.
type linWorld struct {
	t      *testing.T
	envs   [2]*harness.Env
	mounts [2]*harness.Mount
	dog    *watchdog
	begun  time.Time
	total  int64
	parts  []linPart

	ops  atomic.Int64 // operations begun
	ids  atomic.Int64 // of values
	odds atomic.Int64 // errors that nothing explains

	mu     sync.Mutex
	steps  []linRecord    // guarded by mu
	failed map[string]int // guarded by mu: values of writes that failed, and on which mount
	counts map[string]int // guarded by mu: outcomes
	lost   [2][]linLost   // guarded by mu: by mount

	requests map[string][]linRequest // guarded by mu: by key
}

// linPart is a pair of names.
type linPart struct {
	names   [2]string
	busy    [2][2]sync.RWMutex // by mount and name; see above
	unclear atomic.Int32       // calls that failed: too many of them make judging slow
	closed  atomic.Bool        // a removal failed: it may come at any time, and is seen here already
}

// linRecord is a step of the history.
type linRecord struct {
	linStep
	part, client, mount int
	call, ret           time.Duration
}

// linLost is a request that was carried out, and whose answer was lost.
type linLost struct {
	op, key    string
	begin, end time.Duration
}

// linRequest is a request of one of the mounts.
type linRequest struct {
	s3proxy.Request
	mount int
}

// linForever is when a call that failed has taken effect at the latest.
const linForever = time.Duration(1 << 62)

func newLinWorld(t *testing.T, total int) *linWorld {
	env := harness.New(t, harness.Versity)
	w := &linWorld{t: t, envs: [2]*harness.Env{env, env.Peer(t)}, total: int64(total),
		begun: time.Now(), failed: map[string]int{}, counts: map[string]int{}, requests: map[string][]linRequest{}}
	turns := s3proxy.NewTurns()
	for i, env := range w.envs {
		env.Proxy.TakeTurns(turns)
		w.mounts[i] = env.MountWith(t, harness.MountOptions{Life: time.Hour,
			Flags: []string{"--foreign", "strict", "--dir-ttl", "1ns", "--log-level", "error"}})
		env.Proxy.Observe(func(r s3proxy.Request) { w.noteRequest(i, r) })
	}
	must(t, os.Mkdir(w.mounts[0].Path("lin"), 0o755))
	visible(t, w.mounts[1].Path("lin"))
	w.dog = newWatchdog(t, w.mounts[:]...)
	w.parts = make([]linPart, (total/(linHot*linEach)+1)*linHot)
	for i := range w.parts {
		for n := range 2 {
			w.parts[i].names[n] = fmt.Sprintf("lin/p%05d-%c", i, 'a'+rune(n))
		}
	}
	return w
}

func (w *linWorld) now() time.Duration { return time.Since(w.begun) }

// noteRequest keeps what a mount asked of S3.
func (w *linWorld) noteRequest(mount int, r s3proxy.Request) {
	begin := r.Begin.Sub(w.begun)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests[r.Key] = append(w.requests[r.Key], linRequest{r, mount})
	if !r.Fault.Carried() || !s3proxy.Mutates(r.Op) {
		return
	}
	w.lost[mount] = append(w.lost[mount], linLost{r.Op, r.Key, begin, begin + r.Took})
}

// linClient is one of the clients.
type linClient struct {
	*linWorld
	rng       *rand.Rand
	id, mount int
	part      int // in use by the operation
}

// run does operations until all are done.
func (c *linClient) run() {
	kinds := []struct {
		share int
		do    func(name int)
	}{{38, c.read}, {15, c.rewrite}, {15, c.save}, {10, c.create}, {10, c.edit}, {7, c.unlink}, {5, c.rename}}
	for {
		n := c.ops.Add(1)
		if n > c.total || c.odds.Load() > 20 {
			return
		}
		c.part = int(n-1)/(linHot*linEach)*linHot + c.rng.IntN(linHot)
		if p := &c.parts[c.part]; p.closed.Load() || p.unclear.Load() > 5 {
			continue
		}
		dice, name := c.rng.IntN(100), c.rng.IntN(2)
		for _, k := range kinds {
			if dice -= k.share; dice < 0 {
				k.do(name)
				break
			}
		}
	}
}

// note adds a step that was called at that moment and has just returned.
func (c *linClient) note(call time.Duration, step linStep) { c.noteUntil(call, c.now(), step) }

func (c *linClient) noteUntil(call, ret time.Duration, step linStep) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.steps = append(c.steps, linRecord{step, c.part, c.id, c.mount, call, ret})
	what := linNames[step.kind]
	if ret == linForever {
		what += " that failed"
		c.parts[c.part].unclear.Add(1)
		if step.kind == linWrite || step.kind == linEdit {
			c.failed[step.val] = c.mount
		}
	}
	c.counts[what]++
}

// odd reports an error that nothing explains.
func (c *linClient) odd(what string, name int, err error) {
	if err != nil && !failed(err) {
		c.odds.Add(1)
		c.t.Errorf("%s %s on mount %d: %v", what, c.parts[c.part].names[name], c.mount, err)
	}
}

func (c *linClient) count(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[what]++
}

func (c *linClient) path(name int) string { return c.mounts[c.mount].Path(c.parts[c.part].names[name]) }

func (c *linClient) lock(name int) *sync.RWMutex { return &c.parts[c.part].busy[c.mount][name] }

func (c *linClient) newValue() string {
	id := fmt.Sprint(c.ids.Add(1))
	return id + "/" + id
}

// content is what a file of that value holds. Most are small; some are larger
// than what an open fetches, so that their parts come with several requests.
func linContent(val string) []byte {
	_, tail, _ := strings.Cut(val, "/")
	h := fnv.New32a()
	io.WriteString(h, tail)
	size := int(h.Sum32() % 3000)
	if h.Sum32()%61 == 0 {
		size += 1<<20 + 200_000
	}
	line := fmt.Sprintf("%-15s\n", tail)
	return []byte(fmt.Sprintf("%-15s\n", val[:len(val)-len(tail)-1]) + strings.Repeat(line, size/len(line)+1))
}

// linValue is the value of a file that holds b.
func linValue(b []byte) (string, error) {
	if len(b) == 0 {
		return emptyFile, nil
	}
	if len(b) >= 32 {
		val := strings.TrimSpace(string(b[:16])) + "/" + strings.TrimSpace(string(b[16:32]))
		if strings.Count(val, "/") == 1 && string(linContent(val)) == string(b) {
			return val, nil
		}
	}
	return "", fmt.Errorf("torn: %d bytes, which nobody wrote: %q…%q", len(b), b[:min(len(b), 48)], b[max(0, len(b)-256):])
}

// value reads an open file. It reports false if that cannot be done.
func (c *linClient) value(name int, f *os.File) (string, bool) {
	var b []byte
	err := c.dog.call("read", func() (err error) {
		b, err = io.ReadAll(f)
		return err
	})
	if errors.Is(err, unix.ESTALE) || failed(err) { // ESTALE: the rest of a version that is gone
		c.count("read of an open file: " + err.(*fs.PathError).Err.Error())
		return "", false
	}
	c.odd("read", name, err)
	val, err := linValue(b)
	if err != nil {
		c.t.Errorf("read %s on mount %d: %v", c.parts[c.part].names[name], c.mount, err)
		return "", false
	}
	return val, true
}

// open opens a name and finds out what it holds. If it cannot, f is nil.
func (c *linClient) open(name, flags int) (f *os.File, val string) {
	call := c.now()
	err := c.dog.call("open", func() (err error) {
		f, err = os.OpenFile(c.path(name), flags, 0)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		c.note(call, linStep{kind: linRead, name: name, val: noFile})
		return nil, noFile
	}
	if err != nil {
		c.count("open that failed")
		c.odd("open", name, err)
		return nil, ""
	}
	val, ok := c.value(name, f)
	if !ok {
		f.Close()
		return nil, ""
	}
	c.note(call, linStep{kind: linRead, name: name, val: val})
	return f, val
}

func (c *linClient) read(name int) {
	c.lock(name).RLock()
	defer c.lock(name).RUnlock()
	if f, _ := c.open(name, os.O_RDONLY); f != nil {
		c.odd("close", name, c.dog.call("close", f.Close))
	}
}

// finish writes b into f and closes it, half of the time with an fsync before.
func (c *linClient) finish(f *os.File, b []byte) error {
	err := c.dog.call("write", func() error {
		_, err := f.WriteAt(b, 0)
		return err
	})
	if c.rng.IntN(2) == 0 {
		c.dog.call("fsync", f.Sync) // what it could not do, close tries again
	}
	return errors.Join(err, c.dog.call("close", f.Close))
}

func (c *linClient) rewrite(name int) {
	c.lock(name).Lock()
	defer c.lock(name).Unlock()
	step := linStep{kind: linWrite, name: name, val: c.newValue()}
	call := c.now()
	var f *os.File
	err := c.dog.call("open to rewrite", func() (err error) {
		f, err = os.OpenFile(c.path(name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
		return err
	})
	if err != nil {
		c.count("open that failed")
		c.odd("open to rewrite", name, err)
		return
	}
	c.ended("rewrite", call, step, c.finish(f, linContent(step.val)))
}

// ended notes a write that has ended.
func (c *linClient) ended(what string, call time.Duration, step linStep, err error) {
	if err == nil {
		c.note(call, step)
		return
	}
	c.odd(what, step.name, err)
	step.maybe = step.kind != linWrite // a write may always be the last of all
	c.noteUntil(call, linForever, step)
}

func (c *linClient) save(name int) {
	c.lock(name).RLock()
	defer c.lock(name).RUnlock()
	step := linStep{kind: linWrite, name: name, val: c.newValue()}
	tmp := c.path(name) + fmt.Sprintf(".%d.tmp", c.id)
	if err := os.WriteFile(tmp, linContent(step.val), 0o644); err != nil {
		c.odd("write a temporary file for", name, err)
		return
	}
	call := c.now()
	err := c.dog.call("rename over", func() error { return os.Rename(tmp, c.path(name)) })
	c.ended("save", call, step, err)
	if err != nil {
		c.odd("remove the temporary file of", name, os.Remove(tmp))
	}
}

func (c *linClient) create(name int) {
	c.lock(name).Lock()
	defer c.lock(name).Unlock()
	step := linStep{kind: linExcl, name: name}
	call := c.now()
	var f *os.File
	err := c.dog.call("create", func() (err error) {
		f, err = os.OpenFile(c.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		c.note(call, linStep{kind: linExclNot, name: name})
		return
	}
	c.ended("create", call, step, err)
	if err != nil {
		return
	}
	val := c.newValue()
	c.commitEdit(f, linStep{kind: linEdit, name: name, val: val, base: emptyFile}, linContent(val))
}

// commitEdit writes b and closes f, which was opened on step.base.
func (c *linClient) commitEdit(f *os.File, step linStep, b []byte) {
	call := c.now()
	err := c.finish(f, b)
	if errors.Is(err, unix.ESTALE) {
		step.kind = linStale
		c.note(call, step)
		return
	}
	c.ended("edit", call, step, err)
}

// edit changes the first line and leaves the rest.
func (c *linClient) edit(name int) {
	c.lock(name).Lock()
	defer c.lock(name).Unlock()
	f, base := c.open(name, os.O_RDWR)
	if f == nil {
		return
	}
	time.Sleep(time.Duration(c.rng.IntN(150)) * time.Millisecond) // as an editor does
	val := c.newValue()
	b := linContent(val)
	if _, tail, ok := strings.Cut(base, "/"); ok {
		id, _, _ := strings.Cut(val, "/")
		val, b = id+"/"+tail, b[:16]
	}
	c.commitEdit(f, linStep{kind: linEdit, name: name, val: val, base: base}, b)
}

// sync waits until what this mount removed is gone from S3.
func (c *linClient) sync(part *linPart) bool {
	for range 20 {
		err := c.dog.call("fsync of the directory", func() error {
			d, err := os.Open(c.mounts[c.mount].Path("lin"))
			if err != nil {
				return err
			}
			defer d.Close()
			return d.Sync()
		})
		if err == nil {
			return true
		}
		c.odd("fsync the directory of", 0, err)
	}
	part.closed.Store(true)
	return false
}

func (c *linClient) unlink(name int) {
	c.lock(name).Lock()
	defer c.lock(name).Unlock()
	op := int(c.ids.Add(1))
	step, removed := linStep{kind: linUnlink, name: name, op: op}, linStep{kind: linRemoved, name: name, op: op}
	call := c.now()
	err := c.dog.call("unlink", func() error { return os.Remove(c.path(name)) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.note(call, linStep{kind: linRead, name: name, val: noFile})
	case err == nil && c.sync(&c.parts[c.part]):
		c.note(call, step)
		c.note(call, removed)
	default:
		c.odd("unlink", name, err)
		c.noteUntil(call, linForever, step)
		c.noteUntil(call, linForever, removed)
	}
}

func (c *linClient) rename(name int) {
	for n := range 2 { // always in this order
		c.lock(n).Lock()
		defer c.lock(n).Unlock()
	}
	op := int(c.ids.Add(1))
	step := linStep{kind: linCopy, name: name, op: op}
	call := c.now()
	err := c.dog.call("rename", func() error { return os.Rename(c.path(name), c.path(1-name)) })
	if errors.Is(err, fs.ErrNotExist) {
		c.note(call, linStep{kind: linNoMove, name: name})
		return
	}
	c.ended("rename", call, step, err)
	if err != nil {
		return
	}
	moved := linStep{kind: linMoved, name: name, op: op}
	if c.sync(&c.parts[c.part]) {
		c.note(call, moved)
	} else {
		c.noteUntil(call, linForever, moved)
	}
}
