package s3proxy

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Turns makes a server atomic that is not: requests about one key take turns,
// unless they only read. S3 answers each request as if it were the only one
// (AWS "Amazon S3 data consistency model"); versitygw 1.8 checks the condition
// of a DeleteObject before it removes the file, and so removes what a PutObject
// has stored in between, and takes size, ETag and bytes of a GetObject one
// after the other. A test of what clients do must not blame them for that.
//
// All proxies in front of a server have to share one. Faults lie outside: a
// request that hangs holds nobody up.
type Turns struct {
	all sync.RWMutex // held for writing by what is about keys that are not known

	mu   sync.Mutex
	keys map[string]*turn
}

// turn is the lock of one key.
type turn struct {
	sync.RWMutex
	users int // guarded by Turns.mu
}

// NewTurns returns what proxies of one server are given with TakeTurns.
func NewTurns() *Turns { return &Turns{keys: map[string]*turn{}} }

// TakeTurns lets requests pass as t allows from now on.
func (p *Proxy) TakeTurns(t *Turns) { p.turns.Store(t) }

// take waits for a request's turn, and returns what ends it.
func (t *Turns) take(r *http.Request) (done func()) {
	if t == nil {
		return func() {}
	}
	op, key := target(r)
	switch op {
	case DeleteObjects, ListObjects, ListObjectsV2:
		t.all.Lock()
		return t.all.Unlock
	}
	bucket, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	names := map[string]bool{bucket + "/" + key: Mutates(op)}
	if src, err := url.PathUnescape(r.Header.Get("X-Amz-Copy-Source")); err == nil && src != "" {
		src = strings.TrimPrefix(src, "/")
		if _, same := names[src]; !same {
			names[src] = false // only read
		}
	}
	t.all.RLock()
	free := []func(){t.all.RUnlock}
	for _, name := range slices.Sorted(maps.Keys(names)) { // always in one order
		free = append(free, t.lock(name, names[name]))
	}
	return func() {
		for _, f := range slices.Backward(free) {
			f()
		}
	}
}

// lock locks one key and returns what unlocks it.
func (t *Turns) lock(name string, write bool) func() {
	t.mu.Lock()
	k := t.keys[name]
	if k == nil {
		k = &turn{}
		t.keys[name] = k
	}
	k.users++
	t.mu.Unlock()
	unlock := k.RUnlock
	if write {
		k.Lock()
		unlock = k.Unlock
	} else {
		k.RLock()
	}
	return func() {
		unlock()
		t.mu.Lock()
		defer t.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(t.keys, name)
		}
	}
}
