package lease

import "golang.org/x/sys/unix"

// bootClock goes on while the machine sleeps, on this system (clock_gettime(3)).
const bootClock = unix.CLOCK_MONOTONIC
