package e2e

import (
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asksHealth runs turbine health for a server with these flags.
func asksHealth(t *testing.T, args ...string) (code int, says string) {
	t.Helper()
	code, stdout, stderr := run(t, append([]string{"health", "--health-path", "/healthz"}, args...)...)
	oneLine(t, stdout+stderr)
	return code, stdout + stderr
}

// turbine health asks the server over what the server speaks, given the same flags.
func TestHealthCommand(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	_, _, certificates := certificate(t)
	s := serve(t, append(certificates, "--addr", "unix:"+socket, "--health-path", "/healthz")...)
	for _, addr := range []string{s.addr, "unix:" + socket} {
		code, says := asksHealth(t, append(certificates, "--addr", addr)...)
		require.Equal(t, 0, code, says)
		require.Equal(t, "turbine health: ok\n", says)
	}
	code, says := asksHealth(t, "--addr", s.addr)
	require.Equal(t, 1, code, "plain HTTP where TLS is spoken: %s", says)
	s.stop(t)
	code, says = asksHealth(t, "--addr", "unix:"+socket)
	require.Equal(t, 1, code)
	require.Contains(t, says, "does not answer")
}

// A server that drains is one that no client may be sent to.
func TestHealthCommandWhileDraining(t *testing.T) {
	s := serve(t, "--health-path", "/healthz", "--drain-delay", "10m", "--drain-timeout", "20m")
	s.poll4(t)
	code, says := asksHealth(t, "--addr", s.addr)
	require.Equal(t, 0, code, says)
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM))
	for end := time.Now().Add(patience); code == 0; code, says = asksHealth(t, "--addr", s.addr) {
		require.True(t, time.Now().Before(end), "still ready")
	}
	require.Equal(t, 1, code)
	require.Contains(t, says, "the server drains")
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM)) // enough
	require.True(t, s.ends(stopPatience), "still running")
}
