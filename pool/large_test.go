package pool_test

import (
	"math/rand/v2"
	"testing"

	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// A large Buf has room for what was asked for, and at most a quarter more, once again
// as much where its storage was another's that had grown.
func TestLargeFits(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var p pool.Pool
	for range 300 {
		n := 128<<10 + random.IntN(3<<20)
		if random.IntN(4) == 0 { // about a power of two, or a class
			n = (4+random.IntN(4))<<(15+random.IntN(5)) + random.IntN(3) - 1 - pool.Headroom
		}
		b := p.Get(n)
		require.Zero(t, b.Len(), n)
		require.GreaterOrEqual(t, b.Room(), n)
		if n > 128<<10 {
			require.LessOrEqual(t, b.Room(), n*25/16, n)
		}
		if random.IntN(3) == 0 {
			b.SetTail(append(b.Tail(), make([]byte, b.Room()+random.IntN(100_000))...))
		}
		b.Release()
	}
}
