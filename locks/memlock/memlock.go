// Package memlock is a [locks.Coordinator] in memory: the contract as it is
// meant, for tests of what uses one, and for comparison with the others.
//
// A [Space] is what a server would be: the records and the sessions. Each
// gateway has a [Coordinator] of its own, which can be made to fail by itself.
//
// One mutex guards all of a Space. All time is of package time, or of
// Options.Clock, so that tests can run in a bubble of testing/synctest.
package memlock

import (
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
)

// ErrAway is in the chain of the errors of a Coordinator that was made to fail.
var ErrAway = errors.New("coordinator does not answer")

// DefaultTTL is how long a session lives without being renewed.
const DefaultTTL = 15 * time.Second

// Options of a Space. The zero value has the defaults.
type Options struct {
	TTL time.Duration // 0: DefaultTTL
	// Push tells wishes at once, as etcd does, and not at the next look, as S3
	// does.
	Push bool
	// Tombstones keeps deleted records as absent ones with a version, as S3
	// does where it cannot delete on a condition.
	Tombstones bool
}

// Space has the records and the sessions.
type Space struct {
	opts Options

	mu       sync.Mutex
	counter  uint64                        // guarded by mu; makes versions
	records  map[string]*record            // guarded by mu
	sessions map[locks.SessionID]*presence // guarded by mu; those that live
}

// record is a record, or what is left of one (data is nil).
type record struct {
	data    []byte
	version locks.Version
	changed chan struct{} // closed when the record is replaced
}

// presence is a session, as everybody sees it.
type presence struct {
	info   locks.GatewayInfo
	beat   uint64
	wishes uint64        // how many there were
	wanted []string      // the last of them, which the owner may not have been told
	keeper *lease.Keeper // told at once with Push
}

// NewSpace returns an empty Space.
func NewSpace(opts Options) *Space {
	if opts.TTL <= 0 {
		opts.TTL = DefaultTTL
	}
	return &Space{opts: opts, records: map[string]*record{}, sessions: map[locks.SessionID]*presence{}}
}

// Sessions returns those that live, sorted.
func (s *Space) Sessions() []locks.SessionID {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]locks.SessionID, 0, len(s.sessions))
	for id := range s.sessions {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// End ends a session as an observer does for whom it was silent too long.
func (s *Space) End(id locks.SessionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, id)
}

// lookupLocked returns a record, which it makes up if there is none.
func (s *Space) lookupLocked(key string) *record {
	r := s.records[key]
	if r == nil {
		r = &record{changed: make(chan struct{})}
		s.records[key] = r
	}
	return r
}

func (r *record) state(key string) locks.RecordState {
	return locks.RecordState{Key: key, Data: slices.Clone(r.data), Version: r.version}
}

// swap replaces a record; nil data deletes it.
func (s *Space) swap(key string, data []byte, v locks.Version) (locks.Version, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.lookupLocked(key)
	if r.version != v {
		return "", locks.ErrConflict
	}
	s.counter++
	next := &record{data: data, changed: make(chan struct{})}
	if data != nil || s.opts.Tombstones {
		next.version = locks.Version(strconv.FormatUint(s.counter, 10))
	}
	s.records[key] = next
	close(r.changed)
	return next.version, nil
}

func (s *Space) get(key string) (locks.RecordState, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.lookupLocked(key)
	return r.state(key), r.changed
}

func (s *Space) list(prefix string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []string
	for key, r := range s.records {
		if r.data != nil && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// beat returns the beat of a session; false if it has ended.
func (s *Space) beat(id locks.SessionID) (uint64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sessions[id]
	if p == nil {
		return 0, false
	}
	return p.beat, true
}

// end ends a session if it still has that beat.
func (s *Space) end(id locks.SessionID, beat uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sessions[id]
	if p != nil && p.beat != beat {
		return false
	}
	delete(s.sessions, id)
	return true
}

func (s *Space) want(id locks.SessionID, key string) {
	s.mu.Lock()
	p := s.sessions[id]
	var push *lease.Keeper
	switch {
	case p == nil:
	case s.opts.Push:
		push = p.keeper
	default:
		p.wishes++
		p.wanted = append(p.wanted, key)
	}
	s.mu.Unlock()
	if push != nil {
		push.Post(key)
	}
}

// look returns what others want of a session, and renews it, or not. The owner
// says how many wishes it was told before, so that a lost answer loses none. The
// answer says it for the next time.
func (s *Space) look(id locks.SessionID, renew bool, told uint64) ([]string, uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.sessions[id]
	if p == nil {
		return nil, told, lease.ErrEnded
	}
	if renew {
		p.beat++
	}
	p.wanted = p.wanted[uint64(len(p.wanted))-(p.wishes-told):]
	return slices.Clone(p.wanted), p.wishes, nil
}

func newSessionID() locks.SessionID { return locks.SessionID(rand.Text()) }
