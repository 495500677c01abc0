package record

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/locks"
)

// TestRecord runs the scripts in testdata/record.txt. A line is a command, and
// behind " = " the record: who holds with which fence, and behind "|" who
// waits. A ticket is a letter for its session and a number.
//
//	TICKET ask MODE [FROM-TO] [at MS] [known SEQ]
//	TICKET withdraw
//	SESSION keep [MODE [FROM-TO]]...   with the ticket of the first entry
//	SESSION drop
//	break FENCE
//	floor FENCE                        from here on
//
// Everything but break grants what it can.
func TestRecord(t *testing.T) {
	text, err := os.ReadFile("testdata/record.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "\n# ")[1:] {
		title, script, _ := strings.Cut(part, "\n")
		t.Run(title, func(t *testing.T) {
			r, floor := New(locks.Record, "f"), uint64(0)
			for _, line := range strings.Split(script, "\n") {
				command, want, checked := strings.Cut(line, " =")
				f := strings.Fields(command)
				if len(f) == 0 {
					continue
				}
				if f[0] == "floor" {
					floor = number(f[1])*Step - 1
					continue
				}
				r = step(r, f, floor)
				if got := show(r); checked && got != strings.TrimSpace(want) {
					t.Errorf("%s\n got %s\nwant %s", command, got, want)
				}
				check(t, r)
			}
		})
	}
}

func step(old Record, f []string, floor uint64) Record {
	r := old.Clone()
	if f[0] == "break" {
		r.Break(number(f[1])*Step + 3)
		return r
	}
	session := locks.SessionID(f[0][:1])
	switch f[1] {
	case "ask":
		e, known := Entry{Session: session, Ticket: f[0], End: locks.MaxOffset}, r.Seq
		for i, word := range f {
			switch {
			case i == 2:
				e.Mode = mode(word)
			case word == "at":
				e.Since = time.UnixMilli(int64(number(f[i+1])))
			case word == "known":
				known = number(f[i+1])
			case i == 3 && strings.Contains(word, "-"):
				e.Start, e.End = span(word)
			}
		}
		r.Enqueue(e, known)
	case "withdraw":
		r.Withdraw(f[0])
	case "drop":
		r.Drop(session)
	case "keep":
		kept := []Entry(nil)
		for _, word := range f[2:] {
			if strings.Contains(word, "-") {
				kept[len(kept)-1].Start, kept[len(kept)-1].End = span(word)
				continue
			}
			e := r.Of(session)[0]
			e.Mode = mode(word)
			kept = append(kept, e)
		}
		r.Keep(session, kept)
	}
	r.Grant(floor)
	return r
}

func number(text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func span(text string) (uint64, uint64) {
	from, to, _ := strings.Cut(text, "-")
	return number(from), number(to)
}

func mode(text string) Mode {
	var m Mode
	if err := m.UnmarshalText([]byte(text)); err != nil {
		panic(err)
	}
	return m
}

func show(r Record) string {
	words := []string{}
	for i, e := range slices.Concat(r.Holders, r.Queue) {
		if i == len(r.Holders) {
			words = append(words, "|")
		}
		text := e.Ticket + ":" + e.Mode.String()
		if e.End != locks.MaxOffset {
			text += fmt.Sprintf(":%d-%d", e.Start, e.End)
		}
		if e.Fence != 0 {
			text += fmt.Sprintf("@%d", e.Fence/Step)
		}
		if e.Broken != 0 {
			text += "!"
		}
		words = append(words, text)
	}
	return strings.Join(words, " ")
}

// check makes sure that r is well formed, that it survives being written and
// read, and that nothing is left to be granted.
func check(t *testing.T, r Record) {
	t.Helper()
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(data)
	if err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	if again, _ := back.Encode(); string(again) != string(data) {
		t.Fatalf("wrote %s\nread  %s", data, again)
	}
	more := r.Clone()
	if g := more.Grant(0); len(g) > 0 {
		t.Fatalf("%s: could have been granted: %+v", show(r), g)
	}
}

func TestModes(t *testing.T) {
	for a := range modes {
		for b := range modes {
			if compatible[a][b] != compatible[b][a] {
				t.Errorf("%v and %v are compatible in one order only", a, b)
			}
			if a.Covers(b) && a != b && b.Covers(a) {
				t.Errorf("%v and %v keep out the same", a, b)
			}
		}
	}
	for text, want := range map[string]string{"IS": "IS", "IX": "IS IX", "S": "IS S", "X": "IS IX S X", "TS": "IS S TS", "TX": "IS IX S X TS TX"} {
		covered := []string{}
		for b := range modes {
			if mode(text).Covers(b) {
				covered = append(covered, b.String())
			}
		}
		if got := strings.Join(covered, " "); got != want {
			t.Errorf("%s covers %s, want %s", text, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	seen := map[string]string{}
	for _, path := range []string{"", "a", "a/b", "a%2Fb", "a b", "ä", "\x01", strings.Repeat("x", 190), strings.Repeat("x", 191), strings.Repeat("x/", 200)} {
		for _, space := range []locks.Space{locks.Whole, locks.Record} {
			key := Key(space, path)
			if other, found := seen[key]; found {
				t.Errorf("%q and %q have the key %q", other, path, key)
			}
			seen[key] = path
			if len(key) > longest || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' }) || strings.Count(key, "/") != 1 {
				t.Errorf("key %q", key)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]error{
		`{"v":2,"holders":7}`: ErrNewer,
		`{"v":0}`:             ErrCorrupt,
		`{}`:                  ErrCorrupt,
		``:                    ErrCorrupt,
		`{"v":1,"space":2}`:   ErrCorrupt,
		`{"v":1,"seq":1,"queue":[{"session":"a","ticket":"b","mode":"Q","end":18446744073709551615,"seq":1}]}`:           ErrCorrupt,
		`{"v":1,"seq":1,"queue":[{"session":"a","ticket":"b","mode":"X","end":18446744073709551615,"seq":2}]}`:           ErrCorrupt,
		`{"v":1,"seq":1,"queue":[{"session":"a","ticket":"b","mode":"X","end":5,"seq":1}]}`:                              ErrCorrupt,
		`{"v":1,"seq":1,"holders":[{"session":"a","ticket":"b","mode":"X","end":18446744073709551615,"seq":1}]}`:         ErrCorrupt,
		`{"v":1,"seq":1,"queue":[{"session":"","ticket":"b","mode":"X","end":18446744073709551615,"seq":1}]}`:            ErrCorrupt,
		`{"v":1,"seq":1,"queue":[{"session":"a","ticket":"b","mode":"X","end":18446744073709551615,"seq":1,"fence":1}]}`: ErrCorrupt,
		`{"v":1,"fence":2,"seq":2,"holders":[{"session":"a","ticket":"a","mode":"X","end":18446744073709551615,"seq":1,"fence":1},
			{"session":"b","ticket":"b","mode":"S","end":18446744073709551615,"seq":2,"fence":2}]}`: ErrCorrupt,
		`{"v":1,"path":"f"}`: nil,
	} {
		if _, err := Decode([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	r := New(locks.Record, "a/b")
	r = step(r, []string{"a1", "ask", "X", "3-9"}, 7)
	r = step(r, []string{"b1", "ask", "S", "5-5"}, 7)
	r = step(r, []string{"break", "1"}, 7)
	r.Holders[0].Owners = []Party{{Holder: locks.Holder{Owner: "o", PID: 5}, Waits: []string{"p/w-x"}}}
	data, _ := r.Encode()
	f.Add(data)
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(data)
		if err != nil {
			return
		}
		data, err = r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(data)
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if again, _ := back.Encode(); string(again) != string(data) {
			t.Fatalf("%s became %s", data, again)
		}
		r.Grant(1)
		if err := r.Check(); err != nil {
			t.Fatalf("%s became %+v: %v", data, r, err)
		}
	})
}

// world is a record and what its history must obey.
type world struct {
	r     Record
	fence uint64 // the largest so far
}

// TestExhaustive goes through all that two and three sessions can do with a few
// tickets: holders never conflict, tickets that conflict are granted in the
// order in which they came, fences grow, and nobody is left waiting when all
// others have let go.
func TestExhaustive(t *testing.T) {
	for _, modes := range [][]Mode{{X, X, X, X, X}, {S, X, S, X, S}, {IX, TX, IX, S, IS}, {IS, TS, IX, TX, S}, {S, S, X, IX, TS}} {
		tickets := []Entry{}
		for i, m := range modes {
			session := locks.SessionID([]string{"a", "b", "c", "a", "b"}[i])
			tickets = append(tickets, Entry{Session: session, Ticket: fmt.Sprint(session, i), Mode: m, End: locks.MaxOffset})
		}
		seen := map[string]bool{}
		explore(t, world{r: New(locks.Whole, "f")}, tickets, 0, seen)
		if len(seen) < 500 {
			t.Errorf("%v: %d states", modes, len(seen))
		}
	}
}

// explore does everything that can be done in w; asked has a bit for each
// ticket that was used.
func explore(t *testing.T, w world, tickets []Entry, asked int, seen map[string]bool) {
	order := fmt.Sprint(asked, " ", w.key())
	if seen[order] {
		return
	}
	seen[order] = true
	done := w.r.Clone()
	for range tickets {
		done.Holders = nil
		done.Grant(0)
	}
	if len(done.Queue) > 0 {
		t.Fatalf("%s: waits for nobody: %s", order, show(done))
	}
	for i, e := range tickets {
		if asked&(1<<i) == 0 {
			explore(t, w.do(t, func(r *Record) { r.Enqueue(e, r.Seq) }), tickets, asked|1<<i, seen)
		} else if w.r.Waiting(e.Ticket) >= 0 {
			explore(t, w.do(t, func(r *Record) { r.Withdraw(e.Ticket) }), tickets, asked, seen)
		}
	}
	for _, s := range w.r.Sessions("") {
		explore(t, w.do(t, func(r *Record) { r.Drop(s) }), tickets, asked, seen)
		if own := w.r.Of(s); len(own) > 0 {
			explore(t, w.do(t, func(r *Record) { r.Keep(s, own[1:]) }), tickets, asked, seen)
		}
	}
}

// key is what the record is, without the numbers of its fences.
func (w world) key() string {
	r := w.r.Clone()
	for i := range r.Holders {
		r.Holders[i].Fence = 0
	}
	return show(r)
}

func (w world) do(t *testing.T, change func(*Record)) world {
	t.Helper()
	next := world{r: w.r.Clone(), fence: w.fence}
	change(&next.r)
	queue := slices.Clone(next.r.Queue)
	for _, g := range next.r.Grant(0) {
		if g.Fence <= next.fence {
			t.Fatalf("%s: fence %d after %d", show(w.r), g.Fence, next.fence)
		}
		next.fence = g.Fence
		for _, q := range queue[:slices.IndexFunc(queue, func(q Entry) bool { return q.Ticket == g.Ticket })] {
			if Conflict(q, g) && next.r.Waiting(q.Ticket) >= 0 {
				t.Fatalf("%s: %s was served before %s", show(w.r), g.Ticket, q.Ticket)
			}
		}
	}
	if err := next.r.Check(); err != nil {
		t.Fatalf("%s: %v", show(w.r), err)
	}
	return next
}

// TestRandom does random things to a record of ranges.
func TestRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	w := world{r: New(locks.Record, "f")}
	count := map[string]int{}
	for i := range 3000 {
		session := locks.SessionID([]string{"a", "b", "c", "d"}[rng.IntN(4)])
		what := []string{"ask", "ask", "ask", "withdraw", "keep", "keep", "drop"}[rng.IntN(7)]
		e := Entry{Session: session, Ticket: fmt.Sprint(session, i), Mode: []Mode{S, X}[rng.IntN(2)], Start: rng.Uint64N(30)}
		e.End = e.Start + rng.Uint64N(6)
		count[what]++
		w = w.do(t, func(r *Record) {
			switch own := r.Of(session); {
			case what == "ask" && len(r.Queue) < 12:
				r.Enqueue(e, r.Seq)
			case what == "withdraw" && len(r.Queue) > 0:
				r.Withdraw(r.Queue[rng.IntN(len(r.Queue))].Ticket)
			case what == "keep" && len(own) > 0:
				r.Keep(session, own[1:])
			case what == "drop":
				r.Drop(session)
			}
		})
	}
	for _, what := range []string{"ask", "withdraw", "keep", "drop"} {
		if count[what] < 200 {
			t.Errorf("%s: %d times", what, count[what])
		}
	}
	if w.fence < 500*Step {
		t.Errorf("%d grants", w.fence)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	r := step(New(locks.Record, "f"), []string{"a1", "ask", "X"}, 0)
	before := r.Clone()
	other := r.Clone()
	other.Break(Step)
	other.Drop("a")
	if !reflect.DeepEqual(r, before) {
		t.Errorf("changed with its clone: %s", show(r))
	}
}
