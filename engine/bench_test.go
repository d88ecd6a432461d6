package engine

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"turbine/loop/looptest"

	"github.com/gobwas/ws"
)

// echo is an echo server in a World.
type echo struct {
	tb     testing.TB
	world  *looptest.World
	server *Server
}

// oneAddress exempts the address that all clients of a World have.
var oneAddress = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}

func newEcho(tb testing.TB, loops int) *echo { return newEchoWith(tb, loops, Options{}) }

func newEchoWith(tb testing.TB, loops int, o Options) *echo {
	o.Limits.Exempt = oneAddress
	server, err := New(o, Events{Message: func(s *Session, m Message) { _ = s.Send(m) }})
	if err != nil {
		tb.Fatal(err)
	}
	e := &echo{tb: tb, server: server}
	e.world = looptest.NewWorld(loops, server.options.loop(&server.bounds), server.Driver().Accept)
	server.Driver().UseLoops(e.world.Loops())
	return e
}

// websocket opens a session on WebSocket.
func (e *echo) websocket() *looptest.Peer {
	peer := e.world.Dial()
	peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket", headers: upgradeHeaders}.bytes())
	e.world.Run()
	if got := string(peer.Read()); !strings.HasPrefix(got, "HTTP/1.1 101") {
		e.tb.Fatal(got)
	}
	return peer
}

// polling opens a session on polling and returns its id.
func (e *echo) polling(peer *looptest.Peer) string {
	peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}.bytes())
	e.world.Run()
	_, after, ok := strings.Cut(string(peer.Read()), `"sid":"`)
	if !ok {
		e.tb.Fatal("no handshake")
	}
	return after[:sidLength]
}

func BenchmarkWebSocketEcho(b *testing.B) {
	for _, inAir := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d in flight", inAir), func(b *testing.B) {
			e := newEcho(b, 1)
			defer e.world.Close()
			peer := e.websocket()
			burst := []byte(strings.Repeat(string(frame(ws.OpText, "4"+strings.Repeat("x", 127))), inAir))
			b.ReportAllocs()
			for b.Loop() {
				peer.Write(burst)
				e.world.Run()
				peer.Read()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*inAir), "ns/message")
		})
	}
}

// The same by way of goroutines that run next to the loop.
func BenchmarkExecutorEcho(b *testing.B) {
	for _, inAir := range []int{1, 16} {
		b.Run(fmt.Sprintf("%d in flight", inAir), func(b *testing.B) {
			e := newEchoWith(b, 1, Options{Executor: NewExecutor(16)})
			defer e.world.Close()
			peer := e.websocket()
			message := frame(ws.OpText, "4"+strings.Repeat("x", 127))
			burst := []byte(strings.Repeat(string(message), inAir))
			answer := inAir * (len(message) - 4)
			b.ReportAllocs()
			for b.Loop() {
				peer.Write(burst)
				for e.world.Run(); peer.Buffered() < answer; e.world.Run() {
					runtime.Gosched()
				}
				peer.Read()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*inAir), "ns/message")
		})
	}
}

// One message each way: a POST, and a GET that is answered with the echo.
func BenchmarkPollCycle(b *testing.B) {
	for _, loops := range []int{1, 2} {
		b.Run(fmt.Sprintf("%d loops", loops), func(b *testing.B) {
			e := newEcho(b, loops)
			defer e.world.Close()
			id := e.polling(e.world.DialLoop(0))
			peer := e.world.DialLoop(loops - 1) // relayed, when there are two
			target := "/engine.io/?EIO=4&transport=polling&sid=" + id
			post := request{method: "POST", target: target, body: "4hello", length: true}.bytes()
			get := request{method: "GET", target: target}.bytes()
			b.ReportAllocs()
			for b.Loop() {
				peer.Write(post)
				e.world.Run()
				peer.Write(get)
				e.world.Run()
				peer.Read()
			}
		})
	}
}

func BenchmarkHandshake(b *testing.B) {
	b.Run("polling", func(b *testing.B) {
		e := newEcho(b, 1)
		defer e.world.Close()
		get := request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}.bytes()
		peer := e.world.Dial()
		b.ReportAllocs()
		for b.Loop() {
			peer.Write(get)
			e.world.Run()
			peer.Read()
		}
	})
	b.Run("websocket", func(b *testing.B) {
		e := newEcho(b, 1)
		defer e.world.Close()
		b.ReportAllocs()
		for b.Loop() {
			peer := e.websocket()
			peer.Reset()
		}
	})
}

// One message to a thousand WebSocket sessions.
func BenchmarkBroadcast1000(b *testing.B) {
	e := newEcho(b, 1)
	defer e.world.Close()
	peers := make([]*looptest.Peer, 1000)
	for i := range peers {
		peers[i] = e.websocket()
	}
	data := []byte(strings.Repeat("x", 128))
	b.ReportAllocs()
	for b.Loop() {
		_ = e.server.Broadcast(prepared(Message{Data: data}))
		e.world.Run()
		for _, p := range peers {
			p.Read()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(peers)), "ns/session")
}
