package lease

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Boot is a monotonic clock that goes on while the machine sleeps.
func Boot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(bootClock, &ts); err != nil {
		// Every kernel that Causeway runs on has the clock.
		panic(fmt.Sprintf("read the clock of the system: %v", err))
	}
	return time.Duration(ts.Nano())
}
