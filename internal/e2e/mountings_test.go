package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"turbine/internal/certs"

	"github.com/stretchr/testify/require"
)

// The official clients, against each way to have the server in one's system
// beside its own listener, which is TestClients, and proxies, TestProxyClients.
func TestClientsInEachMounting(t *testing.T) {
	authority, dir := certs.New(t), t.TempDir()
	certFile, keyFile := authority.Issue(t, "localhost", nil).Write(t, dir)
	authorityFile := filepath.Join(dir, "authority.pem")
	require.NoError(t, os.WriteFile(authorityFile, authority.PEM, 0o600))
	secret := []string{"--tls-cert", certFile, "--tls-key", keyFile}
	if testing.Short() || external() != "" {
		t.Skip("runs programs of its own")
	}
	for _, m := range []struct {
		name   string
		target bool // the program of this test, not the server's own
		secure bool
		args   []string
	}{
		{"own listener with TLS", false, true, secret},
		{"net/http", true, false, []string{"--mount", "nethttp"}},
		{"net/http with TLS", true, true, append([]string{"--mount", "nethttp-tls"}, secret...)},
		{"executor", true, false, []string{"--executor", "8"}},
	} {
		t.Run(m.name, func(t *testing.T) {
			var s *server
			if m.target {
				path, err := targetExecutable()
				require.NoError(t, err)
				args := append([]string{"--addr", "127.0.0.1:0"}, m.args...)
				s = start(t, exec.CommandContext(context.Background(), path, args...))
			} else {
				s = serve(t, m.args...)
			}
			if m.secure {
				s.scheme, s.authority = "https", authorityFile
			}
			scenario(t, s, strings.Join(clients, ","), strings.Join(transports, ","), "all")
		})
	}
}
