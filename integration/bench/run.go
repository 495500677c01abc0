package main

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/causewayfs/causeway/integration/harness"
)

// bench is one section being measured. It is the harness's T.
type bench struct {
	config
	page *page

	name     string
	ctx      context.Context
	mu       sync.Mutex
	failed   bool     // guarded by mu
	cleanups []func() // guarded by mu
}

var _ harness.T = (*bench)(nil)

func newBench(name string, cfg config, p *page) *bench {
	return &bench{config: cfg, page: p, name: name, ctx: context.Background()}
}

// stop is what Fatalf panics with.
type stop struct{}

// do measures a section, takes down what it set up, and says whether all went
// well.
func (b *bench) do(section func(*bench)) bool {
	func() {
		defer b.cleanUp()
		defer func() {
			if r := recover(); r != nil && r != (stop{}) {
				panic(r)
			}
		}()
		section(b)
	}()
	if b.Failed() {
		b.page.text("This section failed: see the output of the run.\n")
	}
	return !b.Failed()
}

func (b *bench) cleanUp() {
	for {
		b.mu.Lock()
		n := len(b.cleanups)
		if n == 0 {
			b.mu.Unlock()
			return
		}
		f := b.cleanups[n-1]
		b.cleanups = b.cleanups[:n-1]
		b.mu.Unlock()
		f()
	}
}

// Helper implements harness.T.
func (b *bench) Helper() {}

// Name implements harness.T.
func (b *bench) Name() string { return b.name }

// Context implements harness.T.
func (b *bench) Context() context.Context { return b.ctx }

// Logf implements harness.T.
func (b *bench) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, b.name+": "+format+"\n", args...)
}

// Errorf implements harness.T.
func (b *bench) Errorf(format string, args ...any) {
	b.Logf(format, args...)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = true
}

// Fatalf implements harness.T. It must be called by the goroutine that
// measures.
func (b *bench) Fatalf(format string, args ...any) {
	b.Errorf(format, args...)
	panic(stop{})
}

// Failed implements harness.T.
func (b *bench) Failed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed
}

// Cleanup implements harness.T.
func (b *bench) Cleanup(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.cleanups = append(b.cleanups, f)
}

// TempDir implements harness.T.
func (b *bench) TempDir() string {
	dir, err := os.MkdirTemp("", "causeway-bench-")
	if err != nil {
		b.Fatalf("make a temporary directory: %v", err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// must ends the section on an error.
func (b *bench) must(err error) {
	if err != nil {
		b.Fatalf("%v", err)
	}
}
