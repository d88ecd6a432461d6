package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// pieceTime is what a step of inflating takes where the clock moves with each look
// at it.
const pieceTime = 10 * time.Microsecond

// newLine is a bench with compression on one loop.
func newLine(t *testing.T, o PerMessageDeflate, message func(b *bench, s *Session, text string)) *bench {
	return newSpec(t, 1, Options{PerMessageDeflate: &o}, func(b *bench, e *Events) {
		e.Message = func(s *Session, m Message) { message(b, s, string(m.Data)) }
	})
}

func (b *bench) join(t *testing.T, names ...string) {
	for _, name := range names {
		var u unpacker
		b.speakAs(t, name, "client_max_window_bits", "ws EIO=4&transport=websocket", &u)
	}
	b.events()
}

// many are n names.
func many(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint(prefix, i))
	}
	return names
}

// A message that takes long to inflate does not hold up what has come behind it.
func TestDeflateInflatesLargeMessagesInTurns(t *testing.T) {
	for name, fragments := range map[string]bool{"one frame": false, "fragments": true} {
		t.Run(name, func(t *testing.T) {
			var order []string
			b := newLine(t, PerMessageDeflate{}, func(_ *bench, _ *Session, text string) {
				order = append(order, fmt.Sprintf("%s %d", text[:1], len(text)))
			})
			b.join(t, "large", "plain", "small")
			var k packer
			large := k.pack("4l" + strings.Repeat("x", 900_000))
			in := compressed(ws.OpText, true, large)
			if fragments {
				in = append(compressed(ws.OpText, false, large[:100]), frame(ws.OpContinuation, string(large[100:]))...)
			}
			in = append(in, frame(ws.OpText, "4behind")...)
			b.client("large", "").peer.Write(in)
			b.client("plain", "").peer.Write(frame(ws.OpText, "4plain"))
			b.client("small", "").peer.Write(compressed(ws.OpText, true, k.pack("4small")))
			b.world.Pace(pieceTime)
			b.world.Run()
			b.world.Pace(0)
			require.Equal(t, []string{"p 5", "s 5", "l 900001", "b 6"}, order)
			require.Zero(t, b.server.shards[0].line)
			b.finish()
		})
	}
}

// A client that sends little compressed waits for few of the others' slices,
// however many stand in line, and these continue.
func TestDeflateNewcomersGoFirst(t *testing.T) {
	const (
		hostile  = 20
		messages = 60
		cost     = inflateSlice
	)
	var k packer
	flood := strings.Repeat(string(compressed(ws.OpText, true, k.pack("4h"))), messages)
	taken, good := 0, 0
	b := newLine(t, PerMessageDeflate{}, func(b *bench, _ *Session, text string) {
		b.world.Jump(cost)
		if text == "h" {
			taken++
		} else {
			good++
		}
	})
	b.join(t, append(many("h", hostile), "good")...)
	for _, name := range many("h", hostile) {
		b.client(name, "").peer.Write([]byte(flood))
	}
	for taken < 2*hostile { // all of them are new at first
		require.True(t, b.world.Turn())
	}
	for i := 1; i <= 5; i++ {
		before := taken
		b.client("good", "").peer.Write(compressed(ws.OpText, true, k.pack("4good")))
		for good < i {
			require.True(t, b.world.Turn(), "a message of the good client is lost")
		}
		require.LessOrEqual(t, taken-before, 2*int(inflateShare/inflateSlice), "messages that the good client waited for")
		for end := taken + 2*hostile; taken < end; { // until it is new again
			require.True(t, b.world.Turn())
		}
	}
	b.world.Run()
	require.Equal(t, hostile*messages, taken)
	b.finish()
}

// A client gains nothing by sending small pieces, each when the one before was taken:
// a connection that has had a slice stands behind those that wait. New connections
// have half of the time.
func TestDeflateLineCannotBeJumped(t *testing.T) {
	const (
		floods   = 10
		messages = 100
		tiny     = 5
	)
	var k packer
	flood := strings.Repeat(string(compressed(ws.OpText, true, k.pack("4h"))), messages)
	piece := compressed(ws.OpText, true, k.pack("4tiny"))
	taken := map[string]int{}
	b := newLine(t, PerMessageDeflate{}, func(b *bench, s *Session, text string) {
		b.world.Jump(inflateSlice)
		taken[text]++
	})
	b.join(t, append(append(many("h", floods), many("t", tiny)...), many("new", 100)...)...)
	for _, name := range many("h", floods) {
		b.client(name, "").peer.Write([]byte(flood))
	}
	for taken["h"] < floods*messages/2 {
		for _, name := range many("t", tiny) {
			if p := b.client(name, "").peer; p.Unread() == 0 {
				p.Write(piece)
			}
		}
		require.True(t, b.world.Turn())
	}
	passes := taken["h"] / floods // of the whole line
	require.LessOrEqual(t, taken["tiny"], tiny*(passes+2), "pieces, of %d passes", passes)
	require.GreaterOrEqual(t, taken["tiny"], tiny*(passes-4), "they have as much as others")

	b.world.Turn()
	before := taken["h"]
	for _, name := range many("new", 100) {
		b.client(name, "").peer.Write(compressed(ws.OpText, true, k.pack("4new")))
	}
	for taken["new"] < 100 {
		require.True(t, b.world.Turn())
	}
	require.GreaterOrEqual(t, taken["h"]-before, 90, "slices of those that have waited, beside 100 new ones")
	b.world.Run()
	require.Equal(t, floods*messages, taken["h"])
	b.finish()
}

// Large messages of many clients, one behind the other and in any pieces, arrive
// whole and in order, with and without their context, while only one at a time is
// inflated by halves.
func TestDeflateLargeMessagesOfMany(t *testing.T) {
	const clients, messages = 5, 4
	for name, takeover := range map[string]bool{"no context": false, "context": true} {
		t.Run(name, func(t *testing.T) {
			var want, got [clients][]string
			sessions := map[*Session]int{}
			b := newLine(t, PerMessageDeflate{ClientContextTakeover: takeover}, func(_ *bench, s *Session, text string) {
				i, ok := sessions[s]
				if !ok {
					i = int(text[0] - '0')
					sessions[s] = i
				}
				got[i] = append(got[i], text)
			})
			b.join(t, many("c", clients)...)
			var floods [clients][]byte
			for i := range clients {
				k := packer{takeover: takeover}
				for j := range messages {
					content := fmt.Sprint(i, j, text(1+j%2*(200_000+10_000*i)))
					want[i] = append(want[i], content)
					packed := k.pack("4" + content)
					if i%2 == 0 {
						floods[i] = append(floods[i], compressed(ws.OpText, true, packed)...)
						continue
					}
					half := len(packed) / 2
					floods[i] = append(floods[i], compressed(ws.OpText, false, packed[:half])...)
					floods[i] = append(floods[i], frame(ws.OpContinuation, string(packed[half:]))...)
				}
			}
			b.world.Pace(pieceTime)
			for at := 0; ; at += 7_000 {
				sent := false
				for i, p := range floods {
					if at < len(p) {
						sent = true
						b.client(fmt.Sprint("c", i), "").peer.Write(p[at:min(len(p), at+7_000)])
					}
				}
				b.world.Turn()
				if !sent {
					break
				}
			}
			b.world.Run()
			b.world.Pace(0)
			require.Equal(t, want, got)
			require.Zero(t, b.server.shards[0].line)
			require.Zero(t, b.server.shards[0].bodies)
			b.finish()
		})
	}
}

// A session that ends while its message is half inflated leaves nothing behind, and
// holds up nobody.
func TestDeflateEndsWithinALargeMessage(t *testing.T) {
	for name, end := range map[string]func(s *Session){
		"CloseNow": func(s *Session) { s.CloseNow() },
		"aborted":  func(s *Session) { s.websocket.conn.Abort() },
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			b := newLine(t, PerMessageDeflate{}, func(_ *bench, _ *Session, text string) { got = append(got, len(text)) })
			b.join(t, "large", "other")
			var k packer
			b.client("large", "").peer.Write(compressed(ws.OpText, true, k.pack("4"+strings.Repeat("x", 900_000))))
			b.client("other", "").peer.Write(compressed(ws.OpText, true, k.pack("4"+strings.Repeat("y", 800_000))))
			b.world.Pace(pieceTime)
			b.world.Turn()
			f := &b.server.shards[0].line
			require.NotNil(t, f.begun)
			end(f.begun)
			b.world.Run()
			b.world.Pace(0)
			require.Equal(t, []int{800_000}, got)
			require.Zero(t, *f)
			b.events()
			b.finish()
		})
	}
}
