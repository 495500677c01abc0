package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/causewayfs/causeway/store/embedded"
	"github.com/causewayfs/causeway/store/s3"
)

// child is the whole life of a server process: start, tell the parent, wait
// until the parent's end of the pipe is closed, stop. It returns the exit code.
func child() int {
	kind, dir, _ := strings.Cut(os.Getenv(childVariable), ":")
	if dir == "" {
		tmp, err := os.MkdirTemp("", "causeway-"+kind+"-*")
		if err != nil {
			return report(access{Error: err.Error()})
		}
		defer func() { _ = os.RemoveAll(tmp) }()
		dir = tmp
	}
	run := runVersity
	if Kind(kind) == MinIO {
		run = runMinIO
	}
	at, stop, err := run(context.Background(), dir)
	if err != nil {
		return report(access{Error: err.Error()})
	}
	defer stop()
	code := report(at)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return code
}

func report(a access) int {
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil || a.Error != "" {
		return 1
	}
	return 0
}

func runVersity(ctx context.Context, dir string) (access, func(), error) {
	s, err := embedded.Start(ctx, embedded.Config{Dir: dir})
	if err != nil {
		return access{}, nil, err
	}
	creds := s.Credentials()
	stop := func() { _ = s.Close(context.Background()) }
	return access{Endpoint: s.Endpoint(), AccessKey: creds.AccessKeyID, SecretKey: creds.SecretAccessKey, PID: os.Getpid()}, stop, nil
}

func runMinIO(ctx context.Context, dir string) (access, func(), error) {
	program := os.Getenv("CAUSEWAY_MINIO")
	if program == "" {
		program = "minio"
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return access{}, nil, fmt.Errorf("minio is needed for this test; run `make tools`, or set CAUSEWAY_MINIO: %w", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return access{}, nil, err
	}
	addr := l.Addr().String()
	_ = l.Close()
	a := access{Endpoint: "http://" + addr, AccessKey: "causewaytest", SecretKey: "causewaytest"}
	cmd := exec.Command(path, "server", "--quiet", "--address", addr, dir) //nolint:gosec // the developer's choice
	cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+a.AccessKey, "MINIO_ROOT_PASSWORD="+a.SecretKey,
		"MINIO_BROWSER=off", "MINIO_UPDATE=off", "MINIO_CI_CD=1")
	if err := cmd.Start(); err != nil {
		return access{}, nil, err
	}
	a.PID = cmd.Process.Pid
	stop := func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	cfg := s3.Config{
		Bucket: "ready", Region: "us-east-1", Endpoint: a.Endpoint, PathStyle: true,
		Credentials: &s3.Credentials{AccessKeyID: a.AccessKey, SecretAccessKey: a.SecretKey},
	}
	if err := waitReady(ctx, cfg); err != nil {
		stop()
		return access{}, nil, err
	}
	return a, stop, nil
}
