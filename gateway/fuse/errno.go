package fuse

import (
	"syscall"

	raw "github.com/hanwen/go-fuse/v2/fuse"

	"github.com/causewayfs/causeway/vfs"
)

// errnos is the one table from what went wrong to what a system call returns.
// It has an entry for every vfs.Kind.
var errnos = [...]syscall.Errno{
	vfs.IO:           syscall.EIO,
	vfs.NotExist:     syscall.ENOENT,
	vfs.Exist:        syscall.EEXIST,
	vfs.NotDir:       syscall.ENOTDIR,
	vfs.IsDir:        syscall.EISDIR,
	vfs.NotEmpty:     syscall.ENOTEMPTY,
	vfs.Permission:   syscall.EPERM,
	vfs.Access:       syscall.EACCES,
	vfs.ReadOnly:     syscall.EROFS,
	vfs.NameTooLong:  syscall.ENAMETOOLONG,
	vfs.Invalid:      syscall.EINVAL,
	vfs.NoAttr:       syscall.Errno(raw.ENOATTR),
	vfs.AttrTooLarge: syscall.ENOSPC,
	vfs.Range:        syscall.ERANGE,
	vfs.FileTooLarge: syscall.EFBIG,
	vfs.NoSpace:      syscall.ENOSPC,
	vfs.Stale:        syscall.ESTALE,
	vfs.Timeout:      syscall.ETIMEDOUT,
	vfs.Interrupted:  syscall.EINTR,
	vfs.Busy:         syscall.EBUSY,
	vfs.TextBusy:     syscall.ETXTBSY,
	vfs.Loop:         syscall.ELOOP,
	vfs.CrossDevice:  syscall.EXDEV,
	vfs.NotSupported: syscall.ENOTSUP,
	vfs.NoLock:       syscall.ENOLCK,
	vfs.Deadlock:     syscall.EDEADLK,
	vfs.BadHandle:    syscall.EBADF,
	vfs.NoDevice:     syscall.ENXIO,
	vfs.WouldBlock:   syscall.EAGAIN,
}

// errno returns the errno for k, EIO for a kind that the table does not know.
func errno(k vfs.Kind) syscall.Errno {
	if int(k) < len(errnos) && errnos[k] != 0 {
		return errnos[k]
	}
	return syscall.EIO
}
