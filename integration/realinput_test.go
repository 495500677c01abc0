//go:build integration

package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causewayfs/causeway/integration/harness"
)

// goSource is the source of Go's standard library.
func goSource(t *testing.T) string {
	t.Helper()
	return filepath.Join(strings.TrimSpace(harness.Must(t, "/", "go", "env", "GOROOT")), "src")
}

// sourceTree is a directory with a real source tree: part of Go's standard
// library, all of it in long runs, and beside it what that has not got.
func sourceTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	must(t, os.Mkdir(dir, 0o755))
	from := goSource(t)
	if harness.Long() {
		harness.Must(t, dir, "cp", "-a", from, "src")
	} else {
		for _, sub := range []string{"net/http", "encoding", "testing"} {
			must(t, os.MkdirAll(filepath.Join(dir, "src", filepath.Dir(sub)), 0o755))
			harness.Must(t, dir, "cp", "-a", filepath.Join(from, sub), filepath.Join("src", sub))
		}
	}
	odd := filepath.Join(dir, "odd")
	for _, d := range []string{"empty", "deep/er/and/deeper", "sp ace", "ünïcode 日本語"} {
		must(t, os.MkdirAll(filepath.Join(odd, d), 0o755))
	}
	for name, mode := range map[string]fs.FileMode{
		"script": 0o755, "secret": 0o600, "readonly": 0o444, "deep/er/and/deeper/leaf": 0o640, "sp ace/a b": 0o664,
		"ünïcode 日本語/ñ": 0o644, "percent%2Fplus+&=?#": 0o644, "quote'\"`$(x)": 0o644, ".hidden": 0o644, "-dash": 0o644,
		"back\\slash": 0o644, "new\nline": 0o644, strings.Repeat("n", 200): 0o644,
	} {
		path := filepath.Join(odd, name)
		must(t, os.WriteFile(path, []byte(name), 0o600))
		must(t, os.Chmod(path, mode))
		must(t, os.Chtimes(path, time.Time{}, time.Unix(1234567890, 123456789)))
	}
	must(t, os.WriteFile(filepath.Join(odd, "empty file"), nil, 0o644))
	must(t, os.Chmod(filepath.Join(odd, "empty"), 0o2770))
	must(t, os.Symlink("script", filepath.Join(odd, "link")))
	must(t, os.Symlink("no/such/target", filepath.Join(odd, "dangling")))
	return dir
}

// TestCopySourceTree copies a source tree onto the mount as people do, and
// compares it there, on another gateway, and after a remount.
func TestCopySourceTree(t *testing.T) {
	tree := sourceTree(t)
	want := snapshot(t, tree)
	for _, tool := range [][]string{{"cp", "-a", tree, "."}, {"rsync", "-a", tree, "."}} {
		t.Run(tool[0], func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			a := env.Mount(t)
			b := env.Peer(t).Mount(t)
			harness.Must(t, a.Dir, tool[0], tool[1:]...)
			compare := func(where, dir string) {
				sameTree(t, where, snapshot(t, dir), want)
				harness.Must(t, dir, "diff", "-r", "--no-dereference", tree, dir)
			}
			compare("same gateway", a.Path("tree"))
			visible(t, b.Path("tree"))
			compare("other gateway", b.Path("tree"))
			a.Restart()
			compare("after a remount", a.Path("tree"))
			harness.Must(t, a.Dir, "rm", "-r", "tree")
			a.Stop() // drains
			if left := env.List(t, "tree"); len(left) > 0 {
				t.Errorf("%d objects left after rm -r, such as %s", len(left), left[0].Key)
			}
		})
	}
}

func TestTar(t *testing.T) {
	tree := sourceTree(t)
	archive := filepath.Join(t.TempDir(), "tree.tar")
	harness.Must(t, filepath.Dir(tree), "tar", "--format=posix", "-cf", archive, "tree")
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	harness.Must(t, m.Dir, "tar", "xf", archive)
	harness.Must(t, m.Dir, "tar", "df", archive)
	m.Restart()
	harness.Must(t, m.Dir, "tar", "df", archive)
	sameTree(t, "unpacked", snapshot(t, m.Path("tree")), snapshot(t, tree))

	// And the mount as the source.
	harness.Must(t, m.Dir, "tar", "--format=posix", "-cf", "again.tar", "tree")
	harness.Must(t, m.Dir, "tar", "df", "again.tar")
}

// git runs git in dir with an identity and no configuration of the machine.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	return harness.Must(t, dir, "git", append([]string{
		"-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "safe.directory=*",
		"-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false",
	}, args...)...)
}

func TestGit(t *testing.T) {
	origin := filepath.Join(t.TempDir(), "origin")
	must(t, os.Mkdir(origin, 0o755))
	git(t, origin, "init", "-q")
	harness.Must(t, origin, "cp", "-r", filepath.Join(goSource(t), "net", "http"), ".")
	for i := range 5 {
		write(t, filepath.Join(origin, "counter"), fmt.Sprint(i))
		git(t, origin, "add", "-A")
		git(t, origin, "commit", "-q", "-m", fmt.Sprint("change ", i))
	}

	env := harness.New(t, harness.Versity)
	a := env.Mount(t)
	git(t, a.Dir, "clone", "-q", origin, "clone")
	clone := a.Path("clone")
	git(t, clone, "fsck", "--full", "--strict")
	if out := git(t, clone, "status", "--porcelain"); out != "" {
		t.Errorf("changed right after the clone:\n%s", out)
	}
	for i := range 3 {
		write(t, filepath.Join(clone, "counter"), fmt.Sprint("mine ", i))
		git(t, clone, "commit", "-q", "-a", "-m", fmt.Sprint("mine ", i))
	}
	git(t, clone, "checkout", "-q", "-b", "topic", "HEAD~2")
	git(t, clone, "checkout", "-q", "main")
	git(t, clone, "gc", "-q", "--aggressive", "--prune=now")
	git(t, clone, "fsck", "--full", "--strict")

	a.Restart()
	git(t, clone, "fsck", "--full", "--strict")
	if got := git(t, clone, "log", "--format=%s", "-1"); got != "mine 2\n" {
		t.Errorf("last commit: got %q", got)
	}
	b := env.Peer(t).Mount(t)
	git(t, b.Path("clone"), "fsck", "--full", "--strict")
	if out := git(t, b.Path("clone"), "status", "--porcelain"); out != "" {
		t.Errorf("changed on the other gateway:\n%s", out)
	}
}

// TestGoBuild builds this project from a copy on the mount.
func TestGoBuild(t *testing.T) {
	if !harness.Long() {
		t.Log("in the long form only")
		return
	}
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	must(t, os.Mkdir(m.Path("src"), 0o755))
	list := harness.Must(t, harness.Root(), "git", "-c", "safe.directory=*", "ls-files")
	for name := range strings.Lines(list) {
		name = strings.TrimSpace(name)
		body, err := os.ReadFile(filepath.Join(harness.Root(), name))
		if os.IsNotExist(err) {
			continue // removed and not committed
		}
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(m.Path("src", name)), 0o755))
		must(t, os.WriteFile(m.Path("src", name), body, 0o644))
	}
	harness.Must(t, m.Path("src"), "go", "build", "-buildvcs=false", "./...")
	harness.Must(t, m.Path("src"), "go", "build", "-buildvcs=false", "-o", "bin/", "./integration/s3proxy", "./cmd/causeway")
	out, err := exec.Command(m.Path("src", "bin", "causeway"), "version").CombinedOutput()
	if err != nil {
		t.Errorf("the binary built there does not run: %v\n%s", err, out)
	}
}

func TestSQLite(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	const sql = `
CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT);
CREATE INDEX i ON t (text);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<5000) INSERT INTO t SELECT i, hex(randomblob(40)) FROM n;
`
	run := func(sql string) string { return harness.Must(t, m.Dir, "sqlite3", "-bail", "db", sql) }
	run(sql)
	for i := range 20 {
		run(fmt.Sprintf("BEGIN; UPDATE t SET text = 'v%d' WHERE id %% 20 = %d; DELETE FROM t WHERE id = %d; COMMIT;", i, i, 100+i))
	}
	run("BEGIN; DELETE FROM t; ROLLBACK; VACUUM;")
	check := func() {
		t.Helper()
		if got := run("PRAGMA journal_mode; PRAGMA integrity_check; SELECT count(*) FROM t;"); got != "delete\nok\n4980\n" {
			t.Errorf("got %q", got)
		}
	}
	check()
	m.Restart()
	check()
}

// record is a text that proves to be whole.
func record(i int) []byte {
	b := bytes.Repeat(fmt.Appendf(nil, "line of version %d\n", i), 1+i%200)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// whole says what is wrong with a record.
func whole(b []byte) error {
	if len(b) < 4 {
		return fmt.Errorf("%d bytes", len(b))
	}
	text, sum := b[:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(text) != sum {
		return fmt.Errorf("%d bytes with a wrong checksum, from %q to %q", len(b), b[:min(len(b), 20)], b[max(0, len(b)-24):])
	}
	return nil
}

// TestEditorSaves writes, syncs and renames over a file while another gateway
// and this one read it: each read gets one version, whole.
func TestEditorSaves(t *testing.T) {
	saves := 200
	if harness.Long() {
		saves = 1000
	}
	env := harness.New(t, harness.Versity)
	a := env.Mount(t)
	b := env.Peer(t).Mount(t)
	write(t, a.Path("doc"), string(record(0)))
	visible(t, b.Path("doc"))

	stop := make(chan struct{})
	var readers sync.WaitGroup
	for name, m := range map[string]*harness.Mount{"this gateway": a, "the other one": b, "the other one too": b} {
		readers.Go(func() {
			for n := 0; ; n++ {
				got, err := os.ReadFile(m.Path("doc"))
				if err == nil {
					err = whole(got)
				}
				if err != nil {
					t.Errorf("read %d on %s: %v", n, name, err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range saves {
		tmp := a.Path(fmt.Sprintf(".doc.%d.tmp", i))
		if i%2 == 1 {
			tmp = a.Path(fmt.Sprintf("doc-new-%d", i)) // a name that is not known as temporary
		}
		f, err := os.Create(tmp)
		must(t, err)
		_, err = f.Write(record(i))
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
		must(t, os.Rename(tmp, a.Path("doc")))
	}
	close(stop)
	readers.Wait()
	read(t, b.Path("doc"), string(record(saves-1)))
}

func TestFio(t *testing.T) {
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	size := "16m"
	if harness.Long() {
		size = "256m"
	}
	for _, rw := range []string{"write", "randwrite", "randrw"} {
		t.Run(rw, func(t *testing.T) {
			harness.Must(t, m.Dir, "fio", "--name="+rw, "--directory="+m.Dir, "--rw="+rw, "--bs=4k-64k", "--size="+size,
				"--numjobs=2", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1", "--end_fsync=1", "--group_reporting")
			harness.Must(t, m.Dir, "fio", "--name="+rw, "--directory="+m.Dir, "--rw="+rw, "--bs=4k-64k", "--size="+size,
				"--numjobs=2", "--verify=crc32c", "--verify_only=1", "--verify_fatal=1", "--group_reporting")
		})
	}
	t.Run("mmap", func(t *testing.T) {
		harness.Must(t, m.Dir, "fio", "--name=mmap", "--directory="+m.Dir, "--rw=randwrite", "--bs=4k", "--size=4m",
			"--ioengine=mmap", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1")
	})
}
