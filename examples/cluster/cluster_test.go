package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"turbine/engine"
	"turbine/engine/enginetest"
	"turbine/examples/internal/trial"
)

func TestMain(m *testing.M) { trial.Main(m, main) }

// free returns an address for somebody to listen on. Its port is none of those that the
// system gives away by itself, so nobody takes it meanwhile.
func free(t *testing.T) string {
	t.Helper()
	var err error
	for range 100 {
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprint("127.0.0.1:", 24_000+rand.IntN(6_000))); err == nil {
			defer l.Close()
			return l.Addr().String()
		}
	}
	require.NoError(t, err)
	return ""
}

// Each request of a client goes to another node, and what it sends comes back in order.
func TestClientsNeedNoNodeOfTheirOwn(t *testing.T) {
	p := trial.Run(t, trial.Self(t, "-addr", "127.0.0.1:0", "-routes", free(t), "-drain", "5s"))
	address := p.Wait(t, `listening on (http://\S+)`)
	for _, a := range []string{"a", "b", "c"} { // on a busy machine some may find each other later
		for _, b := range []string{"a", "b", "c"} {
			if a != b {
				p.Wait(t, "node "+a+": up "+b)
			}
		}
	}
	var clients []*enginetest.Client
	for range 30 {
		clients = append(clients, enginetest.Dial(t, address+"/engine.io/", enginetest.Options{}))
	}
	homes := map[string]int{}
	for i, c := range clients {
		for n := range 4 {
			text := fmt.Sprintf("message %d of %d", n, i)
			c.Send(engine.Text(text))
			home, got, _ := strings.Cut(c.NextText(), ": ")
			require.Equal(t, text, got)
			homes[home]++
		}
	}
	require.Len(t, homes, 3, "the sessions are at all nodes")
	for _, c := range clients {
		c.Close()
	}
	p.Terminate()
	require.Zero(t, p.End(t), p.Output())
	for _, line := range []string{"node a: up b", "node c: gone a", "node a has left", "node b has left", "node c has left"} {
		require.Contains(t, p.Output(), line)
	}
}
