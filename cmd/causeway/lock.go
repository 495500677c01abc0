package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayfs/causeway/gateway/status"
)

// lockTokenEnv is the environment variable in which a command under a lock finds
// what its own locks re-enter with: OWNER@SOCKET, separated by spaces.
const lockTokenEnv = "CAUSEWAY_LOCK_TOKEN"

// lockOptions are the flags of lock.
type lockOptions struct {
	shared, tree bool
	wait         durationValue
	waits        bool // wait was given
}

func newLock(a *app) *cobra.Command {
	var o lockOptions
	cmd := &cobra.Command{
		Use:   "lock PATH [--shared] [--tree] [--wait D] -- COMMAND [ARG...]",
		Short: "Run a command while holding the lock of a path",
		Long: `Waits for the lock of PATH, a path in a mount that need not exist, runs COMMAND,
and gives the lock up when it ends. On all hosts that mount the bucket at most one
holds it, or several that all asked for --shared. They get it in the order in which
they came. It is the same lock that flock(1) takes on the file, and WebDAV's LOCK.
With --tree it is of all that is below the directory PATH, too.

Whoever gets the lock sees everything that was closed under it before. Nothing else
waits for it: programs that take no lock, and locks of other paths, go on. A lock
keeps only others from the lock, not from the file.

While it waits, stderr tells its place and who holds the lock. Ctrl-C ends the
wait. --wait bounds it: with 0s it does not wait at all.

COMMAND may run causeway lock itself. On the same path, or below a tree that is
held, it goes on without waiting, since the lock is its parent's: it finds it by
` + lockTokenEnv + ` in its environment.

Signals are passed on to COMMAND. The lock goes when COMMAND ends, and also when this
process is killed; COMMAND gets SIGTERM then. It gets SIGTERM as well if the lock is
lost, because the gateway was cut off for longer than its lease, or by causeway
locks break. What it writes to PATH after that is not committed.

Exit status: that of COMMAND; 75 the wait ran out; 1 the lock was lost, or could
not be had for another reason, which stderr tells; 126, 127 COMMAND cannot be
executed, is not there; 128+N it was ended by signal N.`,
		Example: `  causeway lock /mnt/bucket/reports/june -- make report
  causeway lock /mnt/bucket/models --tree --wait 30s -- ./publish.sh
  causeway lock /mnt/bucket/db --shared -- sqlite3 /mnt/bucket/db 'select count(*) from t'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 1 || len(args) < 2 {
				return &usageError{fmt.Errorf("usage: %s", cmd.UseLine())}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.waits = cmd.Flags().Changed("wait")
			return a.lock(cmd.Context(), o, args[0], args[1:])
		},
	}
	cmd.Flags().BoolVar(&o.shared, "shared", false, "share the lock with others that ask for it in the same way")
	cmd.Flags().BoolVar(&o.tree, "tree", false, "lock everything below PATH, too")
	cmd.Flags().Var(&o.wait, "wait", "`D` after which to give up and exit with status 75; 0s does not wait (default: as long as it takes)")
	return cmd
}

// underLock is a lock that was granted to a command.
type underLock struct {
	*app
	client *status.LockClient
	socket string
	name   string // the path, for messages
	answer status.LockAnswer
}

// lock runs command under the lock of file.
func (a *app) lock(ctx context.Context, o lockOptions, file string, command []string) error {
	where, err := a.gatewayOf(file)
	if err != nil {
		return err
	}
	// Looked for before waiting, so that a misspelt one is told at once.
	program, err := exec.LookPath(command[0])
	if err != nil {
		return cannotRun(command[0], err)
	}
	l := &underLock{app: a, client: status.NewLockClient(where.Entry), socket: where.Socket, name: file}
	defer l.client.Close()
	if err := l.acquire(ctx, o, where.rel, command); err != nil {
		return err
	}
	return l.run(ctx, program, command)
}

// gatewayOf returns the running gateway of the mount that file is in.
func (a *app) gatewayOf(file string) (within, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return within{}, &problem{what: "find " + file, err: err}
	}
	dirs, err := a.runtimeDirs()
	if err != nil {
		return within{}, err
	}
	for _, e := range mountsOf(abs, status.Entries(dirs...)) {
		if _, err := status.Fetch(context.Background(), e.Entry); !errors.Is(err, status.ErrNotRunning) {
			return e, nil
		}
	}
	return within{}, &problem{
		what:   "find the gateway of " + file,
		err:    status.ErrNotRunning,
		remedy: "causeway status lists what runs; PATH has to be in a mount",
	}
}

// acquire waits for the lock.
func (l *underLock) acquire(ctx context.Context, o lockOptions, rel string, command []string) error {
	ctx, stop := l.interruptible(ctx)
	defer stop()
	call := status.AcquireCall{Path: rel, Shared: o.shared, Tree: o.tree, Owner: l.ownerHere(),
		PID: os.Getpid(), Command: strings.Join(command, " "), Via: "lock"}
	if o.waits {
		d := time.Duration(o.wait).Seconds()
		call.Wait = &d
	}
	told := ""
	for {
		answer, err := l.client.Acquire(ctx, call)
		if ctx.Err() != nil {
			return &problem{what: "lock " + l.name, err: errors.New("interrupted while waiting")}
		}
		if err != nil {
			return &problem{what: "lock " + l.name, err: err}
		}
		if answer.Code != status.LockWaits {
			l.answer = answer
			return l.refused()
		}
		if text := waitText(answer); text != told {
			told = text
			fmt.Fprintf(l.stderr, "causeway: waiting for %s: %s\n", l.name, text)
		}
		call = status.AcquireCall{ID: answer.ID, Seen: answer.Place}
	}
}

// refused says why the lock was not granted; nil if it was.
func (l *underLock) refused() error {
	p := &problem{what: "lock " + l.name, err: errors.New(l.answer.Error)}
	switch l.answer.Code {
	case status.LockGranted:
		return nil
	case status.LockHeld, status.LockTimeout:
		p.err = errors.New("the wait ran out")
		if by := heldBy(l.answer.Holders); by != "" {
			p.err = fmt.Errorf("the wait ran out; held by %s", by)
		}
		return &statusError{status: exitLockWait, err: p}
	case status.LockNoLock:
		p.remedy = "The gateway does not reach its coordinator; causeway status and causeway doctor tell more"
	case status.LockDeadlock:
		p.remedy = "Take locks in the same order everywhere, or one --tree lock over all of them"
	}
	return p
}

// waitText tells a waiter's place and who it waits for.
func waitText(a status.LockAnswer) string {
	text := fmt.Sprintf("place %d", max(a.Place, 1))
	if by := heldBy(a.Holders); by != "" {
		text += ", held by " + by
	}
	return text
}

// heldBy names holders.
func heldBy(holders []status.LockHolder) string {
	var names []string
	for _, h := range holders {
		names = append(names, holderText(h))
	}
	return oneLine(strings.Join(names, ", "))
}

func holderText(h status.LockHolder) string {
	text := h.Host
	if h.PID != 0 {
		text += fmt.Sprintf(" pid %d", h.PID)
	}
	if h.Command != "" {
		text += " (" + shorten(h.Command) + ")"
	}
	return strings.TrimSpace(text)
}

// shorten cuts a command line for a message.
func shorten(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// ownerHere is the owner with which this process may re-enter what its parents
// hold through the same gateway.
func (l *underLock) ownerHere() string {
	for _, token := range strings.Fields(l.getenv(lockTokenEnv)) {
		if owner, socket, ok := strings.Cut(token, "@"); ok && socket == l.socket {
			return owner
		}
	}
	return ""
}

// run runs the command and gives the lock up.
func (l *underLock) run(ctx context.Context, program string, command []string) error {
	cmd := exec.Command(program, command[1:]...)
	cmd.Args[0] = command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, l.stdout, l.stderr
	cmd.Env = append(os.Environ(), lockTokenEnv+"="+l.tokens())
	release := dieTogether(cmd)
	defer release()

	holding, stop := context.WithCancel(ctx)
	defer stop()
	lost := make(chan error, 1)
	go func() { lost <- l.hold(holding) }()
	if err := cmd.Start(); err != nil {
		return errors.Join(cannotRun(command[0], err), l.release(ctx))
	}
	ended := make(chan error, 1)
	watching := make(chan error, 1)
	go func() { watching <- l.attend(cmd, lost, ended) }()
	err := cmd.Wait()
	ended <- err
	if why := <-watching; why != nil {
		return &problem{what: "hold the lock of " + l.name, err: why,
			remedy: "COMMAND was sent SIGTERM; what it wrote to PATH since then is not committed"}
	}
	if err := l.release(ctx); err != nil {
		return err
	}
	return commandError(command[0], err)
}

// tokens is what the command finds in its environment.
func (l *underLock) tokens() string {
	own := l.answer.Owner + "@" + l.socket
	for _, token := range strings.Fields(l.getenv(lockTokenEnv)) {
		if _, socket, _ := strings.Cut(token, "@"); socket != l.socket {
			own += " " + token
		}
	}
	return own
}

// hold returns when the lock is lost, and says why; nil when ctx ends.
func (l *underLock) hold(ctx context.Context) error {
	answer, err := l.client.Extend(ctx, status.ExtendCall{ID: l.answer.ID, Hold: true})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil:
		return fmt.Errorf("the gateway has ended: %w", err)
	case answer.Code == status.LockLost:
		return errors.New("it was lost: the gateway's session has ended, or somebody broke the lock")
	}
	return fmt.Errorf("the gateway gave it up: %s", answer.Code)
}

// attend passes signals on until the command has ended. It returns why the lock
// was lost, or nil.
func (l *underLock) attend(cmd *exec.Cmd, lost, ended <-chan error) (why error) {
	more := make(chan os.Signal, 8)
	signal.Notify(more, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT)
	defer signal.Stop(more)
	pass := func(sig os.Signal) {
		if (sig == syscall.SIGINT || sig == syscall.SIGQUIT) && inForeground() {
			return // the terminal sent it to the command, too
		}
		_ = cmd.Process.Signal(sig) // it may just have ended
	}
	for {
		select {
		case <-ended:
			select {
			case err := <-lost: // perhaps that is why
				why = errors.Join(why, err)
			default:
			}
			return why
		case sig := <-l.signals:
			pass(sig)
		case sig := <-more:
			pass(sig)
		case why = <-lost:
			if why != nil {
				fmt.Fprintf(l.stderr, "causeway: the lock of %s is gone: %s\n", l.name, oneLine(why.Error()))
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
			lost = nil
		}
	}
}

// release gives the lock up, and waits until what was written under it is in S3.
func (l *underLock) release(ctx context.Context) error {
	answer, err := l.client.Release(context.WithoutCancel(ctx), l.answer.ID)
	switch {
	case err != nil:
		return &problem{what: "unlock " + l.name, err: err}
	case answer.Code == status.LockReleased:
		return nil
	case answer.Code == status.LockNotSynced:
		return &problem{what: "bring to S3 what was written under the lock of " + l.name, err: errors.New(answer.Error),
			remedy: "Others see it when it is there; causeway sync waits for it, causeway recover lists what S3 did not take"}
	}
	return &problem{what: "unlock " + l.name, err: fmt.Errorf("it was lost before: %s %s", answer.Code, answer.Error)}
}

// cannotRun is the outcome of a command that was not started, with the exit
// status that shells give it.
func cannotRun(name string, err error) error {
	s := &statusError{status: 126, err: &problem{what: "run " + name, err: err}}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		s.status = 127
	}
	return s
}

// commandError is the outcome of a command that ended with err.
func commandError(name string, err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		if err != nil {
			return &problem{what: "run " + name, err: err}
		}
		return nil
	}
	code := exit.ExitCode()
	if st, ok := exit.Sys().(syscall.WaitStatus); ok && st.Signaled() {
		code = 128 + int(st.Signal())
	}
	return &reportedError{&statusError{status: code, err: err}} // it has said itself what is wrong
}
