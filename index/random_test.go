package index

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// jitter takes up to 60 ms on each side of a request.
type jitter struct {
	store.Store
	mu  sync.Mutex
	rng *rand.Rand // guarded by mu
}

func (j *jitter) sleep() {
	j.mu.Lock()
	d := time.Duration(j.rng.IntN(60)) * time.Millisecond
	j.mu.Unlock()
	time.Sleep(d)
}

func (j *jitter) Head(ctx context.Context, key string) (store.Info, error) {
	j.sleep()
	defer j.sleep()
	return j.Store.Head(ctx, key)
}

func (j *jitter) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	j.sleep()
	defer j.sleep()
	return j.Store.List(ctx, o)
}

func (j *jitter) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	j.sleep()
	defer j.sleep()
	return j.Store.Put(ctx, key, b, o)
}

func (j *jitter) Delete(ctx context.Context, key string, c store.Precondition) error {
	j.sleep()
	defer j.sleep()
	return j.Store.Delete(ctx, key, c)
}

// truth is what the one writer of a name has made of it.
type truth struct {
	mu      sync.Mutex
	etag    store.ETag // empty: absent
	mode    uint32
	since   time.Time // when that was done
	changes int       // odd while a change is under way
}

func (x *truth) get() (etag store.ETag, mode uint32, since time.Time, changes int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.etag, x.mode, x.since, x.changes
}

func (x *truth) set(etag store.ETag, mode uint32, done bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.changes++
	if done {
		x.etag, x.mode, x.since = etag, mode, time.Now()
	}
}

// universe is some gateways that come and go, and what they have written. A
// name is written by one of them only.
type universe struct {
	t     *testing.T
	store *jitter
	names [][]string // by gateway
	truth map[string]*truth
	mu    sync.Mutex
	count map[string]int // of what was done; guarded by mu
}

func (u *universe) did(what string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count[what]++
}

// TestRandom lets gateways write, remove and ask at random, and checks that
// each sees its own changes at once, and those of others in time.
func TestRandom(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { runRandom(t, seed) })
		})
	}
}

func runRandom(t *testing.T, seed uint64) {
	m := mem.New()
	u := &universe{
		t: t, store: &jitter{Store: m, rng: rand.New(rand.NewPCG(seed, 1))},
		names: make([][]string, 3), truth: map[string]*truth{}, count: map[string]int{},
	}
	for g := range u.names {
		for i := range 12 {
			name := fmt.Sprintf("d%d/s%d/%c%d", i%2, i%3, 'a'+g, i)
			u.names[g] = append(u.names[g], name)
			u.truth[name] = &truth{since: time.Now()}
		}
	}
	if seed%2 == 1 {
		fill(t, m, "d0/s0/z", 1200) // so that it has more than one page
	}
	var wg sync.WaitGroup
	for g := range u.names {
		rng := rand.New(rand.NewPCG(seed, uint64(g)+2))
		wg.Go(func() { u.gateway(g, rng) })
	}
	wg.Wait()
	for _, what := range []string{"write", "remove", "chmod", "see", "miss", "list", "empty", "life"} {
		if u.count[what] < 5 {
			t.Errorf("%s was done %d times only", what, u.count[what])
		}
	}
	t.Log(u.count)
}

// gateway lives several lives. The last of them is short and often.
func (u *universe) gateway(g int, rng *rand.Rand) {
	for range 3 + 5*(g/2) {
		l := Open(Options{
			Store: u.store, GatewayID: fmt.Sprintf("g%d", g), MaxEntries: 200 + 2000*g,
			ModifiedCoversMeta: g == 0,
		})
		var wg sync.WaitGroup
		for w := range 2 { // each with half of the names
			own := rand.New(rand.NewPCG(rng.Uint64(), uint64(w)))
			wg.Go(func() {
				for range 60 / (1 + g) {
					u.step(l, g, w, own)
				}
			})
		}
		wg.Wait()
		if err := l.Close(u.t.Context()); err != nil {
			u.t.Errorf("close: %v", err)
		}
		if n := l.holds.any(); n {
			u.t.Error("names are held at the end")
		}
		u.did("life")
		time.Sleep(time.Duration(rng.IntN(20_000)) * time.Millisecond)
	}
}

func (u *universe) step(l *Listing, g, w int, rng *rand.Rand) {
	mine := u.names[g][rng.IntN(6)*2+w]
	other := u.names[rng.IntN(3)][rng.IntN(12)]
	switch rng.IntN(12) {
	case 0, 1, 2:
		u.write(l, mine, rng)
	case 3:
		u.remove(l, mine)
	case 4:
		u.chmod(l, mine, rng)
	case 5, 6:
		u.check(l, mine, 0, true)
	case 7, 8, 9:
		u.check(l, other, time.Second+grace, rng.IntN(2) == 0)
	case 10:
		u.list(l, parent(other))
	case 11:
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Millisecond)
		if rng.IntN(5) == 0 {
			time.Sleep(30 * time.Second)
		}
	}
}

func (u *universe) write(l *Listing, name string, rng *rand.Rand) {
	x := u.truth[name]
	if err := l.Announce(u.t.Context()); err != nil {
		u.t.Errorf("announce: %v", err)
	}
	text := fmt.Sprint(rng.Uint64())
	x.set("", 0, false)
	release := l.Hold(name)
	if rng.IntN(2) == 0 { // acknowledged before it is stored
		l.Put(name, Entry{Size: int64(len(text)), Attr: &Attr{}}, time.Time{})
	}
	info, err := u.store.Put(u.t.Context(), name, store.Body{Reader: strings.NewReader(text), Size: int64(len(text))}, store.PutOptions{})
	if err != nil {
		u.t.Errorf("write: %v", err)
	}
	l.Put(name, Entry{Size: info.Size, ETag: info.ETag, Attr: &Attr{}}, time.Time{})
	release()
	x.set(info.ETag, 0, true)
	u.did("write")
}

func (u *universe) remove(l *Listing, name string) {
	x := u.truth[name]
	if err := l.Announce(u.t.Context()); err != nil {
		u.t.Errorf("announce: %v", err)
	}
	x.set("", 0, false)
	release := l.Hold(name)
	l.Remove(name)
	if err := u.store.Delete(u.t.Context(), name, store.Always); err != nil {
		u.t.Errorf("remove: %v", err)
	}
	release()
	x.set("", 0, true)
	u.did("remove")
}

// chmod replaces the metadata and keeps the ETag.
func (u *universe) chmod(l *Listing, name string, rng *rand.Rand) {
	x := u.truth[name]
	etag, _, _, _ := x.get()
	if etag == "" {
		return
	}
	if err := l.Announce(u.t.Context()); err != nil {
		u.t.Errorf("announce: %v", err)
	}
	a, err := l.Stat(u.t.Context(), name)
	if err != nil || a.ETag != etag {
		u.t.Errorf("own name %s: got %q, %v, want %q", name, a.ETag, err, etag)
		return
	}
	mode := rng.Uint32N(0o600) // never the usual one, which is not stored
	a.Attr = &Attr{Mode: mode, HasMode: true}
	meta, err := Encode(a.Entry, Defaults{})
	if err != nil {
		u.t.Fatal(err)
	}
	x.set("", 0, false)
	release := l.Hold(name)
	info, err := u.store.Copy(u.t.Context(), name, name, store.CopyOptions{Meta: meta})
	if err != nil {
		u.t.Errorf("chmod: %v", err)
	}
	a.ETag, a.Modified = info.ETag, time.Time{}
	l.Put(name, a.Entry, time.Time{})
	release()
	x.set(info.ETag, mode, true)
	u.did("chmod")
}

// check asks for a name that has been what it is for at least age.
func (u *universe) check(l *Listing, name string, age time.Duration, stat bool) {
	x := u.truth[name]
	etag, mode, since, before := x.get()
	old := time.Since(since)
	var a Answer
	var err error
	if stat {
		a, err = l.Stat(u.t.Context(), name)
	} else {
		a, err = l.Lookup(u.t.Context(), name)
	}
	if _, _, _, after := x.get(); before != after || before%2 == 1 || old < age {
		return
	}
	switch absent := store.IsKind(err, store.NotExist); {
	case err != nil && !absent:
		u.t.Errorf("%s: %v", name, err)
	case absent && etag != "":
		u.t.Errorf("%s (stat %v) has been there for %v and is denied", name, stat, old)
	case !absent && stat && (a.ETag != etag || a.Attr.Mode != mode):
		u.t.Errorf("%s has been %q %o for %v, got %q %o", name, etag, mode, old, a.ETag, a.Attr.Mode)
	case absent:
		u.did("miss")
	default:
		u.did("see")
	}
}

// list compares a directory with the names that have not changed for long.
func (u *universe) list(l *Listing, dir string) {
	type was struct {
		etag    store.ETag
		changes int
	}
	before := map[string]was{}
	for name, x := range u.truth {
		if etag, _, since, changes := x.get(); parent(name) == dir && changes%2 == 0 && time.Since(since) > time.Second {
			before[name] = was{etag, changes}
		}
	}
	all, err := l.List(u.t.Context(), dir)
	if err != nil {
		u.t.Errorf("list %s: %v", dir, err)
	}
	empty, err := l.Empty(u.t.Context(), dir)
	if err != nil {
		u.t.Errorf("empty %s: %v", dir, err)
	}
	got := map[string]store.ETag{}
	for _, a := range all {
		got[join(dir, a.Name)] = a.ETag
	}
	for name, w := range before {
		if _, _, _, changes := u.truth[name].get(); changes != w.changes {
			continue
		}
		if got[name] != w.etag {
			u.t.Errorf("list: %s has been %q, got %q", name, w.etag, got[name])
		}
		if empty && w.etag != "" {
			u.t.Errorf("%s is told to be empty and has %s", dir, name)
		}
		u.did("empty")
	}
	u.did("list")
}
