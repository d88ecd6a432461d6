package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// begun is a text message of 30,000 bytes to the client of that name, of which
// only n come.
func begun(name string, n int) []string {
	return []string{"raw " + name + " hex 81fe753000000000", fmt.Sprintf("raw %s repeat=4,%d,a", name, n-1)}
}

// Bytes of WebSocket messages that are not complete count like those of bodies,
// and no longer: however they end.
func TestBodyBudgetOfMessages(t *testing.T) {
	for _, open := range []struct {
		name  string
		begin []string // sockets a, b and c
		ends  []string
	}{
		{"sessions", []string{hsWebSocket + " conn=a", hsWebSocket + " conn=b", hsWebSocket + " conn=c"},
			[]string{"complete", "reset a", "fin a", "raw a repeat=,5001,a; raw a hex 01", "advance 45s", "shutdown", "close-session A; advance 30s"}},
		{"candidates", []string{hsPolling, hsPolling, hsPolling, "ws sid=A conn=a", "ws sid=B conn=b", "ws sid=C conn=c"},
			[]string{"complete", "reset a", "fin a", "advance 10s", "shutdown; advance 31s", "close-session A; get sid=A"}},
	} {
		for _, end := range open.ends {
			t.Run(open.name+"/"+end, func(t *testing.T) {
				b := newSpec(t, 1, Options{Limits: Limits{BodyBudget: 40_000}, MaxPayload: 30_000}, nil)
				b.play(open.begin...)
				shard := b.server.shards[0]
				require.Empty(t, b.play(begun("a", 25_000)...))
				require.EqualValues(t, 25_000, shard.bodies)
				require.Equal(t, []string{"b: close 1013", "b: closed"}, b.play(begun("b", 20_000)...))
				require.EqualValues(t, 25_000, shard.bodies)
				require.EqualValues(t, 1, b.server.Stats().Limits[LimitBodyBudget])
				require.Empty(t, b.play(begun("c", 16_000)...), "who has little is not disturbed")
				require.EqualValues(t, 41_000, shard.bodies)
				b.play("reset c")
				require.EqualValues(t, 25_000, shard.bodies)
				if end == "complete" {
					b.play(fmt.Sprintf("raw a repeat=,%d,a", 5000))
				} else {
					b.play(strings.Split(end, "; ")...)
				}
				require.Zero(t, shard.bodies)
				b.finish()
			})
		}
	}
}

// What waits for its end on many connections is bounded in all, in one piece or
// in fragments.
func TestManyMessagesBegun(t *testing.T) {
	for name, head := range map[string]string{"frame": "81ff00000000000f424000000000", "fragments": "01fe61a800000000"} {
		t.Run(name, func(t *testing.T) {
			b := newSpec(t, 1, Options{Limits: Limits{BodyBudget: 1 << 20}}, nil)
			for i := range 100 {
				w := fmt.Sprintf("w%d", i)
				b.play(hsWebSocket+" conn="+w, "raw "+w+" hex "+head, "raw "+w+" repeat=4,24999,a")
			}
			require.LessOrEqual(t, b.server.shards[0].bodies, int64(1<<20))
			require.Greater(t, b.server.shards[0].bodies, int64(1<<20-25_000))
			require.EqualValues(t, 100-1<<20/25_000, b.server.Stats().Limits[LimitBodyBudget])
			b.finish()
		})
	}
}

// Bodies on their way to a busy loop are bounded as those are that have not come
// whole, whatever the number of connections that bring them.
func TestBodyBudgetOfBodiesOnTheirWay(t *testing.T) {
	for _, separate := range []bool{false, true} {
		t.Run(fmt.Sprintf("head alone %v", separate), func(t *testing.T) {
			const posts, size, room = 20, 30_000, 3
			b := newSpec(t, 2, Options{Limits: Limits{BodyBudget: 2 * 100_000}, MaxPayload: 50_000}, nil)
			var conns []*client
			for i := range posts {
				name := fmt.Sprintf("c%d", i)
				b.clients = append(b.clients, &client{name: "h" + name, peer: b.world.DialLoop(0)}, &client{name: name, peer: b.world.DialLoop(1)})
				b.play(hsPolling + " conn=h" + name)
				conns = append(conns, b.client(name, ""))
			}
			body := "4" + strings.Repeat("a", size-1)
			for i, c := range conns {
				c.peer.Write(fmt.Appendf(nil, "POST /engine.io/?EIO=4&transport=polling&sid=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", b.sessions[i].ID(), size))
			}
			if separate {
				b.world.Run()
			}
			for _, c := range conns {
				c.peer.Write([]byte(body))
			}
			b.world.Turn() // of loop 0, and then of loop 1, whose posts wait
			carried := &b.server.shards[0].carried
			require.EqualValues(t, room*size, carried.Load())
			require.EqualValues(t, posts-room, b.server.Stats().Limits[LimitBodyBudget])
			b.world.Run()
			require.Zero(t, carried.Load())
			for i, s := range b.sessions {
				want := StateClosed
				if i < room {
					want = StateOpen
				}
				require.Equal(t, want, s.State(), i)
			}
			require.Contains(t, b.play("post sid=A conn=c0 4again"), "c0: 200 ok")
			b.finish()
		})
	}
}
