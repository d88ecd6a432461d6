package delays

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistogramCountsUpToEachBound(t *testing.T) {
	require.True(t, slices.IsSorted(Bounds[:]))
	var h Histogram
	var sum time.Duration
	for i, bound := range Bounds {
		for range i + 1 { // so that no two buckets have as many
			h.Observe(bound)
			sum += bound
		}
	}
	counts, total := h.Read()
	require.Equal(t, sum, total)
	for i := range Bounds {
		require.EqualValues(t, i+1, counts[i], "up to %v", Bounds[i])
	}
	require.Zero(t, counts[len(Bounds)], "above all")
}

func TestHistogramBetweenAndBeyondItsBounds(t *testing.T) {
	last := len(Bounds)
	for _, c := range []struct {
		delay  time.Duration
		bucket int
		sum    time.Duration
	}{
		{-time.Second, 0, 0}, // a clock that was read before
		{0, 0, 0},
		{time.Nanosecond, 0, time.Nanosecond},
		{Bounds[0] + 1, 1, Bounds[0] + 1},
		{Bounds[last-1] + 1, last, Bounds[last-1] + 1},
		{time.Hour, last, time.Hour},
	} {
		var h Histogram
		h.Observe(c.delay)
		counts, sum := h.Read()
		var want Counts
		want[c.bucket] = 1
		require.Equal(t, want, counts, "%v", c.delay)
		require.Equal(t, c.sum, sum, "%v", c.delay)
	}
}

func TestHistogramLosesNoCount(t *testing.T) {
	const observers, each = 4, 1000
	var h Histogram
	var group sync.WaitGroup
	for range observers {
		group.Go(func() {
			for i := range each {
				h.Observe(time.Duration(i) * time.Millisecond)
			}
		})
	}
	group.Wait()
	counts, sum := h.Read()
	var n int64
	for _, c := range counts {
		n += c
	}
	require.EqualValues(t, observers*each, n)
	require.Equal(t, observers*(each-1)*each/2*time.Millisecond, sum)
}

func TestObserveAllocatesNothing(t *testing.T) {
	var h Histogram
	require.Zero(t, testing.AllocsPerRun(100, func() {
		h.Observe(3 * time.Millisecond)
		_, _ = h.Read()
	}))
}
