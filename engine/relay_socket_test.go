package engine

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// A relay counts for its client's address, not for the node that it came by.
func TestRelayCountsForItsClient(t *testing.T) {
	server, err := New(Options{Node: &Node{ID: 1}, Loops: 1, Limits: Limits{MaxConnsPerIP: 1, Exempt: []netip.Prefix{}}}, Events{})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	clients := []string{"198.51.100.7:1", "198.51.100.7:2", "198.51.100.8:1"}
	relayed := make(chan error, len(clients))
	next := 0
	ended := make(chan error, 1)
	go func() {
		ended <- server.serve(listener, func(c *loop.Conn) loop.Handler {
			h, err := Home{server}.Relay(c, appendRelayHello(nil, relayedClient{address: netip.MustParseAddrPort(clients[next])}))
			next++
			relayed <- err
			return h
		})
	}()
	var wires []*wire
	for range clients {
		wires = append(wires, dialWire(t, listener.Addr().String()))
		require.NoError(t, <-relayed)
	}
	_, err = wires[1].in.ReadByte()
	require.Error(t, err, "one too many of its address")
	require.EqualValues(t, 1, server.Stats().Limits[LimitConnsPerIP])
	for _, i := range []int{0, 2} {
		_, err := wires[i].conn.Write([]byte("GET /none HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(t, err)
		line, err := wires[i].in.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "501")
	}
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-ended, ErrServerClosed)
	require.Eventually(t, func() bool { return server.Stats().Conns == 0 }, patience, time.Millisecond)
}
