package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// Small compressed messages cost time, not bytes. However many connections send
// them, all of them together have one share of it between two looks at the sockets,
// so a client that sends a plain message waits for a few of them; each of theirs
// arrives in order.
func TestDeflateSharesTime(t *testing.T) {
	const (
		hostile  = 20
		messages = 100
		cost     = inflateShare / 4 // of each message
	)
	var k packer
	var flood []byte
	for i := range messages {
		flood = append(flood, compressed(ws.OpText, true, k.pack(fmt.Sprintf("4h%02d", i)))...)
	}
	taken, good := 0, 0
	order := map[*Session][]string{}
	b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, func(b *bench, e *Events) {
		e.Message = func(s *Session, m Message) {
			if text := string(m.Data); strings.HasPrefix(text, "h") {
				taken++
				order[s] = append(order[s], text)
				b.world.Jump(cost)
				return
			}
			good++
		}
	})
	var u unpacker
	for i := range hostile {
		b.speakAs(t, fmt.Sprintf("h%d", i), "client_max_window_bits", "ws EIO=4&transport=websocket", &u)
	}
	b.speakAs(t, "good", "client_max_window_bits", "ws EIO=4&transport=websocket", &u)
	b.events()
	for i := range hostile {
		b.client(fmt.Sprintf("h%d", i), "").peer.Write(append([]byte{}, flood...))
	}
	most := 0
	for i := 1; taken < hostile*messages; i++ {
		before := taken
		b.client("good", "").peer.Write(frame(ws.OpText, "4good"))
		for good < i {
			require.True(t, b.world.Turn(), "a message of the good client is lost")
		}
		most = max(most, taken-before)
		require.Less(t, i, hostile*messages, "the others do not get on")
	}
	require.LessOrEqual(t, time.Duration(most)*cost, 4*inflateShare, "what a good client waits for")
	for s, texts := range order {
		require.Len(t, texts, messages, s.ID())
		for i, text := range texts {
			require.Equal(t, fmt.Sprintf("h%02d", i), text)
		}
	}
	require.Len(t, order, hostile)
	b.events()
	b.world.Run()
	b.finish()
}
