//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
	"github.com/causewayfs/causeway/integration/swamp"
)

// swampProcesses is how many processes work on one mount.
const swampProcesses = 16

// swampReport is what one of them did.
type swampReport struct {
	Own    []int // versions it saved under a data name of its own
	Shared []int // versions it claimed of the data name that all save to
	Locked []int // versions it saved while it held the lock that all want
}

// swampWorker is one of the processes: args are the datastore, its number, how
// often it saves, and whether it works under a lock too. It prints its report.
func swampWorker(args []string) error {
	root, me := args[0], args[1]
	saves, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s := &swamp.Store{Root: root, Namespace: "team"}
	var report swampReport
	for i := range saves {
		v, err := s.Save("@test/own/"+me, "result", fmt.Appendf(nil, "%s saved this as its number %d", me, i))
		if err != nil {
			return fmt.Errorf("save: %w", err)
		}
		report.Own = append(report.Own, v)

		v, err = s.Save("@test/all/shared", "result", fmt.Appendf(nil, "%s %d", me, i))
		// Two that save without the lock may unlink the same pointer.
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("save without the lock: %w", err)
		}
		report.Shared = append(report.Shared, v)
		if err := s.SaveOutput("@test/own/"+me, "run", []byte("output of "+me)); err != nil {
			return fmt.Errorf("save output: %w", err)
		}
	}
	if args[3] == "true" {
		if err := swampLocked(s, me, &report); err != nil {
			return err
		}
	}
	if err := swampStreams(s, me); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report)
}

// swampLocked adds one to a number under the model's lock, twice.
func swampLocked(s *swamp.Store, me string, report *swampReport) error {
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		lock, err := s.LockModel(ctx, lockedModel, 10*time.Millisecond)
		cancel()
		if err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		v, err := swampAddOne(s)
		if err := errors.Join(err, lock.Heartbeat(), lock.Release()); err != nil {
			return err
		}
		report.Locked = append(report.Locked, v)
	}
	return nil
}

// lockedModel and lockedName hold the number.
const lockedModel, lockedName = "@test/locked/counter", "sum"

// swampAddOne saves a version that is one more than the newest, which must be
// there: its writer has let go of the lock.
func swampAddOne(s *swamp.Store) (version int, err error) {
	newest, err := s.Latest(lockedModel, lockedName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	sum := 0
	if newest > 0 {
		b, err := s.Load(lockedModel, lockedName, newest)
		if err != nil {
			return 0, fmt.Errorf("load what the last holder saved: %w", err)
		}
		sum, _ = strconv.Atoi(string(b))
	}
	version, err = s.Save(lockedModel, lockedName, []byte(strconv.Itoa(sum+1)))
	if err != nil {
		return 0, fmt.Errorf("save under the lock: %w", err)
	}
	return version, nil
}

// swampStreams writes the kinds of payload that are not saved in one go.
func swampStreams(s *swamp.Store, me string) error {
	model := "@test/own/" + me
	if _, err := s.StreamLines(model, "log", swampLines(me)); err != nil {
		return fmt.Errorf("stream lines: %w", err)
	}
	v, err := s.StreamBytes(model, "blob", pattern(7, 700_000))
	if err != nil {
		return fmt.Errorf("stream bytes: %w", err)
	}
	if _, err := s.HandOut(model, "file", s.Raw(model, "blob", v)); err != nil {
		return fmt.Errorf("hand out: %w", err)
	}
	return nil
}

func swampLines(me string) (lines []string) {
	for i := range 30 {
		lines = append(lines, fmt.Sprintf("line %d of %s", i, me))
	}
	return lines
}

// runSwamp runs the processes on the directories in turn and returns their
// reports.
func runSwamp(t *testing.T, saves int, locks bool, roots ...string) []swampReport {
	t.Helper()
	reports := make([]swampReport, swampProcesses)
	var wg sync.WaitGroup
	for p := range swampProcesses {
		wg.Go(func() {
			cmd := harness.Reexec(t, "swamp-worker", roots[p%len(roots)], fmt.Sprint("p", p), strconv.Itoa(saves), strconv.FormatBool(locks))
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			if err := cmd.Run(); err != nil {
				t.Errorf("process %d: %v\n%s", p, err, &stderr)
				return
			}
			if err := json.Unmarshal(stdout.Bytes(), &reports[p]); err != nil {
				t.Errorf("process %d: %v", p, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return reports
}

// oneToN wants numbers to be 1 to n, each once.
func oneToN(t *testing.T, what string, got []int, n int) {
	t.Helper()
	slices.Sort(got)
	for i := range n {
		if len(got) != n || got[i] != i+1 {
			t.Errorf("%s: got versions %v, want 1 to %d", what, got, n)
			return
		}
	}
}

// checkSwamp wants a datastore to hold what the processes reported.
func checkSwamp(t *testing.T, root string, saves int, reports []swampReport) {
	t.Helper()
	s := &swamp.Store{Root: root, Namespace: "team"}
	var shared, locked []int
	for p, r := range reports {
		me := fmt.Sprint("p", p)
		model := "@test/own/" + me
		oneToN(t, me, slices.Clone(r.Own), saves)
		for i, v := range r.Own {
			b, err := s.Load(model, "result", v)
			if want := fmt.Sprintf("%s saved this as its number %d", me, i); err != nil || string(b) != want {
				t.Errorf("%s version %d: got %q, %v, want %q", me, v, b, err, want)
			}
		}
		if v, err := s.Latest(model, "result"); err != nil || v != saves {
			t.Errorf("%s: latest is %d, %v, want %d", me, v, err, saves)
		}
		for i, v := range r.Shared {
			b, err := s.Load("@test/all/shared", "result", v)
			if want := fmt.Sprintf("%s %d", me, i); err != nil || string(b) != want {
				t.Errorf("shared version %d: got %q, %v, want %q: somebody else's claim", v, b, err, want)
			}
		}
		if b, err := s.Load(model, "log", 1); err != nil || string(b) != strings.Join(swampLines(me), "\n")+"\n" {
			t.Errorf("%s: lines: got %d bytes, %v", me, len(b), err)
		}
		for _, name := range []string{"blob", "file"} {
			if b, err := s.Load(model, name, 1); err != nil || !bytes.Equal(b, pattern(7, 700_000)) {
				t.Errorf("%s: %s: got %d bytes, %v", me, name, len(b), err)
			}
		}
		shared, locked = append(shared, r.Shared...), append(locked, r.Locked...)
	}
	oneToN(t, "shared", shared, swampProcesses*saves)
	if locks, err := s.WalkLocks(); err != nil || len(locks) > 0 {
		t.Errorf("lock files left: %v, %v", locks, err)
	}
	if len(locked) == 0 {
		return
	}
	oneToN(t, "locked", locked, swampProcesses*2)
	if v, err := s.Latest(lockedModel, lockedName); err != nil || v != len(locked) {
		t.Errorf("locked: latest is %d, %v, want %d", v, err, len(locked))
	}
	if b, err := s.Load(lockedModel, lockedName, len(locked)); err != nil || string(b) != strconv.Itoa(len(locked)) {
		t.Errorf("locked: counted to %s, %v, want %d: an update under the lock was lost", b, err, len(locked))
	}
}

// noTemporaries wants no request but none at all to have stored an object
// under a temporary name.
func noTemporaries(t *testing.T, stats s3proxy.Stats) {
	t.Helper()
	for key, ops := range stats.Keys {
		for op, n := range ops {
			if strings.HasSuffix(key, ".tmp") && s3proxy.Mutates(op) && op != s3proxy.DeleteObjects && op != s3proxy.DeleteObject {
				t.Errorf("%d %s of %s", n, op, key)
			}
		}
	}
}

// TestSwamp runs what swamp does with 16 processes on one mount.
func TestSwamp(t *testing.T) {
	saves := 5
	if harness.Long() {
		saves = 30
	}
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	s := &swamp.Store{Root: m.Dir, Namespace: "team"}
	must(t, s.Setup())
	reports := runSwamp(t, saves, true, m.Dir)
	checkSwamp(t, m.Dir, saves, reports)
	env.Quiesce(t)
	noTemporaries(t, env.Proxy.Stats())
	for _, o := range env.List(t, "") {
		if strings.HasSuffix(o.Key, ".tmp") || strings.HasSuffix(o.Key, ".lock") {
			t.Errorf("object %s", o.Key)
		}
	}

	t.Run("remount", func(t *testing.T) {
		m.Restart()
		checkSwamp(t, m.Dir, saves, reports)
	})
	t.Run("other gateway", func(t *testing.T) {
		checkSwamp(t, env.Peer(t).Mount(t).Dir, saves, reports)
	})
	t.Run("remove", func(t *testing.T) {
		must(t, swamp.Remove(m.Path("team", "data"), 4))
		wantGone(t, m.Path("team", "data"))
		env.Quiesce(t)
		for _, o := range env.List(t, "team/data") {
			t.Errorf("left: %s", o.Key)
		}
		must(t, os.Mkdir(m.Path("team", "data"), 0o755))
		if left := names(t, m.Path("team", "data")); len(left) > 0 {
			t.Errorf("made again, it has %v", left)
		}
	})
}

func wantGone(t *testing.T, path string) {
	t.Helper()
	_, err := os.Lstat(path)
	wantErr(t, "lstat "+filepath.Base(path), err, fs.ErrNotExist)
}

// TestSwampOverTwoGateways claims versions from two mounts at the same time:
// mkdir is all that keeps the claims apart. Nothing is done under locks, since
// what the last holder did may take --dir-ttl to appear.
func TestSwampOverTwoGateways(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := env.Mount(t), env.Peer(t).Mount(t)
	s := &swamp.Store{Root: a.Dir, Namespace: "team"}
	must(t, s.Setup())
	visible(t, b.Path("team", "files"))
	reports := runSwamp(t, 3, false, a.Dir, b.Dir)
	a.Restart()
	checkSwamp(t, a.Dir, 3, reports)
}

// TestSwampMigrates moves a datastore into a namespace by renaming its
// directories.
func TestSwampMigrates(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	s := &swamp.Store{Root: m.Dir}
	must(t, s.Setup())
	for i := range 20 {
		_, err := s.Save(fmt.Sprint("@t/m", i%4), "d", fmt.Append(nil, i))
		must(t, err)
	}
	must(t, s.Migrate("team"))
	check := func() {
		t.Helper()
		for i := range 20 {
			b, err := s.Load(fmt.Sprint("@t/m", i%4), "d", 1+i/4)
			if err != nil || string(b) != strconv.Itoa(i) {
				t.Errorf("number %d: got %q, %v", i, b, err)
			}
		}
		if got, want := names(t, m.Path("team")), 11; len(got) != want {
			t.Errorf("%d names in the namespace, want %d: %v", len(got), want, got)
		}
		if got := names(t, m.Dir); !slices.Equal(got, []string{"team"}) {
			t.Errorf("names in the root: got %v, want team alone", got)
		}
	}
	check()
	m.Restart()
	check()
	for _, o := range env.List(t, "") {
		if !strings.HasPrefix(o.Key, "team/") && !strings.HasPrefix(o.Key, ".causeway/") {
			t.Errorf("left where it was: %s", o.Key)
		}
	}
}

// TestSwampPointerNeverComesBack unlinks latest and renames a new one into
// place as fast as it can, which must not bring an older one back.
func TestSwampPointerNeverComesBack(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	s := &swamp.Store{Root: m.Dir}
	must(t, s.Setup())
	const saves = 100
	for i := range saves {
		v, err := s.Save("m", "d", []byte("x"))
		must(t, err)
		if got, err := s.Latest("m", "d"); err != nil || got != v || v != i+1 {
			t.Fatalf("save %d: version %d, latest %d, %v", i+1, v, got, err)
		}
	}
	env.Quiesce(t)
	if o := env.Get(t, "data/m/d/latest"); o == nil || string(o.Body) != strconv.Itoa(saves) {
		t.Errorf("the object latest is %+v, want %d", o, saves)
	}
}
