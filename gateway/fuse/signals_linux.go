package fuse

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// dying reports whether the thread pid has a SIGKILL to come. The kernel turns
// every signal that ends a process into SIGKILL for all its threads, so a
// Ctrl-C that the program does not catch counts. A thread of another PID
// namespace (0) cannot be looked at; its requests end with their deadline.
func dying(pid uint32) bool {
	if pid == 0 {
		return false
	}
	f, err := os.Open("/proc/" + strconv.FormatUint(uint64(pid), 10) + "/status")
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // it does not wait any more
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		name, value, _ := strings.Cut(sc.Text(), ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		set, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
		if err == nil && set&(1<<(syscall.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
