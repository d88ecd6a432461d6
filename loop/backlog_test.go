package loop

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBacklogIsFirstInFirstOut(t *testing.T) {
	var b backlog[int]
	added, taken := 0, 0
	for round := range 5_000 { // it grows, is emptied in part, and at last for good
		for range round % 7 {
			b.add(added)
			added++
		}
		for range min(round%6, b.len()) {
			require.Equal(t, taken, b.next())
			b.drop()
			taken++
		}
		require.Equal(t, added-taken, b.len())
	}
	require.Less(t, len(b.items), 2*b.len()+2_048, "room of what was taken is used again")
	for b.len() > 0 {
		require.Equal(t, taken, b.next())
		b.drop()
		taken++
	}
	require.Equal(t, added, taken)
	require.Empty(t, b.items)
}
