package million

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"turbine/bench/peer"

	"github.com/stretchr/testify/require"
)

// The test binary is the client process, too.
func TestMain(m *testing.M) {
	if addr := os.Getenv("MILLION_CLIENT"); addr != "" {
		sessions, _ := strconv.Atoi(os.Getenv("MILLION_SESSIONS"))
		if err := Hold(context.Background(), addr, []string{"127.0.0.2"}, sessions, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func options(t *testing.T) Options {
	program, err := os.Executable()
	require.NoError(t, err)
	return Options{
		Sessions: 2000, PerProcess: 1000, Hold: 6 * time.Second,
		Client: func(_ int, addr string, sessions int) []string {
			return []string{"env", "MILLION_CLIENT=" + addr, "MILLION_SESSIONS=" + strconv.Itoa(sessions), program}
		},
		Progress: func(text string) { t.Log(text) },
	}
}

func TestSessionsAreHeldByManyProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the server")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	ours := peer.All(root)[0]
	_, err = ours.Install(t.Context(), t.Output())
	require.NoError(t, err)
	o := options(t)
	o.Server = func(ctx context.Context) (*peer.Process, error) {
		return ours.Start(ctx, peer.Settings{App: peer.Echo, PingInterval: time.Second, PingTimeout: 4 * time.Second, Core: -1})
	}
	got, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 2000, got.Sessions)
	require.Equal(t, 2, got.Processes)
	require.Zero(t, got.Lost)
	require.GreaterOrEqual(t, got.Heartbeats, int64(2000))
	require.Positive(t, got.UserBytes)
}

func TestLostSessionsAreSeen(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the server")
	}
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	ours := peer.All(root)[0]
	_, err = ours.Install(t.Context(), t.Output())
	require.NoError(t, err)
	o := options(t)
	var servers []*peer.Process
	o.Server = func(ctx context.Context) (*peer.Process, error) {
		s, err := ours.Start(ctx, peer.Settings{App: peer.Echo, Core: -1})
		servers = append(servers, s)
		return s, err
	}
	o.Progress = func(text string) {
		if text == "2 of 2 clients have opened their sessions, 0s" || len(text) > 4 && text[:6] == "2 of 2" {
			require.NoError(t, servers[0].Stop())
		}
	}
	got, err := Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, 1000, got.Lost)
}

func TestRunRefusesWhatDoesNotFit(t *testing.T) {
	o := options(t)
	o.Memory = func() (int64, int64, error) { return 1 << 20, 0, nil }
	_, err := Run(t.Context(), o)
	require.ErrorIs(t, err, ErrMemory)

	o = options(t)
	o.PerProcess = 1 << 21
	_, err = Run(t.Context(), o)
	require.ErrorIs(t, err, ErrDescriptors)
}
