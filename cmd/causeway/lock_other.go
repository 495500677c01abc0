//go:build !linux

package main

import (
	"os/exec"

	"golang.org/x/sys/unix"
)

// dieTogether does nothing: there is no way to be told of the death of a parent.
func dieTogether(*exec.Cmd) (release func()) { return func() {} }

// inForeground reports whether the terminal sends its signals to this process
// and those that it starts.
func inForeground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	group, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}
