package main

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

// The budget that --memory defaults to, within a quarter of what there is.
const (
	minMemory = 128 << 20
	maxMemory = 512 << 20
)

// leastMemory is what --memory accepts: with less, requests in flight alone
// would keep the collector busy.
const leastMemory = 32 << 20

// gcPercent trades CPU time for resident size: the heap grows by this share of
// what is live before it is collected.
const gcPercent = 50

// limitMemory makes the Go runtime keep to budget bytes, unless the
// environment says something else, and returns the share of it that the
// filesystem's metadata caches may have. The rest is for requests in flight.
func limitMemory(budget int64, getenv func(string) string) int64 {
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(budget)
	}
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	return budget / 2
}

// defaultMemory returns the budget for a host or container with limit bytes.
func defaultMemory(limit int64) int64 {
	return min(max(limit/4, minMemory), maxMemory)
}

// memoryLimit returns how many bytes this process could use: the smallest of
// the limits of its cgroup, of the cgroups around that, and of the host's
// memory; the largest number where none is known.
func memoryLimit() int64 {
	limit := int64(math.MaxInt64)
	if data, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		limit = cgroupLimit("/sys/fs/cgroup", string(data))
	}
	if data, err := os.ReadFile("/proc/meminfo"); err == nil {
		limit = min(limit, totalMemory(string(data)))
	}
	return limit
}

// cgroupLimit returns the smallest memory.max on the way from the cgroup that
// membership (the text of /proc/self/cgroup) names up to root.
func cgroupLimit(root, membership string) int64 {
	limit := int64(math.MaxInt64)
	for line := range strings.Lines(membership) {
		// cgroups v2 has the one line 0::/path.
		dir, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for dir = path.Clean("/" + dir); ; dir = path.Dir(dir) {
			// "max" is not a number: no limit.
			if n, err := readNumber(filepath.Join(root, dir, "memory.max")); err == nil {
				limit = min(limit, n)
			}
			if dir == "/" {
				break
			}
		}
	}
	return limit
}

func readNumber(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}

// totalMemory reads the MemTotal line of /proc/meminfo, in bytes.
func totalMemory(meminfo string) int64 {
	for line := range strings.Lines(meminfo) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return math.MaxInt64
}
