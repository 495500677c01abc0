package fuse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	raw "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const device = "/dev/fuse"

// Capabilities that differ from go-fuse's defaults.
//
// ATOMIC_O_TRUNC: open(2) with O_TRUNC comes as one request. READDIRPLUS_AUTO:
// attributes come with names only while they are used. HANDLE_KILLPRIV_V2:
// setuid is taken off here, and writes do not ask for security.capability.
//
// AUTO_INVAL_DATA is off: with it a file's pages are dropped whenever its
// modification time differs, which it does after each of our own writes.
// Without, they are dropped when the size differs from what the kernel knows,
// when Ops.KeepCache says so at open, and when the server is told so.
const (
	extraCapabilities = raw.CAP_ATOMIC_O_TRUNC | raw.CAP_READDIRPLUS_AUTO | raw.CAP_HANDLE_KILLPRIV_V2 |
		raw.CAP_DIRECT_IO_ALLOW_MMAP
	disabledCapabilities = raw.CAP_AUTO_INVAL_DATA | raw.CAP_PASSTHROUGH
)

// attach opens the device, mounts it on dir and shakes hands with the kernel.
func attach(ctx context.Context, b *bridge, dir string, o *raw.MountOptions) (*raw.Server, error) {
	if err := unix.Access(device, unix.R_OK|unix.W_OK); err != nil {
		return nil, deviceError(err)
	}
	var fd int
	var err error
	if os.Geteuid() == 0 {
		fd, err = mountDirect(dir, o)
	} else {
		fd, err = mountHelper(ctx, dir, o)
	}
	if err != nil {
		return nil, err
	}
	rs, err := raw.NewServer(b, fmt.Sprintf("/dev/fd/%d", fd), o)
	if err != nil {
		unmount(ctx, dir, true)
		return nil, fmt.Errorf("mount %s: agree on the protocol with the kernel: %w", dir, err)
	}
	return rs, nil
}

// mountDirect mounts as root does, without a helper program.
func mountDirect(dir string, o *raw.MountOptions) (fd int, err error) {
	fd, err = unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, deviceError(err)
	}
	data := []string{
		fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d", fd, unix.S_IFDIR, os.Geteuid(), os.Getegid()),
		fmt.Sprintf("max_read=%d", o.MaxWrite),
	}
	var flags uintptr = unix.MS_NOSUID | unix.MS_NODEV
	for _, opt := range o.Options {
		if opt == "ro" {
			flags |= unix.MS_RDONLY
		} else {
			data = append(data, opt)
		}
	}
	if o.AllowOther {
		data = append(data, "allow_other")
	}
	err = unix.Mount(o.FsName, dir, "fuse."+o.Name, flags, strings.Join(data, ","))
	if err == nil {
		return fd, nil
	}
	unix.Close(fd)
	if errors.Is(err, unix.EPERM) {
		return -1, fmt.Errorf("mount %s: %w; a container needs `--cap-add SYS_ADMIN --device %s`, and with AppArmor `--security-opt apparmor=unconfined`", dir, err, device)
	}
	return -1, fmt.Errorf("mount %s: %w", dir, err)
}

// mountHelper mounts through fusermount3, which may do it for users, and
// gives the device back through a socket.
func mountHelper(ctx context.Context, dir string, o *raw.MountOptions) (fd int, err error) {
	bin, err := helper()
	if err != nil {
		return -1, fmt.Errorf("mount %s: %w", dir, err)
	}
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("mount %s: make a socket pair: %w", dir, err)
	}
	defer unix.Close(ends[0])
	theirs := os.NewFile(uintptr(ends[1]), "fusermount")
	defer theirs.Close()

	opts := append([]string{
		"fsname=" + escapeOption(o.FsName), "subtype=" + o.Name, fmt.Sprintf("max_read=%d", o.MaxWrite), "nosuid", "nodev",
	}, o.Options...)
	if o.AllowOther {
		opts = append(opts, "allow_other")
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, "-o", strings.Join(opts, ","), "--", dir)
	cmd.Env = append(os.Environ(), "_FUSE_COMMFD=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return -1, fmt.Errorf("mount %s: %w", dir, helperError(err, stderr.String()))
	}
	fd, err = receiveFD(ends[0])
	if err != nil {
		return -1, fmt.Errorf("mount %s: receive the device from %s: %w", dir, bin, err)
	}
	return fd, nil
}

// helper returns the path of fusermount.
func helper() (string, error) {
	for _, name := range []string{"fusermount3", "/bin/fusermount3", "/usr/bin/fusermount3", "fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("fusermount3 is not installed: install the package fuse3, or run as root")
}

// helperError makes an error of what fusermount printed.
func helperError(err error, stderr string) error {
	text := strings.TrimSpace(stderr)
	switch {
	case text == "":
		return fmt.Errorf("run fusermount3: %w", err)
	case strings.Contains(text, "user_allow_other"):
		return fmt.Errorf("%s; add the line user_allow_other to /etc/fuse.conf", text)
	case strings.Contains(text, "busy"):
		return fmt.Errorf("%s: %w", text, unix.EBUSY)
	default:
		return errors.New(text)
	}
}

// escapeOption escapes what separates mount options.
func escapeOption(s string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`).Replace(s)
}

// receiveFD receives one file descriptor from the socket.
func receiveFD(socket int) (int, error) {
	data := make([]byte, 4)
	control := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, data, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	for _, m := range messages {
		if fds, err := unix.ParseUnixRights(&m); err == nil && len(fds) == 1 {
			return fds[0], nil
		}
	}
	return -1, errors.New("no descriptor came")
}

func deviceError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return fmt.Errorf("%s is missing: load the kernel module with `modprobe fuse`, or give the container `--device %s --cap-add SYS_ADMIN`", device, device)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s may not be opened: allow it with `chmod 666 %s`, or give the container `--device %s --cap-add SYS_ADMIN`", device, device, device)
	}
	return fmt.Errorf("open the FUSE device: %w", err)
}

// unmount unmounts dir. The error is EBUSY if it is in use.
func unmount(ctx context.Context, dir string, lazy bool) error {
	if os.Geteuid() == 0 {
		flags := unix.UMOUNT_NOFOLLOW
		if lazy {
			flags |= unix.MNT_DETACH
		}
		err := unix.Unmount(dir, flags)
		if errors.Is(err, unix.EINVAL) {
			return nil // somebody else did
		}
		return err
	}
	bin, err := helper()
	if err != nil {
		return err
	}
	mode := "-u"
	if lazy {
		mode = "-uz"
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, bin, mode, "--", dir)
	cmd.Stderr = &stderr
	err = cmd.Run()
	if err == nil || strings.Contains(stderr.String(), "not found in") {
		return nil
	}
	return helperError(err, stderr.String())
}

// awaitAnswer returns when the mount answers. It opens a file that go-fuse
// makes up, and polls it: that makes the kernel learn that there is no poll,
// without which this process could not safely open files in its own mount.
func awaitAnswer(ctx context.Context, _ *raw.Server, dir string) error {
	answer := make(chan error, 1)
	go func() {
		fd, err := unix.Open(filepath.Join(dir, ".go-fuse-epoll-hack"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
			unix.Close(fd)
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// tune raises the read-ahead, which the kernel limits to 128 KiB whatever is
// agreed on; only root may, and not in every container.
func tune(dir string, log *slog.Logger) {
	var st unix.Stat_t
	if os.Geteuid() != 0 || unix.Stat(dir, &st) != nil {
		return
	}
	path := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d", readAhead>>10), 0o644); err != nil {
		log.Debug("read-ahead stays at the kernel's default", "error", err)
	}
}
