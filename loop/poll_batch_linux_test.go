package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSlowLooksMakeTheNextOnesShort(t *testing.T) {
	for _, c := range []struct {
		took    int
		time    time.Duration
		allowed int
	}{
		{128, time.Millisecond, eventBatch},
		{128, lookTime, eventBatch},
		{100, 100 * time.Millisecond, leastBatch},
		{128, 2 * lookTime, eventBatch / 2},
		{leastBatch, 10 * time.Microsecond, eventBatch}, // and all again
		{leastBatch, 0, eventBatch},
		{128, time.Hour, leastBatch},
	} {
		require.Equal(t, c.allowed, nextBatch(c.took, c.time), "%d in %v", c.took, c.time)
	}
}
