package engine

import (
	"bufio"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"turbine/loop"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// BenchmarkEchoDuringWalk is the round trip of a message of one WebSocket while its
// loop walks over many others, each on a socket of its own: what a Send waits that
// comes behind a Broadcast. It needs two descriptors a session.
func BenchmarkEchoDuringWalk(b *testing.B) {
	const sessions = 9_500
	options := Options{Loops: 1, Limits: Limits{Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, Logger: slog.New(slog.DiscardHandler)}
	server, err := New(options, Events{Message: func(s *Session, m Message) { _ = s.Send(m) }})
	require.NoError(b, err)
	reactor, err := loop.Open(server.Driver().LoopOptions(), server.Driver().Accept)
	require.NoError(b, err)
	server.Driver().UseLoops(reactor.Loops())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	address := listener.Addr().String()
	require.NoError(b, reactor.Listen(listener, nil))
	served := make(chan error, 1)
	go func() { served <- reactor.Serve() }()
	defer func() { reactor.Stop(); require.NoError(b, <-served) }()

	conns := make([]net.Conn, sessions)
	for i := range conns {
		conns[i] = dialWalked(b, address)
		defer conns[i].Close()
	}
	asks := dialWalked(b, address)
	defer asks.Close()
	in := bufio.NewReader(asks)
	message := wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte("4echo"))
	echo := func() time.Duration {
		begun := time.Now()
		_, err := asks.Write(message)
		require.NoError(b, err)
		for {
			frame, err := readFrame(in)
			require.NoError(b, err)
			if string(frame.Payload) == "4echo" {
				return time.Since(begun)
			}
		}
	}
	everybody := say("for everybody")
	for _, walks := range []bool{false, true} {
		b.Run(map[bool]string{false: "idle", true: "walk"}[walks], func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				if walks {
					_ = server.Broadcast(everybody)
				}
				took = append(took, echo())
				b.StopTimer()
				for _, c := range conns {
					readAway(b, c)
				}
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us-median")
			b.ReportMetric(float64(took[len(took)-1].Microseconds()), "us-longest")
		})
	}
}

// dialWalked opens a session on WebSocket and reads away what comes with it.
func dialWalked(b *testing.B, address string) net.Conn {
	c, err := net.Dial("tcp", address)
	require.NoError(b, err)
	_, err = c.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket", headers: upgradeHeaders}.bytes())
	require.NoError(b, err)
	_, err = c.Read(make([]byte, 1024))
	require.NoError(b, err)
	return c
}

// readAway takes what has come, without waiting.
func readAway(b *testing.B, c net.Conn) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	require.NoError(b, err)
	var room [4096]byte
	require.NoError(b, raw.Read(func(fd uintptr) bool {
		_, _ = syscall.Read(int(fd), room[:])
		return true
	}))
}
