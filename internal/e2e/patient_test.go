package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A session whose message blocks the application for longer than a client waits for a
// ping stays, by either transport, and gets all of its messages afterwards.
func TestBlockedApplicationKeepsItsClients(t *testing.T) {
	for _, transport := range []string{"polling", "websocket"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			cmd := testapp(t)
			cmd.Args = append(cmd.Args, "200ms", "blocking")
			patient(t, start(t, cmd).addr, "--case", "blocked", "--transport", transport)
		})
	}
}

// Behind a box that lets the 101 pass and swallows all that the server sends later on
// a WebSocket, the client polls in vain until its upgrade times out: about ten times
// a second, not as fast as it is answered. Its session continues.
func TestWithheldUpgradeIsNoPollStorm(t *testing.T) {
	t.Parallel()
	s := serve(t, "--upgrade-timeout", "3s")
	box := newSwallower(t, s.addr)
	patient(t, box.addr, "--case", "withheld")
	box.end()
	polls := bytes.Count(box.sent.Bytes(), []byte("GET /engine.io/?EIO=4&transport=polling"))
	require.Equal(t, 1, bytes.Count(box.sent.Bytes(), []byte("transport=websocket")), "it tried to upgrade")
	require.Greater(t, polls, 4, "it went on polling")
	require.Less(t, polls, 3*10+8)
}

func patient(t *testing.T, addr string, args ...string) {
	t.Helper()
	require.DirExists(t, "clients/node_modules", "the clients are not installed: run make setup")
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", append([]string{"patient.js", "--url", "http://" + addr}, args...)...)
	cmd.Dir = "clients"
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
}

// A swallower relays connections, but on those for WebSocket nothing of what the
// server sends behind its response's head.
type swallower struct {
	addr string
	end  func()

	mu   sync.Mutex
	sent bytes.Buffer // guarded by mu until end: what clients have sent
}

func newSwallower(t *testing.T, to string) *swallower {
	s := new(swallower)
	s.addr, s.end = relay(t, to, s.pass)
	return s
}

func (s *swallower) pass(client, server net.Conn) {
	first := make([]byte, 4096)
	n, err := client.Read(first)
	if err != nil {
		return
	}
	_, _ = s.Write(first[:n])
	if _, err = server.Write(first[:n]); err != nil {
		return
	}
	var requests sync.WaitGroup
	requests.Go(func() { stream(server, io.TeeReader(client, s)) })
	if bytes.Contains(first[:n], []byte("transport=websocket")) {
		swallow(client, server)
	} else {
		stream(client, server)
	}
	client.Close()
	requests.Wait()
}

// swallow passes on the head of the response, and nothing behind it.
func swallow(client, server net.Conn) {
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one...) {
		if _, err := server.Read(one); err != nil {
			return
		}
	}
	_, _ = client.Write(head)
	_, _ = io.Copy(io.Discard, server)
}

// Write keeps what a client has sent.
func (s *swallower) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent.Write(p)
}
