package embedded

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNoXattrs is returned by Start when the directory's filesystem cannot hold
// extended attributes.
var ErrNoXattrs = errors.New("the filesystem has no extended attributes (user.*)")

// checkXattrs sets and removes an attribute of the size that an object with
// all its metadata may need.
func checkXattrs(dir string) error {
	f, err := os.CreateTemp(dir, ".xattr-check-*")
	if err != nil {
		return fmt.Errorf("start embedded server: %w", err)
	}
	defer func() {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}()
	if err := unix.Fsetxattr(int(f.Fd()), "user.causeway-check", make([]byte, 2048), 0); err != nil {
		return fmt.Errorf("start embedded server in %s: %w: %w; choose a data directory on ext4, xfs, btrfs or APFS", dir, ErrNoXattrs, err)
	}
	return nil
}
