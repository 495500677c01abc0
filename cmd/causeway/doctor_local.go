package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Free space in the state directory: staged files need as much as they are
// large.
const (
	warnSpace = 5 << 30
	failSpace = 256 << 20
)

// What statfs calls filesystems in memory.
const (
	tmpfsMagic = 0x01021994
	ramfsMagic = 0x858458f6
)

// checkFUSE finds out whether this user can mount.
func checkFUSE(d *diagnosis, uid int) {
	if runtime.GOOS == "darwin" {
		checkMacFUSE(d)
		return
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.fail("fuse", "there is no /dev/fuse", "Load the kernel module (modprobe fuse); a container needs --device /dev/fuse --cap-add SYS_ADMIN")
		return
	case err != nil:
		d.fail("fuse", err.Error(), "Make /dev/fuse readable and writable for this user; a container needs --device /dev/fuse --cap-add SYS_ADMIN")
		return
	}
	f.Close()
	if uid != 0 {
		if _, err := exec.LookPath("fusermount3"); err != nil {
			d.fail("fuse", "fusermount3 is not installed, and only root mounts without it", "Install the package fuse3")
			return
		}
	}
	d.ok("fuse", "/dev/fuse can be opened, kernel %s", kernelRelease())
	if uid != 0 && !userAllowOther("/etc/fuse.conf") {
		d.warn("allow-other", "/etc/fuse.conf does not let users share their mounts", "Only for --allow-other: add the line user_allow_other to it")
	}
}

func checkMacFUSE(d *diagnosis) {
	if _, err := os.Stat("/Library/Filesystems/macfuse.fs"); err != nil {
		d.fail("fuse", "macFUSE is not installed", "Install it from https://macfuse.github.io")
		return
	}
	d.ok("fuse", "macFUSE is installed")
}

// kernelRelease returns what uname -r prints.
func kernelRelease() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// userAllowOther reports whether fuse.conf at path has that line.
func userAllowOther(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "user_allow_other" {
			return true
		}
	}
	return false
}

// checkLocal looks at what a mount of t would use on this host.
func (a *app) checkLocal(d *diagnosis, s *settings, t target) error {
	if err := a.checkStateDir(d, s, t); err != nil {
		return err
	}
	return a.checkJournals(d, s, t)
}

// checkStateDir looks at the directory that a mount of t would use, or at the
// one that would hold it, without making it.
func (a *app) checkStateDir(d *diagnosis, s *settings, t target) error {
	dir, err := a.stateDirFor(s, t)
	if err != nil {
		return err
	}
	if t.Bucket == "" && s.stateDir == "" {
		dir = filepath.Dir(dir) // that of all buckets
	}
	at := existing(dir)
	if err := unix.Access(at, unix.W_OK|unix.X_OK); err != nil {
		d.fail("state-dir", fmt.Sprintf("%s: %v", at, err), "Choose another directory with --state-dir")
		return nil
	}
	// What a killed gateway had not sent is found again by an attribute.
	if _, err := unix.Getxattr(at, "user.causeway", nil); errors.Is(err, unix.ENOTSUP) {
		d.fail("state-dir", at+": the filesystem has no extended attributes", "Choose a directory on ext4, xfs, btrfs or APFS with --state-dir")
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		d.fail("state-dir", fmt.Sprintf("%s: %v", at, err), "Choose another directory with --state-dir")
		return nil
	}
	if runtime.GOOS == "linux" && (int64(st.Type) == tmpfsMagic || int64(st.Type) == ramfsMagic) {
		d.warn("state-dir", at+": it is in memory, so what --commit local has acknowledged and temporary files do not survive a reboot",
			"Choose a directory on a disk with --state-dir")
	}
	free := int64(st.Bavail) * int64(st.Bsize)
	remedy := "Make room, or choose a directory on another disk with --state-dir: open and uncommitted files are kept there"
	switch text := fmt.Sprintf("%s: %s free", dir, humanSize(free)); {
	case free < failSpace:
		d.fail("state-dir", text, remedy)
	case free < warnSpace:
		d.warn("state-dir", text, remedy)
	default:
		d.ok("state-dir", "%s", text)
	}
	return nil
}

// existing returns dir, or the nearest directory above it that exists.
func existing(dir string) string {
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
	}
}
