package participant

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/causewayfs/causeway/locks"
)

const (
	// reach is how long a coordinator that does not answer is waited for before
	// a request that has no place in a queue yet fails.
	reach = 2 * time.Second
	// patience bounds one request to the coordinator.
	patience = 5 * time.Second
)

// session is what this gateway has while its lease lives. A lost one is
// dropped with all that is in it.
type session struct {
	p      *Participant
	s      locks.Session
	id     locks.SessionID
	ctx    context.Context // ends when the session is lost or left
	cancel context.CancelFunc

	// guarded by Participant.mu:
	lost  bool
	nodes map[string]*node // by key
	asked map[locks.SessionID]time.Time
	ended map[locks.SessionID]bool

	bucket bucket
}

// Valid reports whether everything that the session has is certain to be its
// own.
func (s *session) Valid() bool { return !s.lost && s.s.Valid() }

// session returns the session that lives, which it begins if there is none.
// Kinds: NoLock, Canceled.
func (p *Participant) session(ctx context.Context) (*session, error) {
	for {
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			return nil, &locks.Error{Op: "join", Kind: locks.Canceled, Err: context.Canceled}
		}
		p.lapse()
		if s := p.cur; s != nil {
			p.mu.Unlock()
			return s, nil
		}
		joining := p.joining
		if joining == nil {
			p.joining = make(chan struct{})
			p.mu.Unlock()
			return p.join(ctx)
		}
		p.mu.Unlock()
		select {
		case <-joining:
		case <-ctx.Done():
			return nil, &locks.Error{Op: "join", Kind: locks.Canceled, Err: ctx.Err()}
		}
	}
}

// join begins a session.
func (p *Participant) join(ctx context.Context) (*session, error) {
	limited, cancel := context.WithTimeout(ctx, reach)
	defer cancel()
	ls, err := p.coord.Join(limited, p.opts.Info)
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.joining)
	p.joining = nil
	if err != nil {
		kind := locks.NoLock
		if ctx.Err() != nil {
			kind = locks.Canceled
		}
		return nil, &locks.Error{Op: "join", Kind: kind, Err: err}
	}
	s := &session{p: p, s: ls, id: ls.ID(), nodes: map[string]*node{},
		asked: map[locks.SessionID]time.Time{}, ended: maps.Clone(p.past),
		bucket: bucket{inside: make(chan struct{}), every: soleEvery}}
	s.ctx, s.cancel = context.WithCancel(p.ctx)
	if p.closed {
		s.lost = true
		go func() { _ = ls.Leave(context.WithoutCancel(ctx)) }()
		return nil, &locks.Error{Op: "join", Kind: locks.Canceled, Err: context.Canceled}
	}
	p.cur = s
	p.wg.Go(s.watch)
	return s, nil
}

// watch takes in what the session is told, until it is over.
func (s *session) watch() {
	tick := time.NewTicker(idleFor / 4)
	defer tick.Stop()
	for {
		select {
		case key := <-s.s.Wanted():
			s.p.mu.Lock()
			s.wanted(key)
			s.p.mu.Unlock()
		case <-tick.C:
			s.p.mu.Lock()
			s.rest()
			s.p.mu.Unlock()
		case <-s.s.Done():
			s.p.mu.Lock()
			s.p.loseLocked(s)
			s.p.mu.Unlock()
			return
		case <-s.ctx.Done():
			return
		}
	}
}

// wanted notes that somebody waits for a record. It may be one of which this
// gateway thinks that it has nothing there: what it wrote may have arrived late.
func (s *session) wanted(key string) {
	if s.lost {
		return
	}
	n := s.node(key)
	n.hotUntil = s.p.opts.Now().Add(heat)
	n.reread = true
	n.kick()
}

// lapse takes in that the session is not certain to be alive any more, as after
// a pause: what it held is lost from then on, also to who only gives it up.
func (p *Participant) lapse() {
	if p.cur != nil && !p.cur.Valid() {
		p.loseLocked(p.cur)
	}
}

// loseLocked ends a session: what was held in it is lost, and who waits fails.
func (p *Participant) loseLocked(s *session) {
	if s.lost {
		return
	}
	s.lost = true
	p.past[s.id] = true
	s.cancel()
	if p.cur == s {
		p.cur = nil
	}
	for _, c := range p.calls {
		if c.s == s {
			p.finish(c, &locks.Error{Op: "lock", Path: c.Path, Kind: locks.NoLock})
		}
	}
	lost, granted := p.table.Lose(func(locks.Held) bool { return true })
	p.markLost(lost)
	p.note(granted)
	if len(lost) > 0 {
		p.opts.Log.Warn("locks were lost with the session", "locks", len(lost))
	}
	if !p.closed {
		// Nobody here acts for it any more, so others need not wait.
		p.wg.Go(func() {
			ctx, cancel := context.WithTimeout(p.ctx, patience)
			defer cancel()
			_ = s.s.Leave(ctx)
		})
	}
}

// leave ends a session that is not needed any more.
func (s *session) leave(ctx context.Context) error {
	err := s.p.opts.Releasing(ctx)
	s.p.mu.Lock()
	alone := s.bucket.alone
	s.bucket.sole = false
	s.p.mu.Unlock()
	if alone {
		err = errors.Join(err, s.p.opts.Publish(ctx))
	}
	s.p.mu.Lock()
	s.p.loseLocked(s)
	s.p.mu.Unlock()
	if leaveErr := s.s.Leave(ctx); leaveErr != nil {
		return leaveErr
	}
	return err
}

// hasEnded asks whether a session has ended, not too often: the coordinator
// judges by what it sees from one time to the next. Once true it stays so.
func (s *session) hasEnded(ctx context.Context, id locks.SessionID) bool {
	p := s.p
	p.mu.Lock()
	last, asked := s.asked[id]
	now := p.opts.Now()
	if s.ended[id] || asked && now.Sub(last) < p.coord.TTL()/15 {
		ended := s.ended[id]
		p.mu.Unlock()
		return ended
	}
	s.asked[id] = now
	p.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ended, err := p.coord.Ended(ctx, id)
	if err != nil || !ended {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.ended[id] = true
	delete(s.asked, id)
	return true
}

// node returns what is known of a record, which it makes up if that is nothing.
func (s *session) node(key string) *node {
	n := s.nodes[key]
	if n == nil {
		n = &node{s: s, p: s.p, key: key, wishes: map[locks.SessionID]wish{}}
		s.nodes[key] = n
	}
	return n
}
