package e2e

import (
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// curl --http2 asks for an upgrade to h2c with its first request, and gets an
// answer by HTTP/1.1.
func TestCurlHTTP2(t *testing.T) {
	curl, err := exec.LookPath("curl")
	require.NoError(t, err, "install curl")
	s := serve(t)
	for _, c := range []struct{ name, target, want string }{
		{"another path", "/", "501 1.1"},
		{"handshake", "/engine.io/?EIO=4&transport=polling", "200 1.1"},
		{"WebSocket's target", "/engine.io/?EIO=4&transport=websocket", "400 1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// #nosec G204 -- the arguments are the table's
			out, err := exec.CommandContext(t.Context(), curl, "--silent", "--http2", "--max-time", "30", "--output", "/dev/null",
				"--write-out", "%{http_code} %{http_version}", "http://"+s.addr+c.target).Output()
			require.NoError(t, err)
			require.Equal(t, c.want, string(out))
		})
	}
	s.goesOn(t)
}
