package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

// localDir is a directory in which small files are saved, on whatever
// filesystem: what a close that does not wait for S3 is compared with.
type localDir struct {
	name  string
	dir   string
	env   *harness.Env // nil without S3 behind it
	next  int
	rates map[string][]float64 // files a second, by work and round
}

// localWork is what one program does, one call after the other, in a directory
// that it has made. Making a directory is exclusive over all mounts, which
// needs S3: so a save that makes one is shown, and held against nobody.
var localWork = []struct {
	name    string
	claimed bool
	do      func(dir string, n int) error
}{
	{"create, write, close", true, func(dir string, n int) error { return create(filepath.Join(dir, fmt.Sprint("f", n))) }},
	{"save through a temporary name", true, func(dir string, n int) error {
		return saveFile(filepath.Join(dir, fmt.Sprint("s", n)), smallBody)
	}},
	// As data stores save: a version in a directory of its own, and a name
	// that leads to it.
	{"save with a directory", false, func(dir string, n int) error {
		version := filepath.Join(dir, fmt.Sprint("v", n))
		if err := os.Mkdir(version, 0o755); err != nil {
			return err
		}
		if err := saveFile(filepath.Join(version, "raw"), smallBody); err != nil {
			return err
		}
		return saveFile(filepath.Join(dir, "latest"), fmt.Append(nil, n))
	}},
}

// geesefs mounts GeeseFS as it is by default: a close does not wait for S3.
func geesefs(b *bench, env *harness.Env) string {
	return b.mountPeer(env, nil, func(dir string) []string {
		return []string{"geesefs", "-f", "--endpoint", env.Proxy.URL(), "--region", env.Server.Region, env.Bucket, dir}
	})
}

// localSection measures small files whose close does not wait for S3, at 15 ms
// from it: with --commit local, in a directory of the same disk, and with
// GeeseFS where it is installed, in turns.
func localSection(b *bench) {
	dirs := b.localDirs()
	calls := 400
	if b.quick {
		calls = 100
	}
	for round := range b.rounds + 1 {
		for _, w := range localWork {
			for i := range dirs { // nobody is always the first
				d := dirs[(i+round)%len(dirs)]
				rate := d.rate(b, calls, w.do)
				if round > 0 { // caches and connections are warm now
					d.rates[w.name] = append(d.rates[w.name], rate)
				}
			}
		}
	}
	for _, d := range dirs {
		d.check(b)
	}
	b.reportLocal(dirs)
}

func (b *bench) localDirs() []*localDir {
	env := harness.New(b, harness.Versity)
	m := env.Mount(b, "--commit", "local")
	dirs := []*localDir{{name: "Causeway, --commit local", dir: m.Dir, env: env}, {name: "directory of the same disk, no fsync", dir: b.TempDir()}}
	if _, err := exec.LookPath("geesefs"); err == nil {
		env := harness.New(b, harness.Versity)
		dirs = append(dirs, &localDir{name: "GeeseFS", dir: geesefs(b, env), env: env})
	}
	for _, d := range dirs {
		d.dir = filepath.Join(d.dir, "work")
		b.must(os.Mkdir(d.dir, 0o755))
		d.rates = map[string][]float64{}
		if d.env != nil {
			d.env.Proxy.SetLatency(latency)
		}
	}
	return dirs
}

// rate makes that many calls and returns how many a second. What they leave to
// be sent is awaited, so that nobody pays for it later.
func (d *localDir) rate(b *bench, calls int, do func(dir string, n int) error) float64 {
	begin := time.Now()
	for range calls {
		d.next++
		b.must(do(d.dir, d.next))
	}
	took := time.Since(begin)
	if d.env != nil {
		d.env.Quiesce(b)
	}
	return float64(calls) / took.Seconds()
}

// check wants what was saved to be there, so that nobody is fast for nothing.
func (d *localDir) check(b *bench) {
	if d.env == nil {
		return
	}
	d.env.Quiesce(b)
	there := 0
	for _, o := range d.env.List(b, "work/") {
		switch name := filepath.Base(o.Key); {
		case name == "latest", name[0] == '.',
			name == filepath.Base(d.dir), o.Key[len(o.Key)-1] == '/':
		case o.Size != int64(len(smallBody)):
			b.Errorf("%s: %s has %d bytes", d.name, o.Key, o.Size)
		default:
			there++
		}
	}
	if there != d.next {
		b.Errorf("%s: %d files are in S3, want %d", d.name, there, d.next)
	}
	if o := d.env.Get(b, "work/f1"); o == nil || !bytes.Equal(o.Body, smallBody) {
		b.Errorf("%s: the first file is not in S3", d.name)
	}
}

func (b *bench) reportLocal(dirs []*localDir) {
	b.page.text("## A close that does not wait for S3, at 15 ms\n\nFiles of 2.5 KiB, one writer; medians of calls a second, in turns. Before a close returns, Causeway has the file in its journal, with an fsync; GeeseFS and the directory have it in memory.\n")
	head := []string{""}
	for _, w := range localWork {
		head = append(head, w.name, "of the directory")
	}
	var rows [][]string
	rate := func(d *localDir, work string) float64 { return median(d.rates[work]) }
	for _, d := range dirs {
		row := []string{d.name}
		for _, w := range localWork {
			row = append(row, digits(rate(d, w.name))+"/s", times(rate(d, w.name)/rate(dirs[1], w.name)))
		}
		rows = append(rows, row)
		b.Logf("%v", row)
	}
	b.page.table(head, rows)
	if len(dirs) < 3 {
		b.page.text("GeeseFS is not installed here.\n")
		return
	}
	for _, w := range localWork {
		if !w.claimed {
			continue
		}
		ratio := rate(dirs[0], w.name) / rate(dirs[2], w.name)
		b.page.claim(fmt.Sprintf("--commit local, %s", w.name), times(ratio)+" GeeseFS", "at least 1.00 ×", ratio >= 1)
	}
}
