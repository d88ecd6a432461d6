//go:build linux

package loop_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"turbine/internal/certs"
	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// sClient is openssl's client, whose lines are echoed. A line that is a letter
// it takes for a command.
type sClient struct {
	t   *testing.T
	in  io.WriteCloser
	out *logged
	end chan error
}

func startSClient(t *testing.T, address, caFile string, args ...string) *sClient {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl here")
	}
	cmd := exec.Command(path, append([]string{"s_client", "-connect", address, "-CAfile", caFile, "-verify_return_error", "-servername", "localhost"}, args...)...)
	c := &sClient{t: t, out: new(logged), end: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = c.out, c.out
	c.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	go func() { c.end <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return c
}

func (c *sClient) say(line string) {
	c.t.Helper()
	_, err := io.WriteString(c.in, line+"\n")
	require.NoError(c.t, err)
}

func (c *sClient) expect(text string) {
	c.t.Helper()
	eventually(c.t, "openssl prints "+text+":\n"+c.out.String(), func() bool { return strings.Contains(c.out.String(), text) })
}

// Openssl's client talks to us, in both versions, updates keys one way and both,
// and is not let renegotiate.
func TestTLSWithOpenSSL(t *testing.T) {
	authority := certs.New(t)
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, authority.PEM, 0o600))
	var log logged
	filter := loop.NewTLS(loop.TLSOptions{
		Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}, NextProtos: []string{"http/1.1"}},
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	s := serve(t, loop.Options{Loops: 1}, filter.Accept(acceptEcho))
	defer s.stop()
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		t.Run(version, func(t *testing.T) {
			c := startSClient(t, s.address, caFile, version, "-alpn", "h2,http/1.1")
			c.expect("Verify return code: 0 (ok)")
			c.expect("ALPN protocol: http/1.1")
			c.say("first line")
			c.expect("\nfirst line\n")
			if version == "-tls1_3" {
				for i, command := range []string{"K", "k", "K", "K"} {
					c.say(command) // a line of its own if it is alone
					eventually(t, "openssl says so", func() bool { return strings.Count(c.out.String(), "KEYUPDATE") == i+1 })
					line := strings.Repeat("x", i+1) + " after " + command
					c.say(line)
					c.expect("\n" + line + "\n")
				}
			} else {
				c.say("R")
				c.expect("RENEGOTIATING")
				eventually(t, "the connection ends", func() bool { return s.Stats().Conns == 0 })
				<-c.end
				return
			}
			c.say("Q")
			require.NoError(t, <-c.end)
		})
	}
	eventually(t, "all are gone", func() bool { return s.Stats().Conns == 0 })
	require.EqualValues(t, 2, filter.Stats().Done)
	require.Empty(t, log.String())
}
