package fuse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/vfs"
)

// The process that serves a mount does not use it: a page fault there may
// stop the very goroutines that would answer it. What uses the mount runs in
// another process, which is this test binary with these variables set.
const (
	clientEnv = "CAUSEWAY_TEST_CLIENT"
	dirEnv    = "CAUSEWAY_TEST_DIR"
)

func TestMain(m *testing.M) {
	name := os.Getenv(clientEnv)
	if name == "" {
		os.Exit(m.Run())
	}
	if err := clients[name](os.Getenv(dirEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// client returns the command that runs clients[name] in dir.
func client(t *testing.T, name, dir string) *exec.Cmd {
	t.Helper()
	if clients[name] == nil {
		t.Fatalf("no client %q", name)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), clientEnv+"="+name, dirEnv+"="+dir)
	return cmd
}

// run runs clients[name] in dir.
func run(t *testing.T, name, dir string) {
	t.Helper()
	if out, err := client(t, name, dir).CombinedOutput(); err != nil {
		t.Errorf("client %s: %v\n%s", name, err, out)
	}
}

// mountTest mounts f, and unmounts it at the end, when no handle may be left.
func mountTest(t *testing.T, f *fakeFS) *Server {
	t.Helper()
	s, err := Mount(t.Context(), Config{Ops: f, MountPoint: t.TempDir(), FSName: "causeway:bucket,x"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := s.Unmount(ctx); err != nil {
			t.Error(err)
			s.Detach()
		}
		if len(f.handles)+len(f.dirs) > 0 {
			t.Errorf("after unmounting %d files and %d directories are open", len(f.handles), len(f.dirs))
		}
	})
	return s
}

func TestMountUse(t *testing.T) {
	f := newFakeFS()
	s := mountTest(t, f)
	run(t, "use", s.MountPoint())
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := slices.Max(f.sizes); got != maxWrite {
		t.Errorf("the largest write has %d bytes, want %d", got, maxWrite)
	}
	// O_TRUNC is part of open, and the others change no attributes.
	if got := f.calls["setattr"]; got != 3 {
		t.Errorf("%d requests to set attributes, want 3: chmod, truncate, utimes", got)
	}
}

// TestMountPageCache: after an own write and a stat, which shows another
// modification time, the pages are still there.
func TestMountPageCache(t *testing.T) {
	f := newFakeFS()
	s := mountTest(t, f)
	run(t, "write and read", s.MountPoint())
	if n := f.count("read"); n != 0 {
		t.Errorf("%d reads reached the filesystem, want 0", n)
	}
}

// TestMountRemoteChange changes a file and a name behind the kernel's back.
func TestMountRemoteChange(t *testing.T) {
	f := newFakeFS()
	f.ttl = time.Hour
	k, _ := f.Mknod(t.Context(), vfs.Caller{}, vfs.RootID, "f", syscall.S_IFREG|0o644, 0)
	f.nodes[k.ID].data = []byte("old content")
	s := mountTest(t, f)
	cmd := client(t, "watch", s.MountPoint())
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	step := func(want string) {
		t.Helper()
		line := make([]byte, 200)
		n, _ := out.Read(line)
		if got := strings.TrimSpace(string(line[:n])); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	step("old content true")

	f.mu.Lock()
	f.nodes[k.ID].data = []byte("new content!")
	f.mu.Unlock()
	s.InvalidateNode(k.ID)
	s.notify.drain()
	in.Write([]byte("go\n"))
	step("new content! true")

	f.mu.Lock()
	delete(f.nodes[1].children, "f")
	f.mu.Unlock()
	s.InvalidateEntry(vfs.RootID, "f")
	s.notify.drain()
	in.Write([]byte("go\n"))
	step("new content! false")
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestMountSizeChange: a file that grew elsewhere is not padded with zeros,
// even before anybody said that it changed.
func TestMountSizeChange(t *testing.T) {
	f := newFakeFS()
	f.ttl = 0
	k, _ := f.Mknod(t.Context(), vfs.Caller{}, vfs.RootID, "f", syscall.S_IFREG|0o644, 0)
	f.nodes[k.ID].data = []byte("12345")
	s := mountTest(t, f)
	// The client reads and asks for attributes; each time the file is longer.
	f.setHook(func(_ context.Context, op string) *vfs.Error {
		if op == "getattr" {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.nodes[k.ID].data = append(f.nodes[k.ID].data, "6789"...)
		}
		return nil
	})
	run(t, "no zeros", s.MountPoint())
}

// TestMountStaleOpen: the kernel looks a name up again when opening what it
// took it for fails with ESTALE.
func TestMountStaleOpen(t *testing.T) {
	f := newFakeFS()
	f.ttl = time.Hour
	k, _ := f.Mknod(t.Context(), vfs.Caller{}, vfs.RootID, "f", syscall.S_IFREG|0o644, 0)
	s := mountTest(t, f)
	run(t, "stat all", s.MountPoint())
	f.mu.Lock()
	renewed := *f.nodes[k.ID]
	renewed.ID, renewed.data = 100, []byte("new")
	f.nodes[100] = &renewed
	f.nodes[1].children["f"] = 100
	f.mu.Unlock()
	var opens atomic.Int64
	f.setHook(func(_ context.Context, op string) *vfs.Error {
		if op == "open" && opens.Add(1) == 1 {
			return fail(op, vfs.Stale)
		}
		return nil
	})
	run(t, "read new", s.MountPoint())
	if n := opens.Load(); n != 2 {
		t.Errorf("opened %d times, want 2", n)
	}
}

func TestMountPrune(t *testing.T) {
	f := newFakeFS()
	f.ttl = time.Hour
	s := mountTest(t, f)
	var ids []vfs.NodeID
	for i := range 50 {
		k, _ := f.Mknod(t.Context(), vfs.Caller{}, vfs.RootID, fmt.Sprint("f", i), syscall.S_IFREG|0o644, 0)
		f.Forget(k.ID, 1)
		ids = append(ids, k.ID)
	}
	run(t, "stat all", s.MountPoint())
	s.Prune(ids)
	s.notify.drain()
	deadline := time.Now().Add(20 * time.Second)
	for left := 1; left > 0; time.Sleep(time.Millisecond) {
		left = 0
		f.mu.Lock()
		for _, id := range ids {
			left += f.refs[id]
		}
		f.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("the kernel still holds %d references", left)
		}
	}
}

// TestMountSignals: a harmless signal does not disturb a request, SIGKILL
// ends it.
func TestMountSignals(t *testing.T) {
	f := newFakeFS()
	s := mountTest(t, f)
	entered := make(chan struct{})
	result := make(chan error, 1)
	f.setHook(func(ctx context.Context, op string) *vfs.Error {
		if op != "make" {
			return nil
		}
		close(entered)
		<-ctx.Done()
		result <- ctx.Err()
		return &vfs.Error{Op: op, Kind: vfs.Interrupted}
	})
	cmd := client(t, "mkdir", s.MountPoint())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-entered
	for range 3 {
		cmd.Process.Signal(syscall.SIGURG)
		cmd.Process.Signal(syscall.SIGCHLD)
	}
	select {
	case err := <-result:
		t.Errorf("a harmless signal ended the request: %v", err)
	case <-time.After(3 * recheck):
	}
	cmd.Process.Kill()
	if err := <-result; err != context.Canceled {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	cmd.Wait()
}

func TestMountBusy(t *testing.T) {
	f := newFakeFS()
	s := mountTest(t, f)
	cmd := client(t, "hold", s.MountPoint())
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Read(make([]byte, 1))

	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Unmount(ctx); !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "fuser -vm") {
		t.Errorf("unmount while in use: got %v, want EBUSY", err)
	}
	if err := s.Detach(); err != nil {
		t.Error(err)
	}
	if names, _ := os.ReadDir(s.MountPoint()); len(names) > 0 {
		t.Errorf("still there after detaching: %v", names)
	}
	in.Close() // the client writes once more and ends
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program that held a file: %v", err)
	}
	s.Wait()
	if data := f.nodes[2].data; string(data) != "beforeafter" {
		t.Errorf("the file has %q", data)
	}
}

func TestMountReadOnly(t *testing.T) {
	s, err := Mount(t.Context(), Config{Ops: newFakeFS(), MountPoint: t.TempDir(), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Unmount(t.Context())
	if err := os.Mkdir(filepath.Join(s.MountPoint(), "d"), 0o755); !errors.Is(err, syscall.EROFS) {
		t.Errorf("got %v, want EROFS", err)
	}
}

func TestMountPointErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := mountTest(t, newFakeFS())
	tests := []struct {
		name, dir, want string
	}{
		{"empty", "", "no mount point"},
		{"missing", filepath.Join(dir, "none"), "mkdir -p"},
		{"file", file, "not a directory"},
		{"not empty", dir, "not empty (it has file)"},
		{"mounted", s.MountPoint(), "mounted on"},
		{"dead", deadMount(t), "fusermount3 -u"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Mount(t.Context(), Config{Ops: newFakeFS(), MountPoint: tt.dir})
			if err == nil {
				s.Unmount(t.Context())
				t.Fatal("mounted")
			}
			if !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, tt.want)
			}
		})
	}
	n, err := Mount(t.Context(), Config{Ops: newFakeFS(), MountPoint: dir, AllowNonEmpty: true})
	if err != nil {
		t.Fatalf("not empty, but allowed: %v", err)
	}
	n.Unmount(t.Context())
}

// deadMount returns a directory on which a filesystem is mounted whose server
// is gone.
func deadMount(t *testing.T) string {
	dir := t.TempDir()
	f := newFakeFS()
	cfg := Config{Ops: f, MountPoint: dir}
	cfg.setDefaults()
	fd, err := mountDirect(dir, cfg.mountOptions())
	if os.Geteuid() != 0 {
		fd, err = mountHelper(t.Context(), dir, cfg.mountOptions())
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	t.Cleanup(func() { unmount(context.Background(), dir, true) })
	return dir
}

// TestMountUnmountedByOthers: Wait returns when somebody else unmounts.
func TestMountUnmountedByOthers(t *testing.T) {
	f := newFakeFS()
	s := mountTest(t, f)
	run(t, "stat all", s.MountPoint())
	if err := unmount(t.Context(), s.MountPoint(), false); err != nil {
		t.Fatal(err)
	}
	s.Wait()
	if err := s.Unmount(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestMountOptions(t *testing.T) {
	s := mountTest(t, newFakeFS())
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var line string
	for l := range strings.Lines(string(mounts)) {
		if strings.Contains(l, s.MountPoint()) {
			line = l
		}
	}
	for _, want := range []string{"causeway:bucket,x ", " fuse.causeway ", "nosuid", "nodev"} {
		if !strings.Contains(line, want) {
			t.Errorf("%q is not in %q", want, line)
		}
	}
	fds, _ := filepath.Glob("/proc/self/fd/*")
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == device {
			info, _ := os.ReadFile("/proc/self/fdinfo/" + filepath.Base(fd))
			if !bytes.Contains(info, []byte("02")) || !closesOnExec(info) {
				t.Errorf("the device stays open in child processes: %s", info)
			}
		}
	}
}

// closesOnExec reports whether the flags in a /proc fdinfo have O_CLOEXEC.
func closesOnExec(info []byte) bool {
	for l := range strings.Lines(string(info)) {
		var flags uint32
		if n, _ := fmt.Sscanf(l, "flags: %o", &flags); n == 1 {
			return flags&syscall.O_CLOEXEC != 0
		}
	}
	return false
}

// TestMountAsUser mounts as an ordinary user, through fusermount3.
func TestMountAsUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // every test is one
	}
	dir, err := os.MkdirTemp("/tmp", "causeway-fuse")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "test")
	exe, _ := os.Executable()
	data, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	mnt := filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(bin, data, 0o755), os.Mkdir(mnt, 0o755), os.Chown(dir, nobody, nobody), os.Chown(mnt, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	cmd := client(t, "serve as nobody", mnt)
	cmd.Path, cmd.Dir = bin, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
