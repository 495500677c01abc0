//go:build integration

package integration

import (
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/anishathalye/porcupine"
)

// The model is what docs/semantics.md promises of single files, for two names
// that are renamed onto each other. A value is what a file holds: the id of
// the write that made it and, after "/", of the one that an edit in place left
// the rest of. Two exceptions have values of their own.
const (
	noFile    = "-"
	emptyFile = "0" // as O_EXCL makes it
)

// linKind is a kind of step. Most operations are one step; some are several,
// each of which takes effect at once.
type linKind int

// The kinds.
const (
	linRead    linKind = iota // finds val
	linWrite                  // O_TRUNC…close, or a rename over the name: val is there
	linExcl                   // O_EXCL: nobody was there, and the name is empty now
	linExclNot                // O_EXCL: somebody was there
	linEdit                   // edit in place: base was there, and val is now
	linStale                  // edit in place that was refused
	linUnlink                 // first half of an unlink: what is there is to go
	linRemoved                // second half: the name is gone, unless it was replaced since
	linCopy                   // first half of a rename: the other name holds the same
	linMoved                  // second half: the name is gone, unless it was replaced since
	linNoMove                 // a rename that found nothing to move
	linRecopy                 // an attempt of the first half of a rename whose answer was lost
)

var linNames = [...]string{"read", "write", "O_EXCL create", "O_EXCL refused", "edit", "edit refused", "unlink", "removal of unlink", "copy of rename", "removal of rename", "rename of nothing", "lost attempt to rename"}

// linStep is the input of one step.
type linStep struct {
	kind  linKind
	name  int // 0 or 1: which of the pair
	val   string
	base  string
	op    int  // ties the steps of one rename together
	dirty bool // linRead: through the mount at which the write of val failed
	maybe bool // it may as well not have happened
	lost  bool // refused, but an answer was lost: an attempt may have been carried out and then replaced
}

// linState is what both names hold, and what renames that are not complete
// have moved: " op=value" for each, in order.
type linState struct {
	at    [2]string
	moved string
}

func (s linState) with(name int, val string) linState {
	s.at[name] = val
	return s
}

// pending returns the value that rename op has moved.
func (s linState) pending(op int) (string, bool) {
	_, rest, ok := strings.Cut(s.moved, fmt.Sprintf(" %d=", op))
	val, _, _ := strings.Cut(rest, " ")
	return val, ok
}

func (s linState) setPending(op int, val string) linState {
	moved := strings.Fields(s.moved)
	moved = slices.DeleteFunc(moved, func(f string) bool { return strings.HasPrefix(f, fmt.Sprintf("%d=", op)) })
	if val != "" {
		moved = append(moved, fmt.Sprintf("%d=%s", op, val))
		slices.Sort(moved)
	}
	s.moved = ""
	for _, f := range moved {
		s.moved += " " + f
	}
	return s
}

// linNext returns the states that a step can lead to; none: it is impossible.
//
// The last close wins, so a write whose answer was lost is sent again, and may
// so replace once more what somebody else wrote in between: each such attempt
// is a step that maybe happened. Conditional writes are not sent again then.
func linNext(s linState, in linStep) []linState {
	next := linCertain(s, in)
	if in.maybe {
		next = append(next, s)
	}
	return next
}

func linCertain(s linState, in linStep) []linState {
	now := s.at[in.name]
	when := func(ok bool, next ...linState) []linState {
		if !ok {
			return nil
		}
		return next
	}
	switch in.kind {
	case linRead:
		// The bytes of a close that failed stay with the open file, and others
		// that have it open on the same mount see them, until it is released.
		return when(now == in.val || in.dirty, s)
	case linWrite:
		return []linState{s.with(in.name, in.val)}
	case linExcl:
		return when(now == noFile, s.with(in.name, emptyFile))
	case linExclNot:
		next := when(now != noFile, s)
		if in.lost && now == noFile {
			next = append(next, s.with(in.name, emptyFile))
		}
		return next
	case linEdit:
		// Versions with the same bytes are the same to If-Match.
		return when(now == in.base, s.with(in.name, in.val))
	case linStale:
		next := when(now != in.base, s)
		if in.lost && now == in.base {
			next = append(next, s.with(in.name, in.val))
		}
		return next
	case linUnlink:
		// Not exclusive: what two mounts unlink at once, both have unlinked. It
		// is acknowledged before it is in S3, and spares what others have
		// stored until then, also if that is an edit of what was unlinked.
		return []linState{s.setPending(in.op, now)}
	case linCopy:
		return when(now != noFile, s.with(1-in.name, now).setPending(in.op, now))
	case linMoved, linRemoved:
		val, begun := s.pending(in.op)
		next := s.setPending(in.op, "")
		if now == val {
			next = next.with(in.name, noFile)
		}
		return when(begun, next)
	case linNoMove:
		return when(now == noFile, s)
	case linRecopy:
		if val, begun := s.pending(in.op); begun {
			return []linState{s, s.with(1-in.name, val)}
		}
		return when(true, s, s.with(1-in.name, now))
	}
	return nil
}

// linModel is the model for porcupine.
func linModel() porcupine.Model {
	seed := maphash.MakeSeed()
	nm := porcupine.NondeterministicModel{
		Init: func() []any { return []any{linState{at: [2]string{noFile, noFile}}} },
		Step: func(state, input, _ any) []any {
			var out []any
			for _, next := range linNext(state.(linState), input.(linStep)) {
				out = append(out, next)
			}
			return out
		},
		Hash:              func(state any) uint64 { return maphash.Comparable(seed, state.(linState)) },
		DescribeOperation: func(input, _ any) string { return input.(linStep).String() },
	}
	return nm.ToModel()
}

// String describes a step for failure messages.
func (in linStep) String() string {
	text := fmt.Sprintf("%s %c", linNames[in.kind], 'a'+rune(in.name))
	if in.base != "" {
		text += " from " + in.base
	}
	if in.val != "" {
		text += " = " + in.val
	}
	return text
}

// TestLinearModel gives the checker histories that are right, and such that
// tell of each thing that must not happen.
func TestLinearModel(t *testing.T) {
	// Each word is one step: client, name, what; "|" ends those that run at the
	// same time.
	steps := map[string]linStep{
		"w1": {kind: linWrite, val: "1/1"}, "w2": {kind: linWrite, val: "2/2"},
		"r-": {kind: linRead, val: noFile}, "r0": {kind: linRead, val: emptyFile},
		"r1": {kind: linRead, val: "1/1"}, "r2": {kind: linRead, val: "2/2"},
		"d1": {kind: linRead, val: "1/1", dirty: true},
		"x+": {kind: linExcl}, "x-": {kind: linExclNot}, "u": {kind: linUnlink, op: 2}, "uu": {kind: linRemoved, op: 2},
		"e31": {kind: linEdit, val: "3/1", base: "1/1"}, "s31": {kind: linStale, val: "3/1", base: "1/1"},
		"e40": {kind: linEdit, val: "4/4", base: emptyFile},
		"r3":  {kind: linRead, val: "3/1"}, "r4": {kind: linRead, val: "4/4"},
		"m": {kind: linCopy, op: 1}, "mm": {kind: linMoved, op: 1}, "m-": {kind: linNoMove},
		"R1": {kind: linRead, val: "1/1", name: 1}, "R-": {kind: linRead, val: noFile, name: 1}, "W2": {kind: linWrite, val: "2/2", name: 1},
		"R2":    {kind: linRead, val: "2/2", name: 1},
		"echo1": {kind: linWrite, val: "1/1", maybe: true}, "recopy": {kind: linRecopy, op: 1}, "e31?": {kind: linEdit, val: "3/1", base: "1/1", maybe: true},
		"S31": {kind: linStale, val: "3/1", base: "1/1", lost: true}, "X-": {kind: linExclNot, lost: true},
	}
	model := linModel()
	check := func(text string) porcupine.CheckResult {
		var history []porcupine.Operation
		for at, group := range strings.Split(text, "|") {
			for _, word := range strings.Fields(group) {
				word, lasting := strings.CutSuffix(word, "…") // whose call failed, so that it may come later
				step, ok := steps[word]
				if !ok {
					t.Fatalf("no step %q", word)
				}
				op := porcupine.Operation{Input: step, Call: int64(10 * at), Return: int64(10*at + 5)}
				if lasting {
					op.Return = 1 << 60
				}
				history = append(history, op)
			}
		}
		return porcupine.CheckOperationsTimeout(model, history, 0)
	}
	right := []string{
		"r-|w1|r1|u uu|r-", "w1 w2|r2|r2", "w1 r- r1|r1", "x+ x-|e40|r4", "x+|r0|u uu|x+|r0", "w1|u e31 uu|r3", "w1|u w2 uu|r2", "w1|u uu w2|r-",
		"w1|e31 s31|r3", "w1|e31 w2|r2", "w1|e31 w2 s31|r2", "w1|m R- R1|mm|r- R1", "w1|m|w2|mm|r2 R1", "m-",
		"w1…|r-|r-|r1|r1", "w2|w1…|r2|u uu|r1", "w2|w1 echo1 r1 w2 r2|r1", "w1|m recopy|W2 mm", "w2|w1…|d1|r2|d1|r2",
		"w1|e31?|r1|r1", "w1|e31?|r3|r3", "w1|w2 S31 r3|r2", "X- w2|r2", "X- r0 w2|r2",
	}
	wrong := map[string]string{
		"stale read": "w1|w2|r1", "lost update": "w1|w2|r-", "two winners": "x+ x+|r0", "a winner where somebody was": "w1|x+",
		"refused though nobody was": "x-", "edit of another version": "w1|w2|e31", "refused edit of the same version": "w1|s31",
		"edit in both orders": "w1|e31|e31", "edited and still unlinked later": "w1|e31|u uu|r3", "unlinked before it was edited": "w1|u uu|e31", "resurrected": "w1|u uu|r1", "new and old again": "w1|w2 r2 r1|w1 r1 r2|r2 r1|r1|r2",
		"removed what came after": "w1|m|w2|mm|r-", "moved and still there": "w1|m|mm|r1", "moved something else": "w1|m|mm|R2",
		"moved to nowhere": "w1|m|mm|R-", "removal before its copy": "w1|mm|m|R1", "move of nothing": "m|mm",
		"read of what nobody wrote": "w1|r2", "failed write read before it": "r1|w1…", "failed write undone": "w2|w1…|r1|r2",
		"refused edit that stays": "w1|S31|r1", "maybe edit undone": "w1|e31?|r3|r1",
		"again without a lost answer": "w2|w1 r1|w2|r1",
	}
	for _, text := range right {
		if got := check(text); got != porcupine.Ok {
			t.Errorf("%q: got %v, want it to be linearizable", text, got)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		if got := check(wrong[what]); got != porcupine.Illegal {
			t.Errorf("%s, %q: got %v, want it to be found", what, wrong[what], got)
		}
	}
}
