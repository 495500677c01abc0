// Command causeway shows an S3 bucket as a filesystem.
//
// Each command has a file of its own. A command binds the flags it has to a
// settings struct (settings.go); before it runs, the flags that the command
// line left alone are filled from the environment and the configuration file
// (config.go). What goes wrong is returned, and printed once, here, as one
// line with a remedy (errors.go).
//
// The commands that serve a filesystem are put together from the layers below
// in stack.go (S3 and its decorators), session.go (filesystem, mount, status,
// and the order in which they go up and down) and daemon.go (detaching).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	a := &app{
		stdin:   os.Stdin,
		stdout:  os.Stdout,
		stderr:  os.Stderr,
		getenv:  os.Getenv,
		uid:     os.Getuid(),
		signals: notifySignals(),
		report:  newReporter(os.Getenv),
	}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// notifySignals returns a channel of the signals that ask for an end. There is
// room for two, since the second one counts.
func notifySignals() chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	// nohup asks for SIGHUP to stay ignored.
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	return signals
}

// app is what the commands know of the process they run in.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	uid            int
	signals        chan os.Signal
	report         *reporter
}

// run executes the command line args and returns the exit status.
func (a *app) run(ctx context.Context, args []string) int {
	root := newRoot(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if _, reported := errors.AsType[*reportedError](err); err != nil && !reported {
		fmt.Fprintln(a.stderr, message(err))
		// Nobody listens any more if it was ready before.
		_ = a.report.say(message(err))
	}
	return exitStatus(err)
}

// interruptible returns a context that ends at the first signal. It is for
// what has nothing to clean up. A signal that comes as it ends is there for
// whoever waits for one next.
func (a *app) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan os.Signal, 1)
	go func() {
		defer close(over)
		select {
		case sig := <-a.signals:
			over <- sig
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, sync.OnceFunc(func() {
		cancel()
		if sig, ok := <-over; ok {
			select {
			case a.signals <- sig:
			default: // others wait already
			}
		}
	})
}

// newRoot builds the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "causeway",
		Short: "Show an S3 bucket as a filesystem",
		Long: `Causeway shows an S3 bucket, or a prefix of one, as a filesystem. Every file is
one object with the same name, and every close is a commit of that object.

Every flag can also be set by an environment variable (--dir-ttl is
CAUSEWAY_DIR_TTL) or a key of the same name in a YAML file: --config FILE,
$XDG_CONFIG_HOME/causeway/causeway.yaml or /etc/causeway.yaml. The flag wins,
then the environment.

Credentials are those of the AWS tools: AWS_ACCESS_KEY_ID and
AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of the machine.

Exit status: 0 done, 1 failed, 2 wrong usage, 75 the wait for a lock ran out.`,
		Example: `  causeway up                                  # try it: a local S3 server, mounted on ~/causeway
  causeway mount s3://my-bucket /mnt/bucket    # a bucket of Amazon S3
  causeway mount s3://data/team /mnt/team --endpoint http://10.0.0.5:9000 --daemon
  causeway serve s3://my-bucket                # WebDAV on 127.0.0.1:8420, without a mount
  causeway status /mnt/bucket                  # what it is doing
  causeway sync /mnt/bucket                    # wait until all of it is in S3
  causeway lock /mnt/bucket/x -- make x        # one at a time, over all hosts
  causeway doctor s3://my-bucket               # what would stop it from working`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return applyConfig(cmd, a.getenv)
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.PersistentFlags().String(configFlag, "", "`FILE` with settings, in YAML")
	root.AddCommand(newUp(a), newMount(a), newServe(a), newStatus(a), newSync(a), newLock(a), newLocks(a), newRecover(a), newDoctor(a), newPasswd(a), newVersion(a))
	return root
}

// noSuchCommand refuses arguments of the root, which are misspelt commands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("there is no command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; the nearest is %q", err, near[0])
	}
	return &usageError{err}
}

// usage makes the errors of an argument check usage errors.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &usageError{fmt.Errorf("%w; usage: %s", err, cmd.UseLine())}
		}
		return nil
	}
}
