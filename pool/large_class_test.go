package pool

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// What is bounded by a power of two gets no more, and nothing gets more than a quarter
// more.
func TestLargeClasses(t *testing.T) {
	for n := 2 * maxKept; n <= maxLarge; n *= 2 {
		_, room := largeClass(n)
		require.Equal(t, n, room)
		if n < maxLarge {
			_, room = largeClass(n + 1)
			require.Equal(t, n+n/4, room)
		}
	}
	class, room := largeClass(maxKept + 1)
	require.Same(t, &large[0], class)
	require.Equal(t, maxKept+maxKept/4, room)
	class, _ = largeClass(maxLarge)
	require.Same(t, &large[len(large)-1], class)
}
