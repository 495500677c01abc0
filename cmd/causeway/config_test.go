package main

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// testApp is an app with an environment of its own and nothing running.
func testApp(t *testing.T, env map[string]string) (a *app, stdout, stderr *bytes.Buffer) {
	t.Helper()
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	home := t.TempDir()
	return &app{
		stdout: stdout,
		stderr: stderr,
		getenv: func(name string) string {
			if v, ok := env[name]; ok {
				return v
			}
			if name == "HOME" {
				return home
			}
			return ""
		},
		uid:    1000,
		report: &reporter{},
	}, stdout, stderr
}

// commandPaths returns all commands that have flags, by the words that call
// them.
func commandPaths(root *cobra.Command) map[string]*cobra.Command {
	found := map[string]*cobra.Command{}
	var visit func(c *cobra.Command, path string)
	visit = func(c *cobra.Command, path string) {
		if c.HasAvailableLocalFlags() {
			found[path] = c
		}
		for _, child := range c.Commands() {
			visit(child, strings.TrimSpace(path+" "+child.Name()))
		}
	}
	visit(root, "")
	return found
}

// sample returns text that the flag accepts and that is not its default.
func sample(t *testing.T, f *pflag.Flag) string {
	t.Helper()
	switch v := f.Value.(type) {
	case *enumValue:
		return v.allowed[len(v.allowed)-1]
	case *addrValue:
		return "127.0.0.1:7654"
	case *sizeValue:
		return "77MiB"
	case *durationValue:
		return "77s"
	case *modeValue:
		return "0027"
	case *coordinatorValue:
		return "etcd://10.0.0.1:2379,h:1234"
	}
	switch f.Value.Type() {
	case "bool":
		return "true"
	case "string":
		return "some-text"
	case "stringSlice":
		return "*.one,*.two"
	case "uint32", "int64", "uint64":
		return "77"
	}
	t.Fatalf("flag --%s has the type %s, of which this test knows no sample", f.Name, f.Value.Type())
	return ""
}

// valueOf parses args for the command at path, applies the configuration as
// the root does, and returns the value of the flag name.
func valueOf(t *testing.T, path, name string, env map[string]string, args ...string) (string, error) {
	t.Helper()
	a, _, _ := testApp(t, env)
	cmd, _, err := newRoot(a).Find(strings.Fields(path))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatalf("%s %v: %v", path, args, err)
	}
	err = applyConfig(cmd, a.getenv)
	return cmd.Flags().Lookup(name).Value.String(), err
}

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestEverySettingThreeWays sets every flag of every command by flag, by
// environment and by file, and wants the same value.
func TestEverySettingThreeWays(t *testing.T) {
	a, _, _ := testApp(t, nil)
	checked := 0
	for path, cmd := range commandPaths(newRoot(a)) {
		cmd.InitDefaultHelpFlag()
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !configurable(f) {
				return
			}
			checked++
			text := sample(t, f)
			fromFlag, err := valueOf(t, path, f.Name, nil, "--"+f.Name+"="+text)
			if err != nil {
				t.Errorf("%s --%s: %v", path, f.Name, err)
			}
			fromEnv, err := valueOf(t, path, f.Name, map[string]string{envName(f.Name): text})
			if err != nil {
				t.Errorf("%s %s: %v", path, envName(f.Name), err)
			}
			file := yamlFile(t, f.Name+": \""+text+"\"\n")
			fromFile, err := valueOf(t, path, f.Name, map[string]string{"CAUSEWAY_CONFIG": file})
			if err != nil {
				t.Errorf("%s %s in a file: %v", path, f.Name, err)
			}
			if fromFlag == f.DefValue {
				t.Errorf("%s --%s: the sample %s is the default", path, f.Name, text)
			}
			if fromEnv != fromFlag || fromFile != fromFlag {
				t.Errorf("%s --%s=%s:\nflag %s\nenvironment %s\nfile %s", path, f.Name, text, fromFlag, fromEnv, fromFile)
			}
		})
	}
	if checked < 30 {
		t.Errorf("only %d flags were found", checked)
	}
}

func TestPrecedence(t *testing.T) {
	file := yamlFile(t, "dir-ttl: 3s\n")
	env := map[string]string{"CAUSEWAY_CONFIG": file}
	both := map[string]string{"CAUSEWAY_CONFIG": file, "CAUSEWAY_DIR_TTL": "2s"}
	for _, c := range []struct {
		name string
		env  map[string]string
		args []string
		want string
	}{
		{"default", nil, nil, "1s"},
		{"file", env, nil, "3s"},
		{"file by flag", nil, []string{"--config", file}, "3s"},
		{"environment over file", both, nil, "2s"},
		{"flag over all", both, []string{"--dir-ttl", "4s"}, "4s"},
		{"flag with the default's value over all", both, []string{"--dir-ttl", "1s"}, "1s"},
	} {
		got, err := valueOf(t, "mount", "dir-ttl", c.env, c.args...)
		if err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
}

func TestUsualConfigPlace(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "causeway"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "causeway", "causeway.yaml"), []byte("region: eu-north-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := valueOf(t, "mount", "region", map[string]string{"XDG_CONFIG_HOME": dir})
	if err != nil || got != "eu-north-1" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestListsInFiles(t *testing.T) {
	list := yamlFile(t, "staged:\n  - '*.new'\n  - '.#*'\n")
	got, err := valueOf(t, "mount", "staged", map[string]string{"CAUSEWAY_CONFIG": list})
	if err != nil || got != "[*.new,.#*]" {
		t.Errorf("list: got %s, %v", got, err)
	}
	empty := yamlFile(t, "staged: []\n")
	got, err = valueOf(t, "mount", "staged", map[string]string{"CAUSEWAY_CONFIG": empty})
	if err != nil || got != "[]" {
		t.Errorf("empty list: got %s, %v", got, err)
	}
}

func TestBadConfiguration(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		env  map[string]string
		want string // part of the message
	}{
		"unknown key":      {file: "dir-tll: 1s\n", want: `unknown key "dir-tll"`},
		"other spelling":   {file: "dir_ttl: 1s\n", want: "meant: dir-ttl"},
		"config in itself": {file: "config: /x\n", want: "unknown key"},
		"bad value":        {file: "\ndir-ttl: soon\n", want: ":2: dir-ttl: \"soon\" is not a duration"},
		"no value":         {file: "dir-ttl:\n", want: "has no value"},
		"mapping":          {file: "dir-ttl: {a: b}\n", want: "has no value"},
		"list for scalar":  {file: "dir-ttl: [1s]\n", want: "one value"},
		"not YAML":         {file: "dir-ttl: [\n", want: "yaml"},
		"not a mapping":    {file: "- a\n", want: "cannot unmarshal"},
		"bad environment":  {env: map[string]string{"CAUSEWAY_UMASK": "9"}, want: "CAUSEWAY_UMASK: \"9\" is not an octal mask"},
		"missing file":     {env: map[string]string{"CAUSEWAY_CONFIG": "/does/not/exist"}, want: "no such file"},
	} {
		env := maps.Clone(c.env)
		if env == nil {
			env = map[string]string{"CAUSEWAY_CONFIG": yamlFile(t, c.file)}
		}
		_, err := valueOf(t, "mount", "dir-ttl", env)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", name, err, c.want)
			continue
		}
		if exitStatus(err) != exitUsage {
			t.Errorf("%s: exit status %d, want %d", name, exitStatus(err), exitUsage)
		}
	}
}

// TestExampleConfig reads the documented example, which must show every
// setting of mount, up and serve with its default, and nothing else.
func TestExampleConfig(t *testing.T) {
	path, err := filepath.Abs("../../docs/causeway.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a, _, _ := testApp(t, nil)
	root := newRoot(a)
	if _, err := readConfigFile(path, settingNames(root)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"CAUSEWAY_CONFIG": path}
	for _, command := range []string{"mount", "up", "serve"} {
		cmd, _, err := root.Find([]string{command})
		if err != nil {
			t.Fatal(err)
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if !configurable(f) {
				return
			}
			// Those whose default depends on the machine are commented out.
			if !strings.Contains(string(text), "\n"+f.Name+":") && !strings.Contains(string(text), "\n# "+f.Name+": ") {
				t.Errorf("docs/causeway.yaml does not show %s", f.Name)
				return
			}
			got, err := valueOf(t, command, f.Name, env)
			if err != nil || got != f.DefValue {
				t.Errorf("%s: docs/causeway.yaml says %s is %s (%v), the default is %s", command, f.Name, got, err, f.DefValue)
			}
		})
	}
}

func TestUnknownVariablesAreIgnored(t *testing.T) {
	if _, err := valueOf(t, "mount", "dir-ttl", map[string]string{"CAUSEWAY_SOMETHING_ELSE": "x"}); err != nil {
		t.Error(err)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{"mount"},
		{"mount", "s3://b"},
		{"mount", "not-a-bucket", "/mnt"},
		{"mount", "s3:///key", "/mnt"},
		{"mount", "s3://b/../x", "/mnt"},
		{"mount", "s3://b", "/mnt", "--dir-ttl", "soon"},
		{"mount", "s3://b", "/mnt", "--foreign", "sometimes"},
		{"mount", "s3://b", "/mnt", "--verify", "0s"},
		{"mount", "s3://b", "/mnt", "--memory", "1MiB"},
		{"mount", "s3://b", "/mnt", "--commit", "nowhere"},
		{"mount", "s3://b", "/mnt", "--fsync", "local"},
		{"mount", "s3://b", "/mnt", "--commit", "local", "--spool-files", "0"},
		{"mount", "s3://b", "/mnt", "--commit", "local", "--spool-files", "-1"},
		{"mount", "s3://b", "/mnt", "--commit", "local", "--spool-size", "0"},
		{"mount", "s3://b", "/mnt", "--commit", "local", "--spool-age", "-1s"},
		{"mount", "s3://b", "/mnt", "--no-such-flag"},
		{"mount", "s3://b", "/mnt", "--coordinator", "zookeeper://x"},
		{"up", "a", "b"},
		{"status", "a", "b"},
		{"recover", "cp", "id"},
		{"recover", "drop"},
		{"doctor", "bucket"},
		{"passwd", "file"},
		{"version", "x"},
		{"monut"},
	} {
		a, stdout, stderr := testApp(t, nil)
		if got := a.run(context.Background(), args); got != exitUsage {
			t.Errorf("%v: exit status %d, want %d\n%s", args, got, exitUsage, stderr)
		}
		if n := strings.Count(stderr.String(), "\n"); n != 1 || !strings.HasPrefix(stderr.String(), "causeway: ") {
			t.Errorf("%v: want one line, got %q", args, stderr)
		}
		if stdout.Len() > 0 {
			t.Errorf("%v printed %q", args, stdout)
		}
	}
}

func TestHelpExitsWithSuccess(t *testing.T) {
	a, _, _ := testApp(t, nil)
	paths := slices.Sorted(maps.Keys(commandPaths(newRoot(a))))
	for _, path := range append(paths, "") {
		a, stdout, stderr := testApp(t, nil)
		if got := a.run(context.Background(), append(strings.Fields(path), "--help")); got != exitDone || stdout.Len() == 0 {
			t.Errorf("%s --help: exit status %d, %d bytes of help, %s", path, got, stdout.Len(), stderr)
		}
	}
}

func TestHelpNamesExamples(t *testing.T) {
	a, _, _ := testApp(t, nil)
	for _, c := range newRoot(a).Commands() {
		if c.Example == "" && c.Name() != "version" && c.Name() != "completion" && c.Name() != "help" {
			t.Errorf("%s has no examples", c.Name())
		}
	}
}

func TestExitStatus(t *testing.T) {
	for want, err := range map[int]error{
		exitDone:   nil,
		exitFailed: errors.New("x"),
		exitUsage:  &problem{what: "a", err: &usageError{errors.New("x")}},
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("exitStatus(%v) = %d, want %d", err, got, want)
		}
	}
}
