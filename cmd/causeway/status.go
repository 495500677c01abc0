package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/vfs"
)

func newStatus(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "status [MOUNTPOINT]",
		Short: "Show what the mounts on this host are doing",
		Long: `Shows files on their way to S3, failures, caches, and the S3 requests by kind
with their latency: of the mount on MOUNTPOINT, or of all mounts of this user
(for root: of all users).

--json prints one object with MOUNTPOINT, else a list of them.`,
		Example: `  causeway status
  causeway status /mnt/bucket --json | jq .files.committing`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			if len(args) == 1 {
				return a.showOne(ctx, s, args[0])
			}
			return a.showAll(ctx, s)
		},
	}
	cmd.Flags().BoolVar(&s.json, "json", false, "print JSON")
	return cmd
}

// runtimeDirs returns where the gateways that this user may ask register.
func (a *app) runtimeDirs() ([]string, error) {
	own, err := runtimeDir(a.getenv, a.uid)
	if err != nil {
		return nil, err
	}
	dirs := []string{own}
	if a.uid == 0 {
		// A pattern without special characters in the wrong place is valid.
		others, _ := filepath.Glob("/run/user/*/causeway")
		dirs = append(dirs, others...)
	}
	return dirs, nil
}

func (a *app) showOne(ctx context.Context, s *settings, mountpoint string) error {
	abs, err := filepath.Abs(mountpoint)
	if err != nil {
		return &problem{what: "find the mount point", err: err}
	}
	dirs, err := a.runtimeDirs()
	if err != nil {
		return err
	}
	names := []string{abs, resolveParent(abs)}
	for _, e := range status.Entries(dirs...) {
		if !slices.Contains(names, e.Mountpoint) && !slices.Contains(names, resolveParent(e.Mountpoint)) {
			continue
		}
		r, err := status.Fetch(ctx, e)
		if errors.Is(err, status.ErrNotRunning) {
			continue // a killed gateway left it; there may be another one
		}
		if err != nil {
			return err
		}
		if s.json {
			return writeJSON(a.stdout, r)
		}
		return writeReport(a.stdout, r)
	}
	return &problem{
		what:   "ask for the status of " + mountpoint,
		err:    status.ErrNotRunning,
		remedy: "causeway status lists what runs; mount it with causeway mount",
	}
}

func (a *app) showAll(ctx context.Context, s *settings) error {
	dirs, err := a.runtimeDirs()
	if err != nil {
		return err
	}
	reports := []status.Report{}
	var failed []error
	for _, e := range status.Entries(dirs...) {
		r, err := status.Fetch(ctx, e)
		switch {
		case errors.Is(err, status.ErrNotRunning):
		case err != nil:
			failed = append(failed, err)
		default:
			reports = append(reports, r)
		}
	}
	if s.json {
		return errors.Join(writeJSON(a.stdout, reports), errors.Join(failed...))
	}
	if len(reports) == 0 && len(failed) == 0 {
		return &problem{what: "ask for the status", err: status.ErrNotRunning, remedy: "Start one with causeway up or causeway mount"}
	}
	for i, r := range reports {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		if err := writeReport(a.stdout, r); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// writeReport prints r for people: first what is served, then what needs
// attention, then the figures.
func writeReport(w io.Writer, r status.Report) error {
	where := r.Mountpoint
	if where == "" {
		where = "(not mounted)"
	}
	fmt.Fprintf(w, "%s on %s: %s for %s\n", r.Bucket, where, r.State, time.Duration(r.UptimeSecs*float64(time.Second)).Round(time.Second))
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("process", "%d, version %s, %s resident of %s", r.PID, r.Version, humanSize(r.Memory.Resident), humanSize(r.Memory.Limit))
	if r.Endpoint != "" {
		line("endpoint", "%s", r.Endpoint)
	}
	if r.S3.State == status.Away {
		line("AWAY", "S3 does not answer since %s: %s waiting, %s from what is here",
			r.S3.Since.Local().Format(time.DateTime), plural(r.S3.Waiting, "request"), plural(r.Files.Recalled, "answer"))
	}
	line("state", "%s", r.StateDir)
	if len(r.Missing) > 0 {
		line("WARNING", "the endpoint does not enforce %s: no other writer may use the bucket", strings.Join(r.Missing, ", "))
	}
	f := r.Files
	if rest := pending(f, time.Now()); rest != "" {
		line("on its way", "%s", rest)
	} else {
		line("on its way", "nothing, all is in S3")
	}
	for _, tree := range f.Trees {
		line(tree.Op, "%s", treeProgress(tree))
	}
	if f.JournalIntents > 0 {
		line("journal", "%s, %s on disk", plural(int64(f.JournalIntents), "change"), humanSize(f.JournalBytes))
	}
	line("commits", "%d, failed %d", f.Commits, f.CommitErrors)
	if f.KeptVersions > 0 {
		line("KEPT", "%s not committed: see causeway recover", plural(int64(f.KeptVersions), "version"))
	}
	if f.LastError != "" {
		line("last error", "%s (%s)", oneLine(f.LastError), f.LastErrorTime.Local().Format(time.DateTime))
	}
	line("open", "%s, %s known", plural(int64(f.OpenHandles), "handle"), plural(int64(f.Nodes), "node"))
	line("cache", "%s in %s; %s", humanSize(f.CacheBytes), plural(int64(f.CacheFiles), "file"), plural(int64(f.IndexEntries), "name"))
	if f.HiddenKeys > 0 {
		line("hidden", "%s that cannot be shown as a path: see causeway doctor", plural(f.HiddenKeys, "key"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeRequests(w, r.Requests)
}

// treeProgress describes the rename or removal of a directory.
func treeProgress(t vfs.TreeProgress) string {
	text := t.Src
	if t.Dst != "" {
		text += " to " + t.Dst
	}
	text += fmt.Sprintf(": %s, %d of %s, since %s", t.Phase, t.Done, plural(t.Total, "object"), t.Since.Local().Format(time.DateTime))
	if t.Resumed {
		text += ", begun by an earlier run or another gateway"
	}
	return oneLine(text)
}

func writeRequests(w io.Writer, requests []status.Request) error {
	if len(requests) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "requests\tcount\terrors\tp50 ms\tp99 ms\tsent\treceived\t")
	for _, q := range requests {
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f\t%.1f\t%s\t%s\t\n",
			q.Kind, q.Count, q.Errors, q.P50Ms, q.P99Ms, humanSize(q.BytesSent), humanSize(q.BytesReceived))
	}
	return t.Flush()
}
