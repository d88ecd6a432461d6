package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"turbine/internal/race"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

const (
	// packSteps is how many steps of compressing a share has time for at the tests'
	// pace, and one more.
	packSteps = int(packShare/pieceTime) + 1
	packPiece = 16 << 10 // bytes of a step
)

// arrived is how many bytes have come to a client, which may take them later.
func (b *bench) arrived(name string) int {
	c := b.client(name, "")
	c.in = append(c.in, c.peer.Read()...)
	return len(c.in)
}

// texts are those of messages, without the close frame.
func texts(got []received) (all []string) {
	for _, m := range got {
		if m.op != ws.OpClose {
			all = append(all, m.text)
		}
	}
	return all
}

// A large message does not hold up what others ask for while it is compressed, and
// each turn does at most a share of it. Its client gets it whole, and in order.
func TestDeflateCompressesLargeMessagesInPortions(t *testing.T) {
	large := text(2_000_000)
	for name, o := range map[string]PerMessageDeflate{"no context": {}, "context": {ContextTakeover: true}} {
		for _, window := range []string{"client_max_window_bits", "server_max_window_bits=10"} {
			for _, many := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, for many: %v", name, window, many), func(t *testing.T) {
					var sent []string
					b := newLine(t, o, func(_ *bench, s *Session, in string) {
						if in == "small" {
							require.NoError(t, s.Send(Text(in)))
							return
						}
						with := SendOptions{Sent: func() { sent = append(sent, "large") }}
						require.NoError(t, s.Send(Text("before")))
						if many {
							require.NoError(t, s.SendPrepared(prepared(Text(large)).With(with)))
						} else {
							require.NoError(t, s.SendWith(Text(large), with))
						}
						require.NoError(t, s.SendWith(Text("behind"), SendOptions{Sent: func() { sent = append(sent, "behind") }}))
						require.NoError(t, s.SendWith(Text(large), SendOptions{NoCompress: true}))
					})
					l, s := &unpacker{takeover: o.ContextTakeover}, &unpacker{takeover: o.ContextTakeover}
					b.speakAs(t, "large", window, "ws EIO=4&transport=websocket", l)
					b.speakAs(t, "small", window, "ws EIO=4&transport=websocket", s)
					b.world.Pace(pieceTime)
					b.client("large", "").peer.Write(frame(ws.OpText, "4large"))
					p := &b.server.shards[0].packing
					for p.session == nil {
						require.True(t, b.world.Turn())
					}
					turns := 0
					for ; p.session != nil; turns++ {
						b.client("small", "").peer.Write(frame(ws.OpText, "4small"))
						require.True(t, b.world.Turn())
						if p.session != nil {
							require.Equal(t, (turns+1)*(2+len("4small")), b.arrived("small"), "answers after %d turns", turns+1)
							require.Equal(t, 2+len("4before"), b.arrived("large"), "what came before it")
							require.Empty(t, sent)
						}
					}
					b.world.Run()
					b.world.Pace(0)
					require.GreaterOrEqual(t, turns+1, len(large)/packPiece/packSteps)
					require.Equal(t, []string{"large", "behind"}, sent)
					require.Equal(t, []string{"4before", "4" + large, "4behind", "4" + large}, texts(b.take(t, "large", l)))
					require.Len(t, b.take(t, "small", s), turns)
					b.finish()
				})
			}
		}
	}
}

// A client that is sent one large message after the other is heard meanwhile.
func TestDeflateHearsWhoIsAlwaysSentLargeMessages(t *testing.T) {
	const messages = 20
	large := text(900_000)
	sent, heard := 0, []int{}
	b := newLine(t, PerMessageDeflate{}, func(_ *bench, s *Session, in string) {
		if in != "go" {
			heard = append(heard, sent)
			return
		}
		var next func()
		next = func() {
			if sent++; sent < messages {
				require.NoError(t, s.SendWith(Text(large), SendOptions{Sent: next}))
				require.NoError(t, s.Send(Text(large)))
			}
		}
		next()
	})
	key := &unpacker{}
	b.speakAs(t, "c", "client_max_window_bits", "ws EIO=4&transport=websocket", key)
	b.world.Pace(pieceTime)
	c := b.client("c", "")
	c.peer.Write(frame(ws.OpText, "4go"))
	p := &b.server.shards[0].packing
	for p.session == nil {
		require.True(t, b.world.Turn())
	}
	for range 5 {
		c.peer.Write(frame(ws.OpText, "4heard?"))
	}
	for len(heard) < 5 {
		require.True(t, b.world.Turn())
		b.arrived("c")
	}
	require.LessOrEqual(t, heard[4], 4, "messages sent until all was heard")
	for n := -1; n != b.arrived("c"); { // a client that reads
		n = b.arrived("c")
		b.world.Run()
	}
	b.world.Pace(0)
	require.Len(t, texts(b.take(t, "c", key)), 2*(messages-1))
	b.finish()
}

// Each client gets what was sent to it, once and in order, up to its end, whatever is
// sent to others, and nothing of it is left behind.
func TestDeflatePortionsKeepTheOrder(t *testing.T) {
	const clients = 4
	large := text(300_000)
	for seed := range uint64(30 / race.Less) {
		random := rand.New(rand.NewPCG(seed, 5))
		takeover := random.IntN(2) == 0
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{ContextTakeover: takeover}}, nil)
		names := many("c", clients)
		keys, want := map[string]*unpacker{}, map[string][]string{}
		for _, name := range names {
			keys[name] = &unpacker{takeover: takeover}
			window := []string{"client_max_window_bits", "server_max_window_bits=9"}[random.IntN(2)]
			b.speakAs(t, name, window, "ws EIO=4&transport=websocket", keys[name])
		}
		sessions := map[string]*Session{}
		for i, name := range names {
			sessions[name] = b.session(string(rune('A' + i)))
		}
		b.world.Pace(pieceTime)
		for i := range 40 {
			name := names[random.IntN(clients)]
			s := sessions[name]
			message := fmt.Sprint(i, ".") + large[:random.IntN(1+[]int{10, 5_000, 290_000}[random.IntN(3)])]
			switch random.IntN(5) {
			case 0:
				_ = b.server.Broadcast(prepared(Text(message)))
				for _, name := range names {
					want[name] = append(want[name], "4"+message)
				}
			default:
				require.NoError(t, s.SendWith(Text(message), SendOptions{NoCompress: random.IntN(4) == 0}))
				want[name] = append(want[name], "4"+message)
			}
			for range random.IntN(4) {
				b.world.Turn()
			}
		}
		ends := random.Perm(clients) // the last one does not end
		for i, name := range names {
			switch ends[i] {
			case 0:
				sessions[name].Close()
			case 1:
				sessions[name].CloseNow()
			case 2:
				b.client(name, "").peer.CloseWrite()
			}
		}
		b.world.Run()
		b.world.Pace(0)
		for i, name := range names {
			got := texts(b.take(t, name, keys[name]))
			if all := ends[i] == 0 || ends[i] == 3; all {
				require.GreaterOrEqual(t, len(got), len(want[name]), "seed %d", seed)
			}
			for j := range min(len(got), len(want[name])) {
				require.True(t, got[j] == want[name][j], "seed %d, %s, message %d", seed, name, j)
			}
			require.LessOrEqual(t, len(got), len(want[name])+1, "seed %d", seed) // and the close packet
		}
		b.events()
		b.finish()
		require.Nil(t, b.server.shards[0].packing.session)
	}
}

// A client that is quicker than its answers are compressed is not read from: they do
// not pile up until its queue is full. What it has sent before it ends is answered.
func TestDeflateReadsNoQuickerThanItCompresses(t *testing.T) {
	const n = 8
	large := text(900_000)
	var p packer
	one := compressed(ws.OpText, true, p.pack("4"+large))
	for _, ends := range []string{"", "FIN", "close"} {
		most := 0
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}, Queue: Queue{MaxBytes: 2_000_000}}, func(_ *bench, e *Events) {
			e.Message = func(s *Session, m Message) {
				require.NoError(t, s.Send(m))
				most = max(most, s.Buffered())
			}
		})
		var k unpacker
		b.speak(t, "ws EIO=4&transport=websocket", &k)
		b.events()
		peer := b.client("w", "").peer
		b.world.Pace(pieceTime)
		peer.Write(bytes.Repeat(one, n))
		switch ends {
		case "FIN":
			peer.CloseWrite()
		case "close":
			peer.Write(frame(ws.OpClose, ""))
		}
		b.world.Run()
		b.world.Pace(0)
		got := b.take(t, "w", &k)
		require.GreaterOrEqual(t, len(got), n, ends)
		for _, m := range got[:n] {
			require.True(t, m.packed && m.text == "4"+large)
		}
		require.Less(t, most, 2*len(large))
		if ends != "" {
			require.Contains(t, b.events(), `close A "transport close"`)
		}
		b.finish()
	}
}

// A connection that is lost, or a session that is closed, in the midst of it leaves
// nothing behind, and those in line have their turn.
func TestDeflateEndsWithinAPortion(t *testing.T) {
	large := text(900_000)
	for name, c := range map[string]struct {
		end  func(b *bench, s *Session)
		gets []string // nil: all is lost
	}{
		"lost":      {end: func(b *bench, _ *Session) { b.client("a", "").peer.Reset() }},
		"aborted":   {end: func(_ *bench, s *Session) { s.websocket.conn.Abort() }},
		"Close":     {end: func(_ *bench, s *Session) { s.Close() }, gets: []string{"4" + large, "4behind"}},
		"CloseNow":  {end: func(_ *bench, s *Session) { s.CloseNow() }, gets: []string{"4" + large}},
		"CloseWith": {end: func(_ *bench, s *Session) { _ = s.CloseWith(4001, "over") }, gets: []string{"4" + large, "4behind"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, nil)
			var a, other unpacker
			b.speakAs(t, "a", "client_max_window_bits", "ws EIO=4&transport=websocket", &a)
			b.speakAs(t, "b", "client_max_window_bits", "ws EIO=4&transport=websocket", &other)
			s := b.session("A")
			b.world.Pace(pieceTime)
			require.NoError(t, s.Send(Text(large)))
			require.NoError(t, s.Send(Text("behind")))
			p := &b.server.shards[0].packing
			for p.session == nil {
				require.True(t, b.world.Turn())
			}
			require.NoError(t, b.session("B").Send(Text(large)))
			b.world.Turn()
			require.Equal(t, 1, p.waiting.Len())
			c.end(b, s)
			b.world.Run()
			b.world.Pace(0)
			if c.gets != nil {
				got := texts(b.take(t, "a", &a))
				require.GreaterOrEqual(t, len(got), len(c.gets))
				require.Equal(t, c.gets, got[:len(c.gets)])
			}
			require.Equal(t, []string{"4" + large}, texts(b.take(t, "b", &other)))
			require.Nil(t, p.session)
			require.Zero(t, p.waiting.Len())
			b.events()
			b.finish()
		})
	}
}
