package vfs

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/fault"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/store/retry"
)

// appender appends records until it has done n, and checks nothing: the log
// tells.
type appender struct {
	w      *world
	id     int
	sizes  func(*rand.Rand) int
	acked  []bool
	reopen bool // for each record
	again  bool // an fsync that failed is tried again
}

func (p *appender) record(i int, rng *rand.Rand) string {
	body := strings.Repeat(string(rune('a'+p.id%26)), p.sizes(rng))
	return fmt.Sprintf("<%d %d %s>\n", p.id, i, body)
}

func (p *appender) run(n int) {
	rng := rand.New(rand.NewPCG(uint64(p.id), 7))
	p.acked = make([]bool, n)
	var h *Handle
	closeIt := func() {
		if h != nil {
			p.w.fs.Release(h)
			h = nil
		}
	}
	defer closeIt()
	for i := range n {
		var err error
		if h == nil {
			if h, err = p.w.open("log", appendFlags|syscall.O_CREAT); err != nil {
				continue
			}
		}
		_, err = p.w.fs.Write(p.w.ctx, h, []byte(p.record(i, rng)), 0)
		if err == nil {
			err = p.w.fs.Fsync(p.w.ctx, h)
			for tries := 0; err != nil && p.again && tries < 20; tries++ {
				err = p.w.fs.Fsync(p.w.ctx, h)
			}
		}
		p.acked[i] = err == nil
		if p.reopen || err != nil {
			closeIt()
		}
	}
}

// checkLog wants each record whole, in the order of its appender, at most once,
// and once if it was acknowledged.
func checkLog(t *testing.T, text string, all []*appender) {
	t.Helper()
	last := map[int]int{}
	seen := map[[2]int]bool{}
	for at, line := range strings.SplitAfter(text, "\n") {
		if line == "" {
			continue
		}
		var id, i int
		var body string
		if n, _ := fmt.Sscanf(line, "<%d %d %s\n", &id, &i, &body); n != 3 || id >= len(all) ||
			strings.Trim(body, string(rune('a'+id%26))) != ">" {
			t.Fatalf("line %d is torn: %.60q", at, line)
		}
		if seen[[2]int{id, i}] {
			t.Errorf("record %d of %d is there twice", i, id)
		}
		if prev, ok := last[id]; ok && i < prev {
			t.Errorf("record %d of %d comes after %d", i, id, prev)
		}
		last[id], seen[[2]int{id, i}] = i, true
	}
	acked := 0
	for _, p := range all {
		for i, ok := range p.acked {
			if ok {
				acked++
			}
			if ok && !seen[[2]int{p.id, i}] {
				t.Errorf("record %d of %d was acknowledged and is lost", i, p.id)
			}
		}
	}
	t.Logf("%d records acknowledged, %d in the log", acked, len(seen))
	if acked == 0 {
		t.Error("nothing was acknowledged")
	}
}

// TestAppendersUnderFaults lets many append over two gateways while a fifth of
// all requests fail in all ways, with retries that settle most of it, and
// without, so that calls fail and are tried again.
func TestAppendersUnderFaults(t *testing.T) {
	for _, retries := range []bool{true, false} {
		t.Run(fmt.Sprint("retries ", retries), func(t *testing.T) {
			s := mem.New()
			var worlds []*world
			var rules []*fault.Rule
			for i := range uint64(2) {
				log := fault.Key("log")
				own := []*fault.Rule{
					fault.On(fault.Lost(), log, fault.Chance(0.08, i)),
					fault.On(fault.Fail(store.Unavailable), log, fault.Chance(0.06, i+10)),
					fault.On(fault.Fail(store.Throttled), log, fault.Chance(0.03, i+20)),
					fault.On(fault.Hang(5*time.Millisecond), log, fault.Chance(0.03, i+30)),
					fault.On(fault.Tear(100), log, fault.Ops(store.OpGet), fault.Chance(0.1, i+40)),
				}
				rules = append(rules, own...)
				var faulty store.Store = fault.Wrap(s, own...)
				if retries {
					faulty = retry.New(faulty, retry.Config{BaseDelay: time.Millisecond, MaxDelay: 4 * time.Millisecond,
						Budget: retry.NewBudget(1, 1e6, 1e6)})
				}
				worlds = append(worlds, newWorld(t, faulty, nil))
			}
			var all []*appender
			var wg sync.WaitGroup
			for id := range 12 {
				p := &appender{w: worlds[id%2], id: id, reopen: id%3 == 0, again: id%3 == 1, sizes: func(r *rand.Rand) int { return 1 + r.IntN(2000) }}
				all = append(all, p)
				wg.Go(func() { p.run(60) })
			}
			wg.Wait()
			text, _, _ := objectOf(t, s, "log")
			checkLog(t, text, all)
			fault.Exercised(t, rules...)
		})
	}
}

// TestAppendersOfLargeFile does the same where S3 copies what is there.
func TestAppendersOfLargeFile(t *testing.T) {
	s := mem.New()
	s.MinPartSize = 5 << 20
	a := newWorld(t, s, nil)
	b := newWorld(t, s, nil)
	a.must(a.write("log", strings.Repeat("<0 0 a>\n", 1), 0))
	var all []*appender
	var wg sync.WaitGroup
	for id := range 4 {
		p := &appender{w: []*world{a, b}[id%2], id: id, sizes: func(r *rand.Rand) int { return 1<<20 + r.IntN(300_000) }}
		all = append(all, p)
		wg.Go(func() { p.run(6) })
	}
	wg.Wait()
	text, _, _ := objectOf(t, s, "log")
	checkLog(t, strings.TrimPrefix(text, "<0 0 a>\n"), all)
	for _, p := range all {
		for i, ok := range p.acked {
			if !ok {
				t.Errorf("record %d of %d failed", i, p.id)
			}
		}
	}
	for _, w := range []*world{a, b} {
		if got, err := w.read("log"); err != nil || got != text {
			t.Errorf("gateway reads %d bytes, %v, want %d", len(got), err, len(text))
		}
	}
	if !eventually(10*time.Second, func() bool { ups, _ := s.ListUploads(context.Background(), ""); return len(ups) == 0 }) {
		t.Error("uploads are left")
	}
}

// TestAppendersShareCommits has as many records in a commit as there are
// appenders.
func TestAppendersShareCommits(t *testing.T) {
	a := newWorld(t, slow{mem.New()}, nil)
	a.must(a.add("log", "<0 0 a>\n"))
	a.ops.reset()
	const appenders, each = 8, 20
	var wg sync.WaitGroup
	for i := range appenders {
		wg.Go(func() {
			for k := range each {
				if err := a.add("log", fmt.Sprintf("%d %d\n", i, k)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	a.ops.mu.Lock()
	puts := a.ops.ops[store.OpPut]
	a.ops.mu.Unlock()
	if puts > 2*each {
		t.Errorf("%d commits for %d records of each of %d appenders", puts, each, appenders)
	}
	t.Logf("%d commits for %d records", puts, appenders*each)
}
