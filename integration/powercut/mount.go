package powercut

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// unmountLimit is how long a filesystem may stay in use after its unmount.
const unmountLimit = 20 * time.Second

// FS is a mounted filesystem. Its methods may be called at any time from any
// goroutine, except Cut and Close, which must come alone.
type FS struct {
	dir    string
	guard  *guard
	server *raw.Server // replaced by Cut

	mu    sync.Mutex // guards all below
	tree  *tree
	nodes map[uint64]*inode // that the kernel knows, by number
	trips trips
}

// Mount mounts an empty filesystem at the directory dir until Close, or until
// this process ends in whatever way.
func Mount(dir string) (*FS, error) {
	g, err := newGuard(dir)
	if err != nil {
		return nil, err
	}
	f := &FS{dir: dir, guard: g, tree: newTree()}
	if err := f.attach(); err != nil {
		g.close()
		return nil, err
	}
	return f, nil
}

// attach mounts the tree.
func (f *FS) attach() error {
	f.mu.Lock()
	f.nodes = map[uint64]*inode{raw.FUSE_ROOT_ID: f.tree.root}
	f.mu.Unlock()
	server, err := raw.NewServer(&handler{RawFileSystem: raw.NewDefaultRawFileSystem(), f: f}, f.dir, &raw.MountOptions{
		FsName: "causeway-powercut", Name: "causeway-powercut", DirectMount: true, DisableReadDirPlus: true,
		MaxWrite: 1 << 20, IgnoreSecurityLabels: true,
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", f.dir, err)
	}
	f.server = server
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return errors.Join(fmt.Errorf("mount %s: %w", f.dir, err), f.detach())
	}
	return nil
}

// detach unmounts, and waits until no process uses the filesystem any more.
func (f *FS) detach() error {
	if err := unix.Unmount(f.dir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", f.dir, err)
	}
	done := make(chan struct{})
	go func() {
		f.server.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(unmountLimit):
		return fmt.Errorf("unmount %s: still in use after %v", f.dir, unmountLimit)
	}
}

// Mode says what of the changes that are not durable a power cut keeps.
type Mode int

// The modes.
const (
	Strict Mode = iota // nothing
	Random             // anything that a disk may keep
)

// String returns the mode's name.
func (m Mode) String() string { return [...]string{"strict", "random"}[m] }

// Cut cuts the power: the filesystem is mounted anew with what is left. No
// process may be using it. The seed decides what Random keeps.
func (f *FS) Cut(mode Mode, seed uint64) error {
	f.Freeze()
	if err := f.detach(); err != nil {
		return err
	}
	var r *rand.Rand
	if mode == Random {
		r = rand.New(rand.NewPCG(seed, 0))
	}
	f.mu.Lock()
	f.tree = f.tree.cut(r)
	f.trips.frozen, f.trips.armed = false, false
	f.mu.Unlock()
	return f.attach()
}

// Close unmounts.
func (f *FS) Close() error {
	err := f.detach()
	f.guard.close()
	return err
}

// guard is a process that unmounts a directory when this one ends without
// having done so.
type guard struct {
	cmd  *exec.Cmd
	pipe *os.File // its end is what the guard waits for
}

func newGuard(dir string) (*guard, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("guard the mount: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", `read -r done && exit; umount -l "$0"`, dir)
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, fmt.Errorf("guard the mount: %w", err)
	}
	return &guard{cmd: cmd, pipe: w}, nil
}

func (g *guard) close() {
	g.pipe.WriteString("done\n")
	g.pipe.Close()
	g.cmd.Wait()
}
