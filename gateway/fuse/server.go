package fuse

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

const (
	fsType        = "causeway"   // mounts show as fuse.causeway
	maxWrite      = vfs.MaxWrite // bytes in one WRITE or READ; the kernel's limit
	readAhead     = 1 << 20      // bytes, where it can be set
	maxBackground = 128          // read-ahead and write-back requests in flight
)

// Config says what to mount where. Ops and MountPoint are required.
type Config struct {
	Ops        vfs.Operations
	MountPoint string // an existing, empty directory
	FSName     string // what `df` shows as the device ["causeway"]

	ReadOnly      bool
	AllowNonEmpty bool // mount over a directory that has files, which it hides
	AllowOther    bool // let other users in; needs user_allow_other in /etc/fuse.conf unless root mounts
	// DefaultPermissions makes the kernel check modes and owners. It is on
	// with AllowOther, and if the user is not root.
	DefaultPermissions bool

	// Attach, if set, is called with the server before the first request is
	// answered, so that Ops can tell it of changes.
	Attach func(vfs.Invalidator)

	Log   *slog.Logger     // [discard]
	Debug bool             // log every request
	Now   func() time.Time // [time.Now]
}

// Server is a mounted filesystem.
type Server struct {
	raw        *raw.Server
	notify     *notifier
	mountPoint string
	log        *slog.Logger
	done       chan struct{} // closed when the filesystem is unmounted and all requests are answered
}

var _ vfs.Invalidator = (*Server)(nil)

// Mount mounts cfg.Ops and returns when the filesystem answers. ctx bounds
// the mounting only. If it fails nothing stays mounted; the error says what
// to do.
func Mount(ctx context.Context, cfg Config) (*Server, error) {
	cfg.setDefaults()
	dir, err := checkMountPoint(ctx, cfg.MountPoint, cfg.AllowNonEmpty)
	if err != nil {
		return nil, err
	}
	b := newBridge(cfg.Ops, newEventLog(cfg.Log, cfg.Now), cfg.Now)
	b.mountPoint = dir
	rs, err := attach(ctx, b, dir, cfg.mountOptions())
	if err != nil {
		return nil, err
	}
	namer, _ := cfg.Ops.(Namer)
	s := &Server{
		raw:        rs,
		notify:     newNotifier(rs, namer, cfg.Log),
		mountPoint: dir,
		log:        cfg.Log,
		done:       make(chan struct{}),
	}
	if cfg.Attach != nil {
		cfg.Attach(s)
	}
	go s.serve()
	if err := awaitAnswer(ctx, rs, dir); err != nil {
		s.Detach()
		return nil, fmt.Errorf("wait for %s to answer: %w", dir, err)
	}
	tune(dir, cfg.Log)
	return s, nil
}

func (c *Config) setDefaults() {
	if c.FSName == "" {
		c.FSName = fsType
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.AllowOther || os.Geteuid() != 0 {
		c.DefaultPermissions = true
	}
}

// mountOptions are the settings that are agreed on with the kernel.
func (c *Config) mountOptions() *raw.MountOptions {
	o := &raw.MountOptions{
		FsName:        c.FSName,
		Name:          fsType,
		AllowOther:    c.AllowOther,
		MaxWrite:      maxWrite,
		MaxReadAhead:  readAhead,
		MaxBackground: maxBackground,
		EnableLocks:   true,

		IgnoreSecurityLabels: true, // file capabilities and ACLs are not kept
		ExtraCapabilities:    extraCapabilities,
		DisabledCapabilities: disabledCapabilities,

		Debug:  c.Debug,
		Logger: log.New(debugWriter{c.Log}, "", 0),
		PanicHandler: func(v any) raw.Status {
			c.Log.Error("a request panicked", "panic", v, "stack", string(debug.Stack()))
			return raw.EIO
		},
	}
	if c.ReadOnly {
		o.Options = append(o.Options, "ro")
	}
	if c.DefaultPermissions {
		o.Options = append(o.Options, "default_permissions")
	}
	return o
}

// debugWriter receives the lines that go-fuse logs.
type debugWriter struct{ log *slog.Logger }

func (w debugWriter) Write(p []byte) (int, error) {
	w.log.Debug(strings.TrimSpace(string(p)), "from", "go-fuse")
	return len(p), nil
}

// serve answers requests until the filesystem is unmounted.
func (s *Server) serve() {
	defer close(s.done)
	s.raw.Serve()
	s.notify.close()
}

// MountPoint returns the absolute path of the mount.
func (s *Server) MountPoint() string { return s.mountPoint }

// Wait returns when the filesystem is unmounted, by anybody, every request is
// answered and every handle released.
func (s *Server) Wait() { <-s.done }

// Done is closed when Wait returns.
func (s *Server) Done() <-chan struct{} { return s.done }

// Unmount unmounts, and returns when Wait does. While programs have files
// open there or work there it tries again, until ctx ends.
func (s *Server) Unmount(ctx context.Context) error {
	delay := 10 * time.Millisecond
	for {
		err := s.unmount(ctx, false)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EBUSY) {
			return fmt.Errorf("unmount %s: %w", s.mountPoint, err)
		}
		select {
		case <-s.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("unmount %s: in use; find out by whom with `fuser -vm %s`: %w", s.mountPoint, s.mountPoint, err)
		case <-time.After(delay):
			delay = min(2*delay, time.Second)
		}
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("unmount %s: wait for the requests under way: %w", s.mountPoint, context.Cause(ctx))
	}
}

// Detach takes the mount out of the directory tree at once. Programs that
// have files open there go on; Wait returns when the last has closed them.
func (s *Server) Detach() error {
	if err := s.unmount(context.Background(), true); err != nil {
		return fmt.Errorf("detach %s: %w", s.mountPoint, err)
	}
	return nil
}

// InvalidateEntry implements vfs.Invalidator. It does not wait.
func (s *Server) InvalidateEntry(parent vfs.NodeID, name string) {
	s.notify.InvalidateEntry(parent, name)
}

// InvalidateNode implements vfs.Invalidator. It does not wait.
func (s *Server) InvalidateNode(id vfs.NodeID) { s.notify.InvalidateNode(id) }

// Prune implements vfs.Invalidator. It does not wait.
func (s *Server) Prune(ids []vfs.NodeID) { s.notify.Prune(ids) }

// unmount unmounts unless that has happened.
func (s *Server) unmount(ctx context.Context, lazy bool) error {
	select {
	case <-s.done:
		return nil
	default:
		return unmount(ctx, s.mountPoint, lazy)
	}
}
