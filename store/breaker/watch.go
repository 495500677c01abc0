package breaker

import (
	"context"
	"time"

	"github.com/causewayfs/causeway/store"
)

// watchLocked starts the watch, unless it runs.
func (s *Store) watchLocked() {
	if s.watching || s.closed {
		return
	}
	s.watching = true
	s.work.Go(s.watch)
}

// watch looks at the requests under way until there is nothing to look at.
func (s *Store) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		s.mu.Lock()
		more := s.stepLocked(time.Now())
		if !more {
			s.watching = false
		}
		s.mu.Unlock()
		if !more {
			return
		}
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return // watching stays set: nothing starts any more
		}
	}
}

// stepLocked is one look. It reports whether there will be another one.
func (s *Store) stepLocked(now time.Time) bool {
	idle := len(s.flights) == 0 && now.Sub(s.demand) >= demandFor
	switch s.state {
	case Away:
		if idle {
			s.turnLocked(Doubtful)
			return false
		}
		s.probeLocked(now)
	case Doubtful:
		if idle {
			return false
		}
		s.suspectLocked(now, 0, doubtPatience)
	case Reachable:
		if idle {
			return false
		}
		s.suspectLocked(now, stillAfter, probePatience)
	}
	return true
}

// suspectLocked sends HEADs when nothing has moved for the time still, and
// makes the endpoint away when that does not change for the time patience.
func (s *Store) suspectLocked(now time.Time, still, patience time.Duration) {
	oldest, l := s.oldestLocked(), &s.look
	if oldest.IsZero() {
		*l = look{under: l.under}
		return
	}
	if now.Sub(oldest) < still || now.Sub(s.lastLife) < still || now.Sub(s.lastMove) < still {
		l.since = time.Time{}
		return
	}
	switch {
	case !l.since.IsZero():
		if now.Sub(l.since) >= patience {
			s.goneLocked(oldest)
		} else if now.Sub(l.sent) >= lookEvery {
			s.startProbeLocked(now)
		}
	case !now.Before(l.next):
		// If a HEAD is answered, some requests are just slow: the next look
		// takes its time.
		l.since = now
		l.pause = min(max(2*l.pause, stillAfter), maxLookPause)
		l.next = now.Add(l.pause)
		s.startProbeLocked(now)
	}
}

// oldestLocked returns when the oldest request under way began; zero if there
// is none.
func (s *Store) oldestLocked() time.Time {
	var oldest time.Time
	for f := range s.flights {
		if oldest.IsZero() || f.began.Before(oldest) {
			oldest = f.began
		}
	}
	return oldest
}

// probeLocked sends the next HEAD to an endpoint that is away, if it is due.
// Earlier ones stay under way: the endpoint may be slow now.
func (s *Store) probeLocked(now time.Time) {
	l := &s.look
	if now.Before(l.next) || l.under >= maxProbes {
		return
	}
	l.pause = min(2*max(l.pause, minBackoff), maxBackoff)
	l.next = now.Add(l.pause)
	s.startProbeLocked(now)
}

func (s *Store) startProbeLocked(now time.Time) {
	if s.closed {
		return
	}
	s.look.sent = now
	s.look.under++
	s.probes++
	s.work.Go(func() {
		began := time.Now()
		ctx, cancel := context.WithTimeout(s.ctx, probeLimit)
		defer cancel()
		_, err := s.next.Head(ctx, ProbeKey)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.look.under--
		if err == nil || answered(store.KindOf(err)) {
			s.aliveLocked(time.Now())
		} else if s.state == Doubtful {
			s.judgeLocked(began, err)
		}
	})
}
