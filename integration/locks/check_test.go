//go:build integration

package locks

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const never = time.Duration(1<<63 - 1)

// account of one gateway process, from its start to its end.
type life struct {
	name   string
	node   int // its place; a killed gateway is followed by another life there
	events []event
	pauses []interval // when it was stopped
	ended  time.Duration
}

type interval struct{ from, to time.Duration }

// turn is one lock operation, as the history has it.
type turn struct {
	life       *life
	op         int
	asked      event
	queued     time.Duration // 0: not known
	granted    time.Duration // 0: not
	until      time.Duration // it acted as the holder until then
	lost       bool
	fence      uint64
	failed     string
	answered   time.Duration
	commit     event
	hasCommit  bool
	unanswered bool
}

func (t *turn) String() string {
	mode := map[bool]string{true: "exclusive", false: "shared"}[t.asked.Excl]
	if t.asked.Tree {
		mode += " tree"
	}
	return fmt.Sprintf("%s op %d by %s: %s of %q, asked %v, queued %v, granted %v until %v (lost %v), fence %d, failed %q, commit %q begun %v answered %v",
		t.life.name, t.op, t.asked.Owner, mode, t.asked.Path, t.asked.At, t.queued, t.granted, t.until, t.lost, t.fence, t.failed,
		t.commit.Error, t.commit.Begun, t.commit.At)
}

// turns puts the events of a life together.
func (l *life) turns() []*turn {
	byOp := map[int]*turn{}
	var all []*turn
	for _, e := range l.events {
		t := byOp[e.Op]
		if e.Kind == evAsked {
			t = &turn{life: l, op: e.Op, asked: e, until: never}
			byOp[e.Op] = t
			all = append(all, t)
			continue
		}
		if t == nil {
			continue
		}
		t.take(e)
	}
	for _, t := range all {
		t.close(l)
	}
	return all
}

func (t *turn) take(e event) {
	switch e.Kind {
	case evQueued:
		t.queued = e.At
	case evGranted:
		t.granted, t.fence, t.answered = e.At, e.Fence, e.At
	case evFailed:
		t.failed, t.answered = e.Error, e.At
	case evLost:
		t.lost, t.until = true, min(t.until, e.At)
	case evCommitted:
		t.commit, t.hasCommit = e, true
	case evReleasing:
		t.until = min(t.until, e.At)
	case evReleased:
		t.lost = t.lost || e.Error != ""
	}
}

// close ends what a life's end or a pause ended. Who finds after a pause that
// the lock was lost has not acted since the pause began.
func (t *turn) close(l *life) {
	if t.granted == 0 {
		t.unanswered = t.failed == ""
		return
	}
	t.until = min(t.until, l.ended)
	if !t.lost {
		return
	}
	for _, p := range l.pauses {
		if p.from >= t.granted || p.to >= t.granted {
			t.until = min(t.until, max(p.from, t.granted))
		}
	}
}

// history is what all gateways say.
type history struct {
	lives []*life
	slack time.Duration // between the queueing of one and the request of another, for their order
}

// judge returns what is wrong, and how much there was of what.
func (h history) judge() (wrong []string, counts map[string]int) {
	var all []*turn
	for _, l := range h.lives {
		all = append(all, l.turns()...)
	}
	counts = map[string]int{"turns": len(all)}
	for _, t := range all {
		switch {
		case t.granted != 0:
			counts["granted"]++
		case t.failed != "":
			counts[t.failed]++
		default:
			counts["unanswered"]++
		}
		if t.lost {
			counts["lost afterwards"]++
		}
		if t.hasCommit {
			counts["commit "+outcome(t.commit.Error)]++
		}
	}
	for _, rule := range []func([]*turn) []string{exclusion, fences, h.order, h.ends, commits} {
		wrong = append(wrong, rule(all)...)
	}
	return wrong, counts
}

func outcome(text string) string {
	if text == "" {
		return "done"
	}
	before, _, _ := strings.Cut(text, ":")
	return before
}

// conflict reports whether the claims of two owners exclude each other.
func conflict(a, b *turn) bool {
	if a.life == b.life && a.asked.Owner == b.asked.Owner || !a.asked.Excl && !b.asked.Excl {
		return false
	}
	return a.asked.Path == b.asked.Path || a.covers(b) || b.covers(a)
}

// covers reports whether a is on a tree that has b's path in it.
func (t *turn) covers(o *turn) bool {
	return t.asked.Tree && strings.HasPrefix(o.asked.Path, t.asked.Path+"/")
}

// exclusion: nobody holds what conflicts at the same time.
func exclusion(all []*turn) []string {
	held := slices.DeleteFunc(slices.Clone(all), func(t *turn) bool { return t.granted == 0 || t.until <= t.granted })
	slices.SortFunc(held, func(a, b *turn) int { return int(a.granted - b.granted) })
	var wrong []string
	var now []*turn
	for _, t := range held {
		now = slices.DeleteFunc(now, func(o *turn) bool { return o.until <= t.granted })
		for _, o := range now {
			if conflict(o, t) {
				wrong = append(wrong, fmt.Sprintf("held at the same time:\n\t%v\n\t%v", o, t))
			}
		}
		now = append(now, t)
	}
	return wrong
}

// fences: they grow with every grant of a path to another gateway, and do not
// shrink.
func fences(all []*turn) []string {
	byPath := map[string][]*turn{}
	for _, t := range all {
		if t.granted != 0 && t.asked.Excl {
			byPath[t.asked.Path] = append(byPath[t.asked.Path], t)
		}
	}
	var wrong []string
	for _, turns := range byPath {
		slices.SortFunc(turns, func(a, b *turn) int { return int(a.granted - b.granted) })
		for i, t := range turns {
			if i == 0 {
				continue
			}
			o := turns[i-1]
			if t.fence < o.fence || t.fence == o.fence && t.life != o.life {
				wrong = append(wrong, fmt.Sprintf("the fence does not grow:\n\t%v\n\t%v", o, t))
			}
		}
	}
	return wrong
}

// order: who waited before another one asked for the same path gets it first,
// unless that one gave up.
func (h history) order(all []*turn) []string {
	byPath := map[string][]*turn{}
	for _, t := range all {
		if t.granted != 0 && t.queued != 0 && t.asked.Wait {
			byPath[t.asked.Path] = append(byPath[t.asked.Path], t)
		}
	}
	var wrong []string
	for _, turns := range byPath {
		for _, a := range turns {
			for _, b := range turns {
				if conflict(a, b) && a.queued+h.slack < b.asked.At && b.granted < a.granted && !interrupted(a) {
					wrong = append(wrong, fmt.Sprintf("the one that came first was served later:\n\t%v\n\t%v", a, b))
				}
			}
		}
	}
	return wrong
}

// interrupted reports whether the gateway stood still while t waited: it may
// have lost its place then.
func interrupted(t *turn) bool {
	return slices.ContainsFunc(t.life.pauses, func(p interval) bool { return p.from < t.granted && p.to > t.asked.At })
}

// ends: every request was answered, if the gateway lived, and none waited for
// longer than anything can take.
func (h history) ends(all []*turn) []string {
	var wrong []string
	for _, t := range all {
		switch {
		case t.unanswered && t.life.ended == never:
			wrong = append(wrong, fmt.Sprintf("never answered:\n\t%v", t))
		case t.failed == "hung":
			wrong = append(wrong, fmt.Sprintf("waited for ever:\n\t%v", t))
		}
	}
	return wrong
}

// commits: no file is changed by a gateway when somebody else has the lock, and
// none is found changed by who has it.
func commits(all []*turn) []string {
	byPath := map[string][]*turn{}
	for _, t := range all {
		if t.granted != 0 {
			byPath[t.asked.Path] = append(byPath[t.asked.Path], t)
		}
	}
	var wrong []string
	for _, turns := range byPath {
		for _, t := range turns {
			if !t.hasCommit {
				continue
			}
			if t.commit.Error == "precondition failed" && !t.lost && !underWay(turns, t) {
				wrong = append(wrong, fmt.Sprintf("the file was changed under the lock of:\n\t%v", t))
			}
			if t.commit.Error != "" {
				continue
			}
			for _, o := range turns {
				if conflict(t, o) && o.granted > t.granted && t.commit.Begun > o.granted {
					wrong = append(wrong, fmt.Sprintf("a stale holder changed the file:\n\t%v\nafter this one had the lock:\n\t%v", t, o))
				}
			}
		}
	}
	return wrong
}

// underWay reports whether somebody else's change was under way when t got the
// lock: it was sent while that one held it.
func underWay(turns []*turn, t *turn) bool {
	return slices.ContainsFunc(turns, func(o *turn) bool {
		return o != t && o.asked.Excl && o.granted < t.granted && (!o.hasCommit || o.commit.Begun < t.granted && o.commit.At > t.granted)
	})
}
