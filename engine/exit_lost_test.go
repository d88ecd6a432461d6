package engine

import (
	"sync/atomic"
	"testing"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// lost is how many buffers callbacks that ended their goroutine have cost, which the
// garbage collector takes: those that their stacks had borrowed.
var lost atomic.Int64

// OnLoan is the number of buffers that nobody has given back and somebody may.
func OnLoan() int64 { return pool.Outstanding() - lost.Load() }

// maxLost is how many buffers one end of a goroutine may cost.
const maxLost = 2

// loses lets t's callbacks lose buffers, as many as exits allows at the end of t.
func loses(t *testing.T, exits func() int64) {
	before := OnLoan()
	t.Cleanup(func() {
		n := OnLoan() - before
		require.LessOrEqual(t, n, maxLost*exits(), "buffers lost")
		lost.Add(n)
	})
}
