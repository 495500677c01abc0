//go:build integration

package locks

import (
	"strings"
	"testing"
)

// TestJudge makes sure that the judge finds what is wrong, and nothing else.
func TestJudge(t *testing.T) {
	ask := func(at, op int, path string) event {
		return event{At: ms(at), Kind: evAsked, Op: op, Owner: "w", Path: path, Excl: true, Wait: true}
	}
	ev := func(at, op int, kind string) event { return event{At: ms(at), Kind: kind, Op: op} }
	got := func(at, op int, fence uint64) event { return event{At: ms(at), Kind: evGranted, Op: op, Fence: fence} }
	two := func(a, b []event) []*life {
		return []*life{{name: "a", events: a, ended: never}, {name: "b", node: 1, events: b, ended: never}}
	}
	tree := ask(11, 1, "d")
	tree.Tree = true
	commit := event{At: ms(60), Kind: evCommitted, Op: 1, Begun: ms(50)}
	refused := event{At: ms(60), Kind: evCommitted, Op: 1, Begun: ms(50), Error: "precondition failed"}
	for _, c := range []struct {
		name string
		want string
		list []*life
	}{
		{"good", "", two(
			[]event{ask(1, 1, "f"), got(2, 1, 5), ev(20, 1, evReleasing), ev(21, 1, evReleased)},
			[]event{ask(10, 1, "f"), ev(11, 1, evQueued), got(30, 1, 6), commit, ev(70, 1, evReleasing)})},
		{"both", "held at the same time", two(
			[]event{ask(1, 1, "f"), got(2, 1, 5), ev(20, 1, evReleasing)}, []event{ask(10, 1, "f"), got(19, 1, 6)})},
		{"tree", "held at the same time", two(
			[]event{ask(1, 1, "d/e"), got(2, 1, 5), ev(20, 1, evReleasing)}, []event{tree, got(19, 1, 6)})},
		{"siblings", "", two(
			[]event{ask(1, 1, "da"), got(2, 1, 5), ev(20, 1, evReleasing)}, []event{tree, got(19, 1, 6)})},
		{"fence", "the fence does not grow", two(
			[]event{ask(1, 1, "f"), got(2, 1, 5), ev(20, 1, evReleasing)}, []event{ask(10, 1, "f"), got(30, 1, 5)})},
		{"order", "served later", two(
			[]event{ask(1, 1, "f"), ev(2, 1, evQueued), got(50, 1, 7)},
			[]event{ask(10, 1, "f"), ev(11, 1, evQueued), got(20, 1, 6), ev(30, 1, evReleasing)})},
		{"hung", "never answered", two([]event{ask(1, 1, "f")}, nil)},
		{"stale", "a stale holder", two(
			[]event{ask(1, 1, "f"), got(2, 1, 5), ev(10, 1, evLost), commit, ev(70, 1, evReleasing)},
			[]event{ask(10, 1, "f"), got(30, 1, 6), ev(40, 1, evReleasing)})},
		{"changed", "changed under the lock", two([]event{ask(1, 1, "f"), got(2, 1, 5), refused, ev(70, 1, evReleasing)}, nil)},
	} {
		wrong, _ := history{lives: c.list}.judge()
		if (c.want == "") != (len(wrong) == 0) || c.want != "" && !strings.Contains(strings.Join(wrong, ""), c.want) {
			t.Errorf("%s: %q", c.name, wrong)
		}
	}
}
