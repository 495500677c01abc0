package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
	"github.com/causewayfs/causeway/integration/swamp"
)

// writes is what some processes or clients achieved.
type writes struct {
	ok, failed int
	each       []time.Duration // of those that succeeded
	wall       time.Duration
}

// spread is how many times longer the slowest took than the fastest.
func (w writes) spread() float64 {
	if len(w.each) == 0 {
		return 0
	}
	return float64(slices.Max(w.each)) / float64(slices.Min(w.each))
}

// row describes them for a table.
func (w writes) row(name string, n int) []string {
	cells := []string{name, strconv.Itoa(n), strconv.Itoa(w.ok), strconv.Itoa(w.failed), "", "", "", secs(w.wall)}
	if len(w.each) > 0 {
		cells[4], cells[5], cells[6] = ms(slices.Min(w.each)), ms(median(w.each)), ms(slices.Max(w.each))
	}
	return cells
}

// writerChild is a process that saves versions of data names of its own, once
// it is told to. Args: datastore, its name, how many.
func writerChild(args []string) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	s := &swamp.Store{Root: args[0], Namespace: "team"}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	var took []time.Duration
	for i := range n {
		begin := time.Now()
		if _, err := s.Save("@bench/"+args[1], fmt.Sprint("data", i), smallBody); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	return json.NewEncoder(os.Stdout).Encode(took)
}

// writer is such a process, seen from here.
type writer struct {
	cmd    *exec.Cmd
	start  io.Closer
	stdout *bufio.Reader
	stderr bytes.Buffer
}

func startWriter(b *bench, root, name string, saves int) *writer {
	w := &writer{cmd: harness.Reexec(b, "writer", root, name, strconv.Itoa(saves))}
	stdin, err := w.cmd.StdinPipe()
	b.must(err)
	stdout, err := w.cmd.StdoutPipe()
	b.must(err)
	w.cmd.Stderr = &w.stderr
	b.must(w.cmd.Start())
	w.start, w.stdout = stdin, bufio.NewReader(stdout)
	_, err = w.stdout.ReadString('\n') // it is ready
	b.must(err)
	return w
}

// runWriters lets n processes save at once, spread over the mounts.
func runWriters(b *bench, n, saves int, mounts []*harness.Mount) writes {
	var all []*writer
	for i := range n {
		all = append(all, startWriter(b, mounts[i%len(mounts)].Dir, fmt.Sprintf("of%d-%d", n, i), saves))
	}
	begin := time.Now()
	for _, w := range all {
		w.start.Close()
	}
	var sum writes
	for i, w := range all {
		var took []time.Duration
		decodeErr := json.NewDecoder(w.stdout).Decode(&took)
		if err := w.cmd.Wait(); err != nil || decodeErr != nil {
			b.Logf("writer %d of %d: %v, %v: %s", i, n, err, decodeErr, &w.stderr)
			sum.failed += saves - len(took)
		}
		sum.ok += len(took)
		sum.each = append(sum.each, took...)
	}
	sum.wall = time.Since(begin)
	return sum
}

// fieldSection measures the case that Causeway was made for, and beside it a
// model of what it replaces.
func fieldSection(b *bench) {
	env := fullNamespace(b)
	peer := env.Peer(b)
	mounts := []*harness.Mount{env.Mount(b), peer.Mount(b)}
	for _, e := range []*harness.Env{env, peer} {
		e.Proxy.SetLatency(latency)
	}
	store := &swamp.Store{Root: mounts[0].Dir, Namespace: "team"}
	b.must(store.Setup())
	b.page.text(`## Many processes, one namespace

A namespace of %d objects, 15 ms. Each of the processes, spread over two gateways, saves versions of its own data names as swamp does: a directory made to claim the version, two files saved through temporary names, and the pointer to the newest replaced.
Beside it a model of one manifest behind one lock: the data object is PUT, the lock object created (If-None-Match, tried every second for 60 s), a manifest of %s read and written back, the lock deleted; 15 ms too.
`, b.objects, mib(manifestSize(b)))
	saves, rows := 3, [][]string{}
	for _, n := range []int{4, 16, 64} {
		got := runWriters(b, n, saves, mounts)
		rows = append(rows, got.row("Causeway", n))
		what := fmt.Sprintf("%d processes over two gateways", n)
		b.page.claim(what+": failures", strconv.Itoa(got.failed), "0", got.failed == 0 && got.ok == n*saves)
		b.page.claim(what+": slowest save", times(got.spread())+" the fastest", "20 ×", got.ok > 0 && got.spread() < 20)
	}
	for _, n := range []int{4, 16, 64} {
		rows = append(rows, runManifest(b, n).row("one manifest, one lock", n))
	}
	b.page.table([]string{"", "writers", "writes", "failed", "fastest", "median", "slowest", "all"}, rows)
}
