package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/store"
	"github.com/causewayfs/causeway/vfs"
)

// progressEvery is how often a wait for S3 tells what is left.
const progressEvery = 2 * time.Second

func newSync(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "sync [PATH]",
		Short: "Wait until what was acknowledged is in S3",
		Long: `Waits until everything that was acknowledged so far of PATH, a file or a directory
in a mount with all that is below it, is in S3: with --commit local, files that
were closed; in any case, removals and attributes. Without PATH it waits for all
mounts of this user (for root: of all users). What programs have written and not
closed yet is not acknowledged, and not waited for.

A file does not need to be there any more: its removal is waited for then.
Symbolic links in a mount are not followed.

While something waits, stderr tells every two seconds how much that is in the
whole mount. Ctrl-C ends the wait, and nothing else: the files are sent all the
same.

Exit status: 0 all of it is in S3; 1 the wait was interrupted, no gateway runs, or
S3 did not take something, for instance a file that somebody else has replaced.
Its bytes are kept then; causeway recover lists them, and as long as it does, sync
of their path fails.`,
		Example: `  causeway sync                          # before a shutdown: all mounts
  causeway sync /mnt/bucket/results      # before other hosts are told to read it
  timeout 60 causeway sync /mnt/bucket   # at most a minute`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := a.interruptible(cmd.Context())
			defer stop()
			if len(args) == 1 {
				return a.syncOne(ctx, args[0])
			}
			return a.syncAll(ctx)
		},
	}
}

// syncOne waits for the file or directory file.
func (a *app) syncOne(ctx context.Context, file string) error {
	abs, err := filepath.Abs(file)
	if err != nil {
		return &problem{what: "find " + file, err: err}
	}
	dirs, err := a.runtimeDirs()
	if err != nil {
		return err
	}
	for _, e := range mountsOf(abs, status.Entries(dirs...)) {
		w := &syncWait{stderr: a.stderr, mu: &sync.Mutex{}, entry: e.Entry}
		err := w.run(ctx, e.rel)
		if errors.Is(err, status.ErrNotRunning) {
			continue // a killed gateway left it; there may be another one
		}
		return err
	}
	return &problem{
		what:   "bring " + file + " to S3",
		err:    status.ErrNotRunning,
		remedy: "causeway status lists what runs; mount it with causeway mount, which sends what an earlier mount left",
	}
}

// within is a mount and a path in it.
type within struct {
	status.Entry
	rel string // relative to the mount point
}

// mountsOf returns the mounts that may have the absolute path abs, the innermost
// first. It asks no filesystem about what is below a mount point: it may not
// answer while S3 is away.
func mountsOf(abs string, entries []status.Entry) []within {
	var found []within
	add := func(path, mountpoint string, e status.Entry) bool {
		rel, err := filepath.Rel(mountpoint, path)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			return false
		}
		found = append(found, within{e, rel})
		return true
	}
	for _, e := range entries {
		if e.Mountpoint != "" && !add(abs, e.Mountpoint, e) {
			add(abs, resolveParent(e.Mountpoint), e)
		}
	}
	if len(found) == 0 { // it may be reached by a symbolic link
		if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
			return mountsOf(real, entries)
		}
		if real := resolveParent(abs); real != abs {
			return mountsOf(real, entries)
		}
	}
	// The path below an inner mount point is the shorter one.
	slices.SortStableFunc(found, func(a, b within) int { return len(a.rel) - len(b.rel) })
	return found
}

// syncAll waits for all mounts at once.
func (a *app) syncAll(ctx context.Context) error {
	dirs, err := a.runtimeDirs()
	if err != nil {
		return err
	}
	entries := status.Entries(dirs...)
	errs := make([]error, len(entries))
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, e := range entries {
		w := &syncWait{stderr: a.stderr, mu: &mu, entry: e}
		wg.Go(func() { errs[i] = w.run(ctx, "") })
	}
	wg.Wait()
	running := 0
	for i, err := range errs {
		if errors.Is(err, status.ErrNotRunning) {
			errs[i] = endedUnsent(entries[i])
			continue
		}
		running++
	}
	if err := errors.Join(errs...); err != nil || running > 0 {
		return err
	}
	return &problem{
		what:   "wait for S3",
		err:    status.ErrNotRunning,
		remedy: "Start one with causeway up or causeway mount; it sends what an earlier one left",
	}
}

// endedUnsent says what the gateway of e, which was killed, has left.
func endedUnsent(e status.Entry) error {
	n, err := vfs.Unsent(e.StateDir)
	if err != nil || n == 0 {
		return err
	}
	return &problem{
		what:   "bring " + e.Bucket + " to S3",
		err:    fmt.Errorf("its gateway has ended, and left %s in %s", plural(int64(n), "change"), e.StateDir),
		remedy: "Mount it again with this state directory, which sends them",
	}
}

// syncWait is a wait for one gateway.
type syncWait struct {
	stderr io.Writer
	mu     *sync.Mutex // guards stderr
	entry  status.Entry
}

// run waits for the path rel in the mount, and tells of the backlog meanwhile.
func (w *syncWait) run(ctx context.Context, rel string) error {
	asking, done := context.WithCancel(ctx)
	var telling sync.WaitGroup
	telling.Go(func() { w.tell(asking) })
	r, err := status.Sync(ctx, w.entry, rel)
	done()
	telling.Wait()
	switch {
	case errors.Is(err, status.ErrNotRunning):
		return err
	case ctx.Err() != nil:
		err = fmt.Errorf("interrupted (%s)", w.rest())
		return &problem{w.what(rel), err, "The gateway goes on sending; run causeway sync again to wait for it"}
	case err != nil:
		return &problem{what: w.what(rel), err: err}
	case r.Code == status.SyncDone:
		return nil
	}
	p := &problem{what: w.what(rel), err: errors.New(r.Error)}
	switch r.Code {
	case status.SyncNotCommitted:
		p.remedy = "causeway recover --state-dir " + w.entry.StateDir + " lists what S3 did not take; copy it out, and drop it"
	case status.SyncCanceled:
		p.remedy = "What is left stays in " + w.entry.StateDir + "; the next mount sends it"
	case status.SyncFailed:
		p.remedy = "causeway status shows the last error; causeway recover lists versions that S3 did not take"
	}
	return p
}

func (w *syncWait) what(rel string) string {
	return "bring " + filepath.Join(w.where(), rel) + " to S3"
}

// where names the mount.
func (w *syncWait) where() string {
	if w.entry.Mountpoint == "" {
		return w.entry.Bucket
	}
	return w.entry.Mountpoint
}

// tell prints what waits for S3 from time to time.
func (w *syncWait) tell(ctx context.Context) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r, err := status.Fetch(ctx, w.entry)
		if err != nil {
			continue // the wait itself says what is wrong
		}
		if text := pending(r.Files, time.Now()); text != "" {
			w.mu.Lock()
			fmt.Fprintf(w.stderr, "causeway: %s: %s\n", w.where(), text)
			w.mu.Unlock()
		}
	}
}

// rest says what is left after an interrupt.
func (w *syncWait) rest() string {
	r, err := status.Fetch(context.Background(), w.entry)
	if err != nil {
		return err.Error()
	}
	if text := pending(r.Files, time.Now()); text != "" {
		return text
	}
	return "nothing is left now"
}

// syncPause is how long a gateway waits before it tries once more what S3 did
// not answer.
const syncPause = time.Second

// sync is the status.Syncer of the gateway. What S3 does not answer is tried
// for as long as somebody waits.
func (g *gateway) sync(ctx context.Context, path string) error {
	for {
		err := g.fs.Sync(ctx, path)
		if kept, keptErr := keptBelow(g.stateDir, path); keptErr != nil {
			err = errors.Join(err, keptErr)
		} else if kept > 0 {
			return fmt.Errorf("%w: S3 did not take %s, which %s kept", status.ErrNotCommitted, plural(int64(kept), "version"), isAre(kept))
		}
		if err == nil || ctx.Err() != nil || !unanswered(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(syncPause):
		}
	}
}

// unanswered reports whether err may be gone when S3 is back.
func unanswered(err error) bool {
	if e, ok := errors.AsType[*vfs.Error](err); ok && e.Kind == vfs.Timeout {
		return true
	}
	return passing(store.KindOf(err))
}

// keptBelow counts the kept versions of path and of what is below it.
func keptBelow(stateDir, path string) (int, error) {
	all, err := vfs.Kept(stateDir)
	n := 0
	for _, k := range all {
		if at := strings.Trim(k.Path, "/"); path == "" || at == path || strings.HasPrefix(at, path+"/") {
			n++
		}
	}
	return n, err
}

func isAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}
