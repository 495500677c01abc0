package locks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTable runs the scripts in testdata/table.txt, each on a table of its own,
// which is checked after every line. A line is a command, and behind " = " what
// it gives: how it ended, and who was granted something by it.
//
//	OWNER lock|try|ask CLAIM    wait, do not wait, wait without permission
//	OWNER permit|forbid         what it asks for
//	OWNER unlock CLAIM
//	OWNER cancel                the request that waits
//	OWNER giveway
//	OWNER gone                  all that it has
//	OWNER test CLAIM            who is in the way
//	OWNER place
//	lose PATH                   what is held of it
//	lost PATH
//	held                        all, and who
//
// A claim is S, X, TS or TX and a path ("." is the root), or s or x, a path and
// a range of bytes: "x f 0-9", "s f 5-".
func TestTable(t *testing.T) {
	text, err := os.ReadFile("testdata/table.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "\n# ")[1:] {
		title, script, _ := strings.Cut(part, "\n")
		t.Run(title, func(t *testing.T) {
			s := &tableScript{table: NewTable(), asked: map[ID]Owner{}}
			for _, line := range strings.Split(script, "\n") {
				command, want, _ := strings.Cut(line, " =")
				if command = strings.TrimSpace(command); command == "" {
					continue
				}
				if got := s.run(t, strings.Fields(command)); got != strings.TrimSpace(want) {
					t.Errorf("%s\n got %s\nwant %s", command, got, want)
				}
				if err := s.table.Check(); err != nil {
					t.Fatalf("after %s: %v", command, err)
				}
			}
		})
	}
}

type tableScript struct {
	table *Table
	asked map[ID]Owner
}

func (s *tableScript) run(t *testing.T, f []string) string {
	switch f[0] {
	case "lose":
		lost, granted := s.table.Lose(func(h Held) bool { return h.Path == pathOf(f[1]) })
		return fmt.Sprintf("%d lost%s", len(lost), s.names(granted))
	case "lost":
		return strconv.FormatBool(s.table.Lost(pathOf(f[1])))
	case "held":
		all := []string{}
		for _, h := range s.table.Held() {
			all = append(all, fmt.Sprintf("%s %s", h.Holder.Owner, show(h.Claim)))
		}
		return strings.Join(all, ", ")
	}
	owner := Owner(f[0])
	switch f[1] {
	case "lock", "try", "ask":
		r := Request{Claim: parseClaim(t, f[2:]), Owner: owner, Wait: f[1] != "try"}
		id, granted, err := s.table.Lock(r, f[1] != "ask")
		if err != nil {
			return failure(err) + s.names(granted)
		}
		s.asked[id] = owner
		return s.outcome(id, granted)
	case "permit":
		return strings.TrimSpace(s.names(s.table.Permit(s.waits(t, owner))))
	case "forbid":
		s.table.Forbid(s.waits(t, owner))
		return ""
	case "cancel":
		return strings.TrimSpace(s.names(s.table.Cancel(s.waits(t, owner))))
	case "giveway":
		return strings.TrimSpace(s.names(s.table.GiveWay(s.waits(t, owner))))
	case "place":
		p := s.table.Position(s.waits(t, owner))
		text := strconv.Itoa(p.Place)
		for _, h := range p.Holders {
			text += " " + string(h.Owner)
		}
		return text
	case "unlock":
		granted, lost := s.table.Unlock(owner, parseClaim(t, f[2:]))
		return map[bool]string{true: "lost", false: "ok"}[lost] + s.names(granted)
	case "gone":
		granted, removed := s.table.UnlockAll(owner)
		return fmt.Sprintf("%d removed%s", len(removed), s.names(granted))
	case "test":
		if h := s.table.Test(owner, parseClaim(t, f[2:])); h != nil {
			return string(h.Holder.Owner) + " " + show(h.Claim)
		}
		return "free"
	}
	t.Fatalf("no command %q", f)
	return ""
}

func (s *tableScript) outcome(id ID, granted []ID) string {
	others := slices.DeleteFunc(slices.Clone(granted), func(g ID) bool { return g == id })
	if id == 0 || len(others) < len(granted) {
		return "granted" + s.names(others)
	}
	return "waits" + s.names(others)
}

func (s *tableScript) names(ids []ID) string {
	if len(ids) == 0 {
		return ""
	}
	names := []string{}
	for _, id := range ids {
		names = append(names, string(s.asked[id]))
	}
	return " -> " + strings.Join(names, " ")
}

func (s *tableScript) waits(t *testing.T, owner Owner) ID {
	ws := s.table.waiting[owner]
	if len(ws) != 1 {
		t.Fatalf("%s waits for %d", owner, len(ws))
	}
	return ws[0].id
}

func failure(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := e.Kind.String()
	for _, h := range e.Holders {
		text += " " + string(h.Owner)
	}
	for _, c := range e.Cycle {
		text += fmt.Sprintf(" %s:%s", c.Waiter.Owner, c.Path)
	}
	return text
}

func pathOf(text string) string {
	if text == "." {
		return ""
	}
	return text
}

func parseClaim(t *testing.T, f []string) Claim {
	t.Helper()
	c := Claim{Path: pathOf(f[1]), End: MaxOffset}
	c.Tree = strings.HasPrefix(f[0], "T")
	if strings.HasSuffix(strings.ToUpper(f[0]), "X") {
		c.Mode = Exclusive
	}
	if f[0] == "s" || f[0] == "x" {
		c.Space = Record
		from, to, _ := strings.Cut(f[2], "-")
		c.Start, _ = strconv.ParseUint(from, 10, 64)
		if to != "" {
			c.End, _ = strconv.ParseUint(to, 10, 64)
		}
	}
	return c
}

func show(c Claim) string {
	mode := []string{"S", "X"}[c.Mode]
	path := c.Path
	if path == "" {
		path = "."
	}
	switch {
	case c.Tree:
		return "T" + mode + " " + path
	case c.Space == Whole:
		return mode + " " + path
	case c.End == MaxOffset:
		return fmt.Sprintf("%s %s %d-", strings.ToLower(mode), path, c.Start)
	}
	return fmt.Sprintf("%s %s %d-%d", strings.ToLower(mode), path, c.Start, c.End)
}

// TestTableRandom does random things to a table, which is checked after each.
func TestTableRandom(t *testing.T) {
	const ops = 8_000
	rng := rand.New(rand.NewPCG(1, 2))
	table := NewTable()
	count := map[string]int{}
	arrived := map[ID]bool{}
	owners := []Owner{"a", "b", "c", "d", "e", "f"}
	for i := range ops {
		owner := owners[rng.IntN(len(owners))]
		waits := table.waiting[owner]
		var granted []ID
		what := ""
		switch n := rng.IntN(20); {
		case n < 11 && len(waits) == 0:
			r := Request{Claim: randomClaim(rng), Owner: owner, Wait: n < 10}
			id, g, err := table.Lock(r, n%3 != 0)
			granted, what = g, "lock "+KindOf(err).String()
			if err == nil && id != 0 && table.queue[id] != nil {
				arrived[id], what = true, "wait"
			} else if err == nil {
				what = "lock at once"
			}
		case n < 13 && len(waits) > 0 && !waits[0].permitted:
			granted, what = table.Permit(waits[0].id), "permit"
		case n == 13 && len(waits) > 0:
			delete(arrived, waits[0].id)
			granted, what = table.Cancel(waits[0].id), "cancel"
		case n < 18:
			granted, _ = table.Unlock(owner, randomClaim(rng))
			what = "unlock"
		case n == 18 && rng.IntN(5) == 0:
			var removed []ID
			granted, removed = table.UnlockAll(owner)
			for _, id := range removed {
				delete(arrived, id)
			}
			what = "gone"
		case n == 19 && rng.IntN(5) == 0:
			_, granted = table.Lose(func(h Held) bool { return h.Holder.Owner == owner })
			what = "lose"
		}
		if what == "" {
			continue
		}
		count[what]++
		for _, id := range granted {
			if arrived[id] {
				count["granted later"]++
			}
			delete(arrived, id)
		}
		if err := table.Check(); err != nil {
			t.Fatalf("op %d, %s by %s: %v", i, what, owner, err)
		}
		if len(arrived) != len(table.queue) {
			t.Fatalf("op %d: %d wait, %d are in the queue", i, len(arrived), len(table.queue))
		}
	}
	for what, least := range map[string]int{"lock at once": 400, "wait": 400, "granted later": 200, "permit": 100, "cancel": 100,
		"unlock": 1000, "gone": 30, "lose": 30, "lock " + WouldBlock.String(): 20, "lock " + Deadlock.String(): 20, "lock " + Lost.String(): 20} {
		if count[what] < least {
			t.Errorf("%s: %d times, want %d", what, count[what], least)
		}
	}
}

func randomClaim(rng *rand.Rand) Claim {
	c := Claim{Path: []string{"", "d", "d/e", "d/e/f", "d/e/g", "h"}[rng.IntN(6)], Mode: Mode(rng.IntN(2)), End: MaxOffset}
	switch rng.IntN(3) {
	case 0:
		c.Space, c.Path = Record, "d/e/f"
		c.Start = uint64(rng.IntN(20))
		c.End = c.Start + uint64(rng.IntN(8))
		if rng.IntN(8) == 0 {
			c.End = MaxOffset
		}
	case 1:
		c.Tree = rng.IntN(3) == 0
	}
	return c
}

// TestTableFirstCome lets readers and writers queue and compares the order in
// which those that conflict are served with that in which they came.
func TestTableFirstCome(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		table := NewTable()
		claims := map[ID]Claim{}
		held := map[ID]bool{}
		served := []ID{}
		note := func(ids []ID) {
			for _, id := range ids {
				held[id] = true
				served = append(served, id)
			}
		}
		owner := func(id ID) Owner { return Owner(fmt.Sprint("o", id)) }
		for n := ID(1); n <= 40; n++ {
			c := randomClaim(rng)
			claims[n] = c
			id, granted, err := table.Lock(Request{Claim: c, Owner: owner(n), Wait: true}, true)
			if err != nil || id != n {
				t.Fatalf("lock: %v, %v", id, err)
			}
			note(granted)
		}
		for len(held) > 0 {
			for id := range held {
				delete(held, id)
				granted, _ := table.Unlock(owner(id), claims[id])
				note(granted)
				break
			}
		}
		if len(served) != len(claims) {
			t.Fatalf("%d of %d served", len(served), len(claims))
		}
		for i, later := range served {
			for _, earlier := range served[i+1:] {
				if earlier < later && conflict(claims[earlier], owner(earlier), claims[later], owner(later)) {
					t.Errorf("%d (%s) was served before %d (%s)", later, show(claims[later]), earlier, show(claims[earlier]))
				}
			}
		}
	}
}
