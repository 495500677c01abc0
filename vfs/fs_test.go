package vfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/store/mem"
)

// counted counts the requests that reach a store, leaving out those about
// Causeway's own objects.
type counted struct {
	store.Store
	mu  sync.Mutex
	ops map[store.Op]int
}

func (c *counted) count(op store.Op, key string) {
	if strings.HasPrefix(key, reserved) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops[op]++
}

func (c *counted) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ops = map[store.Op]int{}
}

// String is the counts in a fixed order, such as "GET 1, PUT 2".
func (c *counted) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var parts []string
	for _, op := range slices.Sorted(maps.Keys(c.ops)) {
		parts = append(parts, fmt.Sprintf("%s %d", op, c.ops[op]))
	}
	return strings.Join(parts, ", ")
}

func (c *counted) Get(ctx context.Context, key string, o store.GetOptions) (*store.Object, error) {
	c.count(store.OpGet, key)
	return c.Store.Get(ctx, key, o)
}

func (c *counted) Head(ctx context.Context, key string) (store.Info, error) {
	c.count(store.OpHead, key)
	return c.Store.Head(ctx, key)
}

func (c *counted) List(ctx context.Context, o store.ListOptions) (store.Page, error) {
	c.count(store.OpList, o.Prefix)
	return c.Store.List(ctx, o)
}

func (c *counted) Put(ctx context.Context, key string, b store.Body, o store.PutOptions) (store.Info, error) {
	c.count(store.OpPut, key)
	return c.Store.Put(ctx, key, b, o)
}

func (c *counted) Copy(ctx context.Context, src, dst string, o store.CopyOptions) (store.Info, error) {
	c.count(store.OpCopy, dst)
	return c.Store.Copy(ctx, src, dst, o)
}

func (c *counted) Delete(ctx context.Context, key string, p store.Precondition) error {
	c.count(store.OpDelete, key)
	return c.Store.Delete(ctx, key, p)
}

func (c *counted) DeleteMany(ctx context.Context, keys []string) (map[string]error, error) {
	c.count(store.OpDeleteMany, keys[0])
	return c.Store.DeleteMany(ctx, keys)
}

func (c *counted) UploadPart(ctx context.Context, key string, id store.UploadID, n int, b store.Body) (store.Part, error) {
	c.count(store.OpUploadPart, key)
	return c.Store.UploadPart(ctx, key, id, n, b)
}

func (c *counted) CopyPart(ctx context.Context, key string, id store.UploadID, n int, src string, etag store.ETag, off, length int64) (store.Part, error) {
	c.count(store.OpCopyPart, key)
	return c.Store.CopyPart(ctx, key, id, n, src, etag, off, length)
}

// world is one filesystem on a store that others may share.
type world struct {
	t   *testing.T
	fs  *FS
	ops *counted
	ctx context.Context
	// fenced: another gateway went on with its state directory, so that Close
	// may have to say that something was kept.
	fenced bool
}

func everything() store.Capabilities {
	return store.Capabilities{PutIfAbsent: true, PutIfMatch: true, CompleteIf: true, DeleteIf: true, CopySourceIf: true, CopyIf: true}
}

func newWorld(t *testing.T, s store.Store, change func(*Options)) *world {
	t.Helper()
	c := &counted{Store: s, ops: map[store.Op]int{}}
	opts := Options{Store: c, Capabilities: everything(), StateDir: t.TempDir(), GatewayID: t.Name() + fmt.Sprint(time.Now().UnixNano()), Umask: 0o22}
	if change != nil {
		change(&opts)
	}
	fs, err := Open(context.Background(), opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	w := &world{t: t, fs: fs, ops: c, ctx: context.Background()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := fs.Close(ctx, nil); err != nil && !w.fenced {
			t.Errorf("Close: %v", err)
		}
	})
	return w
}

// walk looks up all but the last component and returns its directory.
func (w *world) walk(path string) (NodeID, string) {
	w.t.Helper()
	dir, name := splitPath(path)
	id := RootID
	for part := range strings.SplitSeq(dir, "/") {
		if part == "" {
			continue
		}
		k, err := w.fs.Lookup(w.ctx, id, part)
		if err != nil {
			w.t.Fatalf("lookup %q of %q: %v", part, path, err)
		}
		id = k.ID
	}
	return id, name
}

func (w *world) lookup(path string) (Known, error) {
	if path == "" {
		return w.fs.GetAttr(w.ctx, RootID, nil)
	}
	dir, name := w.walk(path)
	return w.fs.Lookup(w.ctx, dir, name)
}

// open opens as the kernel does: a lookup, and then create or open.
func (w *world) open(path string, flags int) (*Handle, error) {
	dir, name := w.walk(path)
	for range 3 {
		k, err := w.fs.Lookup(w.ctx, dir, name)
		if err != nil && KindOf(err) == NotExist && flags&syscall.O_CREAT != 0 {
			_, h, err := w.fs.Create(w.ctx, Caller{}, dir, name, flags, 0o644)
			return h, err
		}
		if err != nil {
			return nil, err
		}
		if flags&syscall.O_EXCL != 0 {
			return nil, &Error{Op: "open", Path: path, Kind: Exist}
		}
		h, err := w.fs.Open(w.ctx, k.ID, flags&^syscall.O_CREAT)
		if err == nil || KindOf(err) != Stale {
			return h, err
		}
	}
	return nil, &Error{Op: "open", Path: path, Kind: Stale}
}

func (w *world) write(path, data string, flags int) error {
	h, err := w.open(path, syscall.O_WRONLY|syscall.O_CREAT|flags)
	if err != nil {
		return err
	}
	defer w.fs.Release(h)
	if _, err := w.fs.Write(w.ctx, h, []byte(data), 0); err != nil {
		return err
	}
	return w.fs.Flush(w.ctx, h)
}

func (w *world) read(path string) (string, error) {
	h, err := w.open(path, syscall.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer w.fs.Release(h)
	return w.readHandle(h)
}

func (w *world) readHandle(h *Handle) (string, error) {
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := w.fs.Read(w.ctx, h, buf, int64(len(all)))
		all = append(all, buf[:n]...)
		if n == 0 || err != nil {
			return string(all), err
		}
	}
}

func (w *world) mkdir(path string) error {
	dir, name := w.walk(path)
	_, err := w.fs.Mkdir(w.ctx, Caller{}, dir, name, 0o755)
	return err
}

func (w *world) rename(from, to string, flags RenameFlags) error {
	fd, fn := w.walk(from)
	td, tn := w.walk(to)
	return w.fs.Rename(w.ctx, fd, fn, td, tn, flags)
}

func (w *world) unlink(path string) error {
	dir, name := w.walk(path)
	return w.fs.Unlink(w.ctx, dir, name)
}

func (w *world) rmdir(path string) error {
	dir, name := w.walk(path)
	return w.fs.Rmdir(w.ctx, dir, name)
}

func (w *world) list(path string) string {
	w.t.Helper()
	k, err := w.lookup(path)
	if err != nil {
		w.t.Fatalf("lookup %q: %v", path, err)
	}
	d, err := w.fs.OpenDir(w.ctx, k.ID)
	if err != nil {
		w.t.Fatalf("opendir %q: %v", path, err)
	}
	var names []string
	err = w.fs.ReadDir(w.ctx, d, 0, func(e DirEntry) bool { names = append(names, e.Name); return true })
	if err != nil {
		w.t.Fatalf("readdir %q: %v", path, err)
	}
	return strings.Join(names[dots:], " ")
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantKind(err error, k Kind) {
	w.t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Kind != k {
		w.t.Fatalf("got %v, want %v", err, k)
	}
}

func (w *world) wantRead(path, want string) {
	w.t.Helper()
	if got, err := w.read(path); err != nil || got != want {
		w.t.Fatalf("read %q: %.80q, %v; want %.80q", path, got, err, want)
	}
}

func (w *world) wantOps(what, want string) {
	w.t.Helper()
	if got := w.ops.String(); got != want {
		w.t.Errorf("%s: requests %q, want %q", what, got, want)
	}
	w.ops.reset()
}

// TestRequests counts what each operation costs, as the package documentation
// promises.
func TestRequests(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.list("")
	w.ops.reset()
	w.must(w.mkdir("d"))
	w.wantOps("mkdir", "PUT 1")
	w.must(w.write("d/f", "one", 0))
	w.wantOps("new file", "PUT 1")
	w.must(w.write("d/f", "two", syscall.O_TRUNC))
	w.wantOps("overwrite", "PUT 1")
	w.wantRead("d/f", "two")
	w.wantOps("open and read of a cached file", "GET 1")
	w.must(w.write("d/.x.tmp", "three", syscall.O_EXCL))
	w.wantOps("temporary file", "")
	w.must(w.rename("d/.x.tmp", "d/f", 0))
	w.wantOps("rename of it", "PUT 1")
	w.wantRead("d/f", "three")
	w.ops.reset()
	w.must(w.write("d/lock", "me", syscall.O_EXCL))
	w.wantOps("exclusive create, write, close", "PUT 2")
	w.must(w.rename("d/f", "d/g", 0))
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	w.wantOps("rename of a committed file", "COPY 1, DELETE 1")
	w.wantRead("d/g", "three")
	if got := w.list("d"); got != "g lock" {
		t.Errorf("list: %q", got)
	}
}

// TestRemoveTree counts the requests of rm -r.
func TestRemoveTree(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	w.list("")
	w.must(w.mkdir("d"))
	for i := range 1000 {
		w.must(w.write(fmt.Sprintf("d/f%04d", i), "x", 0))
	}
	w.list("d")
	w.ops.reset()
	for name := range strings.SplitSeq(w.list("d"), " ") {
		w.must(w.unlink("d/" + name))
	}
	w.must(w.rmdir("d"))
	w.must(w.fs.FsyncDir(w.ctx, RootID))
	w.ops.mu.Lock()
	total := 0
	for _, n := range w.ops.ops {
		total += n
	}
	w.ops.mu.Unlock()
	if total > 5 {
		t.Errorf("rm -r of 1000 files: %s", w.ops)
	}
	if got := w.list(""); got != "" {
		t.Errorf("left: %q", got)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// TestNames refuses what S3 cannot hold or tell of, and takes everything else.
func TestNames(t *testing.T) {
	w := newWorld(t, mem.New(), nil)
	for _, name := range []string{"bell\x07", "\xff", "\uffff", ".", ".."} {
		_, err := w.fs.Mkdir(w.ctx, Caller{}, RootID, name, 0o755)
		w.wantKind(err, Invalid)
	}
	_, err := w.fs.Mkdir(w.ctx, Caller{}, RootID, strings.Repeat("n", 256), 0o755)
	w.wantKind(err, NameTooLong)
	_, err = w.fs.Mkdir(w.ctx, Caller{}, RootID, reserved, 0o755)
	w.wantKind(err, Permission)
	_, err = w.fs.Lookup(w.ctx, RootID, reserved)
	w.wantKind(err, NotExist)
	var want []string
	for _, name := range []string{"\t", "a b", "new\nline", "ä", "+%2F&<>'\"", strings.Repeat("n", 255)} {
		w.must(w.write(name, name, 0))
		w.wantRead(name, name)
		want = append(want, name)
	}
	slices.Sort(want)
	w.wantRoot(strings.Join(want, " "))
}
