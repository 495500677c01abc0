//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"

	"github.com/causewayfs/causeway/integration/harness"
)

// rclone runs rclone with no configuration but the bucket as remote b:.
func rclone(t *testing.T, env *harness.Env, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Need(t, "rclone"), args...)
	cmd.Env = append(env.Environ(t), "RCLONE_CONFIG=/dev/null",
		"RCLONE_CONFIG_B_TYPE=s3", "RCLONE_CONFIG_B_PROVIDER=Other", "RCLONE_CONFIG_B_ENV_AUTH=true",
		"RCLONE_CONFIG_B_ENDPOINT="+env.Server.URL, "RCLONE_CONFIG_B_REGION="+env.Server.Region)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("rclone %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// exchange is a directory with files as tools exchange them: without what not
// all of them keep.
func exchange(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"plain", "sub/deep/er", "sp ace/a b+c%25", "ünïcode/日本", "empty"} {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, bytes.Repeat([]byte(name), i%4*1000), 0o644))
		must(t, os.Chtimes(path, time.Time{}, time.Unix(1500000000+int64(i), 123456789)))
	}
	must(t, os.WriteFile(filepath.Join(dir, "large"), pattern(11, 30<<20), 0o644))
	must(t, os.Chtimes(filepath.Join(dir, "large"), time.Time{}, time.Unix(1600000000, 987654321)))
	return dir
}

// contents describes the files below dir by size, time and content.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		sum := strings.Fields(harness.Must(t, dir, "sha256sum", path))[0]
		out[rel] = fmt.Sprintf("%d bytes %s %s", info.Size(), info.ModTime().UTC().Format(time.RFC3339Nano), strings.TrimPrefix(sum, `\`))
		return nil
	})
	must(t, err)
	return out
}

// TestRclone exchanges files with rclone in both directions.
func TestRclone(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		local := exchange(t)
		want := contents(t, local)
		bucket := "b:" + env.Bucket
		rclone(t, env, "copy", local, bucket+"/theirs")
		m := env.Mount(t)
		sameTree(t, "written by rclone", contents(t, m.Path("theirs")), want)

		harness.Must(t, m.Dir, "cp", "-a", local, "ours")
		env.Quiesce(t) // changes of attributes follow within a moment
		rclone(t, env, "check", local, bucket+"/ours", "--download")
		back := t.TempDir()
		rclone(t, env, "copy", bucket+"/ours", back)
		sameTree(t, "read by rclone", contents(t, back), want)
		if out := rclone(t, env, "copy", local, bucket+"/ours", "-v", "--dry-run"); strings.Contains(out, "Skipped copy") {
			t.Errorf("rclone would copy again what cp -a wrote through the mount:\n%s", out)
		}

		// An edit through the mount, and one that rclone makes.
		write(t, m.Path("theirs", "plain"), "edited here")
		if got := rclone(t, env, "cat", bucket+"/theirs/plain"); got != "edited here" {
			t.Errorf("rclone cat: got %q", got)
		}
		write(t, filepath.Join(local, "plain"), "edited there")
		rclone(t, env, "copy", local, bucket+"/theirs")
		read(t, m.Path("theirs", "plain"), "edited there")
	})
}

// TestSDK reads objects that know nothing of files.
func TestSDK(t *testing.T) {
	onBoth(t, func(t *testing.T, env *harness.Env) {
		env.Put(t, "a/b/c", []byte("text"), nil)
		env.Put(t, "a/empty", nil, nil)
		key, data := "a/large", pattern(12, 40<<20)
		_, err := transfermanager.New(env.Client()).UploadObject(t.Context(), &transfermanager.UploadObjectInput{
			Bucket: &env.Bucket, Key: &key, Body: bytes.NewReader(data),
		})
		must(t, err)

		m := env.Mount(t)
		read(t, m.Path("a", "b", "c"), "text")
		read(t, m.Path("a", "empty"), "")
		sameFile(t, m.Path("a", "large"), data)
		info, err := os.Stat(m.Path("a", "b", "c"))
		must(t, err)
		if o := env.Get(t, "a/b/c"); info.Mode() != 0o644 || !info.ModTime().Truncate(time.Second).Equal(o.Modified.Truncate(time.Second)) {
			t.Errorf("got mode %v and time %v, want 0644 and %v", info.Mode(), info.ModTime(), o.Modified)
		}
		if st := info.Sys().(*syscall.Stat_t); st.Uid != uint32(os.Getuid()) || st.Gid != uint32(os.Getgid()) {
			t.Errorf("owner %d:%d, want the mounting user", st.Uid, st.Gid)
		}

		write(t, m.Path("a", "new"), "from here")
		if o := env.Get(t, "a/new"); o == nil || string(o.Body) != "from here" {
			t.Errorf("object: got %+v", o)
		}
	})
}

// TestForeignWriters changes the bucket behind a mount that knows it.
func TestForeignWriters(t *testing.T) {
	for _, tc := range []struct {
		name  string
		flags []string
		limit time.Duration // by which a mount must know
	}{
		{"strict", []string{"--foreign", "strict"}, 0},
		{"verified", []string{"--verify", "1s"}, 20 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env := harness.New(t, harness.Versity)
			env.Put(t, "d/old", []byte("old"), nil)
			env.Put(t, "d/gone", []byte("gone"), nil)
			m := env.Mount(t, tc.flags...)
			read(t, m.Path("d", "old"), "old")
			names(t, m.Path("d"))
			env.Put(t, "d/old", []byte("changed and longer"), nil)
			env.Put(t, "d/new", []byte("new"), nil)
			env.Put(t, "d/sub/f", []byte("f"), nil)
			env.Delete(t, "d/gone")
			read(t, m.Path("d", "old"), "changed and longer") // an open asks S3 in any case
			eventually(t, tc.limit, func() error {
				if got := names(t, m.Path("d")); fmt.Sprint(got) != "[new old sub]" {
					return fmt.Errorf("names: got %v", got)
				}
				return nil
			})
			read(t, m.Path("d", "new"), "new")
			read(t, m.Path("d", "sub", "f"), "f")
			if info, err := os.Stat(m.Path("d", "old")); err != nil || info.Size() != 18 {
				t.Errorf("stat: got %v, %v", info, err)
			}
		})
	}
}

// s3fsMount mounts the bucket with s3fs for the length of do.
func s3fsMount(t *testing.T, env *harness.Env, do func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command(harness.Need(t, "s3fs"), env.Bucket, dir, "-f", "-o", "url="+env.Server.URL,
		"-o", "use_path_request_style", "-o", "endpoint="+env.Server.Region)
	cmd.Env = append(env.Environ(t), "AWSACCESSKEYID="+env.Server.AccessKey, "AWSSECRETACCESSKEY="+env.Server.SecretKey)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	defer func() {
		harness.Must(t, "/", "fusermount3", "-u", dir)
		cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !harness.Mounted(dir) {
		select {
		case <-ctx.Done():
			cmd.Process.Kill()
			t.Fatalf("s3fs did not mount\n%s", &out)
		case <-time.After(20 * time.Millisecond):
		}
	}
	do(dir)
}

// s3fsTree makes files with what s3fs keeps: modes, owners, times, links.
const s3fsTree = `
mkdir -m 750 %[1]s && cd %[1]s
echo text > f && chmod 640 f && chown 1001:1002 f && touch -d @1500000000 f
echo run > run && chmod 755 run && touch -d @1500000001 run
mkdir -m 700 d && echo deep > d/f && chmod 600 d/f && touch -d @1500000002 d/f
ln -s ../target link
ln -s f samedir
`

// s3fsLook prints what it finds of them.
const s3fsLook = `cd %[1]s && for f in f run d d/f; do stat -c '%%n %%A %%u:%%g' $f; done; stat -c '%%n %%Y %%s' f run d/f; cat f run d/f; readlink link samedir; cat samedir; stat -c '%%n %%F' link; ls -A`

// TestS3fs exchanges files with s3fs in both directions.
func TestS3fs(t *testing.T) {
	env := harness.New(t, harness.Versity)
	shell := func(dir, script, sub string) string {
		return harness.Must(t, dir, "sh", "-ec", fmt.Sprintf(script, sub))
	}
	local := t.TempDir()
	shell(local, s3fsTree, "t")
	want := shell(local, s3fsLook, "t")

	m := env.Mount(t)
	shell(m.Dir, s3fsTree, "ours")
	must(t, m.Causeway("sync", m.Dir).Run()) // attributes and directories made while alone follow in a moment
	s3fsMount(t, env, func(dir string) {
		sameLines(t, "s3fs reads what was written here", shell(dir, s3fsLook, "ours"), want)
		shell(dir, s3fsTree, "theirs")
	})
	visible(t, m.Path("theirs"))
	sameLines(t, "read here what s3fs wrote", shell(m.Dir, s3fsLook, "theirs"), want)
}
