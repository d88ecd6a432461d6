package loop

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLoopHurriesAfterShortWaits(t *testing.T) {
	var now time.Duration
	l := New(0, &fakeKernel{}, func() time.Duration { return now }, new(Table), Options{}, nil)
	l.looks = true // as the Reactor says
	turn := func(wait time.Duration) bool {
		l.warm = false // it has looked
		now += wait
		l.Mail()
		return l.hurries()
	}
	require.True(t, l.hurries(), "at first")
	for _, c := range []struct {
		wait    time.Duration
		hurries bool
	}{
		{0, true},
		{shortWait / 2, true},
		{shortWait, false},
		{time.Second, false},
		{shortWait - 1, true},
		{100 * time.Millisecond, false},
	} {
		require.Equal(t, c.hurries, turn(c.wait), "a wait of %v", c.wait)
	}
}
