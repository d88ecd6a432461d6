// Package delays counts how late things have happened, as a histogram.
package delays

import (
	"sync/atomic"
	"time"
)

// Bounds are the upper bounds of the buckets. They go by 1, 2 and 5, so that a scrape
// tells delays apart that people would tell apart.
var Bounds = [...]time.Duration{
	1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
	10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
	100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
	1 * time.Second, 2 * time.Second, 5 * time.Second,
}

// Counts are how many delays were up to each bound and above the one before. The last
// of them were above all bounds.
type Counts [len(Bounds) + 1]int64

// Histogram counts delays. Its zero value is ready. Safe from any goroutine; where
// each loop has one of its own, no loop waits for another.
type Histogram struct {
	counts [len(Bounds) + 1]atomic.Int64
	sum    atomic.Int64
}

// Observe counts d, as no delay if it is negative.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	i := 0
	for i < len(Bounds) && d > Bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Read returns what was counted, and the sum of the delays.
func (h *Histogram) Read() (counts Counts, sum time.Duration) {
	for i := range counts {
		counts[i] = h.counts[i].Load()
	}
	return counts, time.Duration(h.sum.Load())
}
