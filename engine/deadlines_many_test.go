package engine

import (
	"log/slog"
	"testing"
	"time"

	"turbine/engine/packet"
	"turbine/internal/race"
	"turbine/loop/looptest"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// Under a flood of messages that take a millisecond each, one loop with 100,000
// sessions pings each of them in time: late by two ticks, a few callbacks, and
// at most five times what the pings that are due at that moment take.
func TestPingsOfManyAreInTimeUnderAFlood(t *testing.T) {
	const (
		idle, flood = 100_000 / race.Less, 200
		pingTakes   = 5 * time.Microsecond
		messageIs   = time.Millisecond
	)
	for _, c := range []struct {
		name  string
		over  time.Duration // in which the sessions come
		bound time.Duration
	}{
		{"one after another", 4 * time.Second, 150 * time.Millisecond},
		{"all at once", 0, 5*idle*pingTakes + 150*time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			due := map[*Session]time.Duration{}
			var world *looptest.World
			var latest time.Duration
			pings, messages := 0, 0
			options := Options{PingInterval: 5 * time.Second, PingTimeout: 4 * time.Second, Limits: Limits{Exempt: oneAddress}, Logger: slog.New(slog.DiscardHandler)}
			server, err := New(options, Events{
				Open:      func(s *Session, _ *Request) { due[s] = world.Now() + options.PingInterval },
				Heartbeat: func(s *Session) { due[s] = world.Now() + options.PingInterval },
				PacketCreate: func(s *Session, p Packet) {
					if p.Type == packet.Ping {
						pings++
						latest = max(latest, world.Now()-due[s])
						world.Jump(pingTakes)
					}
				},
				Message: func(*Session, Message) {
					messages++
					world.Jump(messageIs)
				},
			})
			require.NoError(t, err)
			world = looptest.NewWorld(1, server.Driver().LoopOptions(), server.Driver().Accept)
			server.Driver().UseLoops(world.Loops())
			mask := func(text string) []byte {
				return wsframe.AppendMaskedFrame(nil, ws.OpText, true, [4]byte{1, 2, 3, 4}, []byte(text))
			}
			handshake := request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket", headers: upgradeHeaders}.bytes()
			ping, pong, message := wsframe.AppendFrame(nil, ws.OpText, []byte("2")), mask("3"), mask("4x")

			peers := make([]*looptest.Peer, 0, idle+flood)
			for i := range idle + flood {
				p := world.Dial()
				p.Write(handshake)
				peers = append(peers, p)
				if i%(idle/100) == 0 {
					world.Run()
					world.Advance(c.over / 100)
				}
			}
			world.Run()
			for _, p := range peers {
				p.Read() // the handshake
			}
			require.Len(t, due, idle+flood)
			begun := world.Now()
			for world.Now()-begun < 12*time.Second {
				for _, p := range peers[idle:] {
					p.Write(message)
				}
				world.Turn()
				for _, p := range peers {
					if p.Buffered() >= len(ping) {
						p.Read()
						p.Write(pong)
					}
				}
			}
			require.Equal(t, idle+flood, server.Stats().Sessions)
			require.GreaterOrEqual(t, pings, 2*idle)
			require.GreaterOrEqual(t, messages, 5_000, "the flood is served, too")
			require.LessOrEqual(t, latest, c.bound)
			t.Logf("%d pings, %d messages, latest %v", pings, messages, latest)
			server.CloseSessions()
			world.Advance(time.Second)
			world.Close()
		})
	}
}
