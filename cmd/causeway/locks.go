package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayfs/causeway/gateway/status"
)

func newLocks(a *app) *cobra.Command {
	s := newSettings()
	list := func(cmd *cobra.Command, args []string) error {
		ctx, stop := a.interruptible(cmd.Context())
		defer stop()
		return a.listLocks(ctx, s, args)
	}
	cmd := &cobra.Command{
		Use:   "locks [PATH|MOUNTPOINT]",
		Short: "Show who holds which lock and who waits for it",
		Long: `Lists the locks on all hosts that mount the bucket: those of PATH, of what is below
it and over it; or of all mounts of this user. It tells who holds each since when,
on which host and by which process, and who waits at which place. "kept" is a lock
that a gateway keeps because nobody else wants it; nothing holds it.

The fence is a number that grows with each gateway that gets the lock. break takes
a lock from exactly the holder with that number, so that it cannot hit the next one.

--json prints one object with PATH, else a list of them.`,
		Example: `  causeway locks
  causeway locks /mnt/bucket/models
  causeway locks ls /mnt/bucket --json | jq '.locks[] | select(.waiters != [])'
  causeway locks break /mnt/bucket/models/a --fence 17`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: list,
	}
	ls := &cobra.Command{Use: "ls [PATH|MOUNTPOINT]", Short: "Show who holds which lock and who waits for it",
		Args: usage(cobra.MaximumNArgs(1)), RunE: list}
	for _, c := range []*cobra.Command{cmd, ls} {
		c.Flags().BoolVar(&s.json, "json", false, "print JSON")
	}
	cmd.AddCommand(ls, newLocksBreak(a))
	return cmd
}

func newLocksBreak(a *app) *cobra.Command {
	var fence uint64
	var record bool
	cmd := &cobra.Command{
		Use:   "break PATH --fence N",
		Short: "Take a lock from its holder",
		Long: `Takes the lock of PATH from the holder that has it with fence N, as causeway locks
shows it, whether that one is alive or not. The next in the queue gets it. It waits
for nothing, and does nothing if the holder has changed in the meantime.

The holder notices within a second or two, and commits nothing of PATH any more: close
and fsync of its files are ESTALE, their bytes are kept for causeway recover, and
causeway lock ends its command. Do this to a holder that hangs; one that has died
is replaced by itself after --lock-ttl.`,
		Example: `  causeway locks break /mnt/bucket/models/a --fence 17`,
		Args:    usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("fence") {
				return &usageError{errors.New("--fence N says which holder is meant; causeway locks shows it")}
			}
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			return a.breakLock(ctx, args[0], fence, record)
		},
	}
	cmd.Flags().Uint64Var(&fence, "fence", 0, "`N` of the holder, as causeway locks shows it")
	cmd.Flags().BoolVar(&record, "record", false, "the lock is one of fcntl(2)")
	return cmd
}

func (a *app) breakLock(ctx context.Context, file string, fence uint64, record bool) error {
	where, err := a.gatewayOf(file)
	if err != nil {
		return err
	}
	client := status.NewLockClient(where.Entry)
	defer client.Close()
	call := status.BreakCall{Path: where.rel, Fence: fence}
	if record {
		call.Space = "record"
	}
	answer, err := client.Break(ctx, call)
	if err != nil {
		return &problem{what: "break the lock of " + file, err: err}
	}
	switch answer.Code {
	case status.LockReleased:
		return nil
	case status.LockUnknown:
		return &problem{what: "break the lock of " + file, err: fmt.Errorf("nobody has it with fence %d", fence),
			remedy: "causeway locks " + file + " shows who has it now"}
	}
	return &problem{what: "break the lock of " + file, err: errors.New(answer.Error)}
}

// mountLocks are the locks of one mount. Its JSON is a contract.
type mountLocks struct {
	Mountpoint string              `json:"mountpoint,omitempty"`
	Bucket     string              `json:"bucket"`
	Locks      []status.LockReport `json:"locks"`
}

func (a *app) listLocks(ctx context.Context, s *settings, args []string) error {
	if len(args) == 1 {
		where, err := a.gatewayOf(args[0])
		if err != nil {
			return err
		}
		m, err := locksOf(ctx, where.Entry, where.rel)
		if err != nil {
			return &problem{what: "list the locks of " + args[0], err: err}
		}
		if s.json {
			return writeJSON(a.stdout, m)
		}
		return writeLocks(a.stdout, m)
	}
	dirs, err := a.runtimeDirs()
	if err != nil {
		return err
	}
	all := []mountLocks{}
	var failed []error
	for _, e := range status.Entries(dirs...) {
		m, err := locksOf(ctx, e, "")
		switch {
		case errors.Is(err, status.ErrNotRunning):
		case err != nil:
			failed = append(failed, &problem{what: "list the locks of " + e.Bucket, err: err})
		default:
			all = append(all, m)
		}
	}
	if s.json {
		return errors.Join(writeJSON(a.stdout, all), errors.Join(failed...))
	}
	if len(all) == 0 && len(failed) == 0 {
		return &problem{what: "list locks", err: status.ErrNotRunning, remedy: "Start a gateway with causeway up or causeway mount"}
	}
	for _, m := range all {
		if err := writeLocks(a.stdout, m); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

func locksOf(ctx context.Context, e status.Entry, rel string) (mountLocks, error) {
	client := status.NewLockClient(e)
	defer client.Close()
	found, err := client.List(ctx, rel, true)
	return mountLocks{Mountpoint: e.Mountpoint, Bucket: e.Bucket, Locks: found}, err
}

// writeLocks prints locks for people: one line for each holder and waiter.
func writeLocks(w io.Writer, m mountLocks) error {
	name := func(path string) string {
		if m.Mountpoint == "" {
			return m.Bucket + "/" + path
		}
		return filepath.Join(m.Mountpoint, path)
	}
	if len(m.Locks) == 0 {
		_, err := fmt.Fprintf(w, "%s: no locks\n", name(""))
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "PATH\tLOCK\tFENCE\tWHO\tSINCE")
	for _, l := range m.Locks {
		for _, h := range l.Holders {
			fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\n", oneLine(name(l.Path)), lockText(l, h), h.Fence, oneLine(holderText(h)), since(h.Since))
		}
		for _, q := range l.Waiters {
			fmt.Fprintf(t, "%s\twaits, place %d (%s)\t\t%s\t%s\n", oneLine(name(l.Path)), q.Place, q.Mode,
				oneLine(holderText(status.LockHolder{Host: q.Host, PID: q.PID, Command: q.Command})), since(q.Since))
		}
	}
	return t.Flush()
}

// lockText describes a lock: its mode, extent, and how it was taken.
func lockText(l status.LockReport, h status.LockHolder) string {
	text := l.Mode
	if l.Tree {
		text += " tree"
	}
	if h.Range != "" {
		text += " " + h.Range
	}
	if h.Via != "" {
		text += " (" + h.Via + ")"
	}
	if h.Cached {
		text += ", kept"
	}
	return text
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
