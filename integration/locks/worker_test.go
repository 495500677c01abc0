//go:build integration

package locks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/causewayfs/causeway/locks"
	"github.com/causewayfs/causeway/locks/lease"
	"github.com/causewayfs/causeway/store"
)

// patience is after what time a wait without a deadline counts as hung.
const patience = 90 * time.Second

// paths are few, so that they are contended, on several levels.
var paths = []string{"f", "g", "d", "d/f", "d/e", "d/e/f", "d/e/g", "h/i"}

// random runs workers until the gateway is told to stop.
func (g *gateway) random(ctx context.Context, c command) {
	for w := range c.Workers {
		g.work.Go(func() {
			rng := rand.New(rand.NewPCG(c.Seed, uint64(w)))
			for !g.stop.Load() {
				g.step(ctx, rng, fmt.Sprintf("w%d", w))
			}
		})
	}
	go func() {
		g.work.Wait()
		g.tell(event{Kind: evDone})
	}()
}

// step is one lock operation.
func (g *gateway) step(ctx context.Context, rng *rand.Rand, owner string) {
	op := int(g.ops.Add(1))
	excl, tree, wait := rng.IntN(10) < 7, rng.IntN(12) == 0, rng.IntN(5) > 0
	r := g.request(op, owner, paths[rng.IntN(len(paths))], excl, tree, wait)
	limit := patience
	if rng.IntN(5) == 0 {
		limit = time.Duration(1+rng.IntN(400)) * time.Millisecond
	}
	asking, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	grant, err := g.lock(asking, r)
	if err != nil {
		if limit == patience && errors.Is(asking.Err(), context.DeadlineExceeded) {
			g.tell(event{Kind: evFailed, Op: op, Error: "hung"})
		}
		if locks.KindOf(err) == locks.NoLock || locks.KindOf(err) == locks.WouldBlock {
			time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		return
	}
	done := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-grant.Lost:
			g.tell(event{Kind: evLost, Op: op})
		case <-done:
		}
	}()
	pause := time.Duration(rng.IntN(8)) * time.Millisecond
	if rng.IntN(10) == 0 {
		pause *= 20
	}
	if excl && rng.IntN(2) == 0 {
		g.commit(ctx, op, r.Path, pause)
	} else {
		time.Sleep(pause)
	}
	g.tell(event{Kind: evReleasing, Op: op})
	close(done)
	<-told
	err = g.locks.Unlock(r.Owner, r.Claim)
	g.tell(event{Kind: evReleased, Op: op, Error: kindOf(err)})
}

// commit counts in the file path, as a gateway changes a file: by the version
// that it has read, if no lock on it was lost.
func (g *gateway) commit(ctx context.Context, op int, path string, pause time.Duration) {
	e := event{Kind: evCommitted, Op: op}
	defer func() { g.tell(e) }()
	key := "data/" + path + ".count"
	count, cond, err := g.count(ctx, key)
	if err != nil {
		e.Error = "read: " + err.Error()
		return
	}
	time.Sleep(pause)
	if err := g.locks.Check(path); err != nil {
		e.Error = kindOf(err)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	guard := g.locks.Guard(path)
	go func() {
		select {
		case <-guard:
			cancel()
		case <-ctx.Done():
		}
	}()
	body := []byte(strconv.Itoa(count + 1))
	e.Begun = lease.Boot()
	// Check comes again when the time is taken: a pause between the two is not
	// to be taken for a late commit.
	if err := g.locks.Check(path); err != nil {
		e.Error = kindOf(err)
		return
	}
	_, err = g.data.Put(ctx, key, store.Body{Reader: bytes.NewReader(body), Size: int64(len(body))}, store.PutOptions{If: cond})
	if err != nil {
		e.Error = store.KindOf(err).String()
	}
}

// count reads a file, and says on what condition it may be replaced.
func (g *gateway) count(ctx context.Context, key string) (int, store.Precondition, error) {
	obj, err := g.data.Get(ctx, key, store.GetOptions{})
	if store.IsKind(err, store.NotExist) {
		return 0, store.IfAbsent(), nil
	}
	if err != nil {
		return 0, store.Always, err
	}
	defer func() { _ = obj.Body.Close() }()
	text, err := io.ReadAll(obj.Body)
	if err != nil {
		return 0, store.Always, err
	}
	n, err := strconv.Atoi(string(text))
	return n, store.IfMatch(obj.Info.ETag), err
}
