// Command bench measures Causeway and writes the results as a page:
//
//	go run ./integration/bench -out docs/benchmarks.md
//
// It mounts buckets of a real S3 server on loopback, through proxies that
// count requests and add latency, and holds what it finds against what the
// project claims. Whatever a figure is compared with is measured in the same
// run, in turns. It needs root, /dev/fuse and what `make tools` installs.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/causewayfs/causeway/integration/appender"
	"github.com/causewayfs/causeway/integration/harness"
)

// config says how much is measured.
type config struct {
	objects int   // that lie in a full namespace
	large   int64 // bytes of a large file
	rounds  int   // of measurements that alternate
	quick   bool
}

var (
	full  = config{objects: 250_000, large: 256 << 20, rounds: 7}
	quick = config{objects: 10_000, large: 64 << 20, rounds: 2, quick: true}
)

// sections are what is measured, in the order of the page.
var sections = []struct {
	name string
	run  func(*bench)
}{
	{"requests", requestsSection},
	{"commits", commitsSection},
	{"field", fieldSection},
	{"large", largeSection},
	{"memory", memorySection},
	{"append", appendSection},
	{"peers", peersSection},
	{"local", localSection},
}

func main() {
	harness.RunChild(map[string]func([]string) error{"writer": writerChild, appender.Child: appender.Main})
	out := flag.String("out", "", "write the page to this `file` instead of standard output")
	isQuick := flag.Bool("quick", false, "measure less, to see whether everything works")
	only := flag.String("only", "", "measure only these `sections`, separated by commas: "+sectionNames())
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: bench [-out FILE] [-quick] [-only SECTIONS]")
		os.Exit(2)
	}
	cfg := full
	if *isQuick {
		cfg = quick
	}
	err := run(cfg, *only, *out)
	harness.Shutdown()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func sectionNames() string {
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

// run measures and writes the page. A section that fails is said to have
// failed there, and makes the run fail.
func run(cfg config, only, out string) error {
	var page page
	failed := 0
	for _, s := range sections {
		if only != "" && !slices.Contains(strings.Split(only, ","), s.name) {
			continue
		}
		fmt.Fprintln(os.Stderr, "==", s.name)
		b := newBench(s.name, cfg, &page)
		if !b.do(s.run) {
			failed++
		}
	}
	w := io.Writer(os.Stdout)
	if out != "" {
		f, err := os.Create(out)
		if err != nil {
			return err
		}
		defer f.Close()
		w = f
	}
	if err := page.write(w, cfg); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d sections failed", failed)
	}
	return nil
}

// median returns the middle of some values.
func median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
