//go:build integration

package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/integration/harness"
)

// pair mounts a bucket twice, by two processes with two proxies.
func pair(t *testing.T, env *harness.Env, flags ...string) (a, b *harness.Mount) {
	t.Helper()
	return env.Mount(t, flags...), env.Peer(t).Mount(t, flags...)
}

// race runs try for each of the racers at once, half of them on each mount,
// and returns who succeeded. An error that is not lost fails the test.
func race(t *testing.T, racers int, lost error, try func(racer int) error) (winners []int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for r := range racers {
		wg.Go(func() {
			<-start
			err := try(r)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, r)
			} else if !errors.Is(err, lost) {
				t.Errorf("racer %d: got %v, want %v", r, err, lost)
			}
		})
	}
	close(start)
	wg.Wait()
	return winners
}

// TestRaces lets two mounts compete for names.
func TestRaces(t *testing.T) {
	const rounds, racers = 30, 6
	onBoth(t, func(t *testing.T, env *harness.Env) {
		a, b := pair(t, env)
		mounts := [2]*harness.Mount{a, b}
		t.Run("exclusive create", func(t *testing.T) {
			for i := range rounds {
				name := fmt.Sprint("excl", i)
				winners := race(t, racers, fs.ErrExist, func(r int) error {
					f, err := os.OpenFile(mounts[r%2].Path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
					if err != nil {
						return err
					}
					_, err = fmt.Fprint(f, r)
					return errors.Join(err, f.Close())
				})
				if len(winners) != 1 {
					t.Fatalf("round %d: winners %v, want one", i, winners)
				}
				for _, m := range mounts {
					read(t, m.Path(name), strconv.Itoa(winners[0]))
				}
			}
		})
		t.Run("mkdir", func(t *testing.T) {
			for i := range rounds {
				name := fmt.Sprint("dir", i)
				winners := race(t, racers, fs.ErrExist, func(r int) error { return os.Mkdir(mounts[r%2].Path(name), 0o755) })
				if len(winners) != 1 {
					t.Fatalf("round %d: winners %v, want one", i, winners)
				}
			}
		})
		t.Run("rename without replacing", func(t *testing.T) {
			for i := range rounds {
				to := fmt.Sprint("to", i)
				from := func(r int) string { return mounts[r%2].Path(fmt.Sprintf(".%d.%d.tmp", i, r)) }
				for r := range racers {
					write(t, from(r), strconv.Itoa(r))
				}
				winners := race(t, racers, fs.ErrExist, func(r int) error {
					return unix.Renameat2(unix.AT_FDCWD, from(r), unix.AT_FDCWD, mounts[r%2].Path(to), unix.RENAME_NOREPLACE)
				})
				if len(winners) != 1 {
					t.Fatalf("round %d: winners %v, want one", i, winners)
				}
				for _, m := range mounts {
					visible(t, m.Path(to)) // a name takes up to --dir-ttl
					read(t, m.Path(to), strconv.Itoa(winners[0]))
				}
			}
		})
	})
}

// TestVisibility changes on one gateway and looks on the other.
func TestVisibility(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		a, b := pair(t, env)
		write(t, a.Path("f"), "version 0")
		visible(t, b.Path("f"))
		for i := range 20 { // an open after a close sees the close, with no wait
			text := fmt.Sprint("version ", i, bytes.Repeat([]byte("."), i*37))
			write(t, a.Path("f"), text)
			read(t, b.Path("f"), text)
			write(t, b.Path("f"), text+"!")
			read(t, a.Path("f"), text+"!")
		}

		names(t, b.Dir) // b knows the directory, and learns of what changes in it
		must(t, os.Mkdir(a.Path("d"), 0o755))
		write(t, a.Path("d", "x"), "x")
		visible(t, b.Path("d", "x"))
		must(t, os.Rename(a.Path("d", "x"), a.Path("d", "y")))
		visible(t, b.Path("d", "y"))
		gone(t, b.Path("d", "x"))
		must(t, os.Chmod(a.Path("d", "y"), 0o600))
		eventually(t, 10*time.Second, func() error {
			info, err := os.Stat(b.Path("d", "y"))
			if err == nil && info.Mode() != 0o600 {
				err = fmt.Errorf("mode %v", info.Mode())
			}
			return err
		})
		must(t, os.Remove(b.Path("d", "y")))
		gone(t, a.Path("d", "y"))
		must(t, os.Remove(b.Path("d")))
		gone(t, a.Path("d"))
		must(t, os.Symlink("f", b.Path("link")))
		visible(t, a.Path("link"))
		if target, err := os.Readlink(a.Path("link")); err != nil || target != "f" {
			t.Errorf("link: got %q, %v", target, err)
		}
	})
}

// TestRmdirKeepsWhatTheOtherGatewayMade tries to remove a directory in which
// the other gateway has just made something. It may be too new to be known
// here, but it stays.
func TestRmdirKeepsWhatTheOtherGatewayMade(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	must(t, os.Mkdir(a.Path("d"), 0o755))
	visible(t, b.Path("d"))
	names(t, a.Path("d"))
	write(t, b.Path("d", "new"), "text")
	if err := os.Remove(a.Path("d")); err != nil {
		wantErr(t, "rmdir", err, unix.ENOTEMPTY)
	}
	env.Quiesce(t)
	read(t, b.Path("d", "new"), "text")
	visible(t, a.Path("d", "new"))
	read(t, a.Path("d", "new"), "text")
	wantErr(t, "rmdir", os.Remove(a.Path("d")), unix.ENOTEMPTY)
}

// TestConflict edits a file in place that the other gateway replaces
// meanwhile: the edit fails, and what it would have been is kept.
func TestConflict(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		a, b := pair(t, env)
		write(t, a.Path("f"), "the first version")
		visible(t, b.Path("f"))
		f, err := os.OpenFile(b.Path("f"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("EDITED"), 4)
		must(t, err)
		write(t, a.Path("f"), "the second version")
		wantErr(t, "close", f.Close(), unix.ESTALE)
		read(t, a.Path("f"), "the second version")
		read(t, b.Path("f"), "the second version")
		if o := env.Get(t, "f"); string(o.Body) != "the second version" {
			t.Errorf("object: got %q", o.Body)
		}
		wantKept(t, env, b, "f", "the EDITEDversion")

		// The next edit starts from what is there now.
		f, err = os.OpenFile(b.Path("f"), os.O_RDWR, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("THE"), 0)
		must(t, errors.Join(err, f.Close()))
		read(t, a.Path("f"), "THE second version")
	})
}

// TestManyHandles keeps thousands of files open and hundreds of handles on
// one.
func TestManyHandles(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	must(t, os.Mkdir(m.Path("d"), 0o755))
	const n = 2000
	makeFiles(t, m.Path("d"), n)
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for i := range n {
		f, err := os.OpenFile(m.Path("d", fmt.Sprintf("f%04d", i)), os.O_RDWR, 0)
		must(t, err)
		files = append(files, f)
	}
	for range 300 { // all on one file, each sees what the others write
		f, err := os.OpenFile(m.Path("d", "f0000"), os.O_RDWR, 0)
		must(t, err)
		files = append(files, f)
	}
	one := files[n:]
	for i, f := range one {
		text := fmt.Sprintf("%04d", i)
		_, err := f.WriteAt([]byte(text), 0)
		must(t, err)
		got := make([]byte, 4)
		if _, err := one[(i+17)%len(one)].ReadAt(got, 0); err != nil || string(got) != text {
			t.Fatalf("handle %d wrote %q, another one reads %q, %v", i, text, got, err)
		}
	}
	for i, f := range files[:n] {
		got := make([]byte, 4)
		if _, err := f.ReadAt(got, 0); err != nil || i > 0 && string(got) != "text" {
			t.Fatalf("file %d: got %q, %v", i, got, err)
		}
	}
	for _, f := range files {
		must(t, f.Close())
	}
	files = nil
	read(t, m.Path("d", "f0000"), "0299")
}

// TestMmap writes through a shared mapping and reads through one.
func TestMmap(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	const size = 1 << 20
	want := pattern(5, size)
	f, err := os.OpenFile(a.Path("f"), os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	must(t, f.Truncate(size))
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	copy(mem, want)
	must(t, unix.Msync(mem, unix.MS_SYNC))
	must(t, f.Sync())
	if o := env.Get(t, "f"); o == nil || !bytes.Equal(o.Body, want) {
		t.Error("after msync and fsync the object is not what was mapped")
	}
	copy(mem[size/2:], "changed")
	copy(want[size/2:], "changed")
	must(t, unix.Munmap(mem))
	must(t, f.Close())
	sameFile(t, a.Path("f"), want)

	visible(t, b.Path("f"))
	g, err := os.Open(b.Path("f"))
	must(t, err)
	defer g.Close()
	mem, err = unix.Mmap(int(g.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	must(t, err)
	if !bytes.Equal(mem, want) {
		t.Error("the other gateway's mapping differs")
	}
	must(t, unix.Munmap(mem))
}

// TestUnlinkAndRenameOpenFiles keeps using files that have lost their names.
func TestUnlinkAndRenameOpenFiles(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)

	f, err := os.OpenFile(m.Path("f"), os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	_, err = f.WriteString("written before")
	must(t, err)
	must(t, os.Remove(m.Path("f")))
	write(t, m.Path("f"), "another file of that name")
	_, err = f.WriteAt([]byte("after "), 8)
	must(t, err)
	got := make([]byte, 14)
	if _, err := f.ReadAt(got, 0); err != nil || string(got) != "written after " {
		t.Errorf("unlinked: got %q, %v", got, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Nlink != 0 || st.Size != 14 {
		t.Errorf("fstat of an unlinked file: %d links, size %d, %v", st.Nlink, st.Size, err)
	}
	must(t, f.Close())
	read(t, m.Path("f"), "another file of that name")

	f, err = os.OpenFile(m.Path("old"), os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	_, err = f.WriteString("one ")
	must(t, err)
	must(t, os.Rename(m.Path("old"), m.Path("new")))
	_, err = f.WriteString("two")
	must(t, errors.Join(err, f.Close()))
	read(t, m.Path("new"), "one two")
	wantGone(t, m.Path("old"))

	// Replaced while it is read.
	write(t, m.Path("doc"), "old text")
	f, err = os.Open(m.Path("doc"))
	must(t, err)
	write(t, m.Path("doc~"), "new text")
	must(t, os.Rename(m.Path("doc~"), m.Path("doc")))
	if got, err := io.ReadAll(f); err != nil || string(got) != "old text" {
		t.Errorf("replaced: got %q, %v", got, err)
	}
	must(t, f.Close())

	env.Quiesce(t)
	var keys []string
	for _, o := range env.List(t, "") {
		if o.Key == "f" || o.Key == "new" || o.Key == "doc" || o.Key == "old" || o.Key == "doc~" {
			keys = append(keys, o.Key)
		}
	}
	if fmt.Sprint(keys) != "[doc f new]" {
		t.Errorf("objects: got %v, want [doc f new]", keys)
	}
}

// TestSharedDirectory fills one directory from both gateways at once.
func TestSharedDirectory(t *testing.T) {
	env := harness.New(t, harness.Versity)
	a, b := pair(t, env)
	must(t, os.Mkdir(a.Path("d"), 0o755))
	visible(t, b.Path("d"))
	const each = 150
	var wg sync.WaitGroup
	var failed atomic.Int32
	for side, m := range map[string]*harness.Mount{"a": a, "b": b} {
		for w := range 4 {
			wg.Go(func() {
				for i := range each {
					name := fmt.Sprintf("%s-%d-%d", side, w, i)
					if err := os.WriteFile(m.Path("d", name), []byte(name), 0o644); err != nil {
						failed.Add(1)
						t.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	for _, m := range []*harness.Mount{a, b} {
		eventually(t, 10*time.Second, func() error {
			if n := len(names(t, m.Path("d"))); n != 8*each {
				return fmt.Errorf("%d names, want %d", n, 8*each)
			}
			return nil
		})
		read(t, m.Path("d", "a-3-7"), "a-3-7")
		read(t, m.Path("d", "b-2-149"), "b-2-149")
	}
}
