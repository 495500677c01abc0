// Package appender is a program that appends records to a file, for tests and
// benchmarks that run many of it as processes, and checks what became of them.
package appender

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
)

// Child is the name under which programs register Main with the harness.
const Child = "appender"

// Config says what one process appends.
type Config struct {
	Path     string
	ID       int // sets its records apart
	Records  int
	Min, Max int // bytes of a record's body; each magnitude in between is as likely
	// Open keeps the file open, and has each record followed by fsync(2);
	// otherwise the file is opened and closed for each.
	Open bool
	// Exists says that the file is there, and must not be made: below a mount
	// that has gone there is just a directory.
	Exists bool
	Limit  time.Duration // ends sooner, after this time, if not 0
}

// Result is what became of the records.
type Result struct {
	Config Config
	Tried  int           // records 0 to Tried-1 were written
	Failed []int         // of these, those that were not acknowledged
	Errors []string      // of the first of them
	Took   time.Duration // from the first to the last
}

// Record is the i-th record of a process: whoever finds one in a file can tell
// whether it is whole.
func (c Config) Record(i int) []byte {
	rng := rand.New(rand.NewPCG(uint64(c.ID), uint64(i)))
	n := int(float64(c.Min) * math.Pow(float64(c.Max)/float64(c.Min), rng.Float64()))
	r := fmt.Appendf(make([]byte, 0, n+32), "<%05d %07d %08d ", c.ID, i, n)
	letter := byte('a' + rng.IntN(26))
	for k := range n {
		r = append(r, 'a'+(letter-'a'+byte(k%7))%26)
	}
	return append(r, '>', '\n')
}

// Main is the process. It waits for its standard input to be closed.
func Main(args []string) error {
	var c Config
	if err := json.Unmarshal([]byte(args[0]), &c); err != nil {
		return err
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	return json.NewEncoder(os.Stdout).Encode(c.run())
}

// run appends, and goes on after errors, unless the mount is gone.
func (c Config) run() Result {
	r := Result{Config: c}
	begin := time.Now()
	flags := os.O_WRONLY | os.O_APPEND
	if !c.Exists {
		flags |= os.O_CREATE
	}
	var f *os.File
	for i := 0; i < c.Records && (c.Limit == 0 || time.Since(begin) < c.Limit); i++ {
		var err error
		if f == nil {
			f, err = os.OpenFile(c.Path, flags, 0o644)
		}
		if err == nil {
			_, err = f.Write(c.Record(i))
		}
		switch {
		case err != nil:
		case c.Open:
			err = f.Sync()
		default:
			err = f.Close()
			f = nil
		}
		r.Tried = i + 1
		if err == nil {
			continue
		}
		r.Failed = append(r.Failed, i)
		if len(r.Errors) < 5 {
			r.Errors = append(r.Errors, err.Error())
		}
		if f != nil {
			f.Close()
			f = nil
		}
		if errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED) || c.Exists && errors.Is(err, unix.ENOENT) {
			break
		}
	}
	if f != nil {
		f.Close()
	}
	r.Took = time.Since(begin)
	return r
}

// Process is such a process, seen from outside.
type Process struct {
	t      harness.T
	cmd    *exec.Cmd
	start  io.Closer
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// Start starts a process, which waits for Go.
func Start(t harness.T, c Config) *Process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatalf("%v", err)
	}
	p := &Process{t: t, cmd: harness.Reexec(t, Child, string(text))}
	stdin, err1 := p.cmd.StdinPipe()
	stdout, err2 := p.cmd.StdoutPipe()
	p.cmd.Stderr = &p.stderr
	if err := errors.Join(err1, err2, p.cmd.Start()); err != nil {
		t.Fatalf("start an appender: %v", err)
	}
	p.start, p.stdout = stdin, bufio.NewReader(stdout)
	if _, err := p.stdout.ReadString('\n'); err != nil {
		t.Fatalf("start an appender: %v: %s", err, &p.stderr)
	}
	return p
}

// Go lets it begin.
func (p *Process) Go() { p.start.Close() }

// Wait returns what it did.
func (p *Process) Wait() Result {
	var r Result
	decodeErr := json.NewDecoder(p.stdout).Decode(&r)
	if err := p.cmd.Wait(); err != nil || decodeErr != nil {
		p.t.Errorf("appender: %v, %v: %s", err, decodeErr, &p.stderr)
	}
	return r
}

// Run runs processes at the same time.
func Run(t harness.T, all []Config) []Result {
	t.Helper()
	var started []*Process
	for _, c := range all {
		started = append(started, Start(t, c))
	}
	for _, p := range started {
		p.Go()
	}
	var results []Result
	for _, p := range started {
		results = append(results, p.Wait())
	}
	return results
}

// Check wants a file to consist of records: each whole, no record twice, those
// of a process in their order, and each that was acknowledged there. It returns
// how many there are.
func Check(t harness.T, data []byte, results []Result) int {
	t.Helper()
	byID := map[int]Result{}
	for _, r := range results {
		byID[r.Config.ID] = r
	}
	last := map[int]int{}
	seen := map[[2]int]bool{}
	for off := 0; off < len(data); {
		var id, i, n int
		if k, _ := fmt.Sscanf(string(data[off:min(off+24, len(data))]), "<%05d %07d %08d ", &id, &i, &n); k != 3 {
			t.Errorf("at byte %d of %d: no record begins with %q", off, len(data), data[off:min(off+40, len(data))])
			return len(seen)
		}
		want := byID[id].Config
		if want.Max == 0 || !bytes.HasPrefix(data[off:], want.Record(i)) {
			t.Errorf("at byte %d of %d: record %d of %d is torn", off, len(data), i, id)
			return len(seen)
		}
		if prev, ok := last[id]; ok && i <= prev {
			t.Errorf("at byte %d: record %d of %d comes after %d", off, i, id, prev)
		}
		last[id], seen[[2]int{id, i}] = i, true
		off += len(want.Record(i))
	}
	for _, r := range results {
		failed := map[int]bool{}
		for _, i := range r.Failed {
			failed[i] = true
		}
		for i := range r.Tried {
			if !failed[i] && !seen[[2]int{r.Config.ID, i}] {
				t.Errorf("record %d of %d was acknowledged and is not there", i, r.Config.ID)
			}
		}
	}
	return len(seen)
}
