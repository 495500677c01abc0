package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"runtime"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/singleflight"
)

// maxCached bounds how many passwords are remembered as right.
const maxCached = 1024

// logins checks passwords.
type logins struct {
	file    *watched[passwords]
	compare func(hash, password []byte) error // bcrypt, but in tests
	turns   chan struct{}                     // has room for as many as are looked at together
	key     []byte                            // of the HMAC under which a password is remembered
	flight  singleflight.Group

	mu    sync.Mutex // guards what is below
	right *lru.Cache[string, struct{}]
	gen   uint64 // of the file that right is about
}

func newLogins(file *watched[passwords]) *logins {
	right, err := lru.New[string, struct{}](maxCached)
	if err != nil {
		panic(err) // the size is a constant
	}
	l := &logins{
		file:    file,
		compare: bcrypt.CompareHashAndPassword,
		// Half of the processors, so that guessing leaves the rest alone.
		turns: make(chan struct{}, max(runtime.GOMAXPROCS(0)/2, 1)),
		key:   make([]byte, sha256.Size),
		right: right,
	}
	rand.Read(l.key) // it never fails
	return l
}

// digest is what a user's password is remembered under.
func (l *logins) digest(user, password string) string {
	m := hmac.New(sha256.New, l.key)
	var n [8]byte
	binary.LittleEndian.PutUint64(n[:], uint64(len(user)))
	m.Write(n[:])
	m.Write([]byte(user))
	m.Write([]byte(password))
	return string(m.Sum(nil))
}

// remembers reports whether the password is known to be right.
func (l *logins) remembers(user, password string) bool {
	_, gen := l.file.get()
	digest := l.digest(user, password)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(gen)
	_, ok := l.right.Get(digest)
	return ok
}

// expire drops what is about a file that has changed. The caller holds mu.
func (l *logins) expire(gen uint64) {
	if l.gen != gen {
		l.right.Purge()
		l.gen = gen
	}
}

// check looks at a password. Many requests with the same one cost as much as one.
// The error is that of ctx.
func (l *logins) check(ctx context.Context, user, password string) (bool, error) {
	digest := l.digest(user, password)
	// What is under way for others goes on if this one gives up.
	result := l.flight.DoChan(digest, func() (any, error) {
		return l.compareOnce(user, password, digest), nil
	})
	select {
	case r := <-result:
		ok, _ := r.Val.(bool)
		return ok, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func (l *logins) compareOnce(user, password, digest string) bool {
	l.turns <- struct{}{} // bounded: an address has maxAtOnce of these at most
	defer func() { <-l.turns }()
	users, gen := l.file.get()
	hash, known := users.hashes[user]
	if !known {
		hash = users.dummy
	}
	// The comparison comes first, so that it is made for an unknown user, too.
	if l.compare(hash, []byte(password)) != nil || !known {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(gen)
	l.right.Add(digest, struct{}{})
	return true
}

// knows reports whether there is such a user, for what is logged.
func (l *logins) knows(user string) bool {
	users, _ := l.file.get()
	_, ok := users.hashes[user]
	return ok
}
