package status

import (
	"context"
	"sync"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/vfs"
)

// LockServer answers the calls of the control socket about locks. Each lock
// that a client has, or waits for, has an id and a lease: when nothing was heard
// of the client for that long, the lock is released. Ids of one owner on one
// path share the claim; it is as strong as the strongest of them.
type LockServer struct {
	ops vfs.Locks
	now func() time.Time

	life context.Context
	end  context.CancelFunc
	wg   sync.WaitGroup

	mu    sync.Mutex
	locks map[string]*clientLock
	turns map[claimKey]*sync.Mutex // held while a claim is being changed
}

// claimKey names what ids share.
type claimKey struct {
	owner locks.Owner
	path  string
}

// clientLock is one id.
type clientLock struct {
	id     string
	key    claimKey
	claim  locks.Claim // what this id wants
	hold   func()      // ends the wait
	holder locks.Holder

	// Guarded by LockServer.mu.
	lease    time.Duration
	deadline time.Time
	calls    int // that are under way and keep the lease
	place    locks.Position
	news     chan struct{} // closed and replaced when place changes
	granted  bool
	grant    locks.Grant
	err      error
	decided  chan struct{} // closed when granted or err is set
	released chan struct{} // closed when the id ends
	over     bool
}

// leaseLook is how often leases are looked at.
const leaseLook = 500 * time.Millisecond

// NewLockServer returns a LockServer over ops. now may be nil. Close must be
// called.
func NewLockServer(ops vfs.Locks, now func() time.Time) *LockServer {
	if now == nil {
		now = time.Now
	}
	l := &LockServer{ops: ops, now: now, locks: map[string]*clientLock{}, turns: map[claimKey]*sync.Mutex{}}
	l.life, l.end = context.WithCancel(context.Background())
	l.wg.Go(l.watchLeases)
	return l
}

// Close releases all locks.
func (l *LockServer) Close() {
	l.end()
	l.mu.Lock()
	var all []*clientLock
	for _, c := range l.locks {
		all = append(all, c)
	}
	l.mu.Unlock()
	for _, c := range all {
		_ = l.drop(l.life, c) // life has ended: nobody waits for S3
	}
	l.wg.Wait()
}

func (l *LockServer) watchLeases() {
	tick := time.NewTicker(leaseLook)
	defer tick.Stop()
	for {
		select {
		case <-l.life.Done():
			return
		case <-tick.C:
		}
		for _, c := range l.expired() {
			l.wg.Go(func() { _ = l.drop(l.life, c) }) // there is nobody to tell
		}
	}
}

func (l *LockServer) expired() (all []*clientLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, c := range l.locks {
		if c.calls == 0 && now.After(c.deadline) {
			all = append(all, c)
		}
	}
	return all
}

// enter counts a call about an id, whose lease does not run out meanwhile.
func (l *LockServer) enter(id string, lease float64) *clientLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.locks[id]
	if c == nil {
		return nil
	}
	c.calls++
	c.lease = seconds(lease, c.lease, minLease, maxLease)
	return c
}

func (l *LockServer) leave(c *clientLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.calls--
	c.deadline = l.now().Add(c.lease)
}

// acquire answers POST /locks/acquire.
func (l *LockServer) acquire(ctx context.Context, call AcquireCall) LockAnswer {
	c := l.enter(call.ID, call.Lease)
	switch {
	case c != nil:
	case call.ID != "":
		return LockAnswer{Code: LockUnknown, ID: call.ID}
	default:
		var err error
		if c, err = l.begin(call); err != nil {
			return LockAnswer{Code: LockBadCall, Error: err.Error()}
		}
	}
	defer l.leave(c)
	l.mu.Lock()
	poll := seconds(call.Poll, defaultPoll, 0, min(maxPoll, max(c.lease/2, minLease)))
	l.mu.Unlock()
	enough := time.NewTimer(poll)
	defer enough.Stop()
	for {
		l.mu.Lock()
		news, place := c.news, c.place
		l.mu.Unlock()
		if place.Place != 0 && place.Place != call.Seen {
			return l.answer(c)
		}
		select {
		case <-c.decided:
			return l.answer(c)
		case <-news:
		case <-enough.C:
			return l.answer(c)
		case <-ctx.Done():
			return l.answer(c)
		}
	}
}

// begin makes an id and begins to wait for its lock. The call is counted.
func (l *LockServer) begin(call AcquireCall) (*clientLock, error) {
	path, err := cleanPath(call.Path)
	if err != nil {
		return nil, err
	}
	owner := locks.Owner(call.Owner)
	if owner == "" {
		owner = locks.Owner("token:" + newLockID())
	}
	mode := locks.Exclusive
	if call.Shared {
		mode = locks.Shared
	}
	waiting, hold := l.life, context.CancelFunc(nil)
	if call.Wait != nil && *call.Wait > 0 {
		waiting, hold = context.WithTimeout(l.life, seconds(*call.Wait, 0, 0, 1<<62))
	} else {
		waiting, hold = context.WithCancel(l.life)
	}
	c := &clientLock{id: newLockID(), key: claimKey{owner, path}, hold: hold, calls: 1,
		claim: locks.Claim{Path: path, Mode: mode, Tree: call.Tree, End: locks.MaxOffset},
		lease: seconds(call.Lease, defaultLease, minLease, maxLease),
		news:  make(chan struct{}), decided: make(chan struct{}), released: make(chan struct{})}
	holder := locks.Holder{PID: call.PID, Command: call.Command, Via: call.Via}
	if holder.Via == "" {
		holder.Via = "socket"
	}
	c.holder = holder
	l.mu.Lock()
	l.locks[c.id] = c
	l.mu.Unlock()
	l.wg.Go(func() { l.wait(waiting, c, call.Wait == nil || *call.Wait > 0) })
	return c, nil
}

// turn lets one at a time change a claim.
func (l *LockServer) turn(k claimKey) *sync.Mutex {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turns[k] == nil {
		l.turns[k] = &sync.Mutex{}
	}
	return l.turns[k]
}

// wait takes the lock of c.
func (l *LockServer) wait(ctx context.Context, c *clientLock, wait bool) {
	defer c.hold()
	turn := l.turn(c.key)
	turn.Lock()
	defer turn.Unlock()
	l.mu.Lock()
	want := l.unionLocked(c.key, c)
	l.mu.Unlock()
	grant, err := l.ops.LockPath(ctx, locks.Request{Claim: want, Owner: c.key.owner, Holder: c.holder, Wait: wait,
		Notify: func(p locks.Position) { l.note(c, p) }})
	l.mu.Lock()
	c.granted, c.err = err == nil, err
	l.regrantLocked(c.key, grant, err)
	over := c.over
	close(c.decided)
	l.mu.Unlock()
	if over && err == nil {
		_ = l.weaken(l.life, c.key) // given up meanwhile
	}
}

func (l *LockServer) note(c *clientLock, p locks.Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.place = p
	close(c.news)
	c.news = make(chan struct{})
}

// unionLocked is what the ids of k that are granted want together, and more.
func (l *LockServer) unionLocked(k claimKey, more *clientLock) locks.Claim {
	want := locks.Claim{Path: k.path, Mode: locks.Shared, End: locks.MaxOffset}
	for _, c := range l.locks {
		if c.key == k && (c.granted || c == more) {
			want.Mode = max(want.Mode, c.claim.Mode)
			want.Tree = want.Tree || c.claim.Tree
		}
	}
	return want
}

// drop ends an id.
func (l *LockServer) drop(ctx context.Context, c *clientLock) error {
	l.mu.Lock()
	if c.over {
		l.mu.Unlock()
		return nil
	}
	c.over = true
	delete(l.locks, c.id)
	granted := c.granted
	close(c.released)
	l.mu.Unlock()
	c.hold()
	if !granted {
		return nil // wait gives it back if it comes
	}
	turn := l.turn(c.key)
	turn.Lock()
	defer turn.Unlock()
	return l.weaken(ctx, c.key)
}

// weaken makes the claim of k what is still wanted of it. The turn of k is held.
func (l *LockServer) weaken(ctx context.Context, k claimKey) error {
	l.mu.Lock()
	want, n, waiting := l.unionLocked(k, nil), 0, false
	var holder locks.Holder
	for _, c := range l.locks {
		if c.key == k && c.granted {
			n++
			holder = c.holder
		}
		waiting = waiting || c.key == k
	}
	if !waiting {
		delete(l.turns, k)
	}
	l.mu.Unlock()
	if n == 0 {
		return l.ops.UnlockPath(ctx, k.owner, want)
	}
	grant, err := l.ops.LockPath(ctx, locks.Request{Claim: want, Owner: k.owner, Holder: holder})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.regrantLocked(k, grant, err)
	return err
}

// regrantLocked notes how all ids of k hold it now.
func (l *LockServer) regrantLocked(k claimKey, grant locks.Grant, err error) {
	if err != nil {
		return
	}
	for _, c := range l.locks {
		if c.key == k && c.granted {
			c.grant = grant
		}
	}
}

// answer tells the state of c.
func (l *LockServer) answer(c *clientLock) LockAnswer {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := LockAnswer{Code: LockWaits, ID: c.id, Owner: string(c.key.owner), Lease: c.lease.Seconds(),
		Place: c.place.Place, Holders: holdersOf(c.place.Holders)}
	switch {
	case c.over:
		a.Code = LockUnknown
	case c.err != nil:
		f := failed(c.err)
		a.Code, a.Error, a.ID, a.Place = f.Code, f.Error, "", 0
		if len(f.Holders) > 0 {
			a.Holders = f.Holders
		}
		delete(l.locks, c.id)
		c.over = true
		close(c.released)
	case c.granted:
		a.Code, a.Fence, a.Place, a.Holders = LockGranted, c.grant.Fence, 0, nil
		if isClosed(c.grant.Lost) {
			a.Code = LockLost
		}
	}
	return a
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// extend answers POST /locks/extend.
func (l *LockServer) extend(ctx context.Context, call ExtendCall) LockAnswer {
	c := l.enter(call.ID, call.Lease)
	if c == nil {
		return LockAnswer{Code: LockUnknown, ID: call.ID}
	}
	defer l.leave(c)
	var enough <-chan time.Time
	if !call.Hold {
		t := time.NewTimer(seconds(call.Poll, 0, 0, maxPoll))
		defer t.Stop()
		enough = t.C
	}
	l.mu.Lock()
	lost := c.grant.Lost
	if !c.granted {
		lost = nil
	}
	l.mu.Unlock()
	select {
	case <-lost:
	case <-c.released:
	case <-enough:
	case <-ctx.Done():
		if call.Hold {
			_ = l.drop(l.life, c) // the client is gone
		}
	}
	return l.answer(c)
}

// release answers POST /locks/release.
func (l *LockServer) release(ctx context.Context, call ReleaseCall) LockAnswer {
	c := l.enter(call.ID, 0)
	if c == nil {
		return LockAnswer{Code: LockUnknown, ID: call.ID}
	}
	defer l.leave(c)
	err := l.drop(ctx, c)
	switch {
	case err == nil:
		return LockAnswer{Code: LockReleased, ID: c.id}
	case vfs.KindOf(err) == vfs.Stale && isClosed(c.grant.Lost):
		return LockAnswer{Code: LockLost, ID: c.id, Error: err.Error()}
	}
	return LockAnswer{Code: LockNotSynced, ID: c.id, Error: err.Error()}
}
