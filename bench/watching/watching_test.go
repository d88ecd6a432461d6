//go:build linux

package watching

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turbine/bench/load"
	"turbine/bench/peer"

	"github.com/stretchr/testify/require"
)

// idle is a holder of sessions in this process.
type idle struct {
	cancel context.CancelFunc
	ended  chan error
}

func (i *idle) Close() error {
	i.cancel()
	if err := <-i.ended; !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func hold(ctx context.Context, addr string, sessions int) (io.Closer, error) {
	ctx, cancel := context.WithCancel(ctx)
	i := &idle{cancel, make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		_, err := load.Run(ctx, load.Plan{
			Kind: load.Idle, Addr: addr, Path: "/engine.io/", Sessions: sessions, Duration: time.Hour,
			Ready: func() { close(ready) },
		})
		i.ended <- err
	}()
	select {
	case <-ready:
		return i, nil
	case err := <-i.ended:
		cancel()
		return nil, err
	}
}

// Each kind of server is measured as often as the others, and one that is not what it
// should be is told.
func TestServersTakeTurns(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the server")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	ours := peer.All(root)[0]
	_, err = ours.Install(t.Context(), t.Output())
	require.NoError(t, err)
	o := Options{
		Sessions: 60, Busy: 10, Rounds: 1, Turns: 2, Slice: 100 * time.Millisecond, Settle: 30 * time.Millisecond, Scrapes: 5, Before: true,
		Start: func(ctx context.Context, _ Kind, ops string) (*peer.Process, error) {
			return ours.Start(ctx, peer.Settings{App: peer.Echo, Args: []string{"--ops-addr", ops}})
		},
		Hold: hold,
	}
	got, err := Run(t.Context(), o)
	require.NoError(t, err)
	for _, k := range []Kind{Off, On, Before} {
		require.Len(t, got.Echo[k], 2, k)
		require.Len(t, got.Poll[k], 2, k)
		require.Len(t, got.Idle[k], 1, k)
		require.Len(t, got.Empty[k], 1, k)
	}
	require.Len(t, got.Scrape.Took, 5)
	require.Greater(t, got.Scrape.Bytes, 10_000)
	require.Contains(t, got.String(), "| CPU of an echo, µs | ")

	o.Start = func(ctx context.Context, _ Kind, _ string) (*peer.Process, error) {
		return ours.Start(ctx, peer.Settings{App: peer.Echo, Args: []string{"--ops-addr", ""}})
	}
	o.Turns = 1
	_, err = Run(t.Context(), o)
	require.ErrorContains(t, err, "/metrics", "nothing is watched")
}

// The table has what was measured, by what was measured next to it.
func TestTable(t *testing.T) {
	var r Result
	r.Echo[Off], r.Echo[On] = []float64{2, 4, 6}, []float64{2.02, 4.04, 6.06}
	r.Idle[Off], r.Idle[On] = []float64{400}, []float64{300}
	r.Empty[Off], r.Empty[On] = []float64{1 << 20}, []float64{3 << 20}
	r.Scrape = Scrape{Bytes: 9, CPU: []float64{1, 3}, Took: []float64{1, 2, 3}}
	want := []string{
		"| CPU of an echo, µs | 4.00 | 4.04 | +1.0 % (+1.0 to +1.0) | - | - |",
		"| CPU of a poll cycle, µs | - | - | - | - | - |",
		"| resident bytes of an idle session | 400 | 300 | -25.0 % (-25.0 to -25.0) | - | - |",
		"| resident MiB without sessions | 1.0 | 3.0 | +200.0 % (+200.0 to +200.0) | - | - |",
		"",
		"A scrape: 9 bytes, 2.00 ms of CPU, 2.00 ms in the median, 2.98 at the 99th percentile.",
	}
	require.Equal(t, want, strings.Split(strings.TrimSpace(r.String()), "\n")[2:])
}
