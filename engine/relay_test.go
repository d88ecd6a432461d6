package engine

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// dialsAt has the requests with a session id come to that node.
func (b *bench) dialsAt(node *bench) {
	b.dial = func(_ *bench, id string) *looptest.Peer {
		if id == "" {
			return b.world.Dial()
		}
		return node.world.Dial()
	}
}

// says runs the commands and requires the last one to print lines.
func (b *bench) says(lines string, commands ...string) {
	b.t.Helper()
	var got []string
	for _, command := range commands {
		var err error
		got, err = b.run(command)
		require.NoError(b.t, err, command)
	}
	require.Equal(b.t, lines, strings.Join(got, "\n"), commands)
}

// Our T291: a polling session upgrades over another node, which relays the WebSocket: the
// session, its events and what is sent stay on its own node, and messages from before the
// upgrade come first, whichever way they went.
func TestRelayUpgrade(t *testing.T) {
	eachLink(t, func(t *testing.T, loops, _ int) {
		var events []string
		all := newNodes(t, 3, loops, Options{}, func(b *bench, e *Events) {
			b.echo = true
			upgrade := e.Upgrade
			e.Upgrade = func(s *Session) {
				events = append(events, fmt.Sprintf("upgrade at %v", b.server.node() == s.Server().node()))
				upgrade(s)
			}
		})
		b := all[0]
		b.dialsAt(all[1])
		b.says("200 ok", hsPolling, "post sid=A 4before")
		b.says("w: 101", "ws sid=A conn=w")
		b.dialsAt(all[2])
		b.says("200 ok", "post sid=A 4meanwhile")
		b.says(`w: text "3probe"`, "frame w text 2probe")
		b.says(`200 4before\x1e4meanwhile`, "get sid=A")
		b.says("", "frame w text 5")
		b.says(`w: text "4after"`, "frame w text 4after")
		b.says("w: binary 0102", "frame w binary 0102")
		require.Equal(t, []string{"upgrade at true"}, events)
		require.Empty(t, all[1].log)
		require.Zero(t, all[1].server.Stats().Sessions)
		b.says(`400 {"code":3,"message":"Bad request"}`, "get sid=A")
		b.says("w: close\nw: closed", "close-session A")
		b.finish()
	})
}

// A session that was told of the upgrade's loss stays on polling: the client's probe
// fails, is given up, or its connection ends, at either node.
func TestRelayProbeFails(t *testing.T) {
	for _, end := range []struct {
		name, command, want string
	}{
		{"another packet", "frame w text 4x", "w: close\nw: closed"},
		{"garbage", "raw w garbage", "w: close 1002\nw: closed"},
		{"end of stream", "fin w", "w: close\nw: closed"},
		{"reset", "reset w", ""},
		{"out of time", "advance 10s", "w: close\nw: closed"},
	} {
		for _, probed := range []bool{false, true} {
			all := newNodes(t, 2, 1, Options{}, nil)
			b := all[0]
			b.dialsAt(all[1])
			b.says("w: 101", hsPolling, "ws sid=A conn=w")
			if probed {
				b.says(`w: text "3probe"`, "frame w text 2probe")
			}
			_, err := b.run(end.command)
			require.NoError(t, err)
			require.Nil(t, b.sessions[0].upgrade, end.name)
			b.says("200 4still", "send A still", "get sid=A")
			b.finish()
		}
	}
}

// Whatever is refused at home is told to the client as on one node.
func TestRelayRefused(t *testing.T) {
	o := Options{
		Access: Access{Bind: BindHeader("User"), Origins: []string{"https://a.example"}},
		Limits: Limits{MaxUpgrades: 1},
		Middleware: []func(http.Handler) http.Handler{func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Barred") != "" {
					http.Error(w, "barred", http.StatusTeapot)
					return
				}
				next.ServeHTTP(w, r)
			})
		}},
	}
	for _, r := range []struct{ args, alone string }{
		{`header="User: b"`, "403 Forbidden"},
		{`header="Origin: https://b.example"`, "403 Forbidden"},
		{`header="Barred: yes"`, `418 barred\x0a`},
		{"without=Sec-WebSocket-Version", "400 Missing or invalid Sec-WebSocket-Version header"},
		{"EIO=3&transport=websocket", "400 Bad request"},
		{"EIO=4&transport=polling", ""},
	} {
		var said [2]string
		for i := range said {
			all := newNodes(t, 2, 1, o, nil)
			b := all[0]
			b.dialsAt(all[i])
			b.says("200 0"+strings.Replace(openText, "SID", "A", 1), hsPolling)
			got, err := b.run("ws sid=A conn=w " + r.args)
			require.NoError(t, err)
			said[i] = strings.Join(got, "\n")
			require.Nil(t, b.sessions[0].upgrade, r.args)
			require.Equal(t, StateOpen, b.sessions[0].State())
			b.finish()
		}
		require.Equal(t, said[0], said[1], r.args)
		require.Contains(t, said[1], "w: closed", r.args)
		require.Contains(t, said[1], r.alone)
	}
}

const openText = `{"sid":"SID","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}`

// An id of yet another node is unknown at the end of a relay: a request goes from node to
// node once.
func TestRelayGoesOnce(t *testing.T) {
	all := newNodes(t, 3, 1, Options{}, nil)
	b := all[0]
	b.says("200 0"+strings.Replace(openText, "SID", "A", 1), hsPolling)
	var first []byte
	c := all[1].world.DialTo(0, func(c *loop.Conn) loop.Handler {
		home, err := all[1].server.Home()
		require.NoError(t, err)
		h, err := home.Relay(c, appendRelayHello(nil, relayedClient{address: netip.MustParseAddrPort("198.51.100.7:9")}))
		require.NoError(t, err)
		return h
	})
	c.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + b.sessions[0].ID(), headers: upgradeHeaders}.bytes())
	b.turn()
	first = c.Read()
	require.Contains(t, string(first), "HTTP/1.1 400 ")
	require.Contains(t, string(first), "Session ID unknown")
	require.True(t, c.EOF())
	require.Zero(t, b.nodes.Counts()["relayed"])
	c.CloseWrite()
	b.finish()
}

// A client whose session's node cannot be reached is told 503 and stays on polling.
func TestRelayWithoutNode(t *testing.T) {
	all := newNodes(t, 2, 1, Options{}, nil)
	b := all[0]
	b.dialsAt(all[1])
	b.says("200 0"+strings.Replace(openText, "SID", "A", 1), hsPolling)
	b.nodes.calm, b.nodes.faults.Refused = false, 10_000
	b.says("w: 503 [Retry-After: 1] [Connection: close] Service Unavailable\nw: closed", "ws sid=A conn=w show=Retry-After,Connection")
	b.nodes.Calm()
	b.says("200 4still", "send A still", "get sid=A")
	b.says("v: 101", "ws sid=A conn=v")
	b.finish()
}

// What a drain of the client's node does: a session on WebSocket ends in good order,
// with all that it was sent, and an upgrade is given up.
func TestRelayFarewell(t *testing.T) {
	all := newNodes(t, 2, 1, Options{}, nil)
	b := all[0]
	b.dialsAt(all[1])
	b.says("w: 101", hsPolling, "ws sid=A conn=w")
	b.says(`w: text "3probe"`, "frame w text 2probe")
	b.says("", "frame w text 5")
	b.says("v: 101", hsPolling, "ws sid=B conn=v")
	b.log = nil
	b.says("", "window w 0")
	b.says("", "send A last")
	b.nodes.Drain(b.nodes.nodes[1])
	b.says("w: text \"4last\"\nw: close\nw: closed\nv: close\nv: closed", "window w 4000")
	require.Equal(t, []string{`close A "server shutting down"`}, b.log)
	b.says("200 4still", "send B still", "get sid=B")
	b.finish()
}

// The session's node knows the client, not the node that it came by.
func TestRelayKnowsClient(t *testing.T) {
	for _, at := range []string{"198.51.100.7", "2001:db8::7"} {
		var seen []string
		all := newNodes(t, 2, 1, Options{Limits: Limits{Exempt: []netip.Prefix{}}}, func(b *bench, e *Events) {
			e.Headers = func(r *Request, h http.Header) {
				if r.Header("Upgrade") != "" {
					seen = append(seen, fmt.Sprint(r.RemoteAddr().Addr(), r.TLS() != nil))
				}
			}
		})
		b := all[0]
		b.dial = func(_ *bench, id string) *looptest.Peer {
			if id == "" {
				return b.world.Dial()
			}
			return all[1].world.DialFrom(netip.MustParseAddr(at), 0, nil)
		}
		b.says("w: 101", hsPolling, "ws sid=A conn=w")
		b.says(`w: text "3probe"`, "frame w text 2probe")
		b.says("", "frame w text 5")
		require.Equal(t, []string{at + " false"}, seen)
		require.Equal(t, at, b.sessions[0].RemoteAddr().Addr().String())
		b.finish()
	}
}

// The TLS of a relay's client is what its own node has said, also where the nodes speak
// TLS among themselves.
func TestRelayTLS(t *testing.T) {
	for _, r := range []struct {
		client relayedClient
		want   string
	}{
		{relayedClient{address: netip.MustParseAddrPort("198.51.100.7:9"), tls: 0x0304, protocol: "http/1.1"}, "198.51.100.7:9 304 http/1.1 https"},
		{relayedClient{address: netip.MustParseAddrPort("198.51.100.7:9")}, "198.51.100.7:9 plain"},
		{relayedClient{}, "invalid AddrPort plain"},
	} {
		var seen []string
		all := newNodes(t, 1, 1, Options{Access: Access{Origins: []string{"https://a.example"}}}, func(b *bench, e *Events) {
			e.Headers = func(q *Request, h http.Header) {
				switch state := q.TLS(); {
				case q.Header("Upgrade") == "":
				case state == nil:
					seen = append(seen, fmt.Sprint(q.RemoteAddr(), " plain"))
				default:
					seen = append(seen, fmt.Sprintf("%v %x %s https", q.RemoteAddr(), state.Version, state.NegotiatedProtocol))
				}
			}
		})
		b := all[0]
		b.says("200 0"+strings.Replace(openText, "SID", "A", 1), hsPolling)
		home, err := b.server.Home()
		require.NoError(t, err)
		peer := b.world.DialTo(0, func(c *loop.Conn) loop.Handler {
			h, err := home.Relay(c, appendRelayHello(nil, r.client))
			require.NoError(t, err)
			return h
		})
		peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + b.sessions[0].ID(), headers: upgradeHeaders}.bytes())
		b.turn()
		require.Contains(t, string(peer.Read()), "HTTP/1.1 101 ")
		require.Equal(t, []string{r.want}, seen)
		require.Zero(t, Carried(b.server), "kept behind the handshake")
		peer.Write(frame(ws.OpClose, ""))
		b.turn()
		peer.CloseWrite()
		b.finish()
	}
}

// A malformed hello is an error, whatever it is, and one that is cut anywhere is malformed.
func TestRelayHello(t *testing.T) {
	for _, c := range []relayedClient{
		{},
		{address: netip.MustParseAddrPort("198.51.100.7:9"), tls: 0x0303},
		{address: netip.MustParseAddrPort("[2001:db8::7]:65535"), tls: 0x0304, protocol: "http/1.1"},
	} {
		p := appendRelayHello(nil, c)
		back, err := parseRelayHello(p)
		require.NoError(t, err)
		require.Equal(t, c, back)
		for n := range p {
			_, err := parseRelayHello(p[:n])
			require.ErrorIs(t, err, ErrMalformed, "%x", p[:n])
		}
		_, err = parseRelayHello(append(p, "later"...))
		require.NoError(t, err, "what a later version adds")
	}
	for _, p := range []string{"\x02\x00\x00\x00\x00", "\x01\x00\x00\x05\x00", "\x01\x00\x00\x00\x01x", "\x01\x04\x03\x00\x05http"} {
		_, err := parseRelayHello([]byte(p))
		require.ErrorIs(t, err, ErrMalformed, "%q", p)
	}
}

// FuzzRelayedClient holds that what is taken is what was meant.
func FuzzRelayedClient(f *testing.F) {
	f.Add(appendRelayHello(nil, relayedClient{}))
	f.Add(appendRelayHello(nil, relayedClient{address: netip.MustParseAddrPort("[2001:db8::7]:1"), tls: 0x0304, protocol: "h"}))
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := parseRelayHello(p)
		if err != nil {
			return
		}
		again, err := parseRelayHello(appendRelayHello(nil, c))
		require.NoError(t, err)
		c.address = netip.AddrPortFrom(c.address.Addr().Unmap(), c.address.Port())
		if !c.address.IsValid() {
			c.address = netip.AddrPort{}
		}
		require.Equal(t, c, again)
	})
}
