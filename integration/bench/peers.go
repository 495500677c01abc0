package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

// peer is a filesystem to compare with.
type peer struct {
	name  string
	mount func(b *bench, env *harness.Env) (dir string)
}

// peers are compared as they come, each with a bucket of its own.
var peers = []peer{
	{"Causeway", func(b *bench, env *harness.Env) string { return env.Mount(b).Dir }},
	{"rclone mount", func(b *bench, env *harness.Env) string {
		return b.mountPeer(env, []string{
			"RCLONE_CONFIG=/dev/null", "RCLONE_CONFIG_B_TYPE=s3", "RCLONE_CONFIG_B_PROVIDER=Other", "RCLONE_CONFIG_B_ENV_AUTH=true",
			"RCLONE_CONFIG_B_ENDPOINT=" + env.Proxy.URL(), "RCLONE_CONFIG_B_REGION=" + env.Server.Region,
		}, func(dir string) []string {
			return []string{"rclone", "mount", "b:" + env.Bucket, dir, "--cache-dir", b.TempDir(), "--vfs-cache-mode", "writes", "--transfers", "16"}
		})
	}},
	{"s3fs", func(b *bench, env *harness.Env) string {
		return b.mountPeer(env, []string{"AWSACCESSKEYID=" + env.Server.AccessKey, "AWSSECRETACCESSKEY=" + env.Server.SecretKey},
			func(dir string) []string {
				return []string{"s3fs", env.Bucket, dir, "-f", "-o", "url=" + env.Proxy.URL(), "-o", "use_path_request_style", "-o", "endpoint=" + env.Server.Region}
			})
	}},
}

// mountPeer runs a program that mounts in the foreground.
func (b *bench) mountPeer(env *harness.Env, vars []string, args func(dir string) []string) string {
	dir := b.TempDir()
	argv := args(dir)
	cmd := exec.Command(harness.Need(b, argv[0]), argv[1:]...)
	cmd.Env = append(env.Environ(b), vars...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	b.must(cmd.Start())
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	b.Cleanup(func() {
		exec.Command("fusermount3", "-u", dir).Run()
		select {
		case <-done:
		case <-time.After(30 * time.Second):
			cmd.Process.Kill()
			<-done
		}
		harness.Unmount(dir)
	})
	for range 1000 {
		if harness.Mounted(dir) {
			return dir
		}
		time.Sleep(20 * time.Millisecond)
	}
	b.Fatalf("%s did not mount", argv[0])
	return ""
}

// workload is small-file work that some writers do at once.
type workload struct {
	name    string
	writers int
	do      func(path string) error
}

func create(path string) error { return os.WriteFile(path, smallBody, 0o644) }

var workloads = []workload{
	{"create, 1 writer", 1, create},
	{"create, 16 writers", 16, create},
	{"save, 1 writer", 1, func(path string) error { return saveFile(path, smallBody) }},
	{"save, 16 writers", 16, func(path string) error { return saveFile(path, smallBody) }},
}

// budget is how long one workload may run on one peer.
const budget = 5 * time.Second

// run does a workload for the budget, and returns files a second until the
// last call returned, and until the last request ended.
func (w workload) run(b *bench, env *harness.Env, dir string) (perSecond, inS3 float64, requests float64) {
	for i := range w.writers {
		b.must(os.MkdirAll(filepath.Join(dir, fmt.Sprint("w", i)), 0o755))
	}
	env.Quiesce(b)
	env.Proxy.Reset()
	var n atomic.Int64
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range w.writers {
		wg.Go(func() {
			for k := 0; k < 300 && time.Since(begin) < budget; k++ {
				if err := w.do(filepath.Join(dir, fmt.Sprint("w", i), fmt.Sprint("f", k))); err != nil {
					b.Errorf("%s: %v", w.name, err)
					return
				}
				n.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	time.Sleep(8 * time.Second) // rclone starts to upload after 5 s
	env.Quiesce(b)
	stats := env.Proxy.Stats()
	last := begin.Add(took)
	for _, r := range stats.Recent {
		if end := r.Begin.Add(r.Took); harness.Writes(r.Op, r.Key) && end.After(last) {
			last = end
		}
	}
	files := float64(n.Load())
	total := 0
	for _, c := range stats.Without(harness.Background) {
		total += c
	}
	return files / took.Seconds(), files / last.Sub(begin).Seconds(), float64(total) / files
}

// peersSection compares small-file work with other filesystems over S3.
func peersSection(b *bench) {
	b.page.text("## Beside others, at 15 ms\n\nFiles of 2.5 KiB; a save goes through a temporary name. Files a second until the last call has returned, in brackets until the last of them is in S3: where the two differ, a close returns before the data is safe. After it the requests per file.\n")
	head := []string{""}
	for _, w := range workloads {
		head = append(head, w.name)
	}
	var rows [][]string
	for _, p := range peers {
		row := []string{p.name}
		for _, w := range workloads {
			env := harness.New(b, harness.Versity)
			dir := p.mount(b, env)
			env.Proxy.SetLatency(latency)
			perSecond, inS3, requests := w.run(b, env, dir)
			row = append(row, fmt.Sprintf("%s/s (%s/s), %s", digits(perSecond), digits(inS3), digits(requests)))
			b.Logf("%s: %s: %s", p.name, w.name, row[len(row)-1])
			b.cleanUp()
		}
		rows = append(rows, row)
	}
	b.page.table(head, rows)
}
