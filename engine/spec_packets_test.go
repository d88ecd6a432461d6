package engine

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"turbine/engine/packet"
	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// T072: the initial packet comes with the open packet, T078: also if it is binary.
func TestSpecInitialPacket(t *testing.T) {
	text, binary := &Message{Data: []byte("faster!")}, &Message{Binary: true, Data: []byte{1, 2, 3, 4}}
	for _, c := range []struct {
		initial *Message
		command string
		want    string // the end of all lines
	}{
		{text, hsPolling, `"maxPayload":1000000}\x1e4faster!`},
		{text, "get EIO=3&transport=polling", `"maxPayload":1000000}8:4faster!`},
		{text, hsWebSocket, `w: text "4faster!"`},
		{binary, hsPolling, `"maxPayload":1000000}\x1ebAQIDBA==`},
		{binary, "get EIO=3&transport=polling&b64=1", `"maxPayload":1000000}10:b4AQIDBA==`},
		{binary, hsWebSocket, "w: binary 01020304"},
		{binary, "ws EIO=3&transport=websocket conn=w", "w: binary 0401020304"},
	} {
		b := newSpec(t, 1, Options{InitialPacket: c.initial}, nil)
		got := b.play(c.command)
		require.True(t, strings.HasSuffix(got[len(got)-1], c.want), "%s: %q", c.command, got)
		b.finish()
	}
	b := newSpec(t, 1, Options{InitialPacket: binary}, nil)
	r := b.fetch("GET", "EIO=3&transport=polling")
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equal(t, "application/octet-stream", r.Header.Get("Content-Type"))
	require.Equal(t, "00010205ff30", hex.EncodeToString(body[:6]))
	require.True(t, bytes.HasSuffix(body, []byte("\x01\x05\xff\x04\x01\x02\x03\x04")))
	b.finish()
}

// T079: what was queued when the transport fails is dropped, and that is done
// when Close runs.
func TestSpecBufferedInClose(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	var buffered []int
	b.on = func(event, name string) {
		if event == "close" {
			buffered = append(buffered, b.session(name).Buffered())
		}
	}
	b.play(hsPolling, "send A hello")
	require.Equal(t, packetSize+5, b.session("A").Buffered())
	b.play("post sid=A 4x \"header=Content-Type: application/octet-stream\"")
	require.Equal(t, []int{0}, buffered)
	require.Zero(t, b.session("A").Buffered())
	b.finish()
}

// heard lets events of a packet's life be logged by name.
func (b *bench) hearPackets(e *Events) {
	e.Packet = func(s *Session, p Packet) { b.heard("packet", s, fmt.Sprintf("%v %s", p.Type, p.Data)) }
	e.PacketCreate = func(s *Session, p Packet) { b.heard("create", s, fmt.Sprintf("%v %s", p.Type, p.Data)) }
	e.Heartbeat = func(s *Session) { b.heard("heartbeat", s, "") }
	e.Upgrading = func(s *Session) { b.heard("upgrading", s, "") }
	e.Flush = func(s *Session, n int) { b.heard("flush", s, fmt.Sprint(n)) }
	e.Flushed = func(s *Session) { b.heard("flushed", s, fmt.Sprint(s.Buffered())) }
}

func (b *bench) sendWith(name, text string) error {
	return b.session(name).SendWith(Message{Data: []byte(text)}, SendOptions{Sent: func() { b.heard("sent", b.session(name), text) }})
}

// T127: after Close nothing is made of a Send: no packet, no callback.
func TestSpecSendAfterClose(t *testing.T) {
	b := newSpec(t, 1, Options{}, func(b *bench, e *Events) { b.hearPackets(e) })
	b.play(hsPolling)
	b.session("A").Close()
	b.events()
	require.ErrorIs(t, b.sendWith("A", "late"), ErrClosed)
	require.Zero(t, b.session("A").Buffered())
	require.Equal(t, []string{`200 6\x1e1`}, b.play("get sid=A"))
	require.Equal(t, `close A "forced close"`, b.events())
	b.finish()
}

// T151: Flush, then Flushed, for each batch, and then nothing is queued.
func TestSpecFlush(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			b.hearPackets(e)
			e.PacketCreate = nil
		})
		b.play(hsPolling, "get sid=A conn=p", hsWebSocket)
		b.events()
		b.play("send A hello")
		require.Equal(t, "flush A 1; flushed A 0", b.events())
		b.play("send A one two three")
		require.Empty(t, b.events())
		b.play("get sid=A")
		require.Equal(t, "flush A 3; flushed A 0; drain A", b.events())
		b.play("send B hello")
		require.Equal(t, "flush B 1; flushed B 0", b.events())
		b.finish()
	})
}

// T152: a hundred messages of 64 KiB at once do not keep the heartbeat from
// working, though the client is still reading when the ping is due.
func TestSpecBacklog(t *testing.T) {
	b := newSpec(t, 1, Options{PingInterval: 200 * time.Millisecond, PingTimeout: 100 * time.Millisecond}, nil)
	b.play(hsWebSocket)
	peer := b.client("w", "").peer
	message := Message{Data: []byte(strings.Repeat("a", 65536))}
	peer.SetWindow(0)
	for range 100 {
		require.NoError(t, b.session("A").Send(message))
	}
	messages, pings, behind := 0, 0, 0
	var in []byte
	for range 100 {
		peer.SetWindow(256 << 10)
		b.world.Advance(10 * time.Millisecond)
		in = append(in, peer.Read()...)
		for {
			h, n, err := wsframe.ParseHeader(in)
			if err != nil || len(in) < n+int(h.Length) {
				break
			}
			if h.Length == 1 {
				pings++
				peer.Write(frame(ws.OpText, "3"))
			} else {
				messages++
				if b.world.Now() > 200*time.Millisecond {
					behind++
				}
			}
			in = in[n+int(h.Length):]
		}
	}
	require.Equal(t, 100, messages)
	require.GreaterOrEqual(t, pings, 3)
	require.Positive(t, behind, "messages that came after the ping was due")
	require.Zero(t, b.closes[b.session("A")])
	b.finish()
}

// Sent runs once for each message the client gets, in their order: polling,
// T180, T185, before Flushed, T198; WebSocket, T182, T184, after it.
func TestSpecSent(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			b.hearPackets(e)
			e.PacketCreate = nil
		})
		b.play(hsPolling, hsWebSocket)
		b.events()
		for i := range 4 {
			require.NoError(t, b.sendWith("A", fmt.Sprint(i)))
		}
		b.world.Run()
		require.Empty(t, b.events())
		require.Equal(t, []string{`200 40\x1e41\x1e42\x1e43`}, b.play("get sid=A"))
		require.Equal(t, "flush A 4; sent A 0; sent A 1; sent A 2; sent A 3; flushed A 0; drain A", b.events())
		b.play("get sid=A conn=p")
		require.NoError(t, b.sendWith("A", "4"))
		b.world.Run()
		require.Equal(t, "flush A 1; sent A 4; flushed A 0", b.events())

		for i := range 4 {
			require.NoError(t, b.sendWith("B", fmt.Sprint(i)))
		}
		require.Len(t, b.collect(), 5)
		require.Equal(t, "flush B 4; flushed B 0; sent B 0; sent B 1; sent B 2; sent B 3", b.events())
		b.finish()
	})
}

// T181: what is sent in Upgrading arrives once, and its Sent runs once.
func TestSpecSentWhileUpgrading(t *testing.T) {
	for _, waiting := range []bool{true, false} {
		b := newSpec(t, -3, Options{}, func(b *bench, e *Events) {
			e.Upgrading = func(s *Session) { require.NoError(t, b.sendWith("A", "here")) }
		})
		b.play(hsPolling)
		if waiting {
			b.play("get sid=A conn=p")
		}
		got := b.play("ws sid=A conn=w", "frame w text 2probe", "frame w text 5")
		require.Equal(t, 1, strings.Count(strings.Join(got, "\n"), "4here"), "%q", got)
		require.Equal(t, 1, strings.Count(b.events(), "sent A here"))
		b.finish()
	}
}

// T186: a session that ends takes its callbacks with it. T187: what was not
// sent has none.
func TestSpecSentNever(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling, "get sid=A conn=p")
	require.NoError(t, b.sendWith("A", "one"))
	require.Equal(t, []string{"p: 200 4one"}, b.collect())
	require.NoError(t, b.sendWith("A", "two"))
	b.play("post sid=A 1", "advance 1m")
	require.Equal(t, `open A; sent A one; close A "transport close"`, b.events())

	b.play(hsWebSocket, "window w 0")
	require.NoError(t, b.sendWith("B", strings.Repeat("a", 100000)))
	require.NoError(t, b.sendWith("B", "behind"))
	b.play("reset w", "advance 1m")
	require.Equal(t, `open B; close B "transport close"`, b.events())
	b.finish()
}

// T188: a prepared message is written as it was encoded. T189: where messages
// are compressed, a prepared message is compressed as well.
func TestSpecPrepared(t *testing.T) {
	text := strings.Repeat("all", 1000)
	prepared := prepared(Message{Data: []byte(text)})

	b := newSpec(t, 1, Options{}, nil)
	b.play(hsWebSocket)
	require.NoError(t, b.session("A").SendPrepared(prepared))
	b.world.Run()
	require.Equal(t, wsframe.AppendFrame(nil, ws.OpText, []byte("4"+text)), b.client("w", "").peer.Read())
	b.finish()

	b = newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, nil)
	require.Contains(t, b.play(hsWebSocket + ` "header=Sec-WebSocket-Extensions: permessage-deflate" show=Sec-WebSocket-Extensions`)[0],
		"[Sec-WebSocket-Extensions: permessage-deflate")
	require.NoError(t, b.session("A").SendPrepared(prepared))
	b.world.Run()
	got := b.client("w", "").peer.Read()
	h, n, err := wsframe.ParseHeader(got)
	require.NoError(t, err)
	require.EqualValues(t, 4, h.Rsv, "RSV1")
	inflated, err := io.ReadAll(flate.NewReader(io.MultiReader(bytes.NewReader(got[n:]), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff"))))
	require.NoError(t, err)
	require.Equal(t, "4"+text, string(inflated))
	b.finish()
}

// T190: Packet brings messages, T191: and the heartbeat, T194: before what they
// mean happens. T192: PacketCreate runs before a message is queued, T193: and
// before the heartbeat's packets are.
func TestSpecPacketEvents(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			b.hearPackets(e)
			e.Flush, e.Flushed = nil, nil
		})
		message, ping, pong := fmt.Sprint(packet.Message), fmt.Sprint(packet.Ping), fmt.Sprint(packet.Pong)
		b.play("get EIO=4&transport=polling", "get EIO=3&transport=polling")
		b.events()
		b.play("post sid=A 4a")
		require.Equal(t, "packet A "+message+` a; message A "a"`, b.events())
		b.play("send A b")
		require.Equal(t, "create A "+message+" b", b.events())
		b.play("advance 25s", "post sid=A 3")
		require.Equal(t, "create A "+ping+"; packet A "+pong+"; heartbeat A", b.events())
		b.play("post sid=B 1:2")
		require.Equal(t, "packet B "+ping+"; create B "+pong+"; heartbeat B", b.events())
		b.finish()
	})
}

// T195: options may be left out, T197: and a part of an array is sent alone.
func TestSpecSend(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsWebSocket)
	array := []byte{0, 1, 2, 3, 4, 5}
	require.NoError(t, b.session("A").Send(Message{Binary: true, Data: array[2:4]}))
	require.NoError(t, b.session("A").SendWith(Message{Data: []byte("x")}, SendOptions{}))
	array[2] = 9 // Send has copied
	require.Equal(t, []string{"w: binary 0203", `w: text "4x"`}, b.collect())
	b.finish()
}

// T199: fifty messages each way while the session is upgraded: all arrive, once
// and in order. T183 is the same for the first ones.
func TestSpecFiftyAcrossUpgrade(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		for at := 5; at < 50; at += 10 {
			b := newSpec(t, loops, Options{}, nil)
			b.play(hsPolling, "get sid=A conn=p")
			var got []string
			upgraded := false
			for i := range 50 {
				switch i {
				case at:
					got = append(got, b.play("ws sid=A conn=w", "frame w text 2probe")...)
				case at + 2:
					got = append(got, b.play("frame w text 5")...)
					upgraded = true
				}
				up := fmt.Sprintf("post sid=A 4up%d", i)
				if upgraded {
					up = fmt.Sprintf("frame w text 4up%d", i)
				}
				got = append(got, b.play(fmt.Sprintf("send A down%d", i), up, "advance 2ms")...)
				if !upgraded && i < at {
					got = append(got, b.play("get sid=A conn=p")...)
				}
			}
			require.Equal(t, WebSocket, b.session("A").Transport())
			require.True(t, b.session("A").Upgraded())
			b.play("close w 1000")
			down, up := 0, 0
			for _, line := range got {
				for _, part := range strings.Split(strings.TrimSuffix(line, `"`), "4down")[1:] {
					var n int
					_, err := fmt.Sscanf(part, "%d", &n)
					require.NoError(t, err)
					require.Equal(t, down, n)
					down++
				}
			}
			for _, event := range b.log {
				if strings.HasPrefix(event, "message") {
					require.Equal(t, fmt.Sprintf(`message A "up%d"`, up), event)
					up++
				}
			}
			require.Equal(t, 50, down)
			require.Equal(t, 50, up)
			require.Equal(t, `close A "transport close"`, b.log[len(b.log)-1])
			b.finish()
		}
	})
}

// T215: Upgrading runs for each probe, Upgrade when the WebSocket carries the
// session and before it is given what was queued.
func TestSpecUpgradeEvents(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{}, func(b *bench, e *Events) {
			b.hearPackets(e)
			e.PacketCreate = nil
			e.Upgrade = func(s *Session) { b.heard("upgrade", s, fmt.Sprint(s.Transport(), s.Upgraded(), s.Buffered())) }
		})
		b.play(hsPolling, "send A x")
		b.events()
		b.play("ws sid=A conn=w", "frame w text 2probe")
		require.Equal(t, "upgrading A", b.events())
		require.False(t, b.session("A").Upgraded())
		b.play("frame w text 2probe")
		require.Equal(t, "upgrading A", b.events())
		b.play("frame w text 5")
		require.Equal(t, fmt.Sprintf("upgrade A websocket true %d; flush A 1; flushed A 0; drain A", packetSize+1), b.events())
		b.finish()
	})
}

// Compression of what polls are answered: T216 to T223.
func TestSpecCompression(t *testing.T) {
	const both = "gzip, deflate"
	for _, c := range []struct {
		number    string
		threshold int
		size      int // of the message; one byte more goes over the wire
		plain     bool
		accept    string
		encoding  string
	}{
		{"T216", 0, 1024, false, both, "gzip"},
		{"T217", 0, 1024, false, "deflate", "deflate"},
		{"T218", 1, 10, false, both, "gzip"},
		{"T219", -1, 1024, false, both, ""},
		{"T220", 0, 1024, true, both, ""},
		{"T221", 0, 100, false, both, ""},
		{"T222", 0, 1023, false, both, "gzip"},
		{"T222", 0, 1022, false, both, ""},
		{"T223", 0, 1024, false, "", ""},
		{"T223", 0, 1024, false, "br", ""},
		{"T223", 0, 1024, false, "identity, gzip;q=0", ""},
		{"T223", 0, 1024, false, "gzip;q=0.5, deflate", "deflate"},
	} {
		for _, loops := range []int{1, -3} {
			t.Run(fmt.Sprint(c.number, " ", c.size, " ", c.accept, " ", loops), func(t *testing.T) {
				b := newSpec(t, loops, Options{CompressionThreshold: c.threshold}, nil)
				b.play(hsPolling)
				want := strings.Repeat("a", c.size)
				require.NoError(t, b.session("A").SendWith(Message{Data: []byte(want)}, SendOptions{NoCompress: c.plain}))
				var headers []string
				if c.accept != "" {
					headers = []string{"Accept-Encoding: " + c.accept}
				}
				r := b.fetch("GET", "EIO=4&transport=polling&sid=A", headers...)
				require.Equal(t, 200, r.StatusCode)
				require.Equal(t, c.encoding, r.Header.Get("Content-Encoding"))
				var body io.Reader = r.Body
				var err error
				switch c.encoding {
				case "gzip":
					body, err = gzip.NewReader(body)
				case "deflate":
					body, err = zlib.NewReader(body)
				}
				require.NoError(t, err)
				got, err := io.ReadAll(body)
				require.NoError(t, err)
				require.Equal(t, "4"+want, string(got))
				b.finish()
			})
		}
	}
}

// T216: bytes, in both revisions.
func TestSpecCompressionOfBytes(t *testing.T) {
	for _, revision := range []string{"4", "3"} {
		b := newSpec(t, 1, Options{}, nil)
		b.play("get EIO=" + revision + "&transport=polling")
		require.NoError(t, b.session("A").Send(Message{Binary: true, Data: make([]byte, 1024)}))
		r := b.fetch("GET", "EIO="+revision+"&transport=polling&sid=A", "Accept-Encoding: gzip, deflate")
		require.Equal(t, "gzip", r.Header.Get("Content-Encoding"))
		body, err := gzip.NewReader(r.Body)
		require.NoError(t, err)
		got, err := io.ReadAll(body)
		require.NoError(t, err)
		require.Equal(t, map[string]int{"4": 1369, "3": 1 + 4 + 1 + 1025}[revision], len(got))
		b.finish()
	}
}
