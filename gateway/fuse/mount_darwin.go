package fuse

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"

	raw "github.com/hanwen/go-fuse/v2/fuse"
)

// macFUSE has none of the capabilities that Linux's mount asks for.
const (
	extraCapabilities    = raw.CAP_ATOMIC_O_TRUNC
	disabledCapabilities = 0
)

// attach mounts through macFUSE.
func attach(_ context.Context, b *bridge, dir string, o *raw.MountOptions) (*raw.Server, error) {
	rs, err := raw.NewServer(b, dir, o)
	if err != nil {
		return nil, fmt.Errorf("mount %s: %w; is macFUSE installed (https://macfuse.github.io) and allowed in System Settings?", dir, err)
	}
	return rs, nil
}

// unmount unmounts dir. The error is EBUSY if it is in use.
func unmount(_ context.Context, dir string, lazy bool) error {
	flags := 0
	if lazy {
		flags = 0x80000 // MNT_FORCE: there is no lazy unmount
	}
	return syscall.Unmount(dir, flags)
}

func awaitAnswer(ctx context.Context, rs *raw.Server, _ string) error {
	answer := make(chan error, 1)
	go func() { answer <- rs.WaitMount() }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func tune(string, *slog.Logger) {}
