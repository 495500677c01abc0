package vfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// maxAncestors bounds how far a process is followed to those that started it.
const maxAncestors = 64

// procFS is Processes by proc(5).
type procFS struct {
	host string
	own  uint64 // PID namespace of this process
}

var _ Processes = procFS{}

func newProcesses() Processes {
	p := procFS{own: namespaceOf("self")}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = []byte("unknown")
	}
	p.host = fmt.Sprintf("%s/%d", strings.TrimSpace(string(boot)), p.own)
	return p
}

// Host implements Processes.
func (p procFS) Host() string { return p.host }

// Of implements Processes.
func (p procFS) Of(thread uint32) (Process, bool) {
	if thread == 0 {
		return Process{}, false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	if err != nil {
		return Process{}, false
	}
	pid, err := strconv.Atoi(field(status, "Tgid:"))
	if err != nil {
		return Process{}, false
	}
	start, _, ok := procStat(pid)
	return Process{Namespace: namespaceOf(strconv.Itoa(pid)), PID: pid, Start: start}, ok
}

// Alive implements Processes. A zombie is dead.
func (p procFS) Alive(q Process) bool {
	start, _, ok := procStat(q.PID)
	return ok && start == q.Start
}

// Within implements Processes.
func (p procFS) Within(q, of Process) bool {
	pid := q.PID
	for range maxAncestors {
		start, parent, ok := procStat(pid)
		if !ok || pid <= 0 {
			return false
		}
		if pid == of.PID {
			return start == of.Start
		}
		pid = parent
	}
	return false
}

// Living implements Processes: this gateway where it can be seen, and the first
// process of the namespace, without which nothing runs there. kill(2) of either
// succeeds or is EPERM.
func (p procFS) Living(q Process) []int {
	if q.Namespace == p.own {
		return []int{os.Getpid(), 1}
	}
	return []int{1}
}

// namespaceOf is the PID namespace of a process; 0 if it cannot be seen.
func namespaceOf(pid string) uint64 {
	info, err := os.Stat("/proc/" + pid + "/ns/pid")
	if err != nil {
		return 0
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return st.Ino
}

// field returns the first word behind name in a file like /proc/PID/status.
func field(text []byte, name string) string {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(name)); ok {
			if words := bytes.Fields(rest); len(words) > 0 {
				return string(words[0])
			}
		}
	}
	return ""
}

// procStat returns when a process was started, in ticks since boot, and by
// whom; ok is false if it has ended. The name, in parentheses, may hold
// anything.
func procStat(pid int) (start string, parent int, ok bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", 0, false
	}
	words := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(words) < 20 || words[0] == "Z" || words[0] == "X" {
		return "", 0, false
	}
	parent, err = strconv.Atoi(words[1])
	return words[19], parent, err == nil
}
