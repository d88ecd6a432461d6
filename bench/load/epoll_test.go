//go:build linux

package load

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Runs of a few milliseconds have also used CPU time, whatever the kernel's tick.
func TestThreadCPUKnowsBursts(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range 100 {
		before := threadCPU()
		sum := 0
		for i := range 1000 {
			sum += i * i
		}
		runtime.KeepAlive(sum)
		require.Greater(t, threadCPU(), before)
	}
}
