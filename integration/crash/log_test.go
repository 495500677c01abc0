//go:build integration

package crash

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// appendsCommute says whether appends through two gateways at the same time all
// succeed. As long as they do not, one of two may be ESTALE; none may be lost
// that was acknowledged. With --commit local the conflict comes after the
// acknowledgement, so there nobody appends to it.
const appendsCommute = false

// sharedLog is a file that writers on both gateways append to.
type sharedLog struct {
	mu    sync.Mutex // guards all below while writers run
	next  [2]int     // number of the next record, by gateway
	sure  map[string]bool
	maybe map[string]bool // answered with an error, or not at all
	errs  []error         // of a gateway that was not killed
}

const sharedLogName = "shared/log"

func newSharedLog(t *testing.T, dir string) *sharedLog {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	s := &sharedLog{sure: map[string]bool{}, maybe: map[string]bool{}}
	if !appendsCommute { // then two that create it at the same time do not either
		must(t, appendTo(filepath.Base(sharedLogName), record("0.0", 50), "0.0").do(dir))
		s.sure["0.0"], s.next[0] = true, 1
	}
	return s
}

// run appends records through a gateway until it is killed or stop is closed.
func (s *sharedLog) run(g *crashGateway, gw int, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond): // the file must not grow too much
		}
		s.mu.Lock()
		id := fmt.Sprintf("%d.%d", gw, s.next[gw])
		s.next[gw]++
		s.maybe[id] = true
		s.mu.Unlock()
		err := appendTo(sharedLogName, record(id, 50), id).do(g.m.Dir)
		s.mu.Lock()
		switch {
		case err == nil:
			delete(s.maybe, id)
			s.sure[id] = true
		case g.killedAt.Load() == nil && (appendsCommute || !errors.Is(err, unix.ESTALE)):
			s.errs = append(s.errs, fmt.Errorf("append record %s: %w", id, err))
		}
		s.mu.Unlock()
		if err != nil && g.killedAt.Load() != nil {
			return
		}
	}
}

// check wants every record that was acknowledged once, in the order of its
// writer, and no other but those that may be there.
func (s *sharedLog) check(t *testing.T, r *crashRun) {
	t.Helper()
	for _, err := range s.errs {
		r.fail(t, "%v, although nothing is wrong", err)
	}
	s.errs = nil
	for i, g := range r.gateways {
		err := s.compare(filepath.Join(g.m.Dir, sharedLogName))
		for deadline := time.Now().Add(settleLimit); err != nil && time.Now().Before(deadline); {
			time.Sleep(50 * time.Millisecond)
			err = s.compare(filepath.Join(g.m.Dir, sharedLogName))
		}
		if err != nil {
			r.fail(t, "%s through gateway %d: %v", sharedLogName, i, err)
		}
	}
}

func (s *sharedLog) compare(path string) error {
	b, err := os.ReadFile(path)
	if errors.Is(err, unix.ENOENT) && len(s.sure) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	seen, last := map[string]bool{}, map[string]int{}
	for at := len(b); len(b) > 0; {
		id, rest, ok := cutRecord(b)
		if !ok {
			return fmt.Errorf("torn at byte %d of %d, after %d records", at-len(b), at, len(seen))
		}
		b = rest
		writer, number, _ := strings.Cut(id, ".")
		n, _ := strconv.Atoi(number)
		switch {
		case seen[id]:
			return fmt.Errorf("record %s is there twice", id)
		case !s.sure[id] && !s.maybe[id]:
			return fmt.Errorf("record %s was never written", id)
		case n < last[writer]:
			return fmt.Errorf("record %s comes after number %d of its writer", id, last[writer])
		}
		seen[id], last[writer] = true, n
	}
	for id := range s.sure {
		if !seen[id] {
			return fmt.Errorf("record %s was acknowledged and is lost (%d of %d are there)", id, len(seen), len(s.sure))
		}
	}
	return nil
}
