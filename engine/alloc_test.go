//go:build !race && !invariants

package engine

import (
	"bytes"
	"context"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"turbine/loop/looptest"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// An echo is what a server does all day. Whatever it allocated, the collector
// would have to take away again, at every message of every session.
func TestEchoDoesNotAllocate(t *testing.T) {
	for _, c := range []struct {
		name   string
		inAir  int
		binary bool
	}{{"one text", 1, false}, {"16 text", 16, false}, {"16 binary", 16, true}} {
		t.Run(c.name, func(t *testing.T) {
			e := newEcho(t, 1)
			defer e.world.Close()
			peer := e.websocket()
			message := frame(ws.OpText, "4"+strings.Repeat("x", 127))
			if c.binary {
				message = frame(ws.OpBinary, strings.Repeat("x", 128))
			}
			burst := []byte(strings.Repeat(string(message), c.inAir))
			answer := c.inAir * (len(message) - 4)
			require.Zero(t, testing.AllocsPerRun(1000, func() {
				peer.Write(burst)
				e.world.Run()
				if got := len(peer.Read()); got != answer {
					t.Fatalf("%d bytes of %d", got, answer)
				}
			}))
		})
	}
}

// A session that nobody traces does not allocate for it, and takes not a byte more: not
// before any trace, not while another session is traced, and not after its own trace. One
// that is traced takes what its records take.
func TestSessionWithoutATraceDoesNotAllocate(t *testing.T) {
	e := newEcho(t, 1)
	defer e.world.Close()
	peer, other := e.websocket(), e.websocket()
	var sessions []*Session
	for s := range e.server.Sessions() {
		sessions = append(sessions, s)
	}
	require.Len(t, sessions, 2)
	message := frame(ws.OpText, "4"+strings.Repeat("x", 127))
	echo := func(of *looptest.Peer) float64 {
		return testing.AllocsPerRun(1000, func() {
			of.Write(message)
			e.world.Run()
			if len(of.Read()) == 0 {
				t.Fatal("no echo")
			}
		})
	}
	idle := func(what string) {
		require.Zero(t, echo(peer), what)
		require.Zero(t, echo(other), what)
		for _, s := range sessions {
			require.Nil(t, s.extra, "%s: what is rare of a session is not there", what)
		}
	}
	idle("before")
	traced, peers := sessions[0], []*looptest.Peer{peer, other}
	ctx, cancel := context.WithCancel(t.Context())
	trace, err := traced.Trace(ctx, TraceOptions{Payloads: true})
	require.NoError(t, err)
	before := len(trace.records)
	peer.Write(message)
	e.world.Run()
	peer.Read()
	if len(trace.records) == before { // it is the other one's
		slices.Reverse(peers)
	}
	require.Zero(t, echo(peers[1]), "while another one is traced")
	trace.mu.Lock()
	trace.take()
	trace.mu.Unlock()
	require.Positive(t, testing.AllocsPerRun(20, func() {
		peers[0].Write(message)
		e.world.Run()
		peers[0].Read()
	}), "what is traced is copied")
	cancel()
	for trace.Next() != nil {
	}
	require.Empty(t, e.server.traces.list())
	idle("after")
}

// A heartbeat of a WebSocket session: the ping, its alarm, the pong.
func TestHeartbeatDoesNotAllocate(t *testing.T) {
	e := newEcho(t, 1)
	defer e.world.Close()
	peer := e.websocket()
	pong := frame(ws.OpText, "3")
	interval := e.server.options.PingInterval
	e.world.Advance(e.server.options.PingTimeout) // fills the wheel's buckets once
	require.Zero(t, testing.AllocsPerRun(100, func() {
		e.world.Advance(interval)
		peer.Write(pong)
		e.world.Run()
		peer.Read()
	}))
}

func TestReplacementDoesNotAllocate(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling)
	s, key := b.session("A"), SendOptions{Key: "k"}
	many := prepared(message).With(key)
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		require.NoError(t, s.SendWith(message, key))
		require.NoError(t, s.SendPrepared(many))
	}))
	b.finish()
}

// A public id costs its string, and to find a session by it costs nothing.
func TestPublicIDAllocations(t *testing.T) {
	b := newSpec(t, 2, Options{}, nil)
	b.play(hsPolling, hsPolling)
	s := b.session("B")
	id := s.PublicID()
	var got string
	require.EqualValues(t, 1, testing.AllocsPerRun(1000, func() { got = s.PublicID() }))
	require.Equal(t, id, got)
	for _, id := range []string{id, s.ID(), "", id[:21] + "B"} {
		require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = b.server.FindPublic(id) }), id)
	}
	b.finish()
}

// A scrape makes the list of loops, and the path of what it asks the system.
func TestStatsAllocateLittle(t *testing.T) {
	e := newEcho(t, 1)
	defer e.world.Close()
	e.websocket()
	var s Stats
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { s = e.server.Stats() }), 2.0)
	require.Equal(t, 1, s.Sessions)
}

// A million of these may sit idle: each byte here is a megabyte there. The Go
// allocator rounds up to 176, 96 and 288.
func TestSizes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Session{}), uintptr(176), "Session")
	require.LessOrEqual(t, unsafe.Sizeof(exchange{}), uintptr(152), "exchange, a part of httpConn")
	require.LessOrEqual(t, unsafe.Sizeof(polling{}), uintptr(96), "polling, one for each session that polls")
	require.LessOrEqual(t, unsafe.Sizeof(httpConn{}), uintptr(288), "httpConn, one for each connection that polls")
}

// What With adds, a message of Prepare does not carry.
func TestPreparedWithoutOptionsIsSmall(t *testing.T) {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sizes are those of 64 bits")
	}
	require.LessOrEqual(t, unsafe.Sizeof(Prepared{}), uintptr(96))
}

// What a client makes large with few bytes goes from buffer to buffer, which are lent
// again: what is left to the collector would cost all loops their time. It makes no
// difference whether others wait meanwhile.
func TestLargeEchoesLeaveNoGarbage(t *testing.T) {
	const n, size = 40, 500_000
	for _, atOnce := range []int{1, n} {
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, func(_ *bench, e *Events) {
			e.Message = func(s *Session, m Message) { _ = s.Send(m) }
		})
		var p packer
		var k unpacker
		b.speak(t, "ws EIO=4&transport=websocket", &k)
		peer := b.client("w", "").peer
		one := compressed(ws.OpText, true, p.pack("4"+strings.Repeat("x", size)))
		echo := func() {
			for range n / atOnce {
				peer.Write(bytes.Repeat(one, atOnce))
				b.world.Run()
			}
		}
		echo() // makes them
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		echo()
		runtime.ReadMemStats(&after)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(n*size/8), "%d at a time", atOnce)
		require.Len(t, b.take(t, "w", &k), 2*n)
		b.finish()
	}
}
