//go:build !race && !invariants

// The race detector makes sync.Pool forget at random, and the tag invariants
// takes released buffers out of circulation: there is no warm pool in either.

package pool_test

import (
	"testing"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

func TestNoAllocs(t *testing.T) {
	for _, n := range []int{0, 64, 1 << 10, 32 << 10, 500_000} {
		var p pool.Pool
		data := make([]byte, n)
		cycle := func() {
			b := p.Get(n)
			b.Append(data)
			copy(b.Prepend(2), "\x81\x7e")
			b.Retain()
			b.Release()
			b.Drop(2 + n/2)
			b.Reset()
			b.SetTail(append(b.Tail(), data...))
			b.Release()
		}
		require.Zero(t, testing.AllocsPerRun(1000, cycle), "%d bytes", n)
	}
}

// A Buf given back is lent again, unless it grew too large to keep.
func TestReuse(t *testing.T) {
	for _, c := range []struct {
		n    int
		kept bool
	}{
		{100, true}, {32 << 10, true}, {64 << 10, true}, {100_000, true}, {128 << 10, true}, {500_000, true},
		{1 << 20, true}, {16 << 20, true}, {16<<20 + 1, false},
	} {
		var p pool.Pool
		got := testing.AllocsPerRun(100, func() {
			b := p.Get(c.n)
			b.SetTail(b.Tail()[:pool.Headroom+c.n])
			b.Release()
		})
		require.Equal(t, c.kept, got == 0, "%d bytes: %v allocations", c.n, got)
	}
}

// Without the tag there is nothing to count.
func TestOutstandingIsOff(t *testing.T) {
	var p pool.Pool
	b := p.Get(1)
	require.Zero(t, pool.Outstanding())
	b.Release()
}

// Sizes that take turns in one class do not make each other's buffers useless.
func TestSizesOfOneClassShare(t *testing.T) {
	var p pool.Pool
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		for _, n := range []int{2100, 4000, 2500, 3000, 250, 300} {
			p.Get(n).Release()
		}
	}))
}
