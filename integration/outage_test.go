//go:build integration

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/s3proxy"
)

// awayFor is how long S3 is away, beyond the longest deadline of a commit.
func awayFor() time.Duration {
	if harness.Long() {
		return 60 * time.Second
	}
	return 40 * time.Second
}

// reach is what the status says about S3. It does not start a process: that
// would close the descriptors that this one has, each of which is a commit.
func (o *outage) reach() string {
	resp, err := http.Get("http://" + o.status + "/status")
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var report struct {
		S3 struct {
			State string `json:"state"`
		} `json:"s3"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		return err.Error()
	}
	return report.S3.State
}

// ledger is what a writer was told.
type ledger struct {
	mu     sync.Mutex        // guards all below while the load goes on
	stored map[string]string // by file: the last text whose close succeeded
	failed map[string]string // by file: the last text whose close failed after that
	errs   []error
}

func (l *ledger) note(name, text string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.stored[name] = text
		delete(l.failed, name)
		return
	}
	l.failed[name] = text
	l.errs = append(l.errs, err)
}

// writeOnce replaces a file and returns the error of its close, and whether
// there was one: an open that fails has promised nothing.
func writeOnce(path, text string) (err error, closed bool) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err, false
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Close()), false
	}
	return f.Close(), true
}

// outage is a mount with files that it has read, and load on it.
type outage struct {
	t      *testing.T
	env    *harness.Env
	m      *harness.Mount
	status string // address
	end    chan struct{}
	work   sync.WaitGroup
	ledger
}

const outageFiles = 8

func newOutage(t *testing.T) *outage {
	env := harness.New(t, harness.Versity)
	status, err := harness.FreeAddr()
	must(t, err)
	o := &outage{t: t, env: env, m: env.Mount(t, "--status", status), status: status,
		ledger: ledger{stored: map[string]string{}, failed: map[string]string{}}}
	must(t, os.Mkdir(o.m.Path("cached"), 0o755))
	must(t, os.Mkdir(o.m.Path("written"), 0o755))
	for i := range outageFiles {
		name := fmt.Sprintf("f%d", i)
		write(t, o.m.Path("cached", name), "content of "+name)
		write(t, o.m.Path("written", name), "first")
		o.note(name, "first", nil)
	}
	must(t, os.Symlink("f0", o.m.Path("cached", "link")))
	env.Quiesce(t)
	o.readCached()
	return o
}

// readCached reads all that newOutage has read: names, attributes, bytes.
func (o *outage) readCached() {
	o.t.Helper()
	entries, err := os.ReadDir(o.m.Path("cached"))
	if err != nil || len(entries) != outageFiles+1 {
		o.t.Errorf("readdir: %d entries, %v", len(entries), err)
	}
	for i := range outageFiles {
		name := fmt.Sprintf("f%d", i)
		read(o.t, o.m.Path("cached", name), "content of "+name)
		if fi, err := os.Stat(o.m.Path("cached", name)); err != nil || fi.Size() == 0 {
			o.t.Errorf("stat: %v", err)
		}
	}
	if target, err := os.Readlink(o.m.Path("cached", "link")); err != nil || target != "f0" {
		o.t.Errorf("readlink: %q, %v", target, err)
	}
}

// load starts a writer for each file, and returns what ends them.
func (o *outage) load() (end func()) {
	o.end = make(chan struct{})
	for i := range outageFiles {
		o.work.Go(func() {
			name := fmt.Sprintf("f%d", i)
			for round := 0; ; round++ {
				select {
				case <-o.end:
					return
				default:
				}
				text := fmt.Sprintf("%s round %d %s", name, round, strings.Repeat("x", 100*i))
				if err, closed := writeOnce(o.m.Path("written", name), text); closed {
					o.note(name, text, err)
				} else if !away(err) {
					o.t.Errorf("open or write %s: %v", name, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return func() {
		close(o.end)
		o.work.Wait()
	}
}

// away reports whether an error is what a call may say while S3 is away.
func away(err error) bool { return errors.Is(err, unix.EIO) || errors.Is(err, unix.ETIMEDOUT) }

// awaitReach waits until the status says so of S3.
func (o *outage) awaitReach(state string) {
	o.t.Helper()
	eventually(o.t, 30*time.Second, func() error {
		if got := o.reach(); got != state {
			return fmt.Errorf("S3 is %q, want %q", got, state)
		}
		return nil
	})
}

// TestAwayUnderLoad takes S3 away from a mount under load: calls fail by their
// deadline with an errno, what was read before can still be read, the bytes of
// closes that failed are in recover, and everything works when S3 is back.
func TestAwayUnderLoad(t *testing.T) {
	if !harness.Long() {
		t.Log("in the long form only")
		return
	}
	for _, how := range []s3proxy.Absence{s3proxy.Refused, s3proxy.Silent} {
		t.Run(how.String(), func(t *testing.T) {
			o := newOutage(t)
			end := o.load()
			must(t, o.env.Proxy.SetAway(how))
			begun := time.Now()
			o.awaitReach("away")
			rounds := 0
			for time.Since(begun) < awayFor() {
				o.readCached()
				rounds++
			}
			if got := o.reach(); got != "away" {
				t.Errorf("at the end of the outage S3 is %q", got)
			}
			if _, err := os.Stat(o.m.Path("never-seen")); !away(err) {
				t.Errorf("stat of a name that is not known: %v", err)
			}
			if err := os.Mkdir(o.m.Path("made"), 0o755); !away(err) {
				t.Errorf("mkdir: %v", err)
			}
			end()
			o.checkKept()
			end = o.load()
			must(t, o.env.Proxy.SetAway(s3proxy.Present))
			o.awaitReach("reachable")
			end()
			t.Logf("%d rounds of reads and %d failed calls in %v", rounds, len(o.errs), time.Since(begun))
			o.checkAfter()
		})
	}
}

// checkKept wants what failed closes have left in recover.
func (o *outage) checkKept() {
	o.t.Helper()
	if len(o.errs) == 0 {
		o.t.Error("no close has failed")
	}
	for _, err := range o.errs {
		if !away(err) {
			o.t.Errorf("close: %v", err)
		}
	}
	there := map[string]bool{}
	for _, v := range kept(o.t, o.env, o.m) {
		there[filepath.Base(v.Path)] = true
	}
	for name := range o.failed {
		if !there[name] {
			o.t.Errorf("recover does not list %s, whose close has failed", name)
		}
	}
}

// checkAfter wants all to work, and nothing that was acknowledged to be lost.
func (o *outage) checkAfter() {
	o.t.Helper()
	o.readCached()
	for name, text := range o.stored {
		got := string(o.env.Get(o.t, "written/"+name).Body)
		if last, ok := o.failed[name]; got != text && (!ok || got != last) {
			o.t.Errorf("%s: S3 has %q, acknowledged is %q", name, short(got), short(text))
		}
	}
	for i := range outageFiles {
		name := fmt.Sprintf("f%d", i)
		write(o.t, o.m.Path("written", name), "after")
		if got := o.env.Get(o.t, "written/"+name); got == nil || string(got.Body) != "after" {
			o.t.Errorf("%s: %+v", name, got)
		}
	}
	must(o.t, os.Mkdir(o.m.Path("made after"), 0o755))
	if _, err := os.Stat(o.m.Path("never-seen")); !errors.Is(err, os.ErrNotExist) {
		o.t.Errorf("stat of a name that does not exist: %v", err)
	}
	write(o.t, o.m.Path("made after", "new"), "x")
	read(o.t, o.m.Path("made after", "new"), "x")
}

// TestBlip takes S3 away for less than a commit waits: nobody notices but by
// the time it takes.
func TestBlip(t *testing.T) {
	for _, how := range []s3proxy.Absence{s3proxy.Refused, s3proxy.Silent} {
		t.Run(how.String(), func(t *testing.T) {
			o := newOutage(t)
			var files []*os.File
			for i := range outageFiles {
				f, err := os.OpenFile(o.m.Path("written", fmt.Sprintf("f%d", i)), os.O_WRONLY|os.O_TRUNC, 0)
				must(t, err)
				_, err = f.WriteString("over the blip")
				must(t, err)
				files = append(files, f)
			}
			must(t, o.env.Proxy.SetAway(how))
			for _, f := range files {
				o.work.Go(func() {
					if err := f.Close(); err != nil {
						t.Error(err)
					}
				})
			}
			o.awaitReach("away")
			must(t, o.env.Proxy.SetAway(s3proxy.Present))
			o.work.Wait()
			for i := range outageFiles {
				read(t, o.m.Path("written", fmt.Sprintf("f%d", i)), "over the blip")
			}
		})
	}
}

// TestHangingCloses has 200 closes wait for S3 while others read what is here:
// each of the reads is answered before any of the closes.
func TestHangingCloses(t *testing.T) {
	o := newOutage(t)
	const closes = 200
	must(t, os.Mkdir(o.m.Path("many"), 0o755))
	var files []*os.File
	for i := range closes {
		f, err := os.Create(o.m.Path("many", fmt.Sprint(i)))
		must(t, err)
		_, err = f.WriteString("x")
		must(t, err)
		files = append(files, f)
	}
	o.env.Proxy.Reset()
	o.env.Proxy.SetFaults(1, s3proxy.Fault{Kind: s3proxy.StallBefore, Ops: []string{s3proxy.PutObject}, Key: "many/"})
	var ended atomic.Int64
	for _, f := range files {
		o.work.Go(func() {
			if err := f.Close(); err != nil && !away(err) {
				t.Error(err)
			}
			ended.Add(1)
		})
	}
	eventually(t, 10*time.Second, func() error {
		if n := o.env.Proxy.Stats().Total(s3proxy.PutObject); n < closes {
			return fmt.Errorf("%d PUTs are under way", n)
		}
		return nil
	})
	for range 20 {
		o.readCached()
	}
	if n := ended.Load(); n > 0 {
		t.Errorf("%d closes have ended before the reads", n)
	}
	o.env.Proxy.SetFaults(1)
	o.work.Wait()
}

// TestStatusWhileAway wants the status to say what is going on, in words too.
func TestStatusWhileAway(t *testing.T) {
	o := newOutage(t)
	must(t, o.env.Proxy.SetAway(s3proxy.Refused))
	o.work.Go(func() {
		for { // until what the index knows is too old
			_, err := os.Stat(o.m.Path("never-seen"))
			if away(err) {
				return
			}
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("stat: %v", err)
				return
			}
		}
	})
	o.awaitReach("away")
	r := o.env.Causeway(t, nil, "status", o.m.Dir)
	if r.Code != 0 || !strings.Contains(r.Stdout, "does not answer since") {
		t.Errorf("status: %+v", r)
	}
	var report struct {
		S3 struct {
			Since   time.Time `json:"since"`
			Outages int       `json:"outages"`
			Retries int       `json:"retries"`
		} `json:"s3"`
	}
	r = o.env.Causeway(t, nil, "status", o.m.Dir, "--json")
	if err := json.NewDecoder(bytes.NewBufferString(r.Stdout)).Decode(&report); err != nil || report.S3.Since.IsZero() || report.S3.Outages != 1 || report.S3.Retries == 0 {
		t.Errorf("status --json: %+v, %v", report, err)
	}
	o.work.Wait()
	must(t, o.env.Proxy.SetAway(s3proxy.Present))
}
