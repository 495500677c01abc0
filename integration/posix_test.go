//go:build integration

package integration

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hanwen/go-fuse/v2/posixtest"

	"github.com/causewayfs/causeway/integration/harness"
)

// posixSkips are the tests of go-fuse's posixtest that do not apply, and why.
var posixSkips = map[string]string{
	"Link":                "hard links are ENOTSUP: an object has one key",
	"LinkUnlinkRename":    "hard links are ENOTSUP: an object has one key",
	"FcntlFlockLocksFile": "wants a process's fcntl locks to exclude each other; they never do, ext4 fails it too",
	"Tmpfile":             "O_TMPFILE makes a file without a name, which a later link(2) would have to name: see Link",
	"XAttrLarge":          "extended attributes live in object metadata, which S3 limits to 2 KB",
}

// stressors are stress-ng's stressors of the class filesystem that concern
// files, directories and what is in them. Each runs on local disk too, and may
// fail on the mount only if it fails there.
var stressors = strings.Fields(`access chattr chdir chmod chown copy-file dentry dir dirdeep dirmany dup fallocate
	fcntl fiemap file-ioctl filename flock fpunch fsize fstat getdent hdd inode-flags io iomix lease
	locka lockf lockofd  mknod mmap open readahead rename seek sendfile symlink sync-file touch utime xattr`)

// stressorFlags keep some of them from writing a gigabyte, and from names with
// control characters, which versitygw's listings do not carry: it ignores
// encoding-type=url.
var stressorFlags = map[string][]string{
	"filename":  {"--filename-opts", "posix"},
	"fallocate": {"--fallocate-bytes", "8m"},
	"hdd":       {"--hdd-bytes", "8m"},
	"iomix":     {"--iomix-bytes", "8m"},
	"readahead": {"--readahead-bytes", "8m"},
	"sendfile":  {"--sendfile-size", "1m"},
	"sync-file": {"--sync-file-bytes", "8m"},
}

func TestPosix(t *testing.T) {
	for name, why := range posixSkips {
		if posixtest.All[name] == nil {
			t.Errorf("posixtest has no test %s to skip because: %s", name, why)
		}
	}
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	for _, name := range slices.Sorted(maps.Keys(posixtest.All)) {
		if why := posixSkips[name]; why != "" {
			t.Logf("%s does not apply: %s", name, why)
			continue
		}
		ran, skipped := false, false
		t.Run(name, func(t *testing.T) {
			dir := m.Path(name)
			must(t, os.Mkdir(dir, 0o755))
			defer func() { skipped = t.Skipped() }()
			ran = true
			posixtest.All[name](t, dir)
		})
		if ran && skipped {
			t.Errorf("%s skipped itself without an explanation here", name)
		}
	}
}

// stress runs one stressor in a new directory dir and returns what it complains
// about.
func stress(t *testing.T, name, dir string, seconds int) error {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	args := []string{"--" + name, "2", "--timeout", fmt.Sprint(seconds), "--temp-path", dir, "--verify"}
	cmd := exec.Command(harness.Need(t, "stress-ng"), append(args, stressorFlags[name]...)...)
	cmd.Dir = dir
	r := harness.Run(t, cmd)
	if r.Code != 0 {
		return fmt.Errorf("exit status %d\n%s%s", r.Code, r.Stdout, r.Stderr)
	}
	return os.RemoveAll(dir) // a stressor that is stopped may leave files
}

func TestStress(t *testing.T) {
	if !harness.Long() {
		t.Log("in the long form only")
		return
	}
	seconds := 1
	if harness.Long() {
		seconds = 60/len(stressors) + 2
	}
	env := harness.New(t, harness.Versity)
	m := env.Mount(t)
	local := t.TempDir()
	for _, name := range stressors {
		t.Run(name, func(t *testing.T) {
			err := stress(t, name, m.Path(name), seconds)
			if err == nil {
				return
			}
			if localErr := stress(t, name, filepath.Join(local, name), seconds); localErr != nil {
				t.Fatalf("fails on local disk too, so it says nothing here: %v", localErr)
			}
			t.Errorf("fails on the mount and not on local disk: %v", err)
		})
	}
}
