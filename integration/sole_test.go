//go:build integration

package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// TestSoleRequests: a mount that is alone on the bucket makes directories
// without a request, and a save of a new version is two PUTs.
func TestSoleRequests(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		m := env.Mount(t)
		must(t, os.Mkdir(m.Path("d"), 0o755))
		names(t, m.Path("d"))
		const saves = 20
		got := env.Requests(t, func() {
			for i := range saves {
				dir := m.Path("d", fmt.Sprint(i))
				must(t, os.Mkdir(dir, 0o755))
				for tmp, name := range map[string]string{dir + "/.1.tmp": dir + "/raw", m.Path("d/.2.tmp"): m.Path("d/latest")} {
					write(t, tmp, fmt.Sprint("version ", i))
					must(t, os.Rename(tmp, name))
				}
			}
		})
		if n := got[s3proxy.PutObject]; n != 2*saves {
			t.Errorf("%d saves: %s, want 2 PUTs each", saves, counts(got))
		}
	})
}

// TestSoleHandOvers lets two mounts race for names while they come and go: by
// unmount, and now and then by SIGKILL. No name has two winners, but if one of
// them was killed before it could tell the other.
func TestSoleHandOvers(t *testing.T) {
	rounds, killEvery := 24, 12
	if os.Getenv("CAUSEWAY_LONG") != "" {
		rounds, killEvery = 2000, 100
	}
	onBoth(t, func(t *testing.T, env *harness.Env) {
		a, b := pair(t, env)
		mounts := [2]*harness.Mount{a, b}
		for round := range rounds {
			for kind, try := range []func(path string) error{
				func(path string) error { return os.Mkdir(path, 0o755) },
				func(path string) error {
					f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
					if err != nil {
						return err
					}
					_, err = f.WriteString(path)
					return errors.Join(err, f.Close())
				},
			} {
				name := fmt.Sprint("k", kind, "-", round)
				winners := race(t, 4, fs.ErrExist, func(r int) error { return try(mounts[r%2].Path(name)) })
				if len(winners) != 1 {
					t.Fatalf("round %d, kind %d: winners %v, want one", round, kind, winners)
				}
			}
			comeAndGo(t, mounts[:], round, killEvery)
		}
	})
}

// comeAndGo stops one of two mounts, lets the other one work alone, and starts it
// again: it must be at work soon.
func comeAndGo(t *testing.T, mounts []*harness.Mount, round, killEvery int) {
	t.Helper()
	if round%4 != 3 {
		return
	}
	i := rand.IntN(2)
	gone, stays := mounts[i], mounts[1-i]
	killed := round%killEvery == killEvery-1
	if killed {
		must(t, os.Mkdir(gone.Path(fmt.Sprint("last-", round)), 0o755))
		gone.Kill9()
	} else {
		gone.Stop()
	}
	began := time.Now()
	must(t, os.Mkdir(stays.Path(fmt.Sprint("alone-", round)), 0o755))
	if killed {
		t.Logf("round %d: the other mount went on %v after a kill", round, time.Since(began))
	}
	gone.Start()
	began = time.Now()
	must(t, os.Mkdir(gone.Path(fmt.Sprint("back-", round)), 0o755))
	t.Logf("round %d: back at work after %v", round, time.Since(began))
	for _, name := range []string{"alone-", "back-"} {
		for _, m := range mounts {
			if err := os.Mkdir(m.Path(fmt.Sprint(name, round)), 0o755); !errors.Is(err, fs.ErrExist) {
				t.Errorf("round %d: mkdir of %s again: %v", round, name, err)
			}
		}
	}
}
