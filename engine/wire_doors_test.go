package engine

import (
	"fmt"
	"strings"
	"testing"

	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// The ways to the wire that lead through no outbox, or past the limits that are asked
// there. begin opens what a client needs; again is what it sends, once and once more,
// while it reads nothing.
var wireDoors = []struct {
	name  string
	begin func(b *bench, name string)
	again func(b *bench, name string)
}{
	{"handshakes", func(*bench, string) {}, func(b *bench, name string) {
		b.client(name, "").peer.Write(inSuccession(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}, 200))
	}},
	{"handshakes by JSONP", func(*bench, string) {}, func(b *bench, name string) {
		b.client(name, "").peer.Write(inSuccession(request{method: "GET", target: "/engine.io/?EIO=3&transport=polling&j=0"}, 200))
	}},
	{"refusals", func(*bench, string) {}, func(b *bench, name string) {
		b.client(name, "").peer.Write(inSuccession(request{method: "GET", target: "/engine.io/?EIO=4&transport=polling&sid=nobody"}, 200))
	}},
	{"posts", func(b *bench, name string) { b.play("get EIO=4&transport=polling conn=" + name) }, func(b *bench, name string) {
		s := b.sessions[len(b.sessions)-1]
		b.client(name, "").peer.Write(inSuccession(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + s.ID(), body: "4m", length: true}, 200))
	}},
	{"WebSocket pings", beginWebSocket, func(b *bench, name string) {
		ping := wsframe.AppendMaskedFrame(nil, ws.OpPing, true, [4]byte{1, 2, 3, 4}, make([]byte, 125))
		b.client(name, "").peer.Write([]byte(strings.Repeat(string(ping), 200)))
	}},
	{"WebSocket pings of a candidate", func(b *bench, name string) {
		b.play("get EIO=4&transport=polling conn=p" + name)
		b.play("ws EIO=4&transport=websocket sid=" + b.names[b.sessions[len(b.sessions)-1]] + " conn=" + name)
	}, func(b *bench, name string) {
		ping := wsframe.AppendMaskedFrame(nil, ws.OpPing, true, [4]byte{1, 2, 3, 4}, make([]byte, 125))
		b.client(name, "").peer.Write([]byte(strings.Repeat(string(ping), 200)))
	}},
	{"small broadcasts", beginWebSocket, func(b *bench, _ string) {
		p := prepared(filler(1000))
		for range 4 {
			_ = b.server.Broadcast(p)
		}
	}},
}

func beginWebSocket(b *bench, name string) { b.play("ws EIO=4&transport=websocket conn=" + name) }

func inSuccession(r request, times int) []byte {
	return []byte(strings.Repeat(string(r.bytes()), times))
}

// Whatever is written for clients that read nothing is bounded for each of them, by
// the mark at which its connection is read no more, and for all of them by Queue.Budget,
// although no Send comes that asks for it.
func TestEveryWayToTheWireIsBounded(t *testing.T) {
	const clients, rounds, highWater = 20, 4, 64 << 10
	for _, door := range wireDoors {
		t.Run(door.name, func(t *testing.T) {
			for _, budget := range []int64{0, 256 << 10} {
				b := newSpec(t, 1, Options{Queue: Queue{Budget: budget}, Limits: Limits{HandshakeRate: 1_000_000}}, nil)
				for i := range clients {
					name := fmt.Sprintf("c%d", i)
					door.begin(b, name)
					peer := b.client(name, "").peer
					peer.SetWindow(0)
					for range rounds {
						door.again(b, name)
						b.world.Run()
						if budget > 0 {
							require.LessOrEqual(t, b.server.Stats().Queued, budget+budget/8)
						}
					}
				}
				if queued := b.server.Stats().Queued; budget == 0 {
					require.Greater(t, queued, int64(clients*10_000), "they have been sent something")
					if door.name != "small broadcasts" { // Queue.MaxBytes bounds these
						require.LessOrEqual(t, queued, int64(clients*(highWater+1024)))
					}
				} else {
					require.Positive(t, b.server.Stats().Limits[LimitQueueBudget])
				}
				for _, c := range b.clients {
					c.peer.Reset()
				}
				b.world.Run()
				b.finish()
			}
		})
	}
}
