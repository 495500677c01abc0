package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newMount(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "mount s3://BUCKET[/PREFIX] MOUNTPOINT",
		Short: "Mount a bucket, or a prefix of one",
		Long: `Mounts a bucket on the directory MOUNTPOINT and prints "ready MOUNTPOINT" when
the filesystem answers. Every file is the object of the same name; when close or
fsync returns 0, the object is stored.

--commit local is faster: close returns when the file is durable in the state
directory, from which it is sent soon after, also by the next mount if this one
is killed. It is lost with the disk until then, other hosts see it later, and a
conflict with one of them is not told to the program: causeway recover lists the
version that lost. fsync still waits for S3 unless --fsync local is given, and
causeway sync does so for a file or for all. The --spool flags limit what waits.

The command stays in the foreground until the directory is unmounted or it gets
SIGINT or SIGTERM. It then sends what is still on its way, and unmounts. A second
signal leaves the rest in the state directory, where causeway recover finds it.
With --daemon it detaches once the filesystem answers, and logs to causeway.log
in the state directory.

With --webdav the same files are served over WebDAV, too; see causeway serve.

A state directory belongs to one mount. To mount the same bucket twice on one
host, give the second mount a --state-dir of its own.`,
		Example: `  causeway mount s3://my-bucket /mnt/bucket
  causeway mount s3://my-bucket/projects/a /mnt/a --region eu-central-1 --daemon
  causeway mount s3://data /mnt/data --endpoint http://10.0.0.5:9000 --allow-other --umask 002
  causeway mount s3://my-bucket /mnt/bucket --commit local --spool-size 50GiB
  fusermount3 -u /mnt/bucket                 # unmount (as root: umount)`,
		Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.mount(cmd.Context(), s, args[0], args[1])
		},
	}
	f := cmd.Flags()
	s.endpointFlags(f)
	s.stateFlag(f)
	s.filesystemFlags(f)
	s.commitFlags(f)
	s.lockFlags(f)
	s.mountFlags(f)
	s.statusFlag(f)
	s.webdavFlag(f)
	s.davFlags(f)
	s.logFlag(f)
	completeEnums(cmd)
	return cmd
}

func (a *app) mount(ctx context.Context, s *settings, bucket, mountpoint string) error {
	t, err := parseTarget(bucket)
	if err != nil {
		return err
	}
	g := &gateway{app: a, settings: s, target: t, s3: s.s3Config(t)}
	if g.mountpoint, err = filepath.Abs(mountpoint); err != nil {
		return &problem{what: "find the mount point", err: err}
	}
	if g.stateDir, err = a.stateDirFor(s, t); err != nil {
		return err
	}
	if s.daemon && !a.detached() {
		return a.detach(ctx, os.Args[1:], g.stateDir)
	}
	return g.run(ctx)
}

// stateDirFor returns the state directory, as an absolute path, that was given
// or goes with t.
func (a *app) stateDirFor(s *settings, t target) (string, error) {
	dir := s.stateDir
	if dir == "" {
		home, err := stateHome(a.getenv, a.uid)
		if err != nil {
			return "", err
		}
		dir = filepath.Join(home, stateName(s.endpoint, t))
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", &problem{what: "find the state directory", err: err}
	}
	return dir, nil
}
