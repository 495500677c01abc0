//go:build integration

package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

const treeFiles = 200

// seedTree stores a tree of files in three directories, as another tool would.
func seedTree(t *testing.T, env *harness.Env, dir string) {
	t.Helper()
	env.Seed(t, treeFiles, func(i int) string { return fmt.Sprintf("%s/sub%d/f%03d", dir, i%3, i) })
}

// wholeTree says what is wrong if the bucket does not hold exactly the tree
// that was seeded as from, as one of the names allowed.
func wholeTree(t *testing.T, env *harness.Env, from string, allowed ...string) error {
	t.Helper()
	found := map[string]int{}
	for _, o := range env.List(t, "") {
		dir, rest, _ := strings.Cut(o.Key, "/")
		if strings.HasSuffix(o.Key, "/") || dir == ".causeway" {
			continue
		}
		found[dir]++
		if body := string(env.Get(t, o.Key).Body); body != from+"/"+rest {
			return fmt.Errorf("%s holds %.80q", o.Key, body)
		}
	}
	for _, dir := range allowed {
		if len(found) == 1 && found[dir] == treeFiles {
			return nil
		}
	}
	return fmt.Errorf("files by directory: %v, want %d in one of %v", found, treeFiles, allowed)
}

// noTrees waits until no operation on a tree is left.
func noTrees(t *testing.T, env *harness.Env, limit time.Duration) {
	t.Helper()
	eventually(t, limit, func() error {
		if left := len(env.List(t, ".causeway/trees/")); left > 0 {
			return fmt.Errorf("%d operations on trees are not finished", left)
		}
		return nil
	})
}

// killInRename kills the mount after about so many requests of a rename. It
// reports whether the rename was done before.
func killInRename(t *testing.T, env *harness.Env, m *harness.Mount, from, to string, requests int) bool {
	t.Helper()
	env.Quiesce(t)
	env.Proxy.Reset()
	result := make(chan error, 1)
	go func() { result <- os.Rename(m.Path(from), m.Path(to)) }()
	for {
		select {
		case err := <-result:
			must(t, err)
			m.Kill9()
			return true
		default:
		}
		total := 0
		for _, n := range env.Proxy.Stats().Without(harness.Background) {
			total += n
		}
		if total >= requests {
			break
		}
		time.Sleep(time.Millisecond)
	}
	m.Kill9()
	return <-result == nil
}

// TestTreeKilled kills a mount at random moments of `mv` of a directory. The
// next mount with its state directory finishes what was begun.
func TestTreeKilled(t *testing.T) {
	rounds := 5
	if harness.Long() {
		rounds = 40
	}
	onBoth(t, func(t *testing.T, env *harness.Env) {
		env.Proxy.SetLatency(2 * time.Millisecond)
		rng := rand.New(rand.NewPCG(7, 11))
		seedTree(t, env, "tree0")
		m := env.Mount(t)
		now := "tree0"
		for round := range rounds {
			next := fmt.Sprint("tree", round+1)
			requests := 1 + rng.IntN(treeFiles*2+20)
			done := killInRename(t, env, m, now, next, requests)
			m.Start()
			noTrees(t, env, time.Minute)
			allowed := []string{next, now}
			if done {
				allowed = allowed[:1]
			}
			if err := wholeTree(t, env, "tree0", allowed...); err != nil {
				t.Fatalf("round %d, killed after %d requests, done %v: %v\n%s", round, requests, done, err, m.Log())
			}
			if _, err := os.Stat(m.Path(next)); err == nil {
				now = next
			} else if done || !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if got := len(names(t, m.Path(now, "sub0"))); got != (treeFiles+2)/3 {
				t.Errorf("round %d: the mount shows %d files", round, got)
			}
		}
	})
}

// TestTreeTakenOver kills a mount in the middle of a rename, and another
// gateway finishes it.
func TestTreeTakenOver(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		env.Proxy.SetLatency(2 * time.Millisecond)
		seedTree(t, env, "tree")
		m := env.Mount(t)
		if killInRename(t, env, m, "tree", "moved", treeFiles/2) {
			t.Fatal("the rename was done before the mount could be killed")
		}
		peer := env.Peer(t).Mount(t)
		noTrees(t, env, 2*time.Minute)
		if err := wholeTree(t, env, "tree", "moved"); err != nil {
			t.Fatalf("%v\n%s", err, peer.Log())
		}
		eventually(t, 10*time.Second, func() error {
			if _, err := os.Stat(peer.Path("tree")); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("the old name on the peer: %v", err)
			}
			return nil
		})
		read(t, peer.Path("moved", "sub1", "f001"), "tree/sub1/f001")
	})
}
