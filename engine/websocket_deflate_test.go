package engine

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"turbine/wsframe"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

const deflateMarker = "\x00\x00\xff\xff"

// packer compresses a client's messages with the standard library.
type packer struct {
	takeover bool
	buf      bytes.Buffer
	writer   *flate.Writer
}

func (k *packer) pack(text string) []byte {
	if k.writer == nil || !k.takeover {
		k.writer, _ = flate.NewWriter(&k.buf, flate.BestCompression)
	}
	k.buf.Reset()
	_, _ = k.writer.Write([]byte(text))
	_ = k.writer.Flush()
	return bytes.TrimSuffix(bytes.Clone(k.buf.Bytes()), []byte(deflateMarker))
}

// unpacker decompresses the server's messages with the standard library.
type unpacker struct {
	takeover bool
	window   []byte
}

func (k *unpacker) unpack(t *testing.T, p []byte) string {
	r := flate.NewReaderDict(io.MultiReader(bytes.NewReader(p), strings.NewReader(deflateMarker+"\x01\x00\x00\xff\xff")), k.window)
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	if k.takeover {
		k.window = append(k.window, text...)
		k.window = k.window[max(0, len(k.window)-32<<10):]
	}
	return string(text)
}

// compressed is a masked frame, RSV1 set.
func compressed(op ws.OpCode, fin bool, payload []byte) []byte {
	f := wsframe.AppendMaskedFrame(nil, op, fin, [4]byte{1, 2, 3, 4}, payload)
	f[0] |= 0x40
	return f
}

// A message as it came over the wire.
type received struct {
	op     ws.OpCode
	packed bool
	text   string // unpacked
	size   int    // over the wire, with its header
}

func (r received) String() string { return fmt.Sprint(r.op, r.packed, r.text) }

// take returns the frames that a client has got, past the handshake.
func (b *bench) take(t *testing.T, name string, k *unpacker) (got []received) {
	b.world.Run()
	c := b.client(name, "")
	require.True(t, c.ws)
	in := append(c.in, c.peer.Read()...)
	c.in = nil
	for len(in) > 0 {
		h, n, err := wsframe.ParseHeader(in)
		require.NoError(t, err)
		require.True(t, h.Fin && !h.Masked && h.Rsv&3 == 0)
		m := received{op: h.OpCode, packed: h.Rsv == 4, text: string(in[n : n+int(h.Length)]), size: n + int(h.Length)}
		if m.packed {
			require.True(t, h.OpCode == ws.OpText || h.OpCode == ws.OpBinary)
			m.text = k.unpack(t, []byte(m.text))
		}
		got = append(got, m)
		in = in[n+int(h.Length):]
	}
	return got
}

const offerDeflate = ` "header=Sec-WebSocket-Extensions: permessage-deflate" show=Sec-WebSocket-Extensions`

// speak opens a session on a compressed WebSocket and throws the open packet
// away, unless that is the window.
func (b *bench) speak(t *testing.T, command string, k *unpacker) {
	b.speakAs(t, "w", "client_max_window_bits", command, k)
}

// speakAs is speak with the name of the client and what it offers.
func (b *bench) speakAs(t *testing.T, name, offer, command string, k *unpacker) {
	command, query, _ := strings.Cut(command, " ")
	peer := b.client(name, "").peer
	r := request{method: "GET", target: "/engine.io/?" + query, headers: append([]string{"Sec-WebSocket-Extensions: permessage-deflate; " + offer}, upgradeHeaders...)}
	peer.Write(r.bytes())
	b.world.Run()
	in := peer.Read()
	end := bytes.Index(in, []byte("\r\n\r\n")) + 4
	require.Contains(t, string(in[:end]), "permessage-deflate")
	c := b.client(name, "")
	c.ws, c.in = true, bytes.Clone(in[end:])
	if command == "ws" {
		require.Len(t, b.take(t, name, k), 1, "the open packet")
	}
}

func text(n int) string {
	var s strings.Builder
	for i := 0; s.Len() < n; i++ {
		fmt.Fprintf(&s, `{"id":%d,"name":"user %d","on":true},`, i, i*7)
	}
	return s.String()[:n]
}

// What is said in the handshake, for each kind of offer and options.
func TestDeflateNegotiation(t *testing.T) {
	const no = "[no Sec-WebSocket-Extensions]"
	const both = "[Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover]"
	for _, c := range []struct {
		options *PerMessageDeflate
		offer   string
		want    string
	}{
		{nil, "permessage-deflate", no},
		{&PerMessageDeflate{}, "", no},
		{&PerMessageDeflate{}, "x-other", no},
		{&PerMessageDeflate{}, "permessage-deflate", both},
		{&PerMessageDeflate{}, "permessage-deflate; server_max_window_bits=10", both[:len(both)-1] + "; server_max_window_bits=10]"},
		{&PerMessageDeflate{}, "permessage-deflate; server_max_window_bits=16", no},
		{&PerMessageDeflate{}, "permessage-deflate; server_max_window_bits=16, permessage-deflate", both},
		{&PerMessageDeflate{ContextTakeover: true}, "permessage-deflate", "[Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover]"},
		{&PerMessageDeflate{ClientContextTakeover: true}, "permessage-deflate", "[Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover]"},
		{&PerMessageDeflate{ContextTakeover: true, ClientContextTakeover: true}, "permessage-deflate", "[Sec-WebSocket-Extensions: permessage-deflate]"},
	} {
		for _, loops := range []int{1, -3} {
			b := newSpec(t, loops, Options{PerMessageDeflate: c.options}, nil)
			b.play(hsPolling)
			header := " show=Sec-WebSocket-Extensions"
			if c.offer != "" {
				header += ` "header=Sec-WebSocket-Extensions: ` + c.offer + `"`
			}
			require.Equal(t, "w: 101 "+c.want, b.play(hsWebSocket + header)[0], c.offer)
			require.Equal(t, "x: 101 "+c.want, b.play("ws sid=A conn=x" + header)[0], c.offer)
			if c.offer != "" {
				require.Contains(t, b.play(hsPolling + header)[0], no, "not of a poll's business")
			}
			b.finish()
		}
	}
	b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{}}, nil)
	require.Contains(t, b.play(hsWebSocket + ` "header=Sec-WebSocket-Extensions: ;"`)[0], "w: 400")
	require.Empty(t, b.events())
	b.finish()
}

// Compressed from the threshold on, unless it shall not be; nothing where the
// client has not offered it.
func TestDeflateThreshold(t *testing.T) {
	for _, threshold := range []int{0, 1, 100} {
		at := max(threshold, 1)
		if threshold == 0 {
			at = 1024
		}
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: threshold}}, nil)
		k := &unpacker{}
		b.speak(t, "ws EIO=4&transport=websocket", k)
		b.play("ws EIO=4&transport=websocket conn=plain")
		for _, n := range []int{0, 1, at - 1, at, at + 1, 70_000} {
			for _, binary := range []bool{false, true} {
				for _, plain := range []bool{false, true} {
					m := Message{Binary: binary, Data: []byte(text(n))}
					for _, s := range b.sessions {
						require.NoError(t, s.SendWith(m, SendOptions{NoCompress: plain}))
					}
					op, want := ws.OpText, "4"+text(n)
					if binary {
						op, want = ws.OpBinary, text(n)
					}
					got := b.take(t, "w", k)
					require.Len(t, got, 1)
					require.Equal(t, received{op, n >= at && !plain, want, got[0].size}, got[0], "%d of %d", n, at)
					if n == 70_000 && !plain {
						require.Less(t, got[0].size, 20_000)
					}
					got = b.take(t, "plain", nil)
					require.Len(t, got, 1)
					require.False(t, got[0].packed)
					require.Equal(t, want, got[0].text)
				}
			}
		}
		b.finish()
	}
}

// Both directions, both revisions, text and bytes, with and without context
// takeover, over one WebSocket and across an upgrade.
func TestDeflateEcho(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, revision := range []int{4, 3} {
			for _, takeover := range []bool{false, true} {
				for _, upgrade := range []bool{false, true} {
					for _, base64 := range []string{"", "&b64=1"} {
						if base64 != "" && revision == 4 {
							continue
						}
						name := fmt.Sprint(revision, takeover, upgrade, base64)
						b := newSpec(t, loops, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1, ContextTakeover: takeover, ClientContextTakeover: takeover}}, nil)
						b.echo = true
						in, out := &packer{takeover: takeover}, &unpacker{takeover: takeover}
						write := func(op ws.OpCode, text string) { b.client("w", "").peer.Write(compressed(op, true, in.pack(text))) }
						query := fmt.Sprintf("EIO=%d&transport=websocket%s", revision, base64)
						if upgrade {
							b.play(fmt.Sprintf("get EIO=%d&transport=polling", revision), "send A queued")
							b.speak(t, "upgrade "+query+"&sid="+b.session("A").ID(), out)
							write(ws.OpText, "2probe")
							require.Equal(t, []received{{ws.OpText, false, "3probe", 8}}, b.take(t, "w", out), name)
							write(ws.OpText, "5")
							got := b.take(t, "w", out)
							require.Len(t, got, 1, name)
							require.Equal(t, "4queued", got[0].text)
							require.True(t, got[0].packed)
						} else {
							b.speak(t, "ws "+query, out)
						}
						b.events()
						total := 0
						for i := range 50 {
							message := fmt.Sprintf("message %d: %s", i, text(200+i))
							op, wire := ws.OpText, "4"+message
							if i%2 == 1 {
								op, wire = ws.OpBinary, message
								if revision == 3 {
									wire = "\x04" + message
								}
							}
							write(op, wire)
							got := b.take(t, "w", out)
							require.Len(t, got, 1, "%s %d", name, i)
							require.True(t, got[0].packed)
							if base64 == "" || op == ws.OpText {
								require.Equal(t, op, got[0].op)
								require.Equal(t, wire, got[0].text)
							} else {
								require.Equal(t, ws.OpText, got[0].op)
								require.True(t, strings.HasPrefix(got[0].text, "b4"))
							}
							detail := `"` + message + `"`
							if op == ws.OpBinary {
								detail = "binary " + hex.EncodeToString([]byte(message))
							}
							require.Equal(t, "message A "+detail, b.events())
							total += got[0].size
						}
						if takeover {
							require.Less(t, total, 50*100, name)
						} else {
							require.Greater(t, total, 50*50, name)
						}
						b.finish()
					}
				}
			}
		}
	})
}

// A session with takeover in one direction only.
func TestDeflateOneSided(t *testing.T) {
	for _, server := range []bool{false, true} {
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1, ContextTakeover: server, ClientContextTakeover: !server}}, nil)
		b.echo = true
		in, out := &packer{takeover: !server}, &unpacker{takeover: server}
		b.speak(t, "ws EIO=4&transport=websocket", out)
		for i := range 50 {
			wire := fmt.Sprint("4", i, text(300))
			b.client("w", "").peer.Write(compressed(ws.OpText, true, in.pack(wire)))
			got := b.take(t, "w", out)
			require.Len(t, got, 1)
			require.Equal(t, wire, got[0].text)
		}
		b.finish()
	}
}

// A message for many is compressed once, for all clients that need no context.
func TestDeflateBroadcast(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, binary := range []bool{false, true} {
			b := newSpec(t, loops, Options{PerMessageDeflate: &PerMessageDeflate{}}, nil)
			for i := range 6 {
				for _, revision := range []string{"4", "3"} {
					b.play(fmt.Sprintf("ws EIO=%s&transport=websocket conn=c%s%d", revision, revision, i) + offerDeflate)
				}
			}
			b.play("ws EIO=4&transport=websocket conn=plain", "get EIO=4&transport=polling")
			p := prepared(Message{Binary: binary, Data: []byte(text(5000))})
			_ = b.server.Broadcast(p)
			b.world.Run()
			frames := map[string]map[string]bool{}
			for _, c := range b.clients[:12] {
				if frames[c.name[:2]] == nil {
					frames[c.name[:2]] = map[string]bool{}
				}
				frames[c.name[:2]][string(c.peer.Read())] = true
			}
			require.Len(t, frames["c4"], 1)
			require.Len(t, frames["c3"], 1)
			packed := p.packed4.whole
			require.NotNil(t, packed)
			require.Equal(t, binary, p.packed3 != nil, "the same for text")
			require.True(t, frames["c4"][string(packed.Bytes())])
			_ = b.server.Broadcast(p)
			b.world.Run()
			require.Same(t, packed, p.packed4.whole, "made once")
			for _, c := range b.clients[:12] {
				require.Equal(t, byte(0xc1)+map[bool]byte{true: 1}[binary], c.peer.Read()[0])
			}
			got := b.take(t, "plain", nil)
			require.Len(t, got, 2)
			require.False(t, got[0].packed)
			b.finish()
		}
	})
}

// A client with a small window is not sent what looks further back, whether
// it is a message for many or for one.
func TestDeflateSmallWindow(t *testing.T) {
	far := make([]byte, 600) // of noise, twice: only a coder that looks back 600 bytes sees it
	for i := range far {
		far[i] = sha256.Sum256([]byte{byte(i), byte(i >> 8)})[0]
	}
	far = append(far, far...)
	for _, takeover := range []bool{false, true} {
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1, ContextTakeover: takeover}}, nil)
		out := map[string]*unpacker{"full": {takeover: takeover}, "small": {takeover: takeover}}
		b.speakAs(t, "full", "client_max_window_bits", "ws EIO=4&transport=websocket", out["full"])
		b.speakAs(t, "small", "server_max_window_bits=9", "ws EIO=4&transport=websocket", out["small"])
		take := func(name, want string) (size int) {
			got := b.take(t, name, out[name])
			require.Len(t, got, 1)
			require.Equal(t, want, got[0].text)
			return got[0].size
		}
		_ = b.server.Broadcast(prepared(Message{Binary: true, Data: far}))
		require.Less(t, take("full", string(far)), 700)
		require.Greater(t, take("small", string(far)), 1200)
		for _, s := range b.sessions {
			require.NoError(t, s.Send(Message{Binary: true, Data: far}))
		}
		require.Less(t, take("full", string(far)), 700)
		require.Greater(t, take("small", string(far)), 1200)

		p := prepared(Message{Data: []byte(text(500))})
		_ = b.server.Broadcast(p)
		take("full", "4"+text(500))
		take("small", "4"+text(500))
		require.Equal(t, !takeover, p.packed4 != nil, "what fits is compressed once for both")
		b.finish()
	}
}

// With context takeover a prepared message is compressed for each, in its
// place among the others.
func TestDeflatePreparedWithTakeover(t *testing.T) {
	b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1, ContextTakeover: true}}, nil)
	out := &unpacker{takeover: true}
	b.speak(t, "ws EIO=4&transport=websocket", out)
	p := prepared(Message{Data: []byte(text(500))})
	for i := range 10 {
		_ = b.server.Broadcast(p)
		b.world.Run()
		require.NoError(t, b.session("A").Send(Message{Data: []byte(text(400 + i))}))
		got := b.take(t, "w", out)
		require.Len(t, got, 2)
		require.Equal(t, "4"+text(500), got[0].text)
		require.Equal(t, "4"+text(400+i), got[1].text)
	}
	require.Nil(t, p.packed4)
	b.finish()
}

// What a client must not do, with the close code it gets.
func TestDeflateFaults(t *testing.T) {
	one := func(text string) []byte { return (&packer{}).pack(text) }
	bomb := one("4" + strings.Repeat("a", 2_000_000))
	require.Less(t, len(bomb), 10_000)
	many := one("4" + text(3000))
	for _, c := range []struct {
		name  string
		plain bool // nothing was negotiated
		bytes []byte
		code  int // 0: continues
		event string
	}{
		{"bomb", false, compressed(ws.OpText, true, bomb), 1009, ""},
		{"binary bomb", false, compressed(ws.OpBinary, true, bomb), 1009, ""},
		{"bomb in fragments", false, append(compressed(ws.OpText, false, bomb[:100]), wsframe.AppendMaskedFrame(nil, ws.OpContinuation, true, [4]byte{}, bomb[100:])...), 1009, ""},
		{"blocks with nothing in them", false, compressed(ws.OpText, true, append(bytes.Repeat([]byte("\x00\x00\x00\xff\xff"), 100_000), one("4a")...)), 1008, ""},
		{"garbage", false, compressed(ws.OpText, true, []byte("\xff\xff\xff\xff garbage")), 1007, ""},
		{"cut off", false, compressed(ws.OpText, true, many[:len(many)/2]), 1007, ""},
		{"refers to nothing", false, compressed(ws.OpText, true, []byte("\xf2\x00\x11\x00\x00")), 1007, ""},
		{"invalid UTF-8", false, compressed(ws.OpText, true, one("4a\xff\xfe")), 1007, ""},
		{"cut UTF-8", false, compressed(ws.OpText, true, one("4a\xc3")), 1007, ""},
		{"not negotiated", true, compressed(ws.OpText, true, one("4hi")), 1002, ""},
		{"not negotiated, binary", true, compressed(ws.OpBinary, true, one("hi")), 1002, ""},
		{"RSV1 on a ping", false, compressed(ws.OpPing, true, []byte("x")), 1002, ""},
		{"RSV1 on a continuation", false, append(compressed(ws.OpText, false, many[:9]), compressed(ws.OpContinuation, true, many[9:])...), 1002, ""},
		{"RSV2", false, func() []byte { f := frame(ws.OpText, "4hi"); f[0] |= 0x20; return f }(), 1002, ""},
		{"plain", false, frame(ws.OpText, "4hi"), 0, `message A "hi"`},
		{"invalid UTF-8, plain", false, frame(ws.OpText, "4\xff"), 1007, ""},
		{"binary is no text", false, compressed(ws.OpBinary, true, one("\xff\xfe")), 0, "message A binary fffe"},
		{"nothing", false, compressed(ws.OpText, true, []byte{0}), -1, ""}, // an empty message is no packet
		{"empty message", false, compressed(ws.OpText, true, one("4")), 0, `message A ""`},
		{"fragments", false, append(append(compressed(ws.OpText, false, one("4fragments")[:2]), frame(ws.OpPing, "")...),
			wsframe.AppendMaskedFrame(nil, ws.OpContinuation, true, [4]byte{9}, one("4fragments")[2:])...), 0, `message A "fragments"`},
		{"UTF-8 in pieces", false, append(compressed(ws.OpText, false, one("4ü")[:1]),
			wsframe.AppendMaskedFrame(nil, ws.OpContinuation, true, [4]byte{9}, one("4ü")[1:])...), 0, `message A "ü"`},
	} {
		for _, takeover := range []bool{false, true} {
			for _, upgrading := range []bool{false, true} {
				t.Run(fmt.Sprint(c.name, takeover, upgrading), func(t *testing.T) {
					b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{ContextTakeover: takeover, ClientContextTakeover: takeover}}, nil)
					out := &unpacker{takeover: takeover}
					switch {
					case upgrading && c.plain:
						b.play(hsPolling, "ws sid=A conn=w")
					case upgrading:
						b.play(hsPolling)
						b.speak(t, "upgrade EIO=4&transport=websocket&sid="+b.session("A").ID(), out)
					case c.plain:
						b.play(hsWebSocket)
					default:
						b.speak(t, "ws EIO=4&transport=websocket", out)
					}
					b.events()
					b.client("w", "").peer.Write(append(bytes.Clone(c.bytes), frame(ws.OpText, "4behind")...))
					b.world.Run()
					got := b.take(t, "w", out)
					events := b.events()
					if upgrading { // a candidate that says anything else is given up
						require.Empty(t, events)
						require.Equal(t, StateOpen, b.session("A").State())
						require.Nil(t, b.session("A").upgrade)
						b.finish()
						return
					}
					var last received
					if len(got) > 0 {
						last = got[len(got)-1]
					}
					switch {
					case c.code == 0:
						require.Equal(t, c.event+`; message A "behind"`, events)
					case c.code < 0:
						require.Equal(t, received{op: ws.OpClose, size: 2}, last)
						require.Contains(t, events, `close A "parse error"`)
					default:
						require.Equal(t, received{op: ws.OpClose, text: string([]byte{byte(c.code >> 8), byte(c.code)}), size: 4}, last)
						require.Contains(t, events, `close A "transport error"`)
						require.NotContains(t, events, "message A")
					}
					b.finish()
				})
			}
		}
	}
}

// The same stream in pieces of any size.
func TestDeflateInPieces(t *testing.T) {
	in := &packer{takeover: true}
	var stream []byte
	for i := range 5 {
		packed := in.pack(fmt.Sprint("4", i, text(300)))
		stream = append(stream, compressed(ws.OpText, false, packed[:3])...)
		stream = append(stream, frame(ws.OpPing, "x")...)
		stream = append(stream, wsframe.AppendMaskedFrame(nil, ws.OpContinuation, true, [4]byte{5, 6, 7, 8}, packed[3:])...)
	}
	for _, size := range []int{1, 2, 7, 50, len(stream)} {
		b := newSpec(t, 1, Options{PerMessageDeflate: &PerMessageDeflate{ContextTakeover: true, ClientContextTakeover: true}}, nil)
		b.echo = true
		out := &unpacker{takeover: true}
		b.speak(t, "ws EIO=4&transport=websocket", out)
		b.events()
		for rest := stream; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			b.client("w", "").peer.Write(rest[:min(size, len(rest))])
			b.world.Run()
		}
		require.Equal(t, 5, strings.Count(b.events(), "message A"))
		b.finish()
	}
}

// Many sessions of a loop share its compressor and keep apart.
func TestDeflateManySessions(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		for _, takeover := range []bool{false, true} {
			b := newSpec(t, loops, Options{PerMessageDeflate: &PerMessageDeflate{Threshold: 1, ContextTakeover: takeover, ClientContextTakeover: takeover}}, nil)
			b.echo = true
			var in []*packer
			var out []*unpacker
			for i := range 6 {
				in, out = append(in, &packer{takeover: takeover}), append(out, &unpacker{takeover: takeover})
				name := fmt.Sprint("c", i)
				b.client(name, "").peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket",
					headers: append([]string{"Sec-WebSocket-Extensions: permessage-deflate"}, upgradeHeaders...)}.bytes())
				b.world.Run()
				c := b.client(name, "")
				c.ws = true
				_, rest, _ := bytes.Cut(c.peer.Read(), []byte("\r\n\r\n"))
				c.in = bytes.Clone(rest)
				require.Len(t, b.take(t, name, out[i]), 1)
			}
			for round := range 10 {
				for i := range in { // all in one turn
					b.client(fmt.Sprint("c", i), "").peer.Write(compressed(ws.OpText, true, in[i].pack(fmt.Sprint("4", i, round, text(200)))))
				}
				b.world.Run()
				for i := range in {
					got := b.take(t, fmt.Sprint("c", i), out[i])
					require.Len(t, got, 1)
					require.Equal(t, fmt.Sprint("4", i, round, text(200)), got[0].text)
				}
			}
			b.finish()
		}
	})
}
