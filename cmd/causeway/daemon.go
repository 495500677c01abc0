package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Detaching runs this program again in a session of its own, with its output
// in a log file, and a pipe on which it says one line: that it is ready, or
// why it is not. A process that forked would lose its threads; one that is
// started anew is an ordinary foreground mount.

// reportFDEnv tells the child on which descriptor the pipe is.
const reportFDEnv = "CAUSEWAY_DAEMON_FD"

const (
	logName    = "causeway.log"
	maxLogSize = 16 << 20
)

// detach starts this program again with args in the background and returns
// when it is ready, after saying so on stdout. The child's error is returned
// as it was printed in the log.
func (a *app) detach(ctx context.Context, args []string, stateDir string) error {
	logFile, err := openLog(stateDir)
	if err != nil {
		return err
	}
	defer logFile.Close()
	report, child, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	defer report.Close()
	cmd, err := daemonCommand(args, logFile, child)
	if err == nil {
		err = cmd.Start()
	}
	child.Close()
	if err != nil {
		return fmt.Errorf("detach: %w", err)
	}
	stop := a.passSignals(ctx, cmd.Process)
	line, err := bufio.NewReader(report).ReadString('\n')
	stop()
	if text, ok := strings.CutPrefix(line, "ready "); ok && err == nil {
		_, err := fmt.Fprint(a.stdout, "ready "+text)
		return errors.Join(err, cmd.Process.Release())
	}
	// It is on its way out, and has said why.
	waitErr := cmd.Wait()
	if line = strings.TrimSpace(line); line != "" {
		fmt.Fprintln(a.stderr, line)
		return &reportedError{errors.New(line)}
	}
	return &problem{
		what:   "start in the background",
		err:    fmt.Errorf("the process ended before it was ready (%w)", errors.Join(waitErr, errEnded)),
		remedy: "See " + logFile.Name(),
	}
}

var errEnded = errors.New("no report")

func daemonCommand(args []string, logFile, report *os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), reportFDEnv+"=3")
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.ExtraFiles = []*os.File{report} // the first of these is descriptor 3
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, nil
}

// passSignals hands signals on to the child until stop is called, so that an
// interrupt while it starts does not leave it running.
func (a *app) passSignals(ctx context.Context, child *os.Process) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-a.signals:
				_ = child.Signal(sig) // it may have ended
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// openLog opens the log in the state directory, which is made if needed. A log
// that has become long is put aside, in place of the one before.
func openLog(stateDir string) (*os.File, error) {
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, &problem{what: "make the state directory", err: err}
	}
	path := filepath.Join(stateDir, logName)
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogSize {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, fmt.Errorf("put the old log aside: %w", err)
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, &problem{what: "open the log", err: err}
	}
	return f, nil
}

// detached reports whether this process is the one in the background.
func (a *app) detached() bool { return a.getenv(reportFDEnv) != "" }

// reporter tells the process that started this one how the start went: once,
// since it listens for one line.
type reporter struct {
	pipe *os.File // nil in the foreground, and when all is said
}

// newReporter returns the reporter of this process.
func newReporter(getenv func(string) string) *reporter {
	fd, err := strconv.ParseUint(getenv(reportFDEnv), 10, 16)
	if err != nil {
		return &reporter{}
	}
	return &reporter{pipe: os.NewFile(uintptr(fd), "report")}
}

// say passes line on. It does nothing in the foreground or the second time.
func (r *reporter) say(line string) error {
	if r.pipe == nil {
		return nil
	}
	_, err := fmt.Fprintln(r.pipe, line)
	err = errors.Join(err, r.pipe.Close())
	r.pipe = nil
	return err
}

// ready tells stdout, and whoever detached this process, that where answers.
func (a *app) ready(where string) error {
	if a.detached() {
		return a.report.say("ready " + where)
	}
	_, err := fmt.Fprintf(a.stdout, "ready %s\n", where)
	return err
}
