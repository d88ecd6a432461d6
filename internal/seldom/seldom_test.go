package seldom

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOnceLetsOneRecordASecondThrough(t *testing.T) {
	var o Once
	for _, c := range []struct {
		now        time.Duration
		suppressed int64
		ok         bool
	}{
		{0, 0, true},
		{0, 0, false},
		{time.Second - 1, 0, false},
		{time.Second, 2, true},
		{5 * time.Second, 0, true},
		{5*time.Second + 1, 0, false},
		{time.Hour, 1, true},
	} {
		suppressed, ok := o.Allow(c.now)
		require.Equal(t, c.ok, ok, "%v", c.now)
		require.Equal(t, c.suppressed, suppressed, "%v", c.now)
	}
}

// Each call is either let through or counted.
func TestOnceLosesNoCount(t *testing.T) {
	const callers, calls = 4, 1000
	var o Once
	var mu sync.Mutex
	var through, counted int64
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := range calls {
				if n, ok := o.Allow(time.Duration(i) * 100 * time.Millisecond); ok {
					mu.Lock()
					through, counted = through+1, counted+n
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	n, ok := o.Allow(time.Hour)
	require.True(t, ok)
	require.EqualValues(t, callers*calls, through+counted+n)
}
