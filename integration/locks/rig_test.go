//go:build integration

package locks

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/locks/lease"
)

const childName = "lock-gateway"

func TestMain(m *testing.M) {
	harness.Main(m, map[string]func([]string) error{childName: runGateway})
}

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// process is a gateway that runs.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{} // closed when its account is complete

	mu    sync.Mutex
	life  life // guarded by mu
	seen  int  // guarded by mu; events that await has taken in
	asks  int  // guarded by mu; operations
	grown chan struct{}
}

// start runs a gateway on a bucket, reached through env's proxy.
func start(t *testing.T, env *harness.Env, node int, s settings) *process {
	t.Helper()
	s.Endpoint, s.Bucket, s.Key, s.Secret = env.Proxy.URL(), env.Bucket, env.Server.AccessKey, env.Server.SecretKey
	args, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: harness.Reexec(t, childName, string(args)), ended: make(chan struct{}), grown: make(chan struct{}, 1)}
	p.life = life{node: node, ended: never}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.life.name = fmt.Sprintf("gateway %d (pid %d)", node, p.cmd.Process.Pid)
	go p.collect(out)
	t.Cleanup(p.kill)
	p.await(func(e event) bool { return e.Kind == evReady })
	return p
}

// collect takes in the account.
func (p *process) collect(out io.Reader) {
	defer close(p.ended)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the last line of one that was killed
		}
		p.mu.Lock()
		p.life.events = append(p.life.events, e)
		if e.Kind == evAsked {
			p.asks++
		}
		p.mu.Unlock()
		select {
		case p.grown <- struct{}{}:
		default:
		}
	}
}

// await waits for an event that has not been waited for.
func (p *process) await(is func(event) bool) event {
	p.t.Helper()
	limit := time.NewTimer(2 * patience)
	defer limit.Stop()
	for {
		p.mu.Lock()
		for p.seen < len(p.life.events) {
			e := p.life.events[p.seen]
			p.seen++
			if is(e) {
				p.mu.Unlock()
				return e
			}
		}
		p.mu.Unlock()
		select {
		case <-p.grown:
		case <-p.ended:
			p.t.Fatalf("%s has ended", p.life.name)
		case <-limit.C:
			p.t.Fatalf("%s does not come to it", p.life.name)
		}
	}
}

// asked returns how many operations were begun.
func (p *process) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asks
}

// over reports whether the gateway has ended.
func (p *process) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) send(c command) {
	p.t.Helper()
	line, err := json.Marshal(c)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		p.t.Errorf("%s: %v", p.life.name, err)
	}
}

// kill ends the gateway like a crash.
func (p *process) kill() {
	if p.over() {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	_ = p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life.ended = lease.Boot()
}

// leave ends the gateway in good order.
func (p *process) leave() {
	_ = p.stdin.Close()
	<-p.ended
	_ = p.cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life.ended = lease.Boot()
}

// catchUp makes await look at what comes from now on.
func (p *process) catchUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = len(p.life.events)
}

// pause stops the gateway for d.
func (p *process) pause(d time.Duration) {
	from := lease.Boot()
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(d)
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.life.pauses = append(p.life.pauses, interval{from, lease.Boot()})
}

// account returns what the gateway has told so far.
func (p *process) account() *life {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.life
	return &l
}
