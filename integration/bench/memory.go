package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// resident returns a process's resident size and its peak, in bytes.
func resident(b *bench, pid int) (now, peak int64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	b.must(err)
	for line := range strings.Lines(string(status)) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &kib); err == nil {
			now = kib << 10
		}
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			peak = kib << 10
		}
	}
	return now, peak
}

// memorySection walks a full namespace, with a stat of every file.
func memorySection(b *bench) {
	env := fullNamespace(b)
	m := env.Mount(b)
	b.page.text("## Memory\n\nA walk over %d files in %d directories, with a stat of each, 0 ms added.\n", b.objects, b.objects/50)
	var rows [][]string
	var rss int64
	for _, walk := range []string{"first walk", "second walk"} {
		files := 0
		env.Proxy.Reset()
		begin := time.Now()
		err := filepath.WalkDir(m.Path("team", "data", "@seed"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			files++
			_, err = os.Lstat(path)
			return err
		})
		took := time.Since(begin)
		b.must(err)
		if files != b.objects {
			b.Errorf("%s: found %d files, want %d", walk, files, b.objects)
		}
		now, peak := resident(b, m.PID())
		rss = max(rss, now)
		rows = append(rows, []string{walk, secs(took), fmt.Sprint(env.Proxy.Stats().Total()), mib(now), mib(peak)})
	}
	b.page.table([]string{"", "time", "requests", "resident", "peak"}, rows)
	b.page.claim(fmt.Sprintf("resident size after a walk over %d files", b.objects), mib(rss), "300 MiB", rss < 300<<20)
}
