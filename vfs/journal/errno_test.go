package journal

import "syscall"

var errNoSpace error = syscall.ENOSPC
