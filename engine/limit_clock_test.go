package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The rates by address are of all loops. A loop that was held up, whose clock has left
// that time out, takes no client for one that has come too often.
func TestHandshakeRateAfterAStop(t *testing.T) {
	b := newSpec(t, 2, Options{Limits: Limits{HandshakeRate: 1, Exempt: nobody}}, nil)
	ask := func(loop int) string {
		peer := b.world.DialLoop(loop)
		peer.Write([]byte("GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"))
		b.world.Run()
		head, _, _ := strings.Cut(string(peer.Read()), "\r\n")
		peer.CloseWrite()
		b.world.Run()
		return head
	}
	require.Equal(t, "HTTP/1.1 200 OK", ask(0)) // it has alarms now, the other has none
	b.world.Jump(10 * time.Minute)
	for _, l := range b.world.Loops() {
		l.Tick()
	}
	require.Equal(t, "HTTP/1.1 200 OK", ask(1))
	require.Equal(t, "HTTP/1.1 200 OK", ask(0))
}
