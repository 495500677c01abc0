//go:build integration

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
)

// lockKind is a way to lock a file.
type lockKind string

const (
	byFlock lockKind = "flock"
	byFcntl lockKind = "fcntl"
	byOFD   lockKind = "ofd"
)

// lockFile locks all of f, or unlocks it.
func lockFile(f *os.File, kind lockKind, unlock bool) error {
	if kind == byFlock {
		how := unix.LOCK_EX
		if unlock {
			how = unix.LOCK_UN
		}
		return unix.Flock(int(f.Fd()), how)
	}
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if unlock {
		lk.Type = unix.F_UNLCK
	}
	cmd := unix.F_SETLKW
	if kind == byOFD {
		cmd = unix.F_OFD_SETLKW
	}
	return unix.FcntlFlock(f.Fd(), cmd, &lk)
}

// lockCounter is a child: KIND PATH STEPS ONCE adds 1 to the number in a file
// STEPS times, each time under a lock, with one open for all if ONCE is true.
func lockCounter(args []string) error {
	kind, path, once := lockKind(args[0]), args[1], args[3] == "true"
	steps, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var f *os.File
	for i := range steps {
		if f == nil {
			if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
				return fmt.Errorf("step %d: %w", i, err)
			}
		}
		if err := lockFile(f, kind, false); err != nil {
			return fmt.Errorf("step %d: lock: %w", i, err)
		}
		buf := make([]byte, 32)
		n, _ := f.ReadAt(buf, 0) // io.EOF
		count, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if _, err := f.WriteAt(fmt.Appendf(nil, "%010d", count+1), 0); err != nil {
			return fmt.Errorf("step %d: write: %w", i, err)
		}
		if once {
			if err := lockFile(f, kind, true); err != nil {
				return fmt.Errorf("step %d: unlock: %w", i, err)
			}
			continue
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("step %d: close: %w", i, err)
		}
		f = nil
	}
	return nil
}

// lockCycle is a child: FIRST SECOND locks one file, says so, waits for a line,
// and locks the other. It prints what came of that.
func lockCycle(args []string) error {
	var files [2]*os.File
	for i, path := range args {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		files[i] = f
	}
	if err := lockFile(files[0], byFcntl, false); err != nil {
		return err
	}
	fmt.Println("locked")
	var line string
	fmt.Scanln(&line)
	err := lockFile(files[1], byFcntl, false)
	fmt.Println("second:", err)
	return nil
}

// TestLockCounters: processes on one mount and on two add to a counter under a
// lock, and lose nothing.
func TestLockCounters(t *testing.T) {
	const workers, steps = 4, 6
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	for _, mounts := range [][]*harness.Mount{{a}, {a, b}} {
		for _, kind := range []lockKind{byFlock, byFcntl, byOFD} {
			for _, once := range []bool{false, true} {
				name := fmt.Sprintf("%s-%d-once-%v", kind, len(mounts), once)
				t.Run(name, func(t *testing.T) {
					write(t, a.Path(name), fmt.Sprintf("%010d", 0))
					visible(t, b.Path(name))
					var wg sync.WaitGroup
					for i := range workers {
						m := mounts[i%len(mounts)]
						cmd := harness.Reexec(t, "lock-counter", string(kind), m.Path(name), strconv.Itoa(steps), strconv.FormatBool(once))
						wg.Go(func() {
							if out, err := cmd.CombinedOutput(); err != nil {
								t.Errorf("worker on %s: %v: %s", m.Dir, err, out)
							}
						})
					}
					wg.Wait()
					for _, m := range []*harness.Mount{a, b} {
						read(t, m.Path(name), fmt.Sprintf("%010d", workers*steps))
					}
				})
			}
		}
	}
}

// TestLockCalls: flock(1) waits, is interrupted, and its lock goes with it.
func TestLockCalls(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	write(t, a.Path("f"), "x")
	visible(t, b.Path("f"))
	f, err := os.OpenFile(a.Path("f"), os.O_RDWR, 0)
	must(t, err)
	must(t, lockFile(f, byFlock, false))
	wantErr(t, "flock that does not wait", tryFlock(a.Path("f")), unix.EWOULDBLOCK)

	// A waiter on the other mount is interrupted, and nobody is left in the queue.
	waiter := exec.Command("flock", b.Path("f"), "true")
	must(t, waiter.Start())
	awaitLocks(t, b, "f", func(l lockLine) bool { return len(l.Waiters) == 1 && len(l.Holders) == 1 })
	must(t, waiter.Process.Signal(syscall.SIGTERM))
	began := time.Now()
	if err := waiter.Wait(); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("interrupted waiter: %v after %v", err, time.Since(began))
	}
	awaitLocks(t, b, "f", func(l lockLine) bool { return len(l.Waiters) == 0 })

	// Other ranges, and locks of the other kind, do not meet it.
	g, err := os.OpenFile(b.Path("f"), os.O_RDWR, 0)
	must(t, err)
	must(t, lockFile(g, byFcntl, false))
	lk := unix.Flock_t{Type: unix.F_RDLCK}
	must(t, unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk))
	if lk.Type != unix.F_WRLCK || lk.Pid != 0 {
		t.Errorf("F_GETLK of a lock on another host: type %d, pid %d", lk.Type, lk.Pid)
	}
	must(t, g.Close())

	// A process that is killed leaves its lock to the next at once.
	must(t, f.Close())
	holder := exec.Command("flock", a.Path("f"), "sleep", "60")
	holder.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, holder.Start())
	endLater(t, holder)
	awaitLocks(t, a, "f", func(l lockLine) bool { return len(l.Holders) == 1 && l.Holders[0].Command == "flock" })
	must(t, syscall.Kill(-holder.Process.Pid, syscall.SIGKILL))
	_ = holder.Wait() // killed
	if r := harness.Run(t, exec.Command("flock", "-w", "8", b.Path("f"), "true")); r.Code != 0 {
		t.Errorf("after the holder was killed: exit status %d", r.Code)
	}
}

func tryFlock(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

// lockLine is what `causeway locks --json` tells of a path.
type lockLine struct {
	Path    string
	Tree    bool
	Holders []struct {
		PID     int
		Command string
		Via     string
		Fence   uint64
		Cached  bool
	}
	Waiters []struct{ Place, PID int }
}

// awaitLocks waits until the locks of a path are as wanted.
func awaitLocks(t *testing.T, m *harness.Mount, path string, want func(lockLine) bool) lockLine {
	t.Helper()
	var l lockLine
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		r := harness.Run(t, m.Causeway("locks", m.Path(path), "--json"))
		var all struct{ Locks []lockLine }
		if err := json.Unmarshal([]byte(r.Stdout), &all); err != nil || r.Code != 0 {
			t.Fatalf("causeway locks: exit status %d, %v\n%s%s", r.Code, err, r.Stdout, r.Stderr)
		}
		l = lockLine{Path: path}
		for _, one := range all.Locks {
			if one.Path == path {
				l = one
			}
		}
		if want(l) {
			return l
		}
	}
	t.Fatalf("locks of %s: %+v", path, l)
	return l
}

// TestLockCommand runs commands under causeway lock on two mounts.
func TestLockCommand(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	bin := a.Causeway().Path
	lock := func(m *harness.Mount, path string, args ...string) *exec.Cmd {
		return m.Causeway(append([]string{"lock", m.Path(path)}, args...)...)
	}
	status := func(what string, want int, cmd *exec.Cmd) string {
		t.Helper()
		r := harness.Run(t, cmd)
		if r.Code != want {
			t.Fatalf("%s: exit status %d, want %d\n%s%s", what, r.Code, want, r.Stdout, r.Stderr)
		}
		return r.Stdout
	}
	status("exit status of the command", 7, lock(a, "m", "--", "sh", "-c", "exit 7"))
	status("no such command", 127, lock(a, "m", "--", "no-such-command"))
	status("no command", 2, lock(a, "m"))
	nested := fmt.Sprintf("%s lock %s -- echo one && %s lock %s --shared -- echo two", bin, a.Path("m"), bin, a.Path("m"))
	if out := status("nested", 0, lock(a, "m", "--wait", "20s", "--", "sh", "-c", nested)); out != "one\ntwo\n" {
		t.Errorf("nested: %q", out)
	}
	below := fmt.Sprintf("%s lock %s -- echo below", bin, a.Path("tree/sub/f"))
	status("below a tree that is held", 0, lock(a, "tree", "--tree", "--", "sh", "-c", below))

	holder := lock(a, "m", "--", "sh", "-c", `trap 'exit 3' TERM; while :; do sleep 0.1; done`)
	must(t, holder.Start())
	endLater(t, holder)
	awaitLocks(t, a, "m", func(l lockLine) bool { return len(l.Holders) == 1 && l.Holders[0].Via == "lock" })
	status("the wait ran out", 75, lock(b, "m", "--wait", "1s", "--", "true"))
	wantErr(t, "flock on the same path", func() error {
		write(t, a.Path("m"), "x")
		return tryFlock(a.Path("m"))
	}(), unix.EWOULDBLOCK)
	must(t, holder.Process.Signal(syscall.SIGTERM))
	if err := holder.Wait(); exitCode(err) != 3 {
		t.Errorf("signal to the command: %v, want exit status 3", err)
	}

	holder = lock(b, "m", "--", "sh", "-c", `trap 'exit 0' TERM; while :; do sleep 0.1; done`)
	must(t, holder.Start())
	endLater(t, holder)
	l := awaitLocks(t, a, "m", func(l lockLine) bool {
		return len(l.Holders) == 1 && l.Holders[0].Via == "lock" && !l.Holders[0].Cached
	})
	fence := func(n uint64) *exec.Cmd {
		return a.Causeway("locks", "break", a.Path("m"), "--fence", strconv.FormatUint(n, 10))
	}
	status("break with another fence", 1, fence(l.Holders[0].Fence+1000))
	status("break", 0, fence(l.Holders[0].Fence))
	if err := holder.Wait(); exitCode(err) != 1 {
		t.Errorf("a command whose lock was broken: %v, want exit status 1", err)
	}
	status("after the break", 0, lock(a, "m", "--wait", "20s", "--", "true"))

	holder = lock(a, "m", "--", "sleep", "60")
	must(t, holder.Start())
	endLater(t, holder)
	awaitLocks(t, a, "m", func(l lockLine) bool { return len(l.Holders) == 1 && l.Holders[0].PID == holder.Process.Pid })
	must(t, holder.Process.Kill())
	_ = holder.Wait() // killed
	status("after the holder was killed", 0, lock(b, "m", "--wait", "20s", "--", "true"))
}

// endLater makes sure that a command does not outlive its test.
func endLater(t *testing.T, cmd *exec.Cmd) {
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it may have ended
}

func exitCode(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return 0
}

// TestLockCallsBack: who holds the lock of its own model, and then of a tree
// beside, does not delay children that write other paths and take other locks;
// a true cycle is refused.
func TestLockCallsBack(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	must(t, os.MkdirAll(a.Path("models/one"), 0o755))
	must(t, os.MkdirAll(a.Path("models/two"), 0o755))
	child := func(n int) time.Duration {
		began := time.Now()
		for i := range 4 {
			write(t, a.Path(fmt.Sprintf("models/two/f%d-%d", n, i)), "x")
			r := harness.Run(t, a.Causeway("lock", a.Path(fmt.Sprintf("models/two/l%d", i)), "--wait", "20s", "--", "true"))
			if r.Code != 0 {
				t.Fatalf("a lock beside: exit status %d\n%s", r.Code, r.Stderr)
			}
			f, err := os.OpenFile(a.Path("models/one/log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
			must(t, err)
			_, err = f.WriteString("audit\n")
			must(t, errors.Join(err, f.Close()))
		}
		return time.Since(began)
	}
	alone := child(0)
	for i, args := range [][]string{{"models/one"}, {"models/one", "--tree"}} {
		holder := a.Causeway(append([]string{"lock", a.Path(args[0])}, append(args[1:], "--", "sh", "-c", `trap 'exit 0' TERM; while :; do sleep 0.1; done`)...)...)
		must(t, holder.Start())
		endLater(t, holder)
		awaitLocks(t, a, args[0], func(l lockLine) bool { return len(l.Holders) == 1 && l.Holders[0].Via == "lock" })
		held := child(i + 1)
		t.Logf("children without a holder %v, with one (%v) %v", alone, args, held)
		must(t, holder.Process.Signal(syscall.SIGTERM))
		must(t, holder.Wait())
	}

	for _, m := range []*harness.Mount{a, b} {
		t.Run("cycle with "+m.Dir, func(t *testing.T) { cycle(t, a, m) })
	}
}

// cycle lets two processes lock two files in opposite order.
func cycle(t *testing.T, a, b *harness.Mount) {
	write(t, a.Path("p"), "x")
	write(t, a.Path("q"), "x")
	visible(t, b.Path("q"))
	var outs [2]chan string
	var goOn [2]func()
	for i, paths := range [][]string{{a.Path("p"), a.Path("q")}, {b.Path("q"), b.Path("p")}} {
		cmd := harness.Reexec(t, "lock-cycle", paths...)
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		var first string
		fmt.Fscanln(out, &first)
		if first != "locked" {
			t.Fatalf("child: %q", first)
		}
		outs[i] = make(chan string, 1)
		go func() {
			buf := make([]byte, 200)
			n, _ := out.Read(buf)
			outs[i] <- string(buf[:n])
			_ = cmd.Wait() // its locks go with it
		}()
		goOn[i] = func() { fmt.Fprintln(in, "go"); in.Close() }
	}
	began := time.Now()
	goOn[0]()
	goOn[1]()
	results := []string{<-outs[0], <-outs[1]}
	refused := 0
	for _, r := range results {
		if strings.Contains(r, unix.EDEADLK.Error()) {
			refused++
		}
	}
	if took := time.Since(began); refused != 1 || took > 10*time.Second {
		t.Errorf("%d refused (%q) within %v", refused, results, took)
	}
}

// TestLockedDatabase: two mounts write one sqlite database and commit to one
// git repository in turn.
func TestLockedDatabase(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	harness.Need(t, "sqlite3")
	sql := func(m *harness.Mount, text string) string {
		return strings.TrimSpace(harness.Must(t, "/", "sqlite3", "-cmd", ".timeout 20000", m.Path("db"), text))
	}
	sql(a, "create table t (n integer primary key, who text)")
	const rounds = 6
	for i := range rounds {
		m := []*harness.Mount{a, b}[i%2]
		sql(m, fmt.Sprintf("begin immediate; insert into t (who) values ('%d'); commit", i))
	}
	var wg sync.WaitGroup
	for i, m := range []*harness.Mount{a, b} {
		wg.Go(func() {
			for j := range 3 {
				sql(m, fmt.Sprintf("begin immediate; insert into t (who) values ('both %d %d'); commit", i, j))
			}
		})
	}
	wg.Wait()
	for _, m := range []*harness.Mount{a, b} {
		if got := sql(m, "pragma integrity_check; select count(*) from t"); got != fmt.Sprintf("ok\n%d", rounds+6) {
			t.Errorf("on %s: %q", m.Dir, got)
		}
	}

	git := func(m *harness.Mount, args ...string) string {
		return harness.Must(t, m.Path("repo"), "git", append([]string{"-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "gc.auto=0"}, args...)...)
	}
	must(t, os.Mkdir(a.Path("repo"), 0o755))
	git(a, "init", "-q")
	visible(t, b.Path("repo/.git/HEAD"))
	for i := range 4 {
		m := []*harness.Mount{a, b}[i%2]
		write(t, m.Path("repo", fmt.Sprint("f", i)), "x")
		commit := "git add -A && git -c user.name=x -c user.email=x@example.org -c gc.auto=0 commit -qm c"
		cmd := m.Causeway("lock", m.Path("repo"), "--wait", "20s", "--", "sh", "-c", "cd "+m.Path("repo")+" && "+commit)
		if r := harness.Run(t, cmd); r.Code != 0 {
			t.Fatalf("commit %d: exit status %d\n%s%s", i, r.Code, r.Stdout, r.Stderr)
		}
	}
	for _, m := range []*harness.Mount{a, b} {
		git(m, "fsck", "--full")
		if got := strings.TrimSpace(git(m, "rev-list", "--count", "HEAD")); got != "4" {
			t.Errorf("on %s: %s commits", m.Dir, got)
		}
	}
}
