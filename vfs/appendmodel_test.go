package vfs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/causewayfs/causeway/store/mem"
)

// appendModel is what two gateways should make of a log.
type appendModel struct {
	t         *testing.T
	rng       *rand.Rand
	worlds    [2]*world
	handles   [2][]*Handle
	pending   [2]string // written there and not committed
	committed string
	next      int
}

// TestAppendModel does anything to a log on two gateways, one thing after the
// other, and compares with a model what each of them shows; the log grows over
// the size from which S3 copies it.
func TestAppendModel(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := mem.New()
			m := &appendModel{t: t, rng: rand.New(rand.NewPCG(seed, 5))}
			m.worlds = [2]*world{newWorld(t, s, nil), newWorld(t, s, nil)}
			if seed%2 == 1 {
				m.committed = strings.Repeat("base", (appendCopy-30_000)/4)
				m.worlds[0].must(m.worlds[0].write("log", m.committed, 0))
			} else {
				m.worlds[0].must(m.worlds[0].write("log", "", 0))
			}
			for range 150 {
				m.step(m.rng.IntN(2))
			}
			for g := range m.worlds {
				for len(m.handles[g]) > 0 {
					m.close(g, 0)
				}
			}
			for g := range m.worlds {
				m.read(g)
			}
		})
	}
}

// step does one thing on a gateway.
func (m *appendModel) step(g int) {
	w, open := m.worlds[g], m.handles[g]
	switch what := m.rng.IntN(10); {
	case what < 2 && len(open) < 3 || len(open) == 0:
		flags := []int{appendFlags, syscall.O_RDWR | syscall.O_APPEND}[m.rng.IntN(2)]
		h, err := w.open("log", flags)
		w.must(err)
		m.handles[g] = append(open, h)
	case what < 6:
		m.next++
		record := fmt.Sprintf("<%d:%d %s>", g, m.next, strings.Repeat(string(rune('a'+m.next%26)), m.rng.IntN(3000)))
		_, err := w.fs.Write(w.ctx, open[m.rng.IntN(len(open))], []byte(record), 0)
		w.must(err)
		m.pending[g] += record
	case what < 7:
		w.must(w.fs.Fsync(w.ctx, open[m.rng.IntN(len(open))]))
		m.commit(g)
	case what < 8:
		m.close(g, m.rng.IntN(len(open)))
	default:
		m.read(g)
	}
}

// commit is the model of a commit, which takes all that is written there.
func (m *appendModel) commit(g int) {
	m.committed += m.pending[g]
	m.pending[g] = ""
}

func (m *appendModel) close(g, i int) {
	w, h := m.worlds[g], m.handles[g][i]
	m.handles[g] = append(m.handles[g][:i:i], m.handles[g][i+1:]...)
	w.must(w.fs.Fsync(w.ctx, h))
	w.must(w.fs.Flush(w.ctx, h))
	w.fs.Release(h)
	m.commit(g)
}

// read wants an open to see all that is committed, or, where more is written, a
// version and that behind it.
func (m *appendModel) read(g int) {
	m.t.Helper()
	got, err := m.worlds[g].read("log")
	if err != nil {
		m.t.Fatalf("gateway %d: %v", g, err)
	}
	base, ok := strings.CutSuffix(got, m.pending[g])
	if m.pending[g] == "" && got != m.committed || !ok || !strings.HasPrefix(m.committed, base) {
		m.t.Fatalf("gateway %d reads %d bytes, ending in %q; %d are committed, ending in %q, and %d pending",
			g, len(got), got[max(0, len(got)-60):], len(m.committed), m.committed[max(0, len(m.committed)-60):], len(m.pending[g]))
	}
}
