package e2e

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var (
	clients    = []string{"6", "3", "1"} // engine.io-client 6.6.8; 3.5.6 and 1.8.6 speak revision 3
	transports = []string{"polling", "websocket", "upgrade"}
)

// Every message of every scenario comes back once, in order and unchanged. All clients
// on all transports go through a scenario at once.
func TestClients(t *testing.T) {
	scenario(t, serve(t), strings.Join(clients, ","), strings.Join(transports, ","), "all")
}

// Both sides keep the session alive, also after an upgrade. All clients at once
// wait for seven heartbeats, which is longer than a session may live without one.
// The timeout is for a machine that has other things to do.
func TestClientHeartbeats(t *testing.T) {
	t.Parallel()
	s := serve(t, "--ping-interval", "1s", "--ping-timeout", "5s")
	scenario(t, s, strings.Join(clients, ","), strings.Join(transports, ","), "heartbeat")
}

// scenario has the clients, one or several and comma-separated, go through a scenario,
// or all of them one after the other. One process has all clients.
func scenario(t *testing.T, s *server, client, transport, name string, more ...string) {
	t.Helper()
	require.DirExists(t, "clients/node_modules", "the clients are not installed: run make setup")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	args := []string{"scenario.js", "--url", cmp.Or(s.scheme, "http") + "://" + s.addr, "--client", client,
		"--transport", transport, "--scenario", name, "--timeout", "60"}
	cmd := exec.CommandContext(ctx, "node", append(args, more...)...)
	cmd.Dir = "clients"
	cmd.WaitDelay = time.Second
	if s.authority != "" {
		cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+s.authority)
	}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}
