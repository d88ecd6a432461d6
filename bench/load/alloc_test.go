//go:build linux

package load

import (
	"runtime"
	"testing"
	"time"

	"turbine/bench/usage"
	"turbine/engine"

	"github.com/stretchr/testify/require"
)

// A message costs no allocation once the run has warmed up. The server is in
// this process, and is held to the same.
func TestNoAllocation(t *testing.T) {
	echoes := serve(t, "echo", engine.Options{})
	for name, p := range map[string]Plan{
		"echo":       {Kind: Echo, Sessions: 10, InFlight: 1, Size: 128},
		"many":       {Kind: Echo, Sessions: 10, InFlight: 16, Size: 128},
		"binary":     {Kind: Echo, Sessions: 10, InFlight: 4, Size: 1000, Binary: true},
		"open loop":  {Kind: OpenLoop, Sessions: 10, Size: 128, Rate: 20_000},
		"poll cycle": {Kind: PollCycle, Sessions: 10, Size: 128},
	} {
		t.Run(name, func(t *testing.T) {
			var mallocs []uint64
			p.Addr, p.Path, p.WarmUp = echoes, "/engine.io/", moment
			p.Server = func() (usage.Usage, error) {
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				mallocs = append(mallocs, m.Mallocs)
				return usage.Usage{CPU: time.Duration(len(mallocs)), RSS: int64(len(mallocs))}, nil
			}
			o, err := runUntil(t, p, func(o *Outcome) bool { return o.Operations >= 10_000 })
			require.NoError(t, err)
			perfect(t, o)
			require.Len(t, mallocs, 4, "at first, with the sessions open, and around the measurement")
			require.Equal(t, int64(1), o.RSSBefore)
			require.Equal(t, int64(4), o.RSSAfter)
			require.Equal(t, time.Duration(1), o.ServerCPU)
			require.Equal(t, time.Duration(1), o.OpenCPU)
			// Not per message: the runtime's own, and buffers that still grow.
			each := float64(mallocs[3]-mallocs[2]) / float64(o.Operations)
			t.Logf("%d messages, %.4f allocations each", o.Operations, each)
			if !raceEnabled {
				require.Less(t, each, 0.1)
			}
		})
	}
}
