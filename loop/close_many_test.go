package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A loop ends in a time that goes with the number of its connections, not with
// its square: it walks the table of all connections a few times, however many
// there are. Each walk is in a turn, which begins with a look at the clock.
func TestCloseOfMany(t *testing.T) {
	l, _ := newFake(new(time.Duration), tick)
	const conns = 10_000
	for fd := range conns {
		open(l, fd+1)
	}
	l.Close()
	require.Zero(t, l.Conns())
	require.Less(t, l.doubts.looks, uint32(10))
}
