package sim

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func small() Options {
	return Options{
		// Many times as long as what is to happen takes: loops do not count the time
		// in which a loaded machine lets them wait.
		Sessions: 2_000, Loops: 2, Opening: 100 * time.Millisecond, For: 5 * time.Second,
		PingInterval: 300 * time.Millisecond, PingTimeout: 400 * time.Millisecond, Messages: 1_000, Garbage: 1_000_000,
	}
}

func TestSessionsAreHeld(t *testing.T) {
	got, err := Run(t.Context(), small())
	require.NoError(t, err)
	require.Equal(t, 2_000, got.Sessions)
	require.Zero(t, got.Lost)
	require.Greater(t, got.Heartbeats, int64(2_000), "each session has more than one")
	require.Positive(t, got.LatestPing)
	require.Less(t, got.HeapObjects, 4.0)
}

// A check that could not fail would show nothing.
func TestMuteClientsAreLost(t *testing.T) {
	o := small()
	o.Mute = 20
	got, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 20, got.Lost)
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Run(ctx, small())
	require.ErrorIs(t, err, context.Canceled)
}
