package vfs

import "fmt"

// Process is a process of this host.
type Process struct {
	Namespace uint64 // its PID namespace, by inode number
	PID       int    // as this gateway sees it; 0: not to be seen
	Start     string // tells it from a later one with the same number
}

// Processes knows the processes of this host.
type Processes interface {
	// Host tells this host from all others, and from itself before it was
	// started anew; and gateways apart that number processes differently.
	Host() string
	// Of returns the process that a thread belongs to; false if the gateway
	// cannot see it.
	Of(thread uint32) (Process, bool)
	// Alive reports whether p still runs.
	Alive(p Process) bool
	// Within reports whether p is q, or was started by it or by one that was.
	Within(p, q Process) bool
	// Living returns numbers of processes that are certain to live where p
	// runs, the best first.
	Living(p Process) []int
}

// holderText is how the metadata of a lock file name who made it.
func holderText(host string, p Process) string {
	return fmt.Sprintf("%s %d %d %s", host, p.Namespace, p.PID, p.Start)
}

// parseHolder is the inverse of holderText.
func parseHolder(text string) (host string, p Process, ok bool) {
	n, err := fmt.Sscanf(text, "%s %d %d %s", &host, &p.Namespace, &p.PID, &p.Start)
	return host, p, err == nil && n == 4 && p.PID > 0
}
