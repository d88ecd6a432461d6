//go:build linux

package main

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// nap is how long a sleeper sleeps at a time.
const nap = 5 * time.Millisecond

// sleeper starts a thread that does nothing but sleep and wake up. How late it
// wakes is the machine's doing, not the server's: on a busy one the well-behaved
// are as late. awake ends it and returns the 99th percentile in microseconds.
func sleeper() (awake func() int64) {
	late := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	var over atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for !over.Load() {
			began := time.Now()
			time.Sleep(nap)
			// A sleeper that slept through several naps was late for each of them.
			_ = late.RecordCorrectedValue(max(1, (time.Since(began)-nap).Microseconds()), nap.Microseconds()) // in range for a minute
		}
	}()
	return func() int64 {
		over.Store(true)
		<-done
		return late.ValueAtQuantile(99)
	}
}
