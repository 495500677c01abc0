package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
)

// Need returns the path of a program that a test cannot do without.
func Need(t T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not installed: run `make tools`", name)
	}
	return path
}

// Binary returns the causeway binary, built at its first use in a process.
func Binary(t T) string {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatalf("build causeway: %v", err)
	}
	return path
}

// work is where this process keeps what Shutdown removes.
var work = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "causeway-it-") })

var built = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CAUSEWAY_BIN"); path != "" {
		return path, nil
	}
	dir, err := work()
	if err != nil {
		return "", err
	}
	out := filepath.Join(dir, "causeway")
	args := []string{"build", "-o", out}
	if os.Getenv("CAUSEWAY_RACE") == "1" {
		args = append(args, "-race")
	}
	return out, goCommand(Root(), append(args, "./cmd/causeway")...)
})

// Root is the directory of the project's source.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// goCommand runs the go command in dir.
func goCommand(dir string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

// serverTool is a server that the module in integration/servers pins.
type serverTool struct {
	name   string // of the binary
	pkg    string
	module string
	env    string // names a binary to use instead
	inPath bool   // a binary of that name in $PATH will do
}

var (
	versityTool = serverTool{"versitygw", "github.com/versity/versitygw/cmd/versitygw", "github.com/versity/versitygw", "VERSITYGW", false}
	minioTool   = serverTool{"minio", "github.com/minio/minio", "github.com/minio/minio", "MINIO", true}
)

// find returns the server's binary: the one that the environment names, one
// that is installed if any version will do, or the pinned one, built at first
// need and kept for later runs.
func (s serverTool) find() (string, error) {
	if path := os.Getenv(s.env); path != "" {
		return path, nil
	}
	if s.inPath {
		if path, err := exec.LookPath(s.name); err == nil {
			return path, nil
		}
	}
	dir := os.Getenv("CAUSEWAY_TOOLS")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a cache directory: %w", err)
		}
		dir = filepath.Join(cache, "causeway-tools")
	}
	version, err := s.version()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, s.name+"-"+version)
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// Built beside it first: two test processes may do this at once.
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := goCommand(filepath.Join(Root(), "integration", "servers"), "build", "-o", tmp, s.pkg); err != nil {
		return "", fmt.Errorf("%w\n(run `make tools` where the modules can be fetched)", err)
	}
	return path, os.Rename(tmp, path)
}

// version returns the version that is pinned.
func (s serverTool) version() (string, error) {
	cmd := exec.Command("go", "list", "-m", "-f", "{{.Version}}", s.module)
	cmd.Dir = filepath.Join(Root(), "integration", "servers")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = exit.Stderr
		}
		return "", fmt.Errorf("find the version of %s: %w\n%s", s.name, err, out)
	}
	return string(out[:len(out)-1]), nil
}
