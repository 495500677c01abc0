package fuse

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// clients are programs that use a mount. They run in their own process.
var clients = map[string]func(dir string) error{
	"use":             useMount,
	"write and read":  writeAndRead,
	"watch":           watch,
	"no zeros":        noZeros,
	"stat all":        statAll,
	"read again":      readAgain,
	"read new":        func(dir string) error { return expect(filepath.Join(dir, "f"), []byte("new")) },
	"mkdir":           func(dir string) error { return os.Mkdir(filepath.Join(dir, "d"), 0o755) },
	"hold":            hold,
	"serve":           serve,
	"serve as nobody": serveAsNobody,
}

// steps runs the steps until one fails.
func steps(all ...func() error) error {
	for i, step := range all {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

func useMount(dir string) error {
	name := func(s string) string { return filepath.Join(dir, s) }
	big := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16)
	return steps(
		func() error { return os.WriteFile(name("f"), big, 0o600) },
		func() error { return expect(name("f"), big) },
		func() error { return os.WriteFile(name("f"), []byte("short"), 0o600) }, // O_TRUNC
		func() error { return expect(name("f"), []byte("short")) },
		func() error { return appendTo(name("f"), "er") },
		func() error { return expect(name("f"), []byte("shorter")) },
		func() error { return os.Mkdir(name("d"), 0o755) },
		func() error { return os.Rename(name("f"), name("d/g")) },
		func() error { return expect(name("d/g"), []byte("shorter")) },
		func() error { return wantErr(os.Link(name("d/g"), name("l")), syscall.ENOTSUP) },
		func() error { return os.Symlink("d/g", name("s")) },
		func() error { return expect(name("s"), []byte("shorter")) },
		func() error { return wantErr(os.Remove(name("d")), syscall.ENOTEMPTY) },
		func() error { return os.Chmod(name("d/g"), 0o640) },
		func() error { return os.Truncate(name("d/g"), 3) },
		func() error { return os.Chtimes(name("d/g"), time.Time{}, time.Unix(1000, 5)) },
		func() error { return expectStat(name("d/g"), 0o640, 3, time.Unix(1000, 5)) },
		func() error { return xattrs(name("d/g")) },
		func() error { return mapped(name("m")) },
		func() error { return seek(name("m")) },
		func() error { return wantErr(renameat2(name("m"), name("d/g"), unix.RENAME_NOREPLACE), syscall.EEXIST) },
		func() error { return wantErr(renameat2(name("m"), name("d/g"), unix.RENAME_EXCHANGE), syscall.EINVAL) },
		func() error { return syscall.Mkfifo(name("fifo"), 0o600) },
		func() error { return expectNames(dir, "d", "fifo", "m", "s") },
		func() error { return exec.Command("cp", name("m"), name("copy")).Run() }, // copy_file_range falls back
		func() error { return tmpfile(dir) },
		func() error {
			return wantErr(onFile(name("m"), func(fd int) error { return unix.IoctlSetInt(fd, 0x1234, 0) }), syscall.ENOTTY)
		},
		func() error { return os.RemoveAll(name("d")) },
		func() error { return wantErr(os.Remove(name("d")), syscall.ENOENT) },
		func() error { return unix.Statfs(dir, new(unix.Statfs_t)) },
		func() error { return unix.Access(name("m"), unix.W_OK) },
	)
}

func expect(name string, want []byte) error {
	got, err := os.ReadFile(name)
	if err == nil && !bytes.Equal(got, want) {
		err = fmt.Errorf("%s: got %d bytes %.40q, want %d %.40q", name, len(got), got, len(want), want)
	}
	return err
}

func expectStat(name string, mode os.FileMode, size int64, mtime time.Time) error {
	info, err := os.Stat(name)
	if err == nil && (info.Mode() != mode || info.Size() != size || !info.ModTime().Equal(mtime)) {
		err = fmt.Errorf("%s: got %v, %d, %v", name, info.Mode(), info.Size(), info.ModTime())
	}
	return err
}

func expectNames(dir string, want ...string) error {
	entries, err := os.ReadDir(dir)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if err == nil && fmt.Sprint(got) != fmt.Sprint(want) {
		err = fmt.Errorf("got %v, want %v", got, want)
	}
	return err
}

func wantErr(err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("got error %v, want %v", err, want)
	}
	return nil
}

func onFile(name string, do func(fd int) error) error {
	fd, err := unix.Open(name, unix.O_RDWR|unix.O_CREAT, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(do(fd), unix.Close(fd))
}

func appendTo(name, data string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	return errors.Join(err, f.Close())
}

func renameat2(from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
}

// tmpfile asks for a file without a name, which is refused, so that programs
// make one with a name.
func tmpfile(dir string) error {
	_, err := unix.Open(dir, unix.O_RDWR|unix.O_TMPFILE, 0o600)
	return wantErr(err, syscall.EOPNOTSUPP)
}

func xattrs(name string) error {
	buf := make([]byte, 100)
	if err := unix.Setxattr(name, "user.a", []byte("value"), 0); err != nil {
		return err
	}
	n, err := unix.Getxattr(name, "user.a", buf)
	if err != nil || string(buf[:n]) != "value" {
		return fmt.Errorf("got %q, %v", buf[:n], err)
	}
	if n, err = unix.Getxattr(name, "user.a", nil); n != 5 || err != nil {
		return fmt.Errorf("size %d, %v", n, err)
	}
	if _, err = unix.Getxattr(name, "user.a", buf[:2]); err != syscall.ERANGE {
		return fmt.Errorf("too small: %v", err)
	}
	if n, err = unix.Listxattr(name, buf); string(buf[:n]) != "user.a\x00" {
		return fmt.Errorf("list %q, %v", buf[:n], err)
	}
	if err := unix.Removexattr(name, "user.a"); err != nil {
		return err
	}
	_, err = unix.Getxattr(name, "user.a", buf)
	return wantErr(err, syscall.ENODATA)
}

// mapped writes through a shared mapping while the file is also open for
// appending.
func mapped(name string) error {
	return onFile(name, func(fd int) error {
		if _, err := unix.Write(fd, bytes.Repeat([]byte("x"), 8192)); err != nil {
			return err
		}
		appender, err := unix.Open(name, unix.O_RDWR|unix.O_APPEND, 0)
		if err != nil {
			return err
		}
		defer unix.Close(appender)
		mem, err := unix.Mmap(appender, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		copy(mem[4095:], "yes")
		if err := errors.Join(unix.Msync(mem, unix.MS_SYNC), unix.Munmap(mem)); err != nil {
			return err
		}
		want := bytes.Repeat([]byte("x"), 8192)
		copy(want[4095:], "yes")
		return expect(name, want)
	})
}

func seek(name string) error {
	return onFile(name, func(fd int) error {
		if err := unix.Fallocate(fd, 0, 0, 10000); err != nil {
			return err
		}
		if off, err := unix.Seek(fd, 5, unix.SEEK_HOLE); off != 10000 || err != nil {
			return fmt.Errorf("hole at %d, %v", off, err)
		}
		_, err := unix.Seek(fd, 10000, unix.SEEK_DATA)
		return wantErr(err, syscall.ENXIO)
	})
}

func writeAndRead(dir string) error {
	return onFile(filepath.Join(dir, "f"), func(fd int) error {
		data := bytes.Repeat([]byte("x"), 64<<10)
		for range 5 {
			if _, err := unix.Write(fd, data); err != nil {
				return err
			}
			if err := unix.Fstat(fd, new(unix.Stat_t)); err != nil {
				return err
			}
		}
		got := make([]byte, 5*len(data))
		if n, err := unix.Pread(fd, got, 0); n != len(got) || err != nil {
			return fmt.Errorf("read %d, %v", n, err)
		}
		return nil
	})
}

// watch prints what is in the file f that it holds open, and whether the name
// is there: at first, and for each line of input.
func watch(dir string) error {
	f, err := os.Open(filepath.Join(dir, "f"))
	if err != nil {
		return err
	}
	for in := bufio.NewScanner(os.Stdin); ; {
		buf := make([]byte, 100)
		n, _ := f.ReadAt(buf, 0)
		_, err := os.Stat(filepath.Join(dir, "f"))
		fmt.Printf("%s %v\n", buf[:n], err == nil)
		if !in.Scan() {
			return nil
		}
	}
}

func noZeros(dir string) error {
	name := filepath.Join(dir, "f")
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for range 20 {
		if _, err := os.Stat(name); err != nil {
			return err
		}
		buf := make([]byte, 1000)
		n, _ := f.ReadAt(buf, 0)
		if n < 5 || bytes.IndexByte(buf[:n], 0) >= 0 {
			return fmt.Errorf("read %q", buf[:n])
		}
	}
	return nil
}

func statAll(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return err
}

// hold writes to a file before and after its input ends.
func hold(dir string) error {
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		return err
	}
	f.WriteString("before")
	os.Stdout.WriteString("x")
	os.Stdin.Read(make([]byte, 1))
	if _, err := f.WriteString("after"); err != nil {
		return err
	}
	return f.Close()
}

const nobody = 65534

// serveAsNobody runs the client "serve" as an ordinary user. It is in a mount
// namespace of its own, where everybody may open the device, as udev sets it
// up on most systems.
func serveAsNobody(dir string) error {
	node := filepath.Join(filepath.Dir(dir), "fuse")
	if err := steps(
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
		func() error { return unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(10, 229))) },
		func() error { return os.Chmod(node, 0o666) },
		func() error { return unix.Mount(node, device, "", unix.MS_BIND, "") },
	); err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), clientEnv+"=serve")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return err
}

// serve mounts dir, uses it from a child process, and unmounts it.
func serve(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	s, err := Mount(ctx, Config{Ops: newFakeFS(), MountPoint: dir})
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), clientEnv+"=use")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return errors.Join(err, s.Unmount(ctx))
}
