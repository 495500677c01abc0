package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/causewayfs/causeway/gateway/davlock"
	"github.com/causewayfs/causeway/gateway/fuse"
	"github.com/causewayfs/causeway/gateway/pages"
	"github.com/causewayfs/causeway/gateway/status"
	"github.com/causewayfs/causeway/gateway/webdav"
	"github.com/causewayfs/causeway/store/s3"
	"github.com/causewayfs/causeway/vfs"
)

// closeStatusTimeout bounds how long answers about the status hold up the end.
const closeStatusTimeout = time.Second

// gateway is one bucket being served: what mount and up have in common. It
// goes up in the order S3, filesystem, mount, status, and comes down in the
// reverse one, except that status is served until the last byte is in S3.
type gateway struct {
	*app
	settings *settings
	target   target
	s3       s3.Config

	mountpoint string       // absolute; empty without a mount
	stateDir   string       // absolute
	welcome    func()       // if set, called when all is ready
	url        string       // of WebDAV, if it is served
	pages      *pages.Pages // if WebDAV is served
	started    time.Time    // when run was called
	drains     atomic.Bool  // the end has begun
	stack      *stack
	dav        *davlock.System // nil without WebDAV
	locks      *coordination   // nil on a mount that has none
	fs         *vfs.FS
	log        *slog.Logger
	keptFiles  keptList
}

// run serves until a signal or an unmount.
func (g *gateway) run(ctx context.Context) error {
	g.started = time.Now()
	g.log = slog.New(slog.NewTextHandler(g.stderr, &slog.HandlerOptions{Level: g.settings.level()}))
	options, err := g.options()
	if err != nil {
		return err
	}

	// A server in this process would wait for connections that are left open.
	defer g.disconnect()
	defer g.closeLocks(ctx)
	starting, stop := g.interruptible(ctx)
	defer stop()
	mount, err := g.start(starting, options)
	if err != nil {
		return err
	}
	dav, err := g.serveDAV()
	if err != nil {
		g.giveUp(ctx, mount)
		return err
	}
	server, err := g.serveStatus()
	if err == nil {
		err = g.ready(g.where())
	}
	stop()
	if err != nil {
		g.endDAV(ctx, dav)
		g.giveUp(ctx, mount)
		return err
	}
	defer g.endStatus(ctx, server)
	if g.welcome != nil {
		g.welcome()
	}
	s := &session{
		fs:       g.fs,
		mount:    mount,
		stateDir: g.stateDir,
		signals:  g.signals,
		stderr:   g.stderr,
		draining: func() { g.drains.Store(true) },
		hangUp:   func(ctx context.Context) { g.endDAV(ctx, dav) },
	}
	return s.wait(ctx)
}

func (g *gateway) disconnect() {
	if g.stack != nil {
		g.stack.close()
	}
}

// where is what the line "ready" names.
func (g *gateway) where() string {
	if g.mountpoint != "" {
		return g.mountpoint
	}
	return g.url
}

// options are those of the filesystem, except what start finds out.
func (g *gateway) options() (vfs.Options, error) {
	s := g.settings
	if s.verify == 0 {
		return vfs.Options{}, &usageError{errors.New("--verify must be longer than 0s")}
	}
	if s.memory < leastMemory {
		return vfs.Options{}, &usageError{fmt.Errorf("--memory must be at least %s", formatSize(leastMemory))}
	}
	o := vfs.Options{
		StateDir:  g.stateDir,
		Bucket:    g.target.String(),
		UID:       s.uid,
		GID:       s.gid,
		Umask:     uint32(s.umask),
		ReadOnly:  s.readOnly,
		Staged:    append([]string{}, s.staged...), // not nil: none is none
		StagedTTL: orShortest(s.stagedTTL),
		LockFiles: append([]string{}, s.lockFiles...), // not nil: none is none
		DirTTL:    orShortest(s.dirTTL),
		OpenTTL:   time.Duration(s.openTTL),
		Verify:    time.Duration(s.verify),
		Strict:    s.foreign.value == "strict",
		CacheSize: max(int64(s.cacheSize), 1),
		Memory:    limitMemory(int64(s.memory), g.getenv),
		Log:       g.log,
	}
	if s.webdav != "" && s.macFiles.value == string(webdav.MacStage) {
		o.StagedOnly = webdav.MacNames
	}
	err := s.commitsLocally(&o)
	return o, err
}

// orShortest returns d, or for 0 the shortest time there is, since 0 stands
// for the default in vfs.Options.
func orShortest(d durationValue) time.Duration { return max(time.Duration(d), 1) }

// start connects to S3, opens the filesystem and mounts it. If it fails,
// nothing is left open. The result is nil without a mount.
func (g *gateway) start(ctx context.Context, options vfs.Options) (mounted, error) {
	var err error
	if g.stack, err = connect(ctx, g.s3, g.log); err != nil {
		return nil, &problem{what: "open " + g.target.String(), err: err}
	}
	if err := g.admit(ctx); err != nil {
		return nil, err
	}
	options.Store, options.Capabilities = g.stack.top, g.stack.caps
	if err := g.openLocks(ctx); err != nil {
		return nil, err
	}
	if g.locks != nil {
		options.Locks = g.locks.service
	}
	if g.fs, err = vfs.Open(ctx, options); err != nil {
		return nil, stateDirProblem(g.stateDir, err)
	}
	g.openedFS()
	if g.mountpoint == "" {
		return nil, nil
	}
	mount, err := fuse.Mount(ctx, fuse.Config{
		Ops:        g.fs,
		MountPoint: g.mountpoint,
		FSName:     g.target.String(),
		ReadOnly:   g.settings.readOnly,
		AllowOther: g.settings.allowOther,
		Attach:     g.fs.SetInvalidator,
		Log:        g.log,
		Debug:      g.settings.level() < slog.LevelDebug,
	})
	if err != nil {
		return nil, errors.Join(err, g.fs.Close(context.WithoutCancel(ctx), nil))
	}
	return mount, nil
}

// admit probes the endpoint and refuses one that lacks what the filesystem
// relies on. A mount that writes nothing relies on nothing, and the probe
// itself writes.
func (g *gateway) admit(ctx context.Context) error {
	if g.settings.readOnly {
		return nil
	}
	if err := g.stack.probe(ctx); err != nil {
		return &problem{what: "probe " + g.target.String(), err: err}
	}
	missing := g.stack.caps.Missing()
	if len(missing) == 0 {
		return nil
	}
	if !g.settings.singleWriter {
		return missingCapabilities(missing)
	}
	g.log.Warn("the endpoint does not protect this mount from other writers: there must be none", "missing", missing)
	return nil
}

// giveUp takes a filesystem away whose start failed at its last step.
func (g *gateway) giveUp(ctx context.Context, mount mounted) {
	if mount != nil {
		_ = mount.Detach() // what failed before is what the user hears of
	}
	_ = g.fs.Close(context.WithoutCancel(ctx), nil)
}

// stateDirProblem explains why the state directory cannot be taken.
func stateDirProblem(dir string, err error) error {
	p := &problem{what: "open the state directory " + dir, err: err}
	if in, ok := errors.AsType[*vfs.InUseError](err); ok {
		p.err = in
		p.remedy = "A state directory belongs to one mount: unmount that one, or give this one a --state-dir of its own"
	}
	if newer, ok := errors.AsType[*vfs.NewerStateError](err); ok {
		p.err = newer
		p.remedy = "Run the version of causeway that wrote it, or give this one a --state-dir of its own"
	}
	if other, ok := errors.AsType[*vfs.OtherBucketError](err); ok {
		p.err = other
		p.remedy = "Mount that bucket once more with it, so that they are sent, or give this one a --state-dir of its own"
	}
	return p
}

// serveStatus listens on the control socket and on the address of --status, if
// there is one, and registers this gateway.
func (g *gateway) serveStatus() (*statusServer, error) {
	run, err := runtimeDir(g.getenv, g.uid)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(run, 0o700); err != nil {
		return nil, &problem{what: "make the directory for control sockets", err: err}
	}
	s := &statusServer{Server: status.NewServer(g.snapshot, g.sync, g.stack.counted, collectors.NewGoCollector())}
	s.locks = status.NewLockServer(g.fs, nil)
	s.ServeLocks(s.locks)
	socket := status.SocketPath(g.stateDir, run)
	if err := s.ListenUnix(socket); err != nil {
		return nil, err
	}
	if g.settings.status != "" {
		if _, err := s.ListenTCP(string(g.settings.status)); err != nil {
			return nil, errors.Join(err, s.Close(context.Background()))
		}
	}
	s.unregister, err = status.Register(run, status.Entry{
		Mountpoint: g.mountpoint,
		Bucket:     g.target.String(),
		StateDir:   g.stateDir,
		Socket:     socket,
		PID:        os.Getpid(),
	})
	if err != nil {
		return nil, errors.Join(err, s.Close(context.Background()))
	}
	return s, nil
}

// statusServer is a registered status.Server.
type statusServer struct {
	*status.Server
	locks      *status.LockServer
	unregister func()
}

func (g *gateway) endStatus(ctx context.Context, s *statusServer) {
	s.unregister()
	s.locks.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeStatusTimeout)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		g.log.Debug("status ended with answers under way", "err", err)
	}
}

// resolveParent returns path with the symbolic links of its parent resolved,
// and not the last element: that may be a mount that does not answer.
func resolveParent(path string) string {
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return path
	}
	return filepath.Join(parent, filepath.Base(path))
}
