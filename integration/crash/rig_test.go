//go:build integration

package crash

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/powercut"
)

// requestGate stands before a gateway's proxy and ends the gateway at a chosen
// request.
type requestGate struct {
	url   string
	proxy http.Handler

	mu    sync.Mutex // guards all below
	at    int        // 0: none
	after bool       // when S3 has carried it out, else before it sees it
	kill  func(what string)
	seen  int
	shut  bool        // the gateway is dead: nothing more passes
	last  []*gateLine // the latest requests
}

// gateLine is a request and its answer.
type gateLine struct {
	text   string
	status int // 0: none
	at     time.Time
}

// String returns a line of a failure's report.
func (l *gateLine) String() string {
	return fmt.Sprintf("%s %s: %d", l.at.Format("05.000000"), l.text, l.status)
}

// gateLines is how many requests are remembered, of which a report has the
// latest few.
const gateLines, reportLines = 2000, 25

func newRequestGate(t *testing.T, proxy http.Handler) *requestGate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	g := &requestGate{url: "http://" + l.Addr().String(), proxy: proxy}
	server := &http.Server{Handler: g}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(l) })
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return g
}

// arm starts to count, and kills at request number at.
func (g *requestGate) arm(at int, after bool, kill func(string)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at, g.after, g.kill, g.seen, g.shut = at, after, kill, 0, false
}

// close lets nothing more pass, as nothing more leaves a process that is dead.
func (g *requestGate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

func (g *requestGate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.seen
}

// enter counts a request and says whether it is the one.
func (g *requestGate) enter(r *http.Request) (line *gateLine, hit, after bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	background := harness.Background(r.Method, r.URL.Path)
	if !background {
		g.seen++
	}
	line = &gateLine{text: fmt.Sprintf("%d %s %s", g.seen, r.Method, r.URL.RequestURI()), at: time.Now()}
	for _, h := range []string{"X-Amz-Copy-Source", "If-Match", "If-None-Match"} {
		if v := r.Header.Get(h); v != "" {
			line.text += " " + h + " " + v
		}
	}
	if g.last = append(g.last, line); len(g.last) > gateLines {
		g.last = g.last[1:]
	}
	return line, g.seen == g.at && !background, g.after
}

// report returns the latest requests, or of those that change something the
// ones that mention one of the texts.
func (g *requestGate) report(about ...string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var lines []string
	for _, l := range g.last {
		look := strings.Contains(l.text, " GET ") || strings.Contains(l.text, " HEAD ")
		if len(about) == 0 || !look && (strings.Contains(l.text, "?delete=") || slices.ContainsFunc(about, func(a string) bool { return strings.Contains(l.text, a) })) {
			lines = append(lines, "    "+l.String())
		}
	}
	return strings.Join(lines[max(0, len(lines)-reportLines):], "\n")
}

// trip kills the gateway at a request.
func (g *requestGate) trip(r *http.Request) {
	g.mu.Lock()
	kill := g.kill
	g.shut = true
	g.mu.Unlock()
	kill(fmt.Sprintf("request %s %s", r.Method, r.URL.Path))
	panic(http.ErrAbortHandler)
}

// ServeHTTP implements http.Handler. What was passed to S3 is carried out,
// also when the client dies.
func (g *requestGate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut {
		panic(http.ErrAbortHandler)
	}
	line, hit, after := g.enter(r)
	if hit && !after {
		g.trip(r)
	}
	w = &watchedAnswer{ResponseWriter: w, status: func(code int) {
		g.mu.Lock()
		line.status = code
		g.mu.Unlock()
		if hit {
			g.trip(r) // S3 has done it, and nobody learns of that
		}
	}}
	g.proxy.ServeHTTP(w, r.WithContext(context.WithoutCancel(r.Context())))
}

// watchedAnswer tells of the status before the client gets it.
type watchedAnswer struct {
	http.ResponseWriter
	status func(code int)
}

// WriteHeader implements http.ResponseWriter.
func (a *watchedAnswer) WriteHeader(code int) {
	a.status(code)
	a.ResponseWriter.WriteHeader(code)
}

// crashGateway is a gateway that can be ended at chosen moments.
type crashGateway struct {
	env  *harness.Env // with a proxy of its own
	gate *requestGate
	disk *powercut.FS // that has the state directory; nil if it is an ordinary one
	m    *harness.Mount
	pid  int

	killedAt atomic.Pointer[time.Time]
	why      atomic.Pointer[string]
}

func newCrashGateway(t *testing.T, env *harness.Env, onDisk bool, flags []string) *crashGateway {
	t.Helper()
	g := &crashGateway{env: env, gate: newRequestGate(t, env.Proxy)}
	o := harness.MountOptions{Endpoint: g.gate.url, Flags: flags}
	if onDisk {
		dir := t.TempDir()
		disk, err := powercut.Mount(dir)
		must(t, err)
		t.Cleanup(func() {
			if err := disk.Close(); err != nil {
				t.Error(err)
			}
		})
		g.disk, o.StateDir = disk, filepath.Join(dir, "state")
		must(t, os.Mkdir(o.StateDir, 0o755))
		syncDir(t, dir)
	}
	g.m = env.MountWith(t, o)
	g.pid = g.m.PID()
	return g
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	must(t, f.Sync())
}

// kill ends the process, once, and notes the moment.
func (g *crashGateway) kill(why string) {
	now := time.Now()
	if g.killedAt.CompareAndSwap(nil, &now) {
		g.why.Store(&why)
		unix.Kill(g.pid, unix.SIGKILL)
	}
}

// journalOp says whether an operation on the disk is one on the journal.
func journalOp(op powercut.Op) bool {
	return strings.HasPrefix(op.Path, "state/journal")
}

// stateOp says whether an operation on the disk is one on what must survive.
func stateOp(op powercut.Op) bool {
	return journalOp(op) || strings.HasPrefix(op.Path, "state/staged") || strings.HasPrefix(op.Path, "state/kept")
}

// bury waits for the death, and for what S3 still does.
func (g *crashGateway) bury(t *testing.T) {
	t.Helper()
	g.m.Kill9()
	g.gate.close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	must(t, g.env.Proxy.WaitQuiet(ctx, 2*time.Millisecond, nil))
}

// restart mounts again.
func (g *crashGateway) restart(t *testing.T) {
	t.Helper()
	g.killedAt.Store(nil)
	g.gate.arm(0, false, nil)
	g.m.Start()
	g.pid = g.m.PID()
}

// loseState removes the state directory, as if the host were gone.
func (g *crashGateway) loseState(t *testing.T) {
	t.Helper()
	must(t, os.RemoveAll(g.m.StateDir))
	must(t, os.Mkdir(g.m.StateDir, 0o755))
}

// cutPower leaves of the state directory what a power cut does, and starts the
// machine anew as far as the gateway can see that.
func (g *crashGateway) cutPower(t *testing.T, mode powercut.Mode, seed uint64) {
	t.Helper()
	must(t, g.disk.Cut(mode, seed))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	must(t, err)
	mark := filepath.Join(g.m.StateDir, "boot")
	if was, err := os.ReadFile(mark); err == nil && string(was) == string(boot) {
		must(t, os.WriteFile(mark, []byte("an earlier boot"), 0o600))
	}
}

// trace is what the gateway did last, for the report of a failure.
func (g *crashGateway) trace() string {
	text := "last requests:\n" + g.gate.report()
	if g.disk != nil {
		text += "\nlast operations on the state directory:"
		for _, op := range g.disk.Trace() {
			text += "\n    " + op.String()
		}
	}
	return text
}

// must wants no error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
