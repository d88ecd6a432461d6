package e2e

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// askSignals are those that ask for something other than the end.
var askSignals = []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE}

// A signal that asks for something ends nobody, whether there is something to do
// or not: while sessions are served as during the drain.
func TestSignalsThatEndNothing(t *testing.T) {
	s := start(t, command(context.Background(), t, "--addr", "127.0.0.1:0", "--drain-timeout", "20m", "--close-timeout", "10m"))
	says := func(text string) {
		t.Helper()
		s.logs(t, func() bool { return strings.Contains(s.stderr.String(), text) })
	}
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGHUP))
	says("there are none")
	s.goesOn(t)

	s.poll4(t) // does not fetch its close, so the drain continues
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	says("draining")
	for _, signal := range askSignals {
		require.NoError(t, s.cmd.Process.Signal(signal), signal)
	}
	says("no process has taken over")
	says("msg=figures")
	s.logs(t, func() bool { return strings.Count(s.stderr.String(), "there are none") == 2 })
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	require.True(t, s.ends(stopPatience), "still running")
	require.Equal(t, 0, s.cmd.ProcessState.ExitCode())
	require.Regexp(t, `level=WARN msg="ended by a second signal" after=[0-9.]+m?s sessions=[12]\n`, s.stderr.String())
	require.NotContains(t, s.stderr.String(), "in time")
}
