package engine

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The first three are requests of session A, to be written in one piece.
const (
	halfPoll   = "GET /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\n\r\n"
	halfPost   = "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n4x"
	halfFinish = "POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1"
	halfOpen   = "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
	halfWS     = "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

// halfClose writes text on a new connection named c and ends the direction, which the
// server sees in one turn with it.
func (b *bench) halfClose(text string) []string {
	c := b.client("c", b.session("A").ID())
	c.raw, c.finned = true, true
	c.peer.Write([]byte(b.reveal(text)))
	c.peer.CloseWrite()
	return b.collect()
}

// Whatever a client asked for before it ended its direction is answered, also what was
// sent ahead of other responses. Only a poll that waits is given up.
func TestHalfClosedIsAnsweredOnEveryLoop(t *testing.T) {
	const lost = `close A "transport error" poll connection closed prematurely`
	for _, c := range []struct {
		name, waits, text string // waits: messages for the session
		does, events      string
	}{
		{"poll, a message waits", "hi", halfPoll, "c: 200 4hi; c: closed", ""},
		{"poll that waits", "", halfPoll, "c: closed", lost},
		{"post", "", halfPost, "c: 200 ok; c: closed", `message A "x"`},
		{"post that closes the session", "", halfFinish, "c: 200 ok; c: closed", `close A "transport close"`},
		{"half a post", "", halfPost[:len(halfPost)-1], "c: closed", `close A "transport error" data request connection closed prematurely`},
		{"half a head", "", halfPoll[:20], "c: closed", ""},
		{"post, then a poll that finds a message", "hi", halfPost + halfPoll, "c: 200 ok; c: 200 4hi; c: closed", `message A "x"`},
		{"poll that finds a message, then a post", "hi", halfPoll + halfPost, "c: 200 4hi; c: 200 ok; c: closed", `message A "x"`},
		{"poll that finds a message, then one that waits", "hi", halfPoll + halfPoll, "c: 200 4hi; c: closed", lost},
		{"poll that waits, then a post", "", halfPoll + halfPost, "c: closed", lost},
		{"posts, then half a head", "", halfPost + halfPost + halfPoll[:20], "c: 200 ok; c: 200 ok; c: closed", `message A "x"; message A "x"`},
		{"post, then malformed", "", halfPost + "\r\n \r\n\r\n", "c: 200 ok; c: 400; c: closed", `message A "x"`},
		{"post, then somebody else's path", "", halfPost + "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "c: 200 ok; c: 501 Not Implemented; c: closed", `message A "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			onLoops(t, func(t *testing.T, loops int) {
				b := newSpec(t, loops, Options{}, func(_ *bench, e *Events) { e.Drain = nil })
				b.play(hsPolling)
				b.log = nil
				if c.waits != "" {
					b.play("send A " + c.waits)
				}
				does := b.halfClose(c.text)
				require.Equal(t, c.does, strings.Join(does, "; "))
				require.Equal(t, c.events, b.events())
				b.finish()
			})
		})
	}
}

// A WebSocket that was sent for behind a response on its way does not begin for a
// client that has nothing more to say.
func TestHalfClosedBeforeItsWebSocket(t *testing.T) {
	b := newSpec(t, -2, Options{}, nil)
	b.play(hsPolling)
	b.log = nil
	require.Equal(t, []string{"c: 200 ok", "c: closed"}, b.halfClose(halfPost+halfWS))
	require.Equal(t, `message A "x"`, b.events())
	b.finish()
}

// A handshake by polling begins its session, also when the application has not
// decided about it yet; a WebSocket whose client has nothing more to say does not.
func TestHalfClosedHandshakes(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		p := newParking(t, loops, Options{})
		open := p.client("c", "")
		open.raw, open.finned = true, true
		open.peer.Write([]byte(halfOpen + halfOpen))
		open.peer.CloseWrite()
		require.Empty(t, p.collect())
		socket := p.client("w", "")
		socket.raw, socket.finned = true, true
		socket.peer.Write([]byte(halfWS))
		socket.peer.CloseWrite()
		require.Equal(t, []string{"w: closed"}, p.collect())
		require.Len(t, p.verdicts, 2)
		onGoroutine(p.verdicts[0].Accept)
		onGoroutine(p.verdicts[1].Accept)
		first := p.collect()
		require.Len(t, first, 1)
		require.Contains(t, first[0], `c: 200 0{"sid":"A"`)
		require.Len(t, p.verdicts, 3, "the handshake behind it")
		p.verdicts[2].Refuse(Refuse("no"))
		require.Equal(t, []string{`c: 403 {"code":4,"message":"no"}`, "c: closed"}, p.collect())
		require.Equal(t, 1, p.server.Stats().Sessions)
		p.finish()
	})
}

// A post whose messages were taken is answered once the application has caught up,
// to a half-closed client as to others, and so is what came behind it.
func TestHalfClosedPostThatIsHeld(t *testing.T) {
	onLoops(t, func(t *testing.T, loops int) {
		b := newHeld(t, loops, Options{Limits: Limits{MaxPending: 1}}, func(_ *bench, e *Events) { e.Drain = nil })
		b.begin(hsPolling)
		require.Empty(t, b.halfClose(halfPost+halfFinish))
		require.Equal(t, 1, b.server.Stats().Sessions)
		b.rest()
		require.Equal(t, []string{"c: 200 ok", "c: 200 ok", "c: closed"}, b.collect())
		b.rest()
		require.Equal(t, `message A "x"; close A "transport close"`, b.events())
		b.finish()
	})
}

// Where a connection is lost while a response with messages is on its way to it from
// another loop, the session ends: its client would miss them for good. Of a noop
// there is nothing to miss.
func TestResponseLostOnItsWayEndsTheSession(t *testing.T) {
	for _, c := range []struct{ name, waits, events string }{
		{"messages", "send %s hi", `close A "transport error" poll connection closed prematurely`},
		{"noop", "ws EIO=4&transport=websocket&sid=%s conn=u; frame u text 2probe", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSpec(t, -2, Options{}, func(_ *bench, e *Events) { e.Drain = nil })
			b.play(hsPolling, hsPolling)
			name := "A"
			if b.session(name).loop.Index() == 0 {
				name = "B"
			}
			s := b.session(name)
			require.Equal(t, 1, s.loop.Index(), "it answers within the turn in which the other loop has relayed")
			for command := range strings.SplitSeq(c.waits, "; ") {
				b.play(strings.ReplaceAll(command, "%s", name))
			}
			b.log = nil
			p := b.client("c", s.ID())
			p.raw, p.finned, p.told = true, true, true
			p.peer.Write([]byte(b.reveal(strings.Replace(halfPoll, "sid=A", "sid="+name, 1))))
			h := (*httpConn)(nil)
			for range 3 {
				require.True(t, b.world.Turn())
				if h = b.accepted[len(b.accepted)-1]; h.state == exchangeWaiting {
					break
				}
			}
			require.Equal(t, exchangeWaiting, h.state)
			require.Nil(t, h.exchange.session, "answered")
			h.flooded(LimitPipelined)
			b.collect()
			require.Equal(t, c.events, strings.ReplaceAll(b.events(), "close "+name, "close A"))
			b.finish()
		})
	}
}
