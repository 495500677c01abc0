package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
)

// operation is something that a program does, and what it may ask of S3.
type operation struct {
	name    string
	prepare func(b *bench, dir string)
	do      func(b *bench, dir string)
	want    string // as counts writes it
	atMost  int    // instead of want: all requests together
}

// operations are those with a promised cost.
var operations = []operation{
	{name: "new file", do: func(b *bench, dir string) { b.write(dir, "f", "text") }, want: "1 PutObject"},
	{
		name:    "overwrite",
		prepare: func(b *bench, dir string) { b.write(dir, "f", "text") },
		do:      func(b *bench, dir string) { b.write(dir, "f", "other") }, want: "1 PutObject",
	},
	{
		name:    "save through a temporary name and rename",
		prepare: func(b *bench, dir string) { b.write(dir, "f", "text") },
		do:      func(b *bench, dir string) { b.must(saveFile(filepath.Join(dir, "f"), []byte("other"))) }, want: "1 PutObject",
	},
	{name: "descriptor closed twice", do: closeTwice, want: "1 PutObject"},
	{name: "mkdir", do: func(b *bench, dir string) { b.must(os.Mkdir(filepath.Join(dir, "d"), 0o755)) }, want: "none"},
	{
		name: "exclusive create, write, close",
		do: func(b *bench, dir string) {
			f, err := os.OpenFile(filepath.Join(dir, "f"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			b.must(err)
			_, err = f.WriteString("text")
			b.must(errors.Join(err, f.Close()))
		}, want: "1 PutObject",
	},
	{
		name: "cp -a of a file, which creates exclusively",
		do: func(b *bench, dir string) {
			from := b.TempDir()
			b.write(from, "f", "text")
			harness.Must(b, dir, "cp", "-a", filepath.Join(from, "f"), ".")
		}, want: "1 PutObject",
	},
	{
		name:    "open and read a cached file",
		prepare: func(b *bench, dir string) { b.write(dir, "f", "text") },
		do:      func(b *bench, dir string) { b.read(dir, "f") }, want: "1 GetObject",
	},
	{
		name:    "stat, list and walk 100 known files",
		prepare: func(b *bench, dir string) { b.makeFiles(dir, 100) },
		do:      func(b *bench, dir string) { harness.Must(b, dir, "find", ".", "-printf", "%s %t\n") }, want: "none",
	},
	{
		name:    "rename a file that is in S3",
		prepare: func(b *bench, dir string) { b.write(dir, "f", "text") },
		do:      func(b *bench, dir string) { b.must(os.Rename(filepath.Join(dir, "f"), filepath.Join(dir, "g"))) },
		want:    "1 CopyObject, 1 DeleteObject",
	},
	{
		name:    "rm -r of 1000 files",
		prepare: func(b *bench, dir string) { b.makeFiles(dir, 1000) },
		do:      func(b *bench, dir string) { harness.Must(b, filepath.Dir(dir), "rm", "-r", dir) }, atMost: 5,
	},
}

func (b *bench) write(dir, name, text string) {
	b.must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

func (b *bench) read(dir, name string) {
	_, err := os.ReadFile(filepath.Join(dir, name))
	b.must(err)
}

func (b *bench) makeFiles(dir string, n int) {
	for i := range n {
		b.write(dir, fmt.Sprint("f", i), "text")
	}
}

// saveFile replaces a file as most programs do.
func saveFile(path string, body []byte) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	if err := os.WriteFile(tmp, body, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// closeTwice writes through a duplicated descriptor.
func closeTwice(b *bench, dir string) {
	fd, err := unix.Open(filepath.Join(dir, "f"), unix.O_WRONLY|unix.O_CREAT, 0o644)
	b.must(err)
	dup, err := unix.Dup(fd)
	b.must(err)
	_, err = unix.Write(dup, []byte("text"))
	b.must(errors.Join(err, unix.Close(dup), unix.Close(fd)))
}

// counts writes request counts in a fixed order.
func counts(m map[string]int) string {
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[op], op))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// requestsSection counts the S3 requests of operations.
func requestsSection(b *bench) {
	env := harness.New(b, harness.Versity)
	m := env.Mount(b, "--dir-ttl", "1h", "--verify", "1h")
	b.page.text("## S3 requests per operation\n\nCounted at the S3 side, deferred ones included, on one gateway that knows the directory.\n")
	var rows [][]string
	for i, op := range operations {
		dir := m.Path(fmt.Sprint("op", i))
		b.must(os.Mkdir(dir, 0o755))
		if op.prepare != nil {
			op.prepare(b, dir)
		}
		_, err := os.ReadDir(dir)
		b.must(err)
		got := env.Requests(b, func() { op.do(b, dir) })
		limit, ok := op.want, counts(got) == op.want
		if op.atMost > 0 {
			sum := 0
			for _, n := range got {
				sum += n
			}
			limit, ok = fmt.Sprintf("at most %d", op.atMost), sum <= op.atMost
		}
		b.page.claim("requests: "+op.name, counts(got), limit, ok)
		rows = append(rows, []string{op.name, counts(got)})
	}

	// The first read by a gateway that did not write the file.
	env.Put(b, "foreign/f", make([]byte, 1<<20), nil)
	peer := env.Peer(b)
	other := peer.Mount(b, "--dir-ttl", time.Hour.String(), "--verify", "1h")
	_, err := os.ReadDir(other.Path("foreign"))
	b.must(err)
	got := counts(peer.Requests(b, func() { b.read(other.Path("foreign"), "f") }))
	b.page.claim("requests: first read of 1 MiB", got, "1 GetObject", got == "1 GetObject")
	b.page.table([]string{"operation", "requests"}, append(rows, []string{"first read of 1 MiB", got}))
}
