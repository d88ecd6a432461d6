package program

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// What the collector is told where the user has not set GOGC and GOMEMLIMIT.
// docs/tuning.md has the figures behind them.
const (
	// gcPercent lets garbage grow to this percentage of the live heap between
	// two collections. Messages make none, handshakes little, so that half of
	// Go's default costs no time that one could measure, and memory follows the
	// number of sessions.
	gcPercent = 50
	// memoryShare of the machine's or the container's memory is the limit from
	// which on the collector works harder. The rest is for the kernel, which
	// takes more for an idle connection than we do.
	memoryShare = 0.5
)

// limitMemory sets what the environment has left open.
func limitMemory() error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return nil
	}
	_, err := memlimit.Set(
		memlimit.WithRatio(memoryShare),
		memlimit.WithProvider(memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)),
	)
	if err != nil {
		return fmt.Errorf("the memory of this machine is not known (set GOMEMLIMIT): %w", err)
	}
	return nil
}
