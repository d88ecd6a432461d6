//go:build linux || darwin || freebsd

package loop

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// What stays free below the descriptor limit when MaxConns is not given: for
// the process's own files, and for each loop its poller and wake and the
// connections that are being closed.
const (
	reservedDescriptors        = 64
	reservedDescriptorsPerLoop = 4
)

// DescriptorLimit is how many descriptors this process may have (the soft
// limit). Safe from any goroutine.
func DescriptorLimit() (soft uint64, err error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("loop: read the descriptor limit: %w", err)
	}
	return uint64(r.Cur), nil //nolint:unconvert // it is signed on FreeBSD
}

// RaiseDescriptorLimit raises the limit as far as this process may, which is
// the hard limit, and returns it. It is for programs to call at their start,
// before Open. Safe from any goroutine.
func RaiseDescriptorLimit() (soft uint64, err error) {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		return 0, fmt.Errorf("loop: read the descriptor limit: %w", err)
	}
	if r.Cur < r.Max {
		r.Cur = r.Max
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			return 0, fmt.Errorf("loop: raise the descriptor limit: %w", err)
		}
	}
	return DescriptorLimit()
}

// OpenDescriptors is how many descriptors of this process are open. It reports false
// where the system would have to list them all, which takes long: Linux says their
// number from 6.2 on (proc(5)). Safe from any goroutine.
func OpenDescriptors() (n int, ok bool) {
	if runtime.GOOS != "linux" {
		return 0, false
	}
	var s unix.Stat_t
	if err := unix.Stat("/proc/self/fd", &s); err != nil || s.Size <= 0 {
		return 0, false
	}
	return int(s.Size), true
}

// DefaultMaxConns is the limit of connections that Options.MaxConns stands for
// when it is zero, with that many loops, 0 for one a CPU.
// Safe from any goroutine.
func DefaultMaxConns(loops int) (int, error) {
	soft, err := DescriptorLimit()
	if err != nil {
		return 0, err
	}
	reserve := reservedDescriptors + reservedDescriptorsPerLoop*LoopCount(loops)
	return max(0, int(min(soft, maxDescriptor))-reserve), nil
}

// LoopCount is the number of loops that Options.Loops asks for.
func LoopCount(loops int) int {
	if loops == 0 {
		return min(runtime.GOMAXPROCS(0), maxLoops)
	}
	return loops
}
