package engine

import (
	"fmt"
	"strings"
	"testing"

	"turbine/internal/race"
	"turbine/loop"

	"github.com/stretchr/testify/require"
)

// A message for many that clients do not read counts once for each loop also when
// their connections have it, in each form in which it is encoded: it is there once.
// Clients that read are served all the same.
func TestSharedMessageCountsOnceInConnections(t *testing.T) {
	const sessions, size, broadcasts = 500 / min(race.Less, 5), 1_000_000, 3
	for _, c := range []struct {
		name, header string
		on           int
	}{
		{"plain", "", 1},
		{"plain on two loops", "", 2},
		{"compressed", ` "header=Sec-WebSocket-Extensions: permessage-deflate"`, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, c.on, Options{Queue: Queue{Budget: 64 << 20}, PerMessageDeflate: &PerMessageDeflate{}}, nil)
			for i := range sessions {
				name := fmt.Sprintf("deaf%d", i)
				b.play("ws EIO=4&transport=websocket conn=" + name + c.header)
				b.client(name, "").peer.SetWindow(0)
			}
			b.play("ws EIO=4&transport=websocket conn=good", "ws EIO=4&transport=websocket conn=packed"+offerDeflate, hsPolling)
			loops := map[*loop.Loop]bool{}
			for _, s := range b.sessions {
				loops[s.loop] = true
			}
			for range broadcasts {
				_ = b.server.Broadcast(prepared(Message{Data: []byte(incompressible(size))}))
				b.world.Run()
				require.Contains(t, strings.Join(b.play("get sid="+b.names[b.sessions[sessions+2]]), " "), "200 4")
			}
			queued := b.server.Stats().Queued
			// In connections, in outboxes, or in both while some of each have it.
			require.LessOrEqual(t, queued, int64(2*broadcasts*len(loops)*size+broadcasts*sessions*2*packetSize))
			require.GreaterOrEqual(t, queued, int64(broadcasts*size))
			for _, s := range b.sessions {
				require.Equal(t, StateOpen, s.State())
			}
			require.Zero(t, b.server.Stats().Limits[LimitQueueBudget])
			for _, c := range b.clients {
				c.peer.Reset()
			}
			b.world.Run()
			require.Zero(t, b.server.Stats().Queued)
			b.finish()
		})
	}
}

// incompressible is text of which compression makes little.
func incompressible(n int) string {
	var text strings.Builder
	for i := uint32(1); text.Len() < n; {
		i = i*1664525 + 1013904223
		text.WriteByte(' ' + byte(i>>24)%90)
	}
	return text.String()
}

// Of connections that have been given the same and take nothing, those go first that
// have not for the longest time.
func TestReliefCutsTheOldestConnectionsOfOneSize(t *testing.T) {
	b := newSpec(t, 1, Options{Queue: Queue{Budget: 100_000}}, nil)
	for i := range 100 {
		name := fmt.Sprintf("deaf%d", i)
		b.play("ws EIO=4&transport=websocket conn=" + name)
		b.client(name, "").peer.SetWindow(0)
	}
	old, young := b.sessions[50:], b.sessions[:50] // a relief looks at the others first
	give := func(to []*Session) {
		for _, s := range to {
			_ = s.Send(filler(1100))
			b.world.Run()
		}
	}
	give(old)
	b.play("advance 20s")
	for _, s := range old {
		require.Zero(t, s.Buffered(), "its connection has it")
	}
	give(young)
	cut := 0
	for _, s := range old {
		if s.State() != StateOpen {
			cut++
		}
	}
	require.Positive(t, cut)
	for _, s := range young {
		require.Equal(t, StateOpen, s.State())
	}
	b.finish()
}
