package vfs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// populace is the processes of a host, for tests. Namespace 100 is that of the
// gateway; in the others, a process has another number than the gateway sees.
type populace struct {
	name string
	mu   sync.Mutex
	all  map[int]*actor // by number as the gateway sees it
}

// actor is one process.
type actor struct {
	host      *populace
	seen, pid int // for the gateway, and for itself
	ns        uint64
	dead      atomic.Bool
}

const gatewayNS = 100

func (c *populace) start(ns uint64, pid int) *actor {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := &actor{host: c, seen: 1000 + len(c.all), ns: ns, pid: pid}
	if ns == gatewayNS {
		a.pid = a.seen
	}
	if c.all == nil {
		c.all = map[int]*actor{}
	}
	c.all[a.seen] = a
	return a
}

func (c *populace) get(pid int) *actor {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all[pid]
}

func (c *populace) Host() string { return c.name }

func (c *populace) Of(thread uint32) (Process, bool) {
	a := c.get(int(thread))
	if a == nil {
		return Process{}, false
	}
	return Process{Namespace: a.ns, PID: a.seen, Start: "1"}, true
}

func (c *populace) Alive(p Process) bool {
	a := c.get(p.PID)
	return a != nil && !a.dead.Load()
}

func (c *populace) Within(p, q Process) bool { return p.PID == q.PID }

func (c *populace) Living(p Process) []int {
	if p.Namespace == gatewayNS {
		return []int{999, 1}
	}
	return []int{1}
}

// lives is kill(pid, 0) as a sees it.
func (a *actor) lives(pid int) bool {
	if pid == 1 || pid == 999 && a.ns == gatewayNS {
		return true
	}
	a.host.mu.Lock()
	defer a.host.mu.Unlock()
	for _, b := range a.host.all {
		if b.ns == a.ns && b.pid == pid && !b.dead.Load() {
			return true
		}
	}
	return false
}

// swampLock is what is in a lock file of swamp.
type swampLock struct {
	Holder     string    `json:"holder"`
	Hostname   string    `json:"hostname"`
	PID        int       `json:"pid"`
	AcquiredAt time.Time `json:"acquiredAt"`
	TTLMs      int       `json:"ttlMs"`
	Nonce      string    `json:"nonce"`
}

// client is a process that follows swamp's protocol.
type client struct {
	*actor
	w   world
	now func() time.Time
	ttl time.Duration

	renewed atomic.Int64 // when the last write of the lock file began, that of the holder
	stop    chan struct{}
	wg      sync.WaitGroup
}

func newClient(w *world, a *actor) *client {
	c := &client{actor: a, w: *w, now: w.fs.now, ttl: 1500 * time.Millisecond}
	c.w.ctx = context.WithValue(context.Background(), CallerKey{}, uint32(a.seen))
	return c
}

func (c *client) text() []byte {
	b, _ := json.MarshalIndent(swampLock{"x@" + c.host.name, c.host.name, c.pid, c.now().UTC().Round(time.Millisecond), int(c.ttl.Milliseconds()), fmt.Sprint(rand.Uint64())}, "", "  ")
	return b
}

// acquire returns when c has made the lock file, or an error at the deadline.
func (c *client) acquire(path string, patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		c.renewed.Store(time.Now().UnixNano())
		err := c.w.create(path, string(c.text()))
		if err == nil || KindOf(err) != Exist && KindOf(err) != Stale && KindOf(err) != NotExist {
			return err
		}
		text, err := c.w.read(path)
		var rec swampLock
		if err == nil && json.Unmarshal([]byte(text), &rec) == nil {
			stale := c.now().After(rec.AcquiredAt.Add(time.Duration(rec.TTLMs) * time.Millisecond))
			if stale || !c.lives(rec.PID) {
				_ = c.w.unlink(path) // and tries again without a pause
				continue
			}
		}
		time.Sleep(time.Duration(5+rand.IntN(10)) * time.Millisecond)
	}
	return errors.New("gave up")
}

// beat renews the lock until leave, as swamp does every third of its TTL.
func (c *client) beat(path string) {
	c.stop = make(chan struct{})
	c.wg.Go(func() {
		for {
			select {
			case <-c.stop:
				return
			case <-time.After(c.ttl / 3):
			}
			began := time.Now().UnixNano()
			if c.w.write(path, string(c.text()), syscall.O_TRUNC) == nil {
				c.renewed.Store(began)
			}
		}
	})
}

func (c *client) leave() {
	close(c.stop)
	c.wg.Wait()
}

// late reports whether c has not renewed its lock in time, so that others may
// take it.
func (c *client) late() bool { return time.Since(time.Unix(0, c.renewed.Load())) >= c.ttl }

// TestLockFilesOfOthers shows a lock file to a reader in another namespace, on
// another gateway, and to one in the holder's.
func TestLockFilesOfOthers(t *testing.T) {
	s, c := mem.New(), newClub()
	host1, host2 := &populace{name: "one"}, &populace{name: "two"}
	late := func() time.Time { return time.Now().Add(time.Minute) }
	w1, _ := c.join(t, s, func(o *Options) { o.Processes = host1 })
	w2, _ := c.join(t, s, func(o *Options) { o.Processes, o.Now = host2, late })
	holder := newClient(w1, host1.start(gatewayNS, 0))
	same := newClient(w1, host1.start(gatewayNS, 0))
	inside := newClient(w1, host1.start(7, 5))
	far := newClient(w2, host2.start(gatewayNS, 0))
	holder.ttl = time.Hour
	text := string(holder.text())
	holder.w.must(holder.w.create(".lock", text))
	far.w.must(far.w.mkdir("other"))

	if got, err := same.w.read(".lock"); err != nil || got != text {
		t.Errorf("in the holder's namespace: %q, %v", got, err)
	}
	for name, r := range map[string]*client{"in another namespace": inside, "on another host": far} {
		got, err := r.w.read(".lock")
		var rec swampLock
		if err != nil || json.Unmarshal([]byte(got), &rec) != nil || len(got) != len(text) {
			t.Errorf("%s: %q, %v", name, got, err)
			continue
		}
		if !r.lives(rec.PID) || rec.PID == r.pid {
			t.Errorf("%s: pid %d", name, rec.PID)
		}
		if age := r.now().Sub(rec.AcquiredAt); age < -time.Second || age > 20*time.Second {
			t.Errorf("%s: acquired %v ago", name, age)
		}
		began := time.Now()
		r.w.wantKind(r.w.unlink(".lock"), Busy)
		if time.Since(began) < busyDelay {
			t.Errorf("%s: refused at once", name)
		}
		r.w.must(r.w.write("x.tmp", "x", 0))
		r.w.wantKind(r.w.rename("x.tmp", ".lock", 0), Busy)
		r.w.must(r.w.unlink("x.tmp"))
	}
	same.w.wantKind(same.w.unlink(".lock"), Busy)
	far.w.wantKind(far.w.create(".lock", "x"), Exist)
	holder.w.must(holder.w.write(".lock", string(holder.text()), syscall.O_TRUNC)) // a heartbeat
	holder.w.must(holder.w.unlink(".lock"))
	far.w.must(far.acquire(".lock", 20*time.Second))
	far.w.must(far.w.unlink(".lock"))

	// A holder that is dead: at once where that is known, else after its TTL.
	dying := newClient(w1, host1.start(gatewayNS, 0))
	dying.w.must(dying.w.create("d.lock", "x")) // no lock file: nobody is asked
	far.w.must(far.w.unlink("d.lock"))
	dying.ttl = 300 * time.Millisecond
	dying.w.must(dying.acquire(".lock", 20*time.Second))
	dying.dead.Store(true)
	inside.w.must(inside.acquire(".lock", 20*time.Second))
	inside.w.must(inside.w.write(".lock", string(inside.text()), syscall.O_TRUNC))
	inside.dead.Store(true)
	far.w.must(far.acquire(".lock", 20*time.Second))
	far.w.must(far.w.unlink(".lock"))
}

// TestLockFileCounter lets processes in two namespaces of two gateways count in
// a file under swamp's lock, while some are killed.
func TestLockFileCounter(t *testing.T) {
	for _, gateways := range []int{1, 2} {
		t.Run(strconv.Itoa(gateways), func(t *testing.T) { countUnderLockFile(t, gateways, 25) })
	}
}

func countUnderLockFile(t *testing.T, gateways, each int) {
	s, c := store.Store(mem.New()), newClub()
	var worlds []*world
	var hosts []*populace
	for i := range gateways {
		host := &populace{name: fmt.Sprint("host", i)}
		offset := time.Duration(i) * time.Minute
		w, _ := c.join(t, s, func(o *Options) {
			o.Processes, o.Now = host, func() time.Time { return time.Now().Add(offset) }
		})
		worlds, hosts = append(worlds, w), append(hosts, host)
	}
	worlds[0].must(worlds[0].write("counter", "0", 0))
	var inside atomic.Pointer[client]
	var late atomic.Int64
	var wg sync.WaitGroup
	var acquired atomic.Int64
	for i := range 6 {
		wg.Go(func() {
			for n := 0; n < each; n++ {
				g := (i + n) % gateways
				p := newClient(worlds[g], hosts[g].start([]uint64{gatewayNS, 7}[i/gateways%2], 5+i))
				if err := p.acquire(".lock", time.Minute); err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				p.beat(".lock")
				if other := inside.Swap(p); other != nil && other.late() {
					late.Add(1) // by a machine that is too slow
				} else if other != nil {
					t.Error("two holders")
				}
				text, err := p.w.read("counter")
				n0, _ := strconv.Atoi(text)
				if err == nil {
					err = p.w.write("counter", strconv.Itoa(n0+1), syscall.O_TRUNC)
				}
				if err != nil {
					t.Errorf("count: %v", err)
				}
				acquired.Add(1)
				inside.CompareAndSwap(p, nil)
				p.leave()
				if rand.IntN(25) == 0 {
					p.dead.Store(true) // and leaves the lock behind
					continue
				}
				if err := p.w.unlink(".lock"); err != nil && !p.late() {
					t.Errorf("release: %v", err)
				}
				p.dead.Store(true)
			}
		})
	}
	wg.Wait()
	worlds[0].must(worlds[0].fs.Acquired(worlds[0].ctx))
	if got, _ := worlds[0].read("counter"); got != fmt.Sprint(acquired.Load()) && late.Load() == 0 {
		t.Errorf("counted %s of %d", got, acquired.Load())
	}
	t.Logf("%d acquisitions, %d after a holder that did not renew in time", acquired.Load(), late.Load())
}

func TestLockFileNames(t *testing.T) {
	l, err := newProgramLocks(DefaultLockFiles, nil)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		".lock": true, "ns/data/t/m/.lock": true, ".datastore.lock": true, ".locks/ns.lock": true, "a/.locks/ns.lock": true,
		"ns.lock": false, "a.lock": false, ".locks": false, ".locks/x": false, "x.lock/y": false, ".lock/f": false,
	} {
		if l.match(path) != want {
			t.Errorf("%s: %v", path, !want)
		}
	}
}
