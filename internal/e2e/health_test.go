package e2e

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asksHealth runs turbine health for a server with these flags.
func asksHealth(t *testing.T, args ...string) (code int, says string) {
	t.Helper()
	return asksHealthWithout(t, append([]string{"--health-path", "/healthz"}, args...)...)
}

// asksHealthWithout is asksHealth without --health-path.
func asksHealthWithout(t *testing.T, args ...string) (code int, says string) {
	t.Helper()
	code, stdout, stderr := run(t, append([]string{"health"}, args...)...)
	oneLine(t, stdout+stderr)
	return code, stdout + stderr
}

// Without --health-path turbine health asks where operations are served, with what
// protects them or not, and says so where it is not let in.
func TestHealthCommandAsksOperations(t *testing.T) {
	dir := t.TempDir()
	socket, keys := filepath.Join(dir, "ops"), filepath.Join(dir, "keys")
	require.NoError(t, os.WriteFile(keys, []byte("ann read 0123456789abcdef\n"), 0o600))
	_, _, certificates := certificate(t)
	for _, c := range []struct {
		name string
		addr string
		args []string
		code int
		says string
	}{
		{"a TCP address", "127.0.0.1:0", nil, 0, "ok"},
		{"a Unix socket", "unix:" + socket, nil, 0, "ok"},
		{"with keys", "127.0.0.1:0", []string{"--ops-keys", keys}, 0, "ok"},
		{"over TLS", "127.0.0.1:0", []string{"--ops-keys", keys, "--ops-tls-cert", certificates[1], "--ops-tls-key", certificates[3]}, 0, "ok"},
		{"with a key for everything", "127.0.0.1:0", []string{"--ops-keys", keys, "--ops-open", "none"}, 1, "answers with 401 Unauthorized; is that the server's --ops-addr, and health in its --ops-open?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, append(c.args, "--ops-addr", c.addr)...)
			code, says := asksHealthWithout(t, append(c.args, "--ops-addr", s.opsAddr(t))...)
			require.Equal(t, c.code, code, says)
			require.Contains(t, says, c.says)
			s.stop(t)
			code, says = asksHealthWithout(t, append(c.args, "--ops-addr", s.opsAddr(t))...)
			require.Equal(t, 1, code)
			require.Contains(t, says, "does not answer")
		})
	}
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
	require.Contains(t, says, "the server starts or drains")
	require.NoError(t, s.cmd.Process.Signal(syscall.SIGTERM)) // enough
	require.True(t, s.ends(stopPatience), "still running")
}
