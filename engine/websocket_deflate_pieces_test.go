package engine

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"turbine/internal/race"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// appendMessage appends one message, whole or in fragments, compressed or not, and
// what may come in between.
func appendMessage(dst []byte, random *rand.Rand, k *packer, text string) []byte {
	if random.IntN(4) == 0 {
		return append(dst, frame(ws.OpText, text)...)
	}
	packed := k.pack(text)
	if random.IntN(2) == 0 || len(packed) < 2 {
		return append(dst, compressed(ws.OpText, true, packed)...)
	}
	cut := random.IntN(len(packed))
	dst = append(dst, compressed(ws.OpText, false, packed[:cut])...)
	if random.IntN(2) == 0 {
		dst = append(dst, frame(ws.OpPing, "in between")...)
	}
	return append(dst, frame(ws.OpContinuation, string(packed[cut:]))...)
}

// Compressed messages come once each and in order, in whatever pieces they arrive,
// however slow the application is, and up to wherever the client ends.
func TestDeflateInAnyPieces(t *testing.T) {
	for seed := range uint64(40 / race.Less) {
		random := rand.New(rand.NewPCG(seed, 1))
		takeover, upgrade, ends := random.IntN(2) == 0, random.IntN(2) == 0, random.IntN(4)
		o := Options{PerMessageDeflate: &PerMessageDeflate{ContextTakeover: takeover, ClientContextTakeover: takeover}, Limits: Limits{MaxPending: 1 + random.IntN(300_000)}}
		start := newSpec
		if random.IntN(2) == 0 {
			start = newHeld
		}
		var want, got []string
		b := start(t, 1, o, func(b *bench, e *Events) {
			e.Admit = nil
			said := e.Message
			e.Message = func(s *Session, m Message) {
				got = append(got, fmt.Sprint(len(m.Data), " ", string(m.Data[:min(len(m.Data), 8)])))
				said(s, Message{})
			}
		})
		k, answers := &packer{takeover: takeover}, &unpacker{takeover: takeover}
		var stream []byte
		if upgrade {
			b.play("get EIO=4&transport=polling")
			b.rest()
			b.collect()
			b.speak(t, "upgrade EIO=4&transport=websocket&sid="+b.session("A").ID(), answers)
			stream = append(compressed(ws.OpText, true, k.pack("2probe")), compressed(ws.OpText, true, k.pack("5"))...)
		} else {
			b.speak(t, "ws EIO=4&transport=websocket", answers)
		}
		for i := range 40 {
			data := fmt.Sprint(i, ".") + strings.Repeat("x", random.IntN(1+[]int{10, 5_000, 400_000}[random.IntN(3)]))
			want = append(want, fmt.Sprint(len(data), " ", data[:min(len(data), 8)]))
			stream = appendMessage(stream, random, k, "4"+data)
		}
		if ends == 3 {
			stream = append(stream, frame(ws.OpClose, "")...)
		}
		peer := b.client("w", "").peer
		for len(stream) > 0 {
			n := min(len(stream), 1+random.IntN([]int{10, 1000, 100_000}[random.IntN(3)]))
			peer.Write(stream[:n])
			stream = stream[n:]
			for range random.IntN(5) {
				b.world.Turn()
			}
			for range random.IntN(3) {
				_ = b.hand != nil && b.hand.step()
			}
			if random.IntN(20) == 0 {
				b.world.Advance(100 * time.Millisecond)
			}
		}
		if ends == 1 {
			peer.CloseWrite()
		}
		b.rest()
		require.Equal(t, want, got, "seed %d", seed)
		if ends == 1 || ends == 3 {
			require.Contains(t, b.events(), `close A "transport close"`, "seed %d", seed)
		}
		if ends == 2 {
			peer.Reset()
		}
		b.rest()
		b.finish()
	}
}
