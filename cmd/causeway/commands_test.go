package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/vfs"
)

// keepVersion puts a kept version into a state directory, as vfs does.
func keepVersion(t *testing.T, stateDir, id, path, data string) {
	t.Helper()
	dir := filepath.Join(stateDir, "kept", id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	meta, err := json.Marshal(vfs.KeptVersion{
		ID: id, Path: path, Size: int64(len(data)), Time: time.Now(), Reason: "commit " + path + ": timed out",
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"meta.json": string(meta), "data": data} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// must runs a command that has to succeed and returns what it printed.
func must(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	a, stdout, stderr := testApp(t, env)
	if code := a.run(context.Background(), args); code != exitDone {
		t.Fatalf("causeway %v: exit status %d\n%s", args, code, stderr)
	}
	return stdout.String()
}

// mustFail runs a command that has to fail and returns its message.
func mustFail(t *testing.T, env map[string]string, args ...string) string {
	t.Helper()
	a, _, stderr := testApp(t, env)
	if code := a.run(context.Background(), args); code != exitFailed {
		t.Fatalf("causeway %v: exit status %d, want %d\n%s", args, code, exitFailed, stderr)
	}
	return stderr.String()
}

func TestRecover(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	if got := must(t, env, "recover"); got != "nothing to recover\n" {
		t.Errorf("without any: %q", got)
	}
	state := filepath.Join(home, ".local/state/causeway", stateName("", target{Bucket: "b"}))
	keepVersion(t, state, "v1", "dir/notes", "one")
	keepVersion(t, filepath.Join(home, ".local/share/causeway/state"), "v2", "x", "two")

	list := must(t, env, "recover")
	for _, want := range []string{"v1", "dir/notes", "v2", "timed out", state} {
		if !strings.Contains(list, want) {
			t.Errorf("the list has no %q:\n%s", want, list)
		}
	}
	if only := must(t, env, "recover", "--state-dir", state); strings.Contains(only, "v2") {
		t.Errorf("the list of one state directory has another one's:\n%s", only)
	}
	var found []kept
	if err := json.Unmarshal([]byte(must(t, env, "recover", "--json")), &found); err != nil || len(found) != 2 {
		t.Errorf("JSON: %v, %v", found, err)
	}

	dest := t.TempDir()
	must(t, env, "recover", "cp", "v1", dest)
	if got, err := os.ReadFile(filepath.Join(dest, "notes")); err != nil || string(got) != "one" {
		t.Errorf("the copy has %q, %v", got, err)
	}
	if got := mustFail(t, env, "recover", "cp", "v2", filepath.Join(dest, "notes")); !strings.Contains(got, "not taken") {
		t.Errorf("copy over an existing file: %s", got)
	}
	if got, _ := os.ReadFile(filepath.Join(dest, "notes")); string(got) != "one" {
		t.Errorf("an existing file was overwritten with %q", got)
	}
	if got := mustFail(t, env, "recover", "cp", "v3", dest); !strings.Contains(got, "no kept version") {
		t.Errorf("unknown ID: %s", got)
	}

	must(t, env, "recover", "drop", "v1", "v2")
	if got := must(t, env, "recover"); got != "nothing to recover\n" {
		t.Errorf("after dropping all: %q", got)
	}
}

func TestSameIDTwice(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	for _, bucket := range []string{"a", "b"} {
		keepVersion(t, filepath.Join(home, ".local/state/causeway", stateName("", target{Bucket: bucket})), "v", "f", bucket)
	}
	if got := mustFail(t, env, "recover", "drop", "v"); !strings.Contains(got, "--state-dir") {
		t.Errorf("an ID that two state directories have: %s", got)
	}
}

func TestStatusCommand(t *testing.T) {
	run, state, mountpoint := t.TempDir(), t.TempDir(), t.TempDir()
	env := map[string]string{"XDG_RUNTIME_DIR": run}
	if got := mustFail(t, env, "status"); !strings.Contains(got, "causeway up") {
		t.Errorf("nothing runs: %s", got)
	}
	if got := must(t, env, "status", "--json"); strings.TrimSpace(got) != "[]" {
		t.Errorf("nothing runs, JSON: %s", got)
	}

	dir := filepath.Join(run, "causeway")
	trees := []vfs.TreeProgress{{Op: "rename", Src: "old dir", Dst: "new", Phase: "copying", Done: 3, Total: 70, Resumed: true}}
	s := status.NewServer(func() status.Report {
		return status.Report{
			Version: "v1", State: status.Serving, Mountpoint: mountpoint, Bucket: "s3://b", StateDir: state,
			Missing:  []string{"If-Match"},
			S3:       status.Reach{State: status.Away, Since: time.Now(), Waiting: 7},
			Files:    vfs.Stats{Committing: 3, Commits: 9, KeptVersions: 1, HiddenKeys: 4, Trees: trees, LastError: "boom", LastErrorTime: time.Now()},
			Requests: []status.Request{{Kind: "PUT", Count: 12, P50Ms: 15.25, BytesSent: 2048}},
		}
	}, nil)
	socket := status.SocketPath(state, dir)
	if err := s.ListenUnix(socket); err != nil {
		t.Fatal(err)
	}
	defer s.Close(context.Background())
	if _, err := status.Register(dir, status.Entry{Mountpoint: mountpoint, StateDir: state, Socket: socket}); err != nil {
		t.Fatal(err)
	}

	text := must(t, env, "status", mountpoint)
	for _, want := range []string{"s3://b on " + mountpoint, "3 commits", "commits", "causeway recover", "causeway doctor", "boom", "old dir to new: copying, 3 of 70 objects", "PUT", "15.2", "2 KiB", "If-Match", "7 requests waiting"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if all := must(t, env, "status"); all != text {
		t.Errorf("status of all:\n%s\nof the only one:\n%s", all, text)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(filepath.Dir(mountpoint), link); err != nil {
		t.Fatal(err)
	}
	if got := must(t, env, "status", filepath.Join(link, filepath.Base(mountpoint))); got != text {
		t.Errorf("status by another name of the mount point:\n%s", got)
	}
	var r status.Report
	if err := json.Unmarshal([]byte(must(t, env, "status", mountpoint, "--json")), &r); err != nil || r.Files.Committing != 3 {
		t.Errorf("JSON: %+v, %v", r, err)
	}
	if got := mustFail(t, env, "status", t.TempDir()); !strings.Contains(got, "no gateway answers") {
		t.Errorf("another directory: %s", got)
	}
}

func TestDoctorLooksAtTheJournal(t *testing.T) {
	home := t.TempDir()
	env := map[string]string{"HOME": home}
	state := filepath.Join(home, ".local/state/causeway", stateName("", target{Bucket: "b"}))
	journal := func() (found []finding) {
		t.Helper()
		a, stdout, _ := testApp(t, env)
		a.run(context.Background(), []string{"doctor", "--json"}) // FUSE may be missing here
		var d diagnosis
		if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
			t.Fatalf("%v in %s", err, stdout)
		}
		for _, f := range d.Findings {
			if f.Check == "journal" {
				found = append(found, f)
			}
		}
		return found
	}
	if got := journal(); len(got) != 0 {
		t.Errorf("without a state directory: %+v", got)
	}
	dir := filepath.Join(state, "journal")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := journal(); len(got) != 1 || got[0].Result != resultOK {
		t.Errorf("an empty journal: %+v", got)
	}
	if err := os.WriteFile(filepath.Join(dir, "0000000000000001.log.damaged"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := journal(); len(got) != 1 || got[0].Result != resultWarn || got[0].Remedy == "" {
		t.Errorf("a journal with damage: %+v", got)
	}
}

func TestDoctorWithoutEndpoint(t *testing.T) {
	a, stdout, _ := testApp(t, map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"})
	code := a.run(context.Background(), []string{"doctor", "s3://b", "--endpoint", "http://127.0.0.1:1", "--json", "--state-dir", t.TempDir()})
	var d diagnosis
	if err := json.Unmarshal(stdout.Bytes(), &d); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	last := d.Findings[len(d.Findings)-1]
	if code != exitFailed || last.Check != "endpoint" || last.Result != resultFail || last.Remedy == "" {
		t.Errorf("exit status %d, last finding %+v", code, last)
	}
}

func TestVersion(t *testing.T) {
	if got := must(t, nil, "version"); !strings.HasPrefix(got, "causeway ") || strings.Count(got, "\n") != 1 {
		t.Errorf("got %q", got)
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := must(t, nil, "completion", shell); !strings.Contains(got, "causeway") {
			t.Errorf("%s: %d bytes", shell, len(got))
		}
	}
	if got := must(t, nil, "__complete", "mount", "s3://b", "/mnt", "--foreign", ""); !strings.Contains(got, "strict") {
		t.Errorf("words of --foreign: %q", got)
	}
}
