package main

import (
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/vfs"
)

// snapshot is the status.Source of the gateway.
func (g *gateway) snapshot() status.Report {
	r := status.Report{
		Version:      versionString(),
		State:        status.Serving,
		PID:          os.Getpid(),
		Started:      g.started.UTC().Truncate(time.Second),
		UptimeSecs:   time.Since(g.started).Seconds(),
		Mountpoint:   g.mountpoint,
		Bucket:       g.target.String(),
		Endpoint:     g.settings.endpoint,
		Region:       g.settings.region,
		StateDir:     g.stateDir,
		ReadOnly:     g.settings.readOnly,
		SingleWriter: g.settings.singleWriter,
		Missing:      append([]string{}, g.stack.caps.Missing()...),
		Commit:       g.settings.commit.value,
		Goroutines:   runtime.NumGoroutine(),
		OpenFDs:      openFDs(),
		Memory:       memoryUse(int64(g.settings.memory)),
		Files:        g.fs.Stats(),
		S3:           g.stack.reach(),
		Requests:     g.stack.requests(),
		Locks:        g.lockReports(),
	}
	r.Uncommitted = g.fs.Uncommitted(status.MaxListed)
	r.Kept = g.keptFiles.of(g.stateDir, r.Files.KeptVersions)
	if g.drains.Load() {
		r.State = status.Draining
	}
	return r
}

// keptList remembers the versions that were kept, which are read from the state
// directory when their number changes.
type keptList struct {
	mu    sync.Mutex
	count int
	all   []vfs.KeptVersion
}

// of returns the oldest of count versions. What cannot be read is left out here;
// causeway recover says why.
func (k *keptList) of(stateDir string, count int) []vfs.KeptVersion {
	k.mu.Lock()
	defer k.mu.Unlock()
	if count != k.count {
		k.count, k.all = count, nil
		if all, err := vfs.Kept(stateDir); err == nil && count > 0 {
			k.all = all[:min(len(all), status.MaxListed)]
		}
	}
	return k.all
}

// openFDs counts the open file descriptors of this process.
func openFDs() int {
	entries, err := os.ReadDir("/dev/fd") // on Linux a link to /proc/self/fd
	if err != nil {
		return 0
	}
	return max(len(entries)-1, 0) // the listing has one of its own
}

// memoryUse returns what this process uses.
func memoryUse(limit int64) status.Memory {
	m := status.Memory{Limit: limit}
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		m.Heap = int64(sample[0].Value.Uint64())
	}
	// The second field is the resident set in pages; there is no such file
	// but on Linux.
	if data, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(data)); len(fields) > 1 {
			if pages, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				m.Resident = pages * int64(os.Getpagesize())
			}
		}
	}
	return m
}
