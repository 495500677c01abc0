package powercut

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
)

func TestMain(m *testing.M) {
	harness.Main(m, map[string]func([]string) error{"mmap": writeMapped, "die": mountAndDie})
}

func mount(t *testing.T) (*FS, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := Mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if harness.Mounted(dir) {
			t.Error("still mounted")
		}
	})
	return f, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// store writes a file, and syncs it and its directory if wanted.
func store(t *testing.T, path, text string, syncFile, syncDir bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	must(t, err)
	_, err = f.WriteString(text)
	must(t, err)
	if syncFile {
		must(t, f.Sync())
	}
	must(t, f.Close())
	if syncDir {
		syncPath(t, filepath.Dir(path))
	}
}

func syncPath(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	must(t, errors.Join(f.Sync(), f.Close()))
}

// list maps the files below dir to their contents, and directories to "/".
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		found[rel] = "/"
		if e.Type().IsRegular() {
			text, err := os.ReadFile(path)
			found[rel] = string(text)
			return err
		}
		return nil
	}))
	return found
}

func want(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if got := list(t, dir); fmt.Sprint(got) != fmt.Sprint(files) {
		t.Errorf("got  %q\nwant %q", got, files)
	}
}

type files = map[string]string

// TestStrict keeps what was synced and nothing else.
func TestStrict(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(t *testing.T, dir string)
		want files
	}{
		"all synced":        {func(t *testing.T, d string) { store(t, d+"/f", "x", true, true) }, files{"f": "x"}},
		"no sync":           {func(t *testing.T, d string) { store(t, d+"/f", "x", false, false) }, files{}},
		"entry not synced":  {func(t *testing.T, d string) { store(t, d+"/f", "x", true, false) }, files{}},
		"bytes not synced":  {func(t *testing.T, d string) { store(t, d+"/f", "x", false, true) }, files{"f": ""}},
		"unlink not synced": {func(t *testing.T, d string) { store(t, d+"/f", "x", true, true); must(t, os.Remove(d+"/f")) }, files{"f": "x"}},
		"unlink synced": {func(t *testing.T, d string) {
			store(t, d+"/f", "x", true, true)
			must(t, os.Remove(d+"/f"))
			syncPath(t, d)
		}, files{}},
		"rename not synced":     {func(t *testing.T, d string) { store(t, d+"/f", "x", true, true); must(t, os.Rename(d+"/f", d+"/g")) }, files{"f": "x"}},
		"truncated, not synced": {func(t *testing.T, d string) { store(t, d+"/f", "x", true, true); must(t, os.Truncate(d+"/f", 0)) }, files{"f": "x"}},
		"overwritten, not sync": {func(t *testing.T, d string) { store(t, d+"/f", "x", true, true); store(t, d+"/f", "new", false, false) }, files{"f": "x"}},
		"overwritten and synced": {func(t *testing.T, d string) {
			store(t, d+"/f", "old one", true, true)
			store(t, d+"/f", "new", true, false)
		}, files{"f": "new"}},
		"rename of unsynced bytes": {func(t *testing.T, d string) {
			store(t, d+"/f", "old", true, true)
			store(t, d+"/g", "new", false, false)
			must(t, os.Rename(d+"/g", d+"/f"))
			syncPath(t, d)
		}, files{"f": ""}},
		"directory whose entry is not synced": {func(t *testing.T, d string) {
			must(t, os.Mkdir(d+"/sub", 0o755))
			store(t, d+"/sub/f", "x", true, true)
		}, files{}},
		"move to another directory, that one synced": {func(t *testing.T, d string) {
			must(t, os.Mkdir(d+"/sub", 0o755))
			store(t, d+"/f", "x", true, true)
			must(t, os.Rename(d+"/f", d+"/sub/f"))
			syncPath(t, d+"/sub")
		}, files{"sub": "/", "sub/f": "x"}},
		"hard link": {func(t *testing.T, d string) {
			store(t, d+"/f", "x", true, true)
			must(t, os.Link(d+"/f", d+"/g"))
			syncPath(t, d)
			store(t, d+"/g", "y", true, false)
		}, files{"f": "y", "g": "y"}},
		"O_DSYNC": {func(t *testing.T, d string) {
			store(t, d+"/f", "", true, true)
			fd, err := unix.Open(d+"/f", unix.O_WRONLY|unix.O_DSYNC, 0)
			must(t, err)
			_, err = unix.Write(fd, []byte("x"))
			must(t, errors.Join(err, unix.Close(fd)))
		}, files{"f": "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			f, dir := mount(t)
			c.do(t, dir)
			must(t, f.Cut(Strict, 0))
			want(t, dir, c.want)
			must(t, f.Cut(Random, 1)) // now all is durable
			want(t, dir, c.want)
		})
	}
}

// TestAttributes loses attributes that were not synced, also with fdatasync.
func TestAttributes(t *testing.T) {
	f, dir := mount(t)
	store(t, dir+"/f", "x", true, true)
	get := func() string {
		b := make([]byte, 10)
		n, err := unix.Getxattr(dir+"/f", "user.a", b)
		if err != nil {
			return err.Error()
		}
		return string(b[:n])
	}
	must(t, unix.Setxattr(dir+"/f", "user.a", []byte("1"), 0))
	syncPath(t, dir+"/f")
	must(t, unix.Setxattr(dir+"/f", "user.a", []byte("2"), 0))
	must(t, os.Chmod(dir+"/f", 0o600))
	file, err := os.OpenFile(dir+"/f", os.O_WRONLY, 0)
	must(t, err)
	must(t, errors.Join(unix.Fdatasync(int(file.Fd())), file.Close()))
	if got := get(); got != "2" {
		t.Errorf("before the cut: %s", got)
	}
	must(t, f.Cut(Strict, 0))
	if got := get(); got != "1" {
		t.Errorf("after the cut: got %s, want what was synced", got)
	}
	if info, err := os.Stat(dir + "/f"); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode: got %v, %v, want 0644", info.Mode(), err)
	}
	must(t, unix.Removexattr(dir+"/f", "user.a"))
	if got := get(); got != unix.ENODATA.Error() {
		t.Errorf("removed: %s", got)
	}
}

// TestRandom sees every outcome that is allowed for a write of three sectors
// over synced ones and for two new names, and no other.
func TestRandom(t *testing.T) {
	f, dir := mount(t)
	kept, names := map[string]int{}, map[string]int{}
	for seed := range uint64(150) {
		old, fresh := bytes.Repeat([]byte("o"), 3*sectorSize), bytes.Repeat([]byte("n"), 3*sectorSize)
		store(t, dir+"/f", string(old), true, true)
		file, err := os.OpenFile(dir+"/f", os.O_WRONLY, 0)
		must(t, err)
		_, err = file.WriteAt(fresh, 0)
		must(t, errors.Join(err, file.Close()))
		store(t, dir+"/first", "", false, false)
		store(t, dir+"/second", "", false, false)
		must(t, f.Cut(Random, seed))
		got := list(t, dir)
		text := ""
		for i := range 3 {
			sector := got["f"][i*sectorSize : (i+1)*sectorSize]
			if sector != string(old[:sectorSize]) && sector != string(fresh[:sectorSize]) {
				t.Fatalf("seed %d: a torn sector", seed)
			}
			text += sector[:1]
		}
		kept[text]++
		_, first := got["first"]
		_, second := got["second"]
		names[fmt.Sprint(first, second)]++
		os.Remove(dir + "/first")
		os.Remove(dir + "/second")
		syncPath(t, dir)
	}
	if len(kept) != 8 {
		t.Errorf("sectors kept: %v, want all 8 mixtures", kept)
	}
	if names["false true"] != 0 || names["true false"] == 0 || names["true true"] == 0 || names["false false"] == 0 {
		t.Errorf("names kept (first, second): %v, want all but the second alone", names)
	}
}

// TestTrip stops at every operation of a script in turn, before and after it.
func TestTrip(t *testing.T) {
	script := func(dir string) error {
		file, err := os.OpenFile(dir+"/journal/new", os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		_, err = file.WriteString("text")
		return errors.Join(err, file.Sync(), file.Close(), os.Rename(dir+"/journal/new", dir+"/journal/f"))
	}
	for _, after := range []bool{false, true} {
		for at, op := range []string{"create journal/new", "write journal/new", "sync journal/new", "rename journal/f"} {
			f, dir := mount(t)
			must(t, os.Mkdir(dir+"/journal", 0o755))
			store(t, dir+"/other", "", true, true)
			var hit []string
			f.Arm(Trip{
				Match: func(op Op) bool { return filepath.Dir(op.Path) == "journal" },
				At:    at + 1, After: after,
				Do: func(op Op) { hit = append(hit, op.String()) },
			})
			err := script(dir)
			trace := f.Trace() // and what came before it is known
			if len(hit) != 1 || hit[0] != op {
				t.Errorf("operation %d: tripped at %v, want %s\n%v", at+1, hit, op, trace)
			}
			if last := after && at == 3; (err == nil) != last {
				t.Errorf("%s, after=%v: error %v", op, after, err)
			}
			if _, err := os.Stat(dir + "/journal/f"); (err == nil) != (after && at == 3) {
				t.Errorf("%s, after=%v: stat of the renamed file: %v", op, after, err)
			}
			if err := os.Mkdir(dir+"/late", 0o755); !errors.Is(err, unix.EIO) {
				t.Errorf("mkdir while frozen: %v, want EIO", err)
			}
			f.Thaw()
			must(t, os.Mkdir(dir+"/late", 0o755))
		}
	}
}

// TestCalls makes the calls that a state directory sees.
func TestCalls(t *testing.T) {
	f, dir := mount(t)
	path := dir + "/f"
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	must(t, err)
	fd := int(file.Fd())
	must(t, file.Truncate(1<<20))
	_, err = file.WriteAt(bytes.Repeat([]byte("x"), 3*pageSize), 10*pageSize)
	must(t, err)
	must(t, unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 11*pageSize, pageSize))
	if off, err := unix.Seek(fd, 0, unix.SEEK_DATA); err != nil || off != 10*pageSize {
		t.Errorf("data at %d, %v", off, err)
	}
	if off, err := unix.Seek(fd, 10*pageSize, unix.SEEK_HOLE); err != nil || off != 11*pageSize {
		t.Errorf("hole at %d, %v", off, err)
	}
	must(t, unix.Fallocate(fd, 0, 0, 2<<20))
	if info, err := file.Stat(); err != nil || info.Size() != 2<<20 {
		t.Errorf("size after fallocate: %v, %v", info.Size(), err)
	}
	must(t, unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
	other, err := os.Open(path)
	must(t, err)
	if err := unix.Flock(int(other.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("second lock: %v, want EWOULDBLOCK", err)
	}
	must(t, errors.Join(other.Close(), file.Sync(), file.Close()))
	must(t, unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, dir+"/g", unix.RENAME_NOREPLACE))
	store(t, dir+"/h", "h", false, false)
	must(t, unix.Renameat2(unix.AT_FDCWD, dir+"/g", unix.AT_FDCWD, dir+"/h", unix.RENAME_EXCHANGE))
	if text, err := os.ReadFile(dir + "/g"); err != nil || string(text) != "h" {
		t.Errorf("after an exchange: %q, %v", text, err)
	}
	direct, err := os.OpenFile(dir+"/h", os.O_WRONLY|unix.O_DIRECT, 0)
	must(t, err)
	must(t, direct.Close())
	must(t, os.Symlink("g", dir+"/link"))
	var st unix.Statfs_t
	must(t, errors.Join(unix.Statfs(dir, &st), os.MkdirAll(dir+"/a/b", 0o755), os.Remove(dir+"/g"), os.RemoveAll(dir+"/a")))
	syncPath(t, dir)
	must(t, f.Cut(Strict, 0))
	got := list(t, dir)
	if len(got) != 2 || len(got["h"]) != 2<<20 || got["h"][10*pageSize] != 'x' || got["h"][11*pageSize] != 0 || got["h"][12*pageSize] != 'x' {
		t.Errorf("after the cut: %d files, %d bytes in h", len(got), len(got["h"]))
	}
}

// TestMapped writes through a shared mapping, in another process: a page fault
// stops this one's scheduler, which has to answer it.
func TestMapped(t *testing.T) {
	f, dir := mount(t)
	store(t, dir+"/f", string(make([]byte, pageSize)), true, true)
	if out, err := harness.Reexec(t, "mmap", dir+"/f").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	must(t, f.Cut(Strict, 0))
	if text, err := os.ReadFile(dir + "/f"); err != nil || !bytes.HasPrefix(text, []byte("synced\x00")) {
		t.Errorf("got %.20q, %v, want what msync has written", text, err)
	}
}

func writeMapped(args []string) error {
	file, err := os.OpenFile(args[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	m, err := unix.Mmap(int(file.Fd()), 0, pageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return err
	}
	copy(m, "synced")
	if err := unix.Msync(m, unix.MS_SYNC); err != nil {
		return err
	}
	copy(m, "not")
	return unix.Munmap(m)
}

// TestDeath ends a process that has something mounted: it does not stay.
func TestDeath(t *testing.T) {
	dir := t.TempDir()
	out, err := harness.Reexec(t, "die", dir).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("the child: %v, want exit status 3\n%s", err, out)
	}
	for deadline := time.Now().Add(10 * time.Second); harness.Mounted(dir); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			harness.Unmount(dir)
			t.Fatal("the mount outlives its process")
		}
	}
}

func mountAndDie(args []string) error {
	if _, err := Mount(args[0]); err != nil {
		return err
	}
	os.Exit(3)
	return nil
}
