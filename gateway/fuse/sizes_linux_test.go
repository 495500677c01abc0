package fuse

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
	"github.com/causewayfs/causeway/vfs"
)

// readAgain prints for each line of input what is in the file f, which it opens
// for that.
func readAgain(dir string) error {
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		f, err := os.Open(filepath.Join(dir, "f"))
		if err != nil {
			return err
		}
		buf := make([]byte, 8192)
		n, _ := f.Read(buf)
		f.Close()
		fmt.Printf("%d bytes, %d of %q\n", n, bytes.Count(buf[:n], buf[:1]), buf[:1])
	}
	return nil
}

// notifying notifies the kernel whenever it asks for attributes or bytes, as
// changes elsewhere, and opens that find one, do at any moment: it ignores the
// sizes in answers to requests that are under way then.
type notifying struct {
	*vfs.FS
	kernel atomic.Pointer[Server]
}

func (n *notifying) notify(id vfs.NodeID) {
	if s := n.kernel.Load(); s != nil {
		s.raw.InodeNotify(uint64(id), -1, 0)
	}
}

func (n *notifying) GetAttr(ctx context.Context, id vfs.NodeID, h *vfs.Handle) (vfs.Known, error) {
	defer n.notify(id)
	return n.FS.GetAttr(ctx, id, h)
}

func (n *notifying) Read(ctx context.Context, h *vfs.Handle, p []byte, off int64) (int, error) {
	defer n.notify(h.Node())
	return n.FS.Read(ctx, h, p, off)
}

func openFS(t *testing.T, s store.Store) *vfs.FS {
	t.Helper()
	able := store.Capabilities{PutIfAbsent: true, PutIfMatch: true, CompleteIf: true, DeleteIf: true, CopySourceIf: true, CopyIf: true}
	fs, err := vfs.Open(t.Context(), vfs.Options{Store: s, Capabilities: able, StateDir: t.TempDir(), GatewayID: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := fs.Close(ctx, nil); err != nil {
			t.Error(err)
		}
	})
	return fs
}

// TestMountOtherSize: readers of a file that is replaced elsewhere by versions
// of other sizes see neither zeros behind the end nor less than there is,
// although the kernel ignores all that it is told of the size of a node which it
// knows.
func TestMountOtherSize(t *testing.T) {
	s := mem.New()
	ops, other := &notifying{FS: openFS(t, s)}, openFS(t, s)
	srv, err := Mount(t.Context(), Config{Ops: ops, MountPoint: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Unmount(context.Background())
	ops.kernel.Store(srv)
	cmd := client(t, "read again", srv.MountPoint())
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
	lines := bufio.NewScanner(out)
	for i, size := range []int{1728, 1584, 1584, 5000, 100, 4096, 1} {
		letter := string(rune('a' + i))
		_, h, err := other.Create(t.Context(), vfs.Caller{}, vfs.RootID, "f", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_TRUNC, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.Write(t.Context(), h, []byte(strings.Repeat(letter, size)), 0); err != nil {
			t.Fatal(err)
		}
		if err := other.Flush(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		other.Release(h)
		for range 2 {
			fmt.Fprintln(in)
			lines.Scan()
			if want := fmt.Sprintf("%d bytes, %d of %q", size, size, letter); lines.Text() != want {
				t.Errorf("read %s, want %s", lines.Text(), want)
			}
		}
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
