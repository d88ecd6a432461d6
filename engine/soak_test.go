package engine_test

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

var soak = flag.Duration("soak", 0, "how long TestSoak may take; 0 skips it")

const (
	soakMessages = 1_000_000 // in memory, then it is the sockets' turn
	soakSteps    = 2000      // of each driver in one run on sockets: some seconds
	soakProgress = 10 * time.Second
)

// TestSoak is TestModelOnFaults and TestModelOnFaultySockets for a long time,
// with figures. `make soak` runs it.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("takes long: make soak")
	}
	before := takeFigures()
	start := time.Now()
	var world, sockets modelCounts
	stop := reportProgress(start, &world, &sockets)

	modelSeeds(t, &world, func() bool {
		return world.messages.Load() < soakMessages && time.Since(start) < *soak/2
	}, func(seed uint64) {
		runModelInWorld(t, seed, looptest.NewFaulty(seed, modelRates), modelExecutorFor(seed), &world)
	})
	longest := time.Duration(0)
	modelSeeds(t, &sockets, func() bool { return time.Since(start)+longest < *soak }, func(seed uint64) {
		began := time.Now()
		runModelOnSockets(t, seed, soakSteps, false, &sockets)
		longest = max(longest, time.Since(began))
	})
	stop()

	after := takeFigures()
	for end := time.Now().Add(modelPatience); after.goroutines > before.goroutines && time.Now().Before(end); {
		after = takeFigures()
	}
	fmt.Printf("\nsoak of %v\nin memory:  %v\non sockets: %v\n", time.Since(start).Round(time.Second), &world, &sockets)
	fmt.Printf("together:   %d messages, %d sessions, %d faults, %d violations\n",
		world.messages.Load()+sockets.messages.Load(), world.sessions.Load()+sockets.sessions.Load(),
		world.allFaults()+sockets.allFaults(), world.violations.Load()+sockets.violations.Load())
	fmt.Printf("before:     %v\nafter:      %v\n\n", before, after)
	require.Zero(t, world.violations.Load()+sockets.violations.Load())
	require.LessOrEqual(t, after.goroutines, before.goroutines)
	require.LessOrEqual(t, after.descriptors, before.descriptors)
	require.Equal(t, before.buffers, after.buffers)
}

// figures are what a leak would show in.
type figures struct {
	goroutines, descriptors int
	buffers                 int64
	heap                    uint64
}

func (f figures) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d buffers on loan, %d KiB of heap",
		f.goroutines, f.descriptors, f.buffers, f.heap>>10)
}

func takeFigures() figures {
	runtime.GC()
	runtime.GC() // what pools kept over the first
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	open, _ := os.ReadDir("/proc/self/fd") // none where there is no such thing
	return figures{runtime.NumGoroutine(), len(open), pool.Outstanding(), m.HeapAlloc}
}

func (c *modelCounts) allFaults() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range c.faults {
		n += of
	}
	return n
}

// reportProgress prints a line now and then until the result is called.
func reportProgress(start time.Time, world, sockets *modelCounts) (stop func()) {
	done := make(chan struct{})
	var printer sync.WaitGroup
	printer.Go(func() {
		ticker := time.NewTicker(soakProgress)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
			}
			fmt.Printf("%4.0f s: in memory %d messages, %d sessions; on sockets %d messages, %d sessions; %d faults, %d violations, %d goroutines\n",
				time.Since(start).Seconds(), world.messages.Load(), world.sessions.Load(), sockets.messages.Load(), sockets.sessions.Load(),
				world.allFaults()+sockets.allFaults(), world.violations.Load()+sockets.violations.Load(), runtime.NumGoroutine())
		}
	})
	return func() { close(done); printer.Wait() }
}
