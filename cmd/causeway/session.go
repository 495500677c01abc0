package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/causewayfs/causeway/gateway/fuse"
	"github.com/causewayfs/causeway/vfs"
)

// filesystem is what a session needs of a vfs.FS.
type filesystem interface {
	Stats() vfs.Stats
	Close(ctx context.Context, progress func(vfs.Stats)) error
}

// mounted is what a session needs of a mount: a fuse.Server.
type mounted interface {
	// Done is closed when the filesystem is unmounted, by anybody.
	Done() <-chan struct{}
	// Unmount unmounts, and waits until nobody uses it any more.
	Unmount(ctx context.Context) error
	// Detach unmounts at once, in use or not.
	Detach() error
}

var _ mounted = (*fuse.Server)(nil)

// busyWait is how long an unmount waits for programs that use the mount.
const busyWait = 10 * time.Second

// session is a filesystem that is being served, until a signal or an unmount.
type session struct {
	fs       filesystem
	mount    mounted // nil without a mount
	stateDir string
	signals  <-chan os.Signal
	stderr   io.Writer
	draining func()                // called once, when the end begins
	hangUp   func(context.Context) // if set, ends what others than the mount's users ask for
}

// errInterruptedAgain cancels a drain.
var errInterruptedAgain = errors.New("interrupted again")

// wait serves until the end: a signal, or an unmount by somebody else. Then
// it unmounts and drains. The first signal asks for that; a second one ends
// the wait for S3, and leaves what is not there in the state directory.
func (s *session) wait(ctx context.Context) error {
	var unmounted <-chan struct{} // never ready without a mount
	if s.mount != nil {
		unmounted = s.mount.Done()
	}
	select {
	case <-unmounted:
		fmt.Fprintln(s.stderr, "causeway: unmounted")
	case sig := <-s.signals:
		fmt.Fprintf(s.stderr, "causeway: %v: unmounting; once more leaves what is not in S3 yet in %s\n", sig, s.stateDir)
	case <-ctx.Done():
	}
	s.draining()

	drain, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	go func() {
		select {
		case <-s.signals:
			cancel(errInterruptedAgain)
		case <-drain.Done():
		}
	}()
	return s.drain(drain)
}

// drain unmounts and closes the filesystem. An unmount that fails does not
// keep it from bringing data to S3.
func (s *session) drain(ctx context.Context) error {
	progress := s.progress()
	progress(s.fs.Stats())
	if s.hangUp != nil {
		s.hangUp(ctx)
	}
	unmountErr := s.unmount(ctx)
	err := s.fs.Close(ctx, progress)
	switch {
	case err == nil:
		if unmountErr == nil {
			fmt.Fprintln(s.stderr, "causeway: all is in S3")
		}
		return unmountErr
	case errors.Is(context.Cause(ctx), errInterruptedAgain):
		err = fmt.Errorf("%w: %s", errInterruptedAgain, s.left())
	}
	return errors.Join(unmountErr, &problem{
		what:   "bring everything to S3",
		err:    err,
		remedy: "causeway recover --state-dir " + s.stateDir + " lists what is not there",
	})
}

// left says what the filesystem, which is closed, has left in its journal.
func (s *session) left() string {
	st := s.fs.Stats()
	var parts []string
	for _, p := range []struct {
		n    int
		noun string
	}{{st.SpoolFiles, "file"}, {st.PendingUnlink, "removal"}, {st.PendingAttr, "attribute change"}} {
		if p.n > 0 {
			parts = append(parts, plural(int64(p.n), p.noun))
		}
	}
	if len(parts) == 0 {
		return "the rest stays in " + s.stateDir
	}
	return strings.Join(parts, ", ") + " stay in the journal in " + s.stateDir + "; the next mount sends them"
}

// unmount takes the mount away: in the ordinary way if its users let go of it
// soon, else by force, so that they cannot hold up what has to be sent.
func (s *session) unmount(ctx context.Context) error {
	if s.mount == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, busyWait)
	defer cancel()
	err := s.mount.Unmount(waiting)
	if err == nil {
		return nil
	}
	fmt.Fprintf(s.stderr, "causeway: %s; detaching it\n", oneLine(err.Error()))
	if detachErr := s.mount.Detach(); detachErr != nil {
		return &problem{what: "unmount", err: detachErr}
	}
	return nil
}

// progress returns a function that prints what is left, when that changes, at
// first and then from time to time.
func (s *session) progress() func(vfs.Stats) {
	last, at := "", time.Time{}
	return func(st vfs.Stats) {
		now := time.Now()
		if text := pending(st, now); text != "" && text != last && now.Sub(at) >= progressEvery {
			last, at = text, now
			fmt.Fprintf(s.stderr, "causeway: draining: %s\n", text)
		}
	}
}

// pending says what of st is not in S3 yet at now; empty if all of it is.
func pending(st vfs.Stats, now time.Time) string {
	var all []string
	if st.SpoolFiles > 0 {
		age := max(now.Sub(st.SpoolOldest), 0).Round(time.Second)
		all = append(all, fmt.Sprintf("waiting for S3: %s, %s, oldest %s", plural(int64(st.SpoolFiles), "file"), humanSize(st.SpoolBytes), age))
	}
	if other := unsent(st); other != "" {
		all = append(all, other)
	}
	return strings.Join(all, "; ")
}

// unsent says what else is not in S3 yet than what waits in the spool.
func unsent(st vfs.Stats) string {
	var parts []string
	add := func(n int, noun string) {
		if n > 0 {
			parts = append(parts, plural(int64(n), noun))
		}
	}
	add(st.Committing, "commit")
	add(st.DirtyFiles, "changed file")
	add(st.StagedFiles, "staged file")
	add(st.PendingUnlink, "removal")
	add(st.PendingAttr, "attribute change")
	if len(parts) > 0 && st.StagedBytes > 0 {
		parts = append(parts, humanSize(st.StagedBytes))
	}
	return strings.Join(parts, ", ")
}
