package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/causewayfs/causeway/store/embedded"
)

func newUp(a *app) *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:   "up [MOUNTPOINT]",
		Short: "Run everything on this machine: an S3 server, mounted and served over WebDAV",
		Long: `Starts an S3 server on a local directory, makes a bucket in it, and mounts that
on MOUNTPOINT. Nothing needs to be configured. It prints "ready MOUNTPOINT" when
the filesystem answers, and ends like mount does.

MOUNTPOINT is ~/causeway unless given, also for root (whose home is mostly
/root), and is made if it does not exist. The data is kept in
$XDG_DATA_HOME/causeway or ~/.local/share/causeway unless --data says otherwise:
objects/BUCKET/KEY are the objects, credentials.json (mode 0600) the keys of the
S3 server, state the state directory. That directory needs a filesystem with
extended attributes.

The S3 server listens on loopback only, on the port behind that of --listen if
it is free. --listen itself serves the files over WebDAV, and /-/status,
/-/metrics and /-/health.`,
		Example: `  causeway up
  causeway up /mnt/scratch --data /srv/causeway
  causeway up --no-fuse            # the S3 server and WebDAV alone`,
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			mountpoint := ""
			if len(args) == 1 {
				mountpoint = args[0]
			}
			return a.up(cmd.Context(), s, mountpoint)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.data, "data", "", "`DIR` that holds everything (default: $XDG_DATA_HOME/causeway or ~/.local/share/causeway)")
	s.listenFlag(f, "`ADDR` of WebDAV, status, metrics and health; loopback unless a host is written")
	f.BoolVar(&s.noFuse, "no-fuse", false, "do not mount")
	s.filesystemFlags(f)
	s.commitFlags(f)
	s.lockFlags(f)
	s.mountFlags(f)
	s.davFlags(f)
	s.logFlag(f)
	completeEnums(cmd)
	return cmd
}

// dataDir returns the default of --data.
func dataDir(getenv func(string) string) (string, error) {
	if dir := xdgDir(getenv, "XDG_DATA_HOME", ".local/share"); dir != "" {
		return filepath.Join(dir, "causeway"), nil
	}
	return "", &problem{
		what:   "choose a data directory",
		err:    errors.New("neither HOME nor XDG_DATA_HOME is set"),
		remedy: "Give --data DIR",
	}
}

// upStateDir returns the state directory of the data directory data.
func upStateDir(data string) string { return filepath.Join(data, "state") }

func (a *app) up(ctx context.Context, s *settings, mountpoint string) error {
	g := &gateway{app: a, settings: s}
	data, err := a.upPaths(s, g, mountpoint)
	if err != nil {
		return err
	}
	if s.daemon && !a.detached() {
		return a.detach(ctx, os.Args[1:], g.stateDir)
	}
	unlock, err := lockData(data)
	if err != nil {
		return err
	}
	defer unlock()
	server, err := embedded.Start(ctx, embedded.Config{Dir: data, Listen: neighbourPort(string(s.listen))})
	if err != nil {
		return err // it says all
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		// Its requests are answered: the filesystem has ended before it.
		_ = server.Close(ctx)
	}()
	s.webdav = s.listen
	s.endpoint, s.region = server.Endpoint(), server.Region()
	g.target = target{Bucket: server.Bucket()}
	g.s3 = server.S3()
	g.welcome = func() {
		fmt.Fprintf(a.stderr, "causeway: the objects are in s3://%s at %s (keys: %s)\n",
			server.Bucket(), server.Endpoint(), filepath.Join(data, "credentials.json"))
		fmt.Fprintf(a.stderr, "causeway: WebDAV is at %s, status at %s-/status; Ctrl-C ends it all\n", g.url, g.url)
	}
	return g.run(ctx)
}

// upPaths fills in the paths of g, makes the mount point and returns the data
// directory. All paths are absolute, since the S3 server changes the working
// directory.
func (a *app) upPaths(s *settings, g *gateway, mountpoint string) (data string, err error) {
	if data = s.data; data == "" {
		if data, err = dataDir(a.getenv); err != nil {
			return "", err
		}
	}
	if data, err = filepath.Abs(data); err != nil {
		return "", &problem{what: "find the data directory", err: err}
	}
	g.stateDir = upStateDir(data)
	if err := os.MkdirAll(g.stateDir, 0o700); err != nil {
		return "", &problem{what: "make the data directory", err: err, remedy: "Choose another with --data"}
	}
	if s.noFuse {
		return data, nil
	}
	if mountpoint == "" {
		home := a.getenv("HOME")
		if home == "" {
			return "", &problem{what: "choose a mount point", err: errors.New("HOME is not set"), remedy: "Name the mount point"}
		}
		mountpoint = filepath.Join(home, "causeway")
	}
	if g.mountpoint, err = filepath.Abs(mountpoint); err != nil {
		return "", &problem{what: "find the mount point", err: err}
	}
	// Something that is there already, be it a dead mount, is judged by mount.
	if err := os.Mkdir(g.mountpoint, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", &problem{what: "make the mount point", err: err}
	}
	return data, nil
}

// lockData makes this process the only one that serves the data directory,
// until unlock is called or it ends.
func lockData(data string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(data, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, &problem{what: "lock the data directory", err: err}
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another causeway up serves it")
		}
		return nil, &problem{
			what:   "lock the data directory " + data,
			err:    err,
			remedy: "End that one, or choose another directory with --data and another address with --listen",
		}
	}
	return func() { f.Close() }, nil
}

// neighbourPort returns the loopback address with the port behind that of
// addr, if it is free, so that the S3 server is mostly found in the same
// place; else "", which stands for any free port.
func neighbourPort(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	n, err := strconv.Atoi(port)
	if err != nil || n == 0 || n >= 65535 {
		return ""
	}
	next := net.JoinHostPort("127.0.0.1", strconv.Itoa(n+1))
	l, err := net.Listen("tcp", next)
	if err != nil {
		return ""
	}
	l.Close()
	return next
}
