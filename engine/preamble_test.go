package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turbine/internal/proxied"
	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// theWorld trusts all clients of a World.
var theWorld = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}

// proxyBench is a bench whose clients come to a ProxyListener. It notes the address
// of each request that begins a session.
type proxyBench struct {
	*bench
	log    *warnings
	begins []string
}

func newProxyBench(t *testing.T, loops int, o Options) *proxyBench {
	t.Helper()
	p := &proxyBench{log: new(warnings)}
	o.Logger = slog.New(p.log)
	if o.Proxies.Trusted == nil {
		o.Proxies.Trusted = theWorld
	}
	p.bench = newSpec(t, loops, o, func(_ *bench, e *Events) {
		e.Admit = func(a *Admission) error { p.begins = append(p.begins, a.RemoteAddr().String()); return nil }
	})
	return p
}

func (p *proxyBench) dial() *looptest.Peer {
	return p.world.DialTo(0, p.server.afterPreamble(nil))
}

// takeBegins returns the addresses of the sessions that began since the last call.
func (p *proxyBench) takeBegins() (addresses []string) {
	addresses, p.begins = p.begins, nil
	return addresses
}

// proxyHeader is a header of that version, between two addresses of one family.
func proxyHeader(version byte, from, to string) []byte {
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	six := a.Addr().Is6()
	if version == 1 {
		return fmt.Appendf(nil, "PROXY TCP%c %v %v %d %d\r\n", map[bool]byte{false: '4', true: '6'}[six], a.Addr(), b.Addr(), a.Port(), b.Port())
	}
	rest := append(a.Addr().AsSlice(), b.Addr().AsSlice()...)
	rest = append(rest, byte(a.Port()>>8), byte(a.Port()), byte(b.Port()>>8), byte(b.Port()))
	return header2(1, map[bool]byte{false: 0x11, true: 0x21}[six], rest)
}

// header2 is a header of version 2 of the bytes that make it up.
func header2(command, family byte, rest []byte) []byte {
	p := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family, byte(len(rest)>>8), byte(len(rest)))
	return append(p, rest...)
}

var handshake = request{method: "GET", target: "/engine.io/?EIO=4&transport=polling"}.bytes()

// The address in a header is the session's, whatever piece of it and of the
// request behind it comes when.
func TestProxyHeader(t *testing.T) {
	const socket = "socket"                                                   // the address of the connection stays
	noise := append([]byte{4, 3000 >> 8, 3000 & 0xff}, make([]byte, 3000)...) // a field without meaning
	for _, c := range []struct {
		name   string
		header []byte
		want   string
	}{
		{"1 IPv4", []byte("PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\n"), "198.51.100.7:4711"},
		{"1 unknown", []byte("PROXY UNKNOWN\r\n"), socket},
		{"2 IPv6", proxyHeader(2, "[2001:db8::7]:4711", "[2001:db8::1]:443"), "[2001:db8::7]:4711"},
		{"2 with names and ids", header2(1, 0x11, append([]byte{198, 51, 100, 7, 203, 0, 113, 1, 0x12, 0x67, 1, 187}, noise...)), "198.51.100.7:4711"},
		{"2 local", header2(0, 0, nil), socket},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newProxyBench(t, 1, Options{})
			whole := append(bytes.Clone(c.header), handshake...)
			step := max(1, len(c.header)/200)
			for cut := 0; cut <= len(whole); cut += step {
				peer := p.dial()
				want := c.want
				if want == socket {
					want = peer.Addr().String()
				}
				peer.Write(whole[:cut])
				p.world.Run()
				peer.Write(whole[cut:])
				p.world.Run()
				require.Contains(t, string(peer.Read()), "HTTP/1.1 200", "cut at %d", cut)
				require.Equal(t, []string{want}, p.takeBegins(), "cut at %d", cut)
				peer.CloseWrite()
			}
			peer := p.dial()
			for _, b := range whole {
				peer.Write([]byte{b})
				p.world.Run()
			}
			require.Contains(t, string(peer.Read()), "HTTP/1.1 200", "byte by byte")
			require.Empty(t, p.log.take())
			p.finish()
		})
	}
}

// Two sessions of one connection are of one client, and so is a WebSocket, on
// whatever loop it ends up.
func TestProxyHeaderIsForTheConnection(t *testing.T) {
	p := newProxyBench(t, 3, Options{})
	peer := p.dial()
	peer.Write(append(proxyHeader(1, "198.51.100.7:4711", "203.0.113.1:443"), handshake...))
	p.world.Run()
	peer.Write(handshake)
	p.world.Run()
	require.Equal(t, []string{"198.51.100.7:4711", "198.51.100.7:4711"}, p.takeBegins())

	id := p.ask0("EIO=4&transport=polling") // of a session on another loop
	peer.Write(request{method: "GET", target: "/engine.io/?EIO=4&transport=websocket&sid=" + id, headers: upgradeHeaders}.bytes())
	p.world.Run()
	peer.Write([]byte("\x81\x86\x00\x00\x00\x002probe\x81\x81\x00\x00\x00\x005"))
	p.world.Run()
	require.Contains(t, string(peer.Read()), "3probe")
	session := p.sessions[len(p.sessions)-1]
	require.Equal(t, WebSocket, session.Transport())
	require.Equal(t, "198.51.100.7:4711", session.RemoteAddr().String())
	p.finish()
}

// ask0 begins a session on the last loop, without a proxy, and returns its id.
func (p *proxyBench) ask0(query string) string {
	p.t.Helper()
	peer := p.world.DialLoop(len(p.world.Loops()) - 1)
	peer.Write(request{method: "GET", target: "/engine.io/?" + query}.bytes())
	p.world.Run()
	_, after, ok := strings.Cut(string(peer.Read()), `"sid":"`)
	require.True(p.t, ok)
	return after[:sidLength]
}

// What is no header, or comes from a peer that must not send one, ends the connection
// without a word to it, is counted, and is told to the log.
func TestProxyHeaderRefused(t *testing.T) {
	strangers := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}
	good := proxyHeader(2, "198.51.100.7:4711", "203.0.113.1:443")
	for _, c := range []struct {
		name   string
		trust  []netip.Prefix
		bytes  []byte
		reason error
	}{
		{"a stranger", strangers, good, errStranger},
		{"a stranger who says nothing", strangers, nil, errStranger},
		{"a stranger with a request", strangers, handshake, errStranger},
		{"a request", nil, handshake, proxied.ErrNoHeader},
		{"TLS", nil, []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), proxied.ErrNoHeader},
		{"1 without an end", nil, append([]byte("PROXY TCP4 "), bytes.Repeat([]byte("1"), 200)...), proxied.ErrLongHeader},
		{"1 bare LF", nil, []byte("PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\n"), proxied.ErrBadHeader},
		{"2 too long", nil, header2(1, 0x11, make([]byte, 0xffff)), proxied.ErrLongHeader},
		{"2 datagrams", nil, header2(1, 0x12, make([]byte, 12)), proxied.ErrBadHeader},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, piece := range []int{len(c.bytes), 1} {
				p := newProxyBench(t, 1, Options{Proxies: Proxies{Trusted: c.trust}})
				peer := p.dial()
				for rest := c.bytes; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
					peer.Write(rest[:min(piece, len(rest))])
					p.world.Run()
				}
				p.world.Run()
				require.True(t, peer.Aborted())
				require.Empty(t, peer.Read(), "nothing is said")
				require.Empty(t, p.begins)
				require.EqualValues(t, 1, p.server.Stats().Limits[LimitProxyHeader])
				require.Equal(t, []string{fmt.Sprintf("WARN limits were met proxy_header=1 proxy=%v proxy_error=%v help=Proxies.Trusted", peer.Addr(), c.reason)}, p.log.take())
				require.Zero(t, p.world.Sockets())
				p.finish()
			}
		})
	}
}

// A peer that takes too long, or ends, is let go; a peer that only looks whether
// somebody listens is no news.
func TestProxyHeaderEnds(t *testing.T) {
	p := newProxyBench(t, 1, Options{})
	look := p.dial()
	look.CloseWrite()
	p.world.Run()
	require.True(t, look.Closed())
	require.Empty(t, p.log.take())

	cut := p.dial()
	cut.Write([]byte("PROXY TCP4 198.51."))
	cut.CloseWrite()
	p.world.Run()
	require.True(t, cut.Aborted())
	require.Equal(t, []string{fmt.Sprintf("WARN limits were met proxy_header=1 proxy=%v proxy_error=%v help=Proxies.Trusted", cut.Addr(), errCutProxy)}, p.log.take())

	gone := p.dial()
	gone.Write([]byte("PROXY TCP4 198.51."))
	p.world.Run()
	gone.Reset()
	p.world.Run()
	require.True(t, gone.Closed())

	silent, slow := p.dial(), p.dial()
	p.world.Advance(9 * time.Second)
	slow.Write([]byte("PROXY TCP4 198.51."))
	p.world.Advance(time.Second - 50*time.Millisecond)
	require.False(t, silent.Closed() || slow.Closed())
	p.world.Advance(150 * time.Millisecond)
	require.True(t, silent.Aborted() && slow.Aborted())
	require.EqualValues(t, 2, p.server.Stats().Limits[LimitHeaderTimeout])
	p.finish()
}

// A shutdown does not wait for headers.
func TestProxyHeaderAtTheEnd(t *testing.T) {
	p := newProxyBench(t, 1, Options{})
	waits := p.dial()
	p.world.Run()
	p.server.endConnections()
	p.world.Run()
	require.True(t, waits.Closed())
	late := p.dial()
	p.world.Advance(firstRequest + 100*time.Millisecond)
	require.True(t, late.Closed())
	p.finish()
}

// A panic of what comes behind the header costs that connection alone.
func TestProxyHeaderBeforeAPanic(t *testing.T) {
	p := newProxyBench(t, 1, Options{})
	peer := p.world.DialTo(0, p.server.afterPreamble(func(c *loop.Conn) loop.Handler { panic("next") }))
	header := proxyHeader(1, "198.51.100.7:4711", "203.0.113.1:443")
	peer.Write(header[:10])
	p.world.Run()
	peer.Write(header[10:])
	p.world.Run()
	require.True(t, peer.Closed())
	require.Len(t, p.log.take(), 1)
	p.finish()
}

// A ProxyListener that could let nobody in is a mistake that is told at once.
func TestProxyListenerNeedsTrust(t *testing.T) {
	server, err := New(Options{}, Events{})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorIs(t, server.Serve(ProxyListener(l)), errNobodyTrusted)
	_, err = net.Dial("tcp", l.Addr().String())
	require.Error(t, err, "the listener is closed")
}

// behindProxies serves on two listeners: one for proxies, one for everybody.
type behindProxies struct {
	t       *testing.T
	server  *Server
	proxied string
	open    string
	log     *warnings
	begins  chan string
}

func newBehindProxies(t *testing.T, o Options, network, address string) *behindProxies {
	t.Helper()
	b := &behindProxies{t: t, log: new(warnings), begins: make(chan string, 100)}
	o.Loops, o.Logger = 2, slog.New(b.log)
	var err error
	b.server, err = New(o, Events{Admit: func(a *Admission) error { b.begins <- a.RemoteAddr().Addr().String(); return nil }})
	require.NoError(t, err)
	forProxies, err := net.Listen(network, address)
	require.NoError(t, err)
	forAll, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.proxied, b.open = forProxies.Addr().String(), forAll.Addr().String()
	served := make(chan error, 2)
	go func() { served <- b.server.Serve(ProxyListener(forProxies)) }()
	go func() { served <- b.server.Serve(forAll) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = b.server.Shutdown(ctx) // cuts off what is open
		for range 2 {
			require.ErrorIs(t, <-served, ErrServerClosed)
		}
	})
	return b
}

// tries connects for that client, and reports whether it is let in.
func (b *behindProxies) tries(client string) (conn net.Conn, ok bool) {
	b.t.Helper()
	w := dialWire(b.t, b.proxied)
	_, err := w.conn.Write(append(proxyHeader(2, client+":4711", "203.0.113.1:443"), handshake...))
	require.NoError(b.t, err)
	if _, err := w.in.Peek(12); err != nil {
		return nil, false
	}
	require.Equal(b.t, client, <-b.begins)
	return w.conn, true
}

func (b *behindProxies) eventually(what string, done func() bool) {
	b.t.Helper()
	require.Eventually(b.t, done, 30*time.Second, time.Millisecond, what)
}

// The limits by address are the clients', not the proxy's, however the
// connection ends.
func TestProxyLimitsByClient(t *testing.T) {
	b := newBehindProxies(t, Options{Limits: Limits{MaxConnsPerIP: 2, Exempt: nobody, ConnRate: 1_000_000, HandshakeRate: 1_000_000}, Proxies: Proxies{Trusted: loopback}}, "tcp", "127.0.0.1:0")
	for round := range 5 {
		var held []net.Conn
		for _, client := range []string{"198.51.100.7", "198.51.100.7", "198.51.100.8", "198.51.100.8", "198.51.100.9"} {
			conn, ok := b.tries(client)
			require.True(t, ok, "round %d, %s", round, client)
			held = append(held, conn)
		}
		_, ok := b.tries("198.51.100.7")
		require.False(t, ok)
		_, ok = b.tries("198.51.100.8")
		require.False(t, ok)
		require.EqualValues(t, 2*(round+1), b.server.Stats().Limits[LimitConnsPerIP])
		for _, conn := range held {
			require.NoError(t, conn.Close())
		}
		b.eventually("all have ended", func() bool { return b.server.Stats().Conns == 0 })
	}
}

// What is new from one client is also bounded.
func TestProxyRateByClient(t *testing.T) {
	b := newBehindProxies(t, Options{Limits: Limits{ConnRate: 1, Exempt: nobody, HandshakeRate: 1_000_000}, Proxies: Proxies{Trusted: loopback}}, "tcp", "127.0.0.1:0")
	let := 0
	for ; let < 1000; let++ {
		if _, ok := b.tries("198.51.100.7"); !ok {
			break
		}
	}
	require.GreaterOrEqual(t, let, 10)
	require.Less(t, let, 1000)
	require.EqualValues(t, 1, b.server.Stats().Limits[LimitConnRate])
	_, ok := b.tries("198.51.100.8")
	require.True(t, ok)
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// A header on a listener that wants none is a request that makes no sense.
func TestProxyHeaderWhereNoneIsWanted(t *testing.T) {
	b := newBehindProxies(t, Options{Proxies: Proxies{Trusted: loopback}}, "tcp", "127.0.0.1:0")
	for _, version := range []byte{1, 2} {
		w := dialWire(t, b.open)
		_, err := w.conn.Write(append(proxyHeader(version, "198.51.100.7:4711", "203.0.113.1:443"), handshake...))
		require.NoError(t, err)
		line, err := w.in.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 400 Bad Request\r\n", line)
	}
	require.Empty(t, b.begins)
}

// A peer on a Unix socket is trusted if the options say so.
func TestProxyHeaderOverUnixSocket(t *testing.T) {
	for _, trust := range []bool{true, false} {
		path := filepath.Join(t.TempDir(), "socket")
		b := newBehindProxies(t, Options{Proxies: Proxies{TrustUnixSockets: trust, Trusted: loopback}}, "unix", path)
		conn, err := net.Dial("unix", path)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
		_, _ = conn.Write(append(proxyHeader(2, "198.51.100.7:4711", "203.0.113.1:443"), handshake...))
		answer := make([]byte, 12)
		n, _ := conn.Read(answer)
		if trust {
			require.Equal(t, "HTTP/1.1 200", string(answer[:n]))
			require.Equal(t, "198.51.100.7", <-b.begins)
		} else {
			require.Zero(t, n)
			require.EqualValues(t, 1, b.server.Stats().Limits[LimitProxyHeader])
			require.Equal(t, []string{"WARN limits were met proxy_header=1 proxy=@ proxy_error=it is no trusted proxy help=Proxies.Trusted"}, b.log.take())
		}
		require.NoError(t, conn.Close())
	}
}

// However a header comes, what is made of it is what the parser makes of the whole,
// what is behind it passes unchanged, and a connection that is refused is told
// nothing.
func FuzzPreamble(f *testing.F) {
	for _, seed := range [][]byte{
		[]byte("PROXY TCP4 198.51.100.7 203.0.113.1 4711 443\r\nGET"),
		[]byte("PROXY UNKNOWN\r\n"),
		append(proxyHeader(2, "[2001:db8::7]:4711", "[2001:db8::1]:443"), "GET"...),
		header2(0, 0, nil),
	} {
		f.Add(seed, uint8(3))
	}
	f.Fuzz(func(t *testing.T, p []byte, step uint8) {
		var behind []byte
		var from netip.AddrPort
		server, err := New(Options{Proxies: Proxies{Trusted: theWorld}, Logger: slog.New(slog.DiscardHandler)}, Events{})
		require.NoError(t, err)
		next := func(c *loop.Conn) loop.Handler {
			from = c.RemoteAddr()
			return &keeper{into: &behind}
		}
		world := looptest.NewWorld(1, server.Driver().LoopOptions(), server.Driver().Accept)
		server.Driver().UseLoops(world.Loops())
		peer := world.DialTo(0, server.afterPreamble(next))
		for rest := p; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			peer.Write(rest[:n])
			world.Run()
			rest = rest[n:]
		}
		require.Empty(t, peer.Read())

		want, n, err := proxied.ParseHeader(p)
		switch {
		case err != nil:
			require.True(t, peer.Aborted())
			require.False(t, from.IsValid())
		case n == 0:
			require.False(t, peer.Closed() || from.IsValid())
		default:
			if !want.IsValid() {
				want = peer.Addr()
			}
			require.False(t, peer.Closed())
			require.Equal(t, want, from)
			require.Equal(t, p[n:], append([]byte{}, behind...))
		}
		world.Close()
	})
}

// keeper is a handler that keeps what it gets.
type keeper struct{ into *[]byte }

func (k *keeper) Data(p []byte) { *k.into = append(*k.into, p...) }
func (k *keeper) Drained()      {}
func (k *keeper) EOF()          {}
func (k *keeper) Closed(error)  {}
