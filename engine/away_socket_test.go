package engine_test

import (
	"net"
	"sync/atomic"
	"testing"

	"turbine/engine"
	"turbine/loop"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// quietPeers knows nobody, and has so many connections on the loops.
type quietPeers struct {
	engine.Peers
	conns atomic.Int64
}

func (*quietPeers) Knows(engine.NodeID) bool { return false }
func (p *quietPeers) Conns() int             { return int(p.conns.Load()) }

// quietBack is for requests that nobody answers.
type quietBack struct{}

func (quietBack) Answer(*pool.Buf) {}
func (quietBack) Abort()           {}

// still is the handler of a connection that only stands there, as a link does.
type still struct{}

func (still) Data([]byte)  {}
func (still) Drained()     {}
func (still) EOF()         {}
func (still) Closed(error) {}

// A node is a home before it listens, as long as it lives, and a Shutdown does not wait
// for the connections of other nodes.
func TestHomeOnSockets(t *testing.T) {
	peers := new(quietPeers)
	server, err := engine.New(engine.Options{Loops: 2, Node: &engine.Node{ID: 3, Peers: peers}}, engine.Events{})
	require.NoError(t, err)
	home, err := server.Home()
	require.NoError(t, err)
	loops := home.Loops()
	require.Len(t, loops, 2)
	ran := make(chan error)
	for _, l := range loops { // they run
		require.NoError(t, l.Post(loop.Func(func() {
			_, err := home.Arrive(l, nil, quietBack{})
			ran <- err
		})))
		require.ErrorIs(t, <-ran, engine.ErrMalformed)
	}
	again, err := server.Home()
	require.NoError(t, err)
	require.Equal(t, loops, again.Loops())

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	_, err = c.Write([]byte("GET /engine.io/?EIO=4&transport=polling&sid=AAAAAQEAAALw8fLz9PX29_j5-vv8_f7_ HTTP/1.1\r\nHost: x\r\n\r\n"))
	require.NoError(t, err)
	answer := make([]byte, 12)
	_, err = c.Read(answer)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 400", string(answer))
	require.NoError(t, c.Close())

	other, err := net.Listen("tcp", "127.0.0.1:0") // where the other end of a link is
	require.NoError(t, err)
	dialed, err := net.Dial("tcp", other.Addr().String())
	require.NoError(t, err)
	there := make(chan struct{})
	require.NoError(t, loops[1].Take(dialed.(*net.TCPConn), func(*loop.Conn) loop.Handler {
		close(there)
		return still{}
	}))
	<-there
	peers.conns.Store(1)
	require.NoError(t, server.Shutdown(t.Context()))
	require.ErrorIs(t, <-served, engine.ErrServerClosed)
	require.NoError(t, other.Close())
	_, err = server.Home()
	require.ErrorIs(t, err, engine.ErrServerClosed)
}
