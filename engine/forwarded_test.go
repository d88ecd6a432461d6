package engine

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"turbine/loop"
	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

func TestParseNode(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"198.51.100.7", "198.51.100.7:0"},
		{"198.51.100.7:4711", "198.51.100.7:4711"},
		{"198.51.100.7:65535", "198.51.100.7:65535"},
		{"198.51.100.7:_hidden", "198.51.100.7:0"},
		{"2001:db8::7", "[2001:db8::7]:0"},
		{"[2001:db8::7]", "[2001:db8::7]:0"},
		{"[2001:DB8::7]:4711", "[2001:db8::7]:4711"},
		{"[2001:db8::7]:_x", "[2001:db8::7]:0"},
		{"::ffff:198.51.100.7", "198.51.100.7:0"},
		{"[::ffff:198.51.100.7]:80", "198.51.100.7:80"},
		{"::1", "[::1]:0"},
		{"fe80::1%eth0", "[fe80::1]:0"},
		{"[fe80::1%eth0]:80", "[fe80::1]:80"},
		{"[fe80::1%25eth0]", "[fe80::1]:0"},

		{"", ""},
		{"unknown", ""},
		{"unknown:80", ""},
		{"_gazonk", ""},
		{"_gazonk:80", ""},
		{"localhost", ""},
		{"198.51.100", ""},
		{"198.51.100.256", ""},
		{"198.51.100.07", ""},
		{"198.51.100.7:", ""},
		{"198.51.100.7:65536", ""},
		{"198.51.100.7:000080", ""},
		{"198.51.100.7:-1", ""},
		{"198.51.100.7:8_0", ""},
		{"198.51.100.7:_", ""},
		{"198.51.100.7/24", ""},
		{"198.51.100.7 ", ""},
		{"0.0.0.0", ""},
		{"::", ""},
		{"::ffff:0.0.0.0", ""},
		{"[198.51.100.7]", ""},
		{"[2001:db8::7", ""},
		{"2001:db8::7]", ""},
		{"[2001:db8::7]4711", ""},
		{"[2001:db8::7]:", ""},
		{"[2001:db8::7]:65536", ""},
		{"[]", ""},
		{"[", ""},
		{"]", ""},
		{":", ""},
		{"fe80::1%", ""},
		{"::%eth0", ""},
		{"%eth0", ""},
		{"198.51.100.7%eth0", ""},
		{strings.Repeat("1", 100), ""},
		{`"198.51.100.7"`, ""},
	} {
		got, ok := parseNode([]byte(c.text))
		require.Equal(t, c.want != "", ok, "%q", c.text)
		if ok {
			require.Equal(t, c.want, got.String(), "%q", c.text)
		}
	}
}

// fronted is a server that trusts 192.0.2.0/24, 10.0.0.0/8 and 2001:db8:f::/48,
// and the end of a connection to it, from 192.0.2.1 unless told otherwise.
func fronted(t testing.TB, o Options, from string) (*Server, *loop.Conn) {
	t.Helper()
	o.TrustedProxies = append(theWorld[:1:1], netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:f::/48"))
	server, err := New(o, Events{})
	require.NoError(t, err)
	var conn *loop.Conn
	world := looptest.NewWorld(1, server.LoopOptions(), func(c *loop.Conn) loop.Handler { conn = c; return deaf{} })
	world.Dial()
	world.Run()
	require.NotNil(t, conn)
	if from != "" {
		conn.SetRemoteAddr(netip.MustParseAddrPort(from))
	}
	return server, conn
}

func TestClientAddr(t *testing.T) {
	const proxy = "proxy" // the connection's own address
	for _, c := range []struct {
		name    string
		options Options
		from    string // if not the World's address, which is trusted
		headers string
		want    string
	}{
		{name: "nothing said", want: proxy},
		{name: "one hop", headers: "X-Forwarded-For: 198.51.100.7", want: "198.51.100.7:0"},
		{name: "any case", headers: "x-forwarded-FOR: 198.51.100.7", want: "198.51.100.7:0"},
		{name: "with a port", headers: "X-Forwarded-For: 198.51.100.7:4711", want: "198.51.100.7:4711"},
		{name: "IPv6", headers: "X-Forwarded-For: 2001:db8::7", want: "[2001:db8::7]:0"},
		{name: "a trusted hop between", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3", want: "198.51.100.7:0"},
		{name: "a trusted hop of IPv6 between", headers: "X-Forwarded-For: 198.51.100.7, [2001:db8:f::1]:443", want: "198.51.100.7:0"},
		{name: "a trusted hop with a zone between", headers: "X-Forwarded-For: 198.51.100.7, 2001:db8:f::1%eth0", want: "198.51.100.7:0"},
		{name: "a zone", headers: "X-Forwarded-For: fe80::1%eth0", want: "[fe80::1]:0"},
		{name: "no spaces", headers: "X-Forwarded-For: 198.51.100.7,10.1.2.3,10.1.2.4", want: "198.51.100.7:0"},
		{name: "in two fields", headers: "X-Forwarded-For: 198.51.100.7\nA: b\nX-Forwarded-For: 10.1.2.3", want: "198.51.100.7:0"},
		{name: "empty elements", headers: "X-Forwarded-For: , 198.51.100.7,, \t,10.1.2.3,", want: "198.51.100.7:0"},
		{name: "all trusted", headers: "X-Forwarded-For: 10.1.2.3, 10.1.2.4", want: "10.1.2.3:0"},
		{name: "an empty field", headers: "X-Forwarded-For:  ", want: proxy},

		{name: "spoofed in front", headers: "X-Forwarded-For: 203.0.113.66, 198.51.100.7", want: "198.51.100.7:0"},
		{name: "spoofed in front as trusted", headers: "X-Forwarded-For: 10.6.6.6, 198.51.100.7", want: "198.51.100.7:0"},
		{name: "spoofed in a field of its own", headers: "X-Forwarded-For: 203.0.113.66\nX-Forwarded-For: 198.51.100.7, 10.1.2.3", want: "198.51.100.7:0"},
		{name: "an open quote in front", headers: "X-Forwarded-For: \"203.0.113.66, 198.51.100.7", want: "198.51.100.7:0"},
		{name: "from a stranger", from: "203.0.113.66:1", headers: "X-Forwarded-For: 198.51.100.7\nForwarded: for=198.51.100.7\nX-Real-IP: 198.51.100.7", want: proxy},
		{name: "from a stranger as a chain of trusted ones", from: "203.0.113.66:1", headers: "X-Forwarded-For: 198.51.100.7, 192.0.2.1", want: proxy},

		{name: "malformed at the end", headers: "X-Forwarded-For: 198.51.100.7, nonsense", want: proxy},
		{name: "malformed behind a trusted hop", headers: "X-Forwarded-For: 198.51.100.7, nonsense, 10.1.2.3", want: "10.1.2.3:0"},
		{name: "unknown", headers: "X-Forwarded-For: 198.51.100.7, unknown", want: proxy},
		{name: "unknown to a trusted hop", headers: "X-Forwarded-For: unknown, 10.1.2.3", want: "10.1.2.3:0"},
		{name: "more hops than are looked at", headers: "X-Forwarded-For: 198.51.100.7" + strings.Repeat(", 10.1.2.3", maxHops), want: "10.1.2.3:0"},
		{name: "as many hops as are looked at", headers: "X-Forwarded-For: 198.51.100.7" + strings.Repeat(", 10.1.2.3", maxHops-1), want: "198.51.100.7:0"},

		{name: "Forwarded", headers: "Forwarded: for=198.51.100.7", want: "198.51.100.7:0"},
		{name: "Forwarded, quoted", headers: `Forwarded: for="198.51.100.7:4711"`, want: "198.51.100.7:4711"},
		{name: "Forwarded, IPv6", headers: `Forwarded: For="[2001:db8::7]:4711"`, want: "[2001:db8::7]:4711"},
		{name: "Forwarded, escaped", headers: `Forwarded: for="\198.51.100\.7"`, want: "198.51.100.7:0"},
		{name: "Forwarded, with the rest", headers: `Forwarded: by=10.1.2.3;FOR=198.51.100.7;proto=https;host="a, b; c"`, want: "198.51.100.7:0"},
		{name: "Forwarded, two hops", headers: `Forwarded: for=198.51.100.7;host="a,b", for="10.1.2.3:80" ; by="_x"`, want: "198.51.100.7:0"},
		{name: "Forwarded, two fields", headers: "Forwarded: for=198.51.100.7\nForwarded: for=10.1.2.3", want: "198.51.100.7:0"},
		{name: "Forwarded, hidden", headers: "Forwarded: for=198.51.100.7, for=_hidden", want: proxy},
		{name: "Forwarded, hidden behind", headers: "Forwarded: for=_hidden, for=10.1.2.3", want: "10.1.2.3:0"},
		{name: "Forwarded, unknown", headers: "Forwarded: for=unknown", want: proxy},
		{name: "Forwarded, without for", headers: "Forwarded: for=198.51.100.7, proto=https", want: proxy},
		{name: "Forwarded, for twice", headers: "Forwarded: for=198.51.100.7;for=198.51.100.8", want: proxy},
		{name: "Forwarded, no pair", headers: "Forwarded: 198.51.100.7", want: proxy},
		{name: "Forwarded, half quoted", headers: `Forwarded: for="198.51.100.7`, want: proxy},
		{name: "Forwarded, a quote inside", headers: `Forwarded: for=198.51".100.7`, want: proxy},
		{name: "Forwarded, a long escaped value", headers: `Forwarded: for="\1` + strings.Repeat("1", 100) + `"`, want: proxy},
		{name: "Forwarded, an open quote in front", headers: `Forwarded: for="203.0.113.66, for=198.51.100.7`, want: "198.51.100.7:0"},
		{name: "Forwarded, an escaped quote in front", headers: `Forwarded: for=203.0.113.66;a="\", for=198.51.100.7;b="c"`, want: "198.51.100.7:0"},

		{name: "X-Real-IP", headers: "X-Real-IP: 198.51.100.7", want: "198.51.100.7:0"},
		{name: "X-Real-IP, malformed", headers: "X-Real-IP: me", want: proxy},
		{name: "X-Real-IP twice", headers: "X-Real-IP: 203.0.113.66\nX-Real-IP: 198.51.100.7", want: "198.51.100.7:0"},

		{name: "the first of three", headers: "X-Real-IP: 198.51.100.3\nForwarded: for=198.51.100.2\nX-Forwarded-For: 198.51.100.1", want: "198.51.100.1:0"},
		{name: "the first of two", headers: "X-Real-IP: 198.51.100.3\nForwarded: for=198.51.100.2", want: "198.51.100.2:0"},
		{name: "the first is malformed", headers: "Forwarded: for=198.51.100.2\nX-Forwarded-For: me", want: proxy},
		{name: "a chosen one", options: Options{ClientHeader: "Forwarded"}, headers: "Forwarded: for=198.51.100.2\nX-Forwarded-For: 198.51.100.1", want: "198.51.100.2:0"},
		{name: "another chosen one", options: Options{ClientHeader: "X-Real-IP"}, headers: "X-Real-IP: 198.51.100.3\nX-Forwarded-For: 198.51.100.1", want: "198.51.100.3:0"},
		{name: "a chosen one is missing", options: Options{ClientHeader: "X-Real-IP"}, headers: "X-Forwarded-For: 198.51.100.1", want: proxy},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, conn := fronted(t, c.options, c.from)
			want := c.want
			if want == proxy {
				want = conn.RemoteAddr().String()
			}
			r := corsRequest(c.headers)
			require.Equal(t, want, server.clientAddr(r, conn).String())
			require.Equal(t, want, server.newRequest(r, conn).RemoteAddr().String())
		})
	}
}

func TestScheme(t *testing.T) {
	for _, c := range []struct {
		name    string
		from    string
		headers string
		want    scheme
	}{
		{name: "nothing said", want: schemeUnknown},
		{name: "https", headers: "X-Forwarded-Proto: https", want: schemeHTTPS},
		{name: "http", headers: "X-Forwarded-Proto: HTTP", want: schemeHTTP},
		{name: "wss", headers: "X-Forwarded-Proto: wss", want: schemeHTTPS},
		{name: "ws", headers: "X-Forwarded-Proto: ws", want: schemeHTTP},
		{name: "nonsense", headers: "X-Forwarded-Proto: gopher", want: schemeUnknown},
		{name: "from a stranger", from: "203.0.113.66:1", headers: "X-Forwarded-Proto: https\nForwarded: proto=https", want: schemeUnknown},
		{name: "beside the client", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3\nX-Forwarded-Proto: https, http", want: schemeHTTPS},
		{name: "in two fields", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3\nX-Forwarded-Proto: https\nX-Forwarded-Proto: http", want: schemeHTTPS},
		{name: "passed on by all", headers: "X-Forwarded-For: 198.51.100.7, 10.1.2.3, 10.1.2.4\nX-Forwarded-Proto: https", want: schemeHTTPS},
		{name: "spoofed", headers: "X-Forwarded-For: 203.0.113.66, 198.51.100.7\nX-Forwarded-Proto: https, http", want: schemeHTTP},
		{name: "spoofed behind a trusted hop", headers: "X-Forwarded-For: 203.0.113.66, 198.51.100.7, 10.1.2.3\nX-Forwarded-Proto: https, http, http", want: schemeHTTP},
		{name: "the client is unknown", headers: "X-Forwarded-For: unknown\nX-Forwarded-Proto: http, https", want: schemeHTTPS},
		{name: "Forwarded", headers: "Forwarded: for=198.51.100.7;proto=https", want: schemeHTTPS},
		{name: "Forwarded, quoted", headers: `Forwarded: for=198.51.100.7;PROTO="http"`, want: schemeHTTP},
		{name: "Forwarded without an address", headers: "Forwarded: proto=https", want: schemeHTTPS},
		{name: "Forwarded by the client's proxy", headers: "Forwarded: for=198.51.100.7;proto=https, for=10.1.2.3;proto=http", want: schemeHTTPS},
		{name: "Forwarded, not by the client's proxy", headers: "Forwarded: for=198.51.100.7, for=10.1.2.3;proto=http", want: schemeUnknown},
		{name: "Forwarded, spoofed", headers: "Forwarded: for=203.0.113.66;proto=https, for=198.51.100.7;proto=http", want: schemeHTTP},
		{name: "Forwarded says nothing of it", headers: "Forwarded: for=198.51.100.7\nX-Forwarded-Proto: https", want: schemeHTTPS},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, conn := fronted(t, Options{}, c.from)
			require.Equal(t, c.want, server.schemeOf(corsRequest(c.headers), conn))
		})
	}
}

// Where a trusted proxy says that the client came over TLS, or not, pages of the
// other scheme are another origin's; where nobody says, both are the server's own.
func TestOriginByForwardedScheme(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{TrustedProxies: theWorld}, nil)
		for _, c := range []struct {
			origin, proto string
			want          int
		}{
			{"https://turbine", "https", 200},
			{"http://turbine", "http", 200},
			{"http://turbine", "https", 403},
			{"https://turbine", "http", 403},
			{"https://other", "https", 403},
			{"http://turbine", "", 200},
			{"https://turbine", "", 200},
		} {
			headers := []string{"Origin: " + c.origin}
			if c.proto != "" {
				headers = append(headers, "X-Forwarded-Proto: "+c.proto)
			}
			require.Equal(t, c.want, b.fetch("GET", "EIO=4&transport=polling", headers...).StatusCode, "%v", c)
		}
		b.finish()
	})
}

// The client's address is what admission, Open, middlewares, Bind and the session
// see, over all transports and loops.
func TestForwardedAddressEverywhere(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		seen, ids := map[string]string{}, 0
		note := func(where string) func(*Request) {
			return func(r *Request) { seen[where] = r.RemoteAddr().String() }
		}
		b := newSpec(t, loops, Options{
			TrustedProxies: theWorld,
			Bind:           func(r *Request) string { note("bind")(r); return BindIP(r) },
			GenerateID: func(r *Request) (string, error) {
				note("id")(r)
				ids++
				return fmt.Sprint("own", ids), nil
			},
			Middleware: []wrapper{func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { seen["middleware"] = r.RemoteAddr; next.ServeHTTP(w, r) })
			}},
		}, func(_ *bench, e *Events) {
			opened := e.Open
			e.Admit = func(r *Request) error { note("admit")(r); return nil }
			e.Headers = func(r *Request, _ http.Header) { note("headers")(r) }
			e.ConnectionError = func(r *Request, _ *HandshakeError) { note("error")(r) }
			e.Open = func(s *Session, r *Request) {
				note("open")(r)
				seen["session"] = s.RemoteAddr().String()
				opened(s, r)
			}
		})
		for _, command := range []string{hsPolling, hsWebSocket} {
			clear(seen)
			lines := b.play(command + ` "header=X-Forwarded-For: 203.0.113.66, 198.51.100.7:4711"`)
			require.NotContains(t, lines[0], "40", "%v", lines)
			want := map[string]string{}
			for _, where := range []string{"bind", "id", "middleware", "admit", "headers", "open", "session"} {
				want[where] = "198.51.100.7:4711"
			}
			require.Equal(t, want, seen, command)
		}
		clear(seen)
		b.play(`get EIO=5&transport=polling "header=X-Forwarded-For: 198.51.100.7:4711"`)
		require.Equal(t, "198.51.100.7:4711", seen["error"])

		// The session is bound to its client: others of the same proxy are not
		// let in, nor are those who say the same on their own.
		require.Equal(t, 403, b.fetch("GET", "EIO=4&transport=polling&sid="+b.sessions[0].ID(), "X-Forwarded-For: 198.51.100.8").StatusCode)
		require.Equal(t, 403, b.fetch("GET", "EIO=4&transport=polling&sid="+b.sessions[0].ID()).StatusCode)
		b.play(`post sid=A 4hello "header=X-Forwarded-For: 198.51.100.7"`)
		require.Contains(t, b.events(), `message A "hello"`)
		b.finish()
	})
}

// The rate of handshakes is each client's, and of no use to who says of himself
// that he is somebody else.
func TestHandshakeRateByForwardedAddress(t *testing.T) {
	b := newSpec(t, 1, Options{TrustedProxies: theWorld, Exempt: nobody, HandshakeRate: 1}, nil)
	status := func(forwarded string) int {
		return b.fetch("GET", "EIO=4&transport=polling", "X-Forwarded-For: "+forwarded).StatusCode
	}
	for _, client := range []string{"198.51.100.7", "198.51.100.8"} {
		for range 10 {
			require.Equal(t, 200, status(client))
		}
		require.Equal(t, 429, status(client))
		require.Equal(t, 429, status("203.0.113.66, "+client), "spoofed")
	}
	require.Equal(t, 200, status("unknown"), "the proxy itself is bound by nothing")
	b.finish()

	b = newSpec(t, 1, Options{Exempt: nobody, HandshakeRate: 1}, nil)
	for i := range 10 {
		require.Equal(t, 200, status(fmt.Sprint("198.51.100.", i)))
	}
	require.Equal(t, 429, status("198.51.100.99"), "nobody is trusted")
	b.finish()
}

// A WebSocket through a proxy is a connection of its client's: it counts for
// that, and what is over the limit is told so, before the 101.
func TestWebSocketsCountForForwardedAddress(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for _, c := range []struct{ network, address string }{{"tcp", "127.0.0.1:0"}, {"unix", path}} {
		t.Run(c.network, func(t *testing.T) {
			server, err := New(Options{Loops: 2, MaxConnsPerIP: 2, Exempt: nobody, TrustedProxies: loopback, TrustUnixSockets: true}, Events{})
			require.NoError(t, err)
			l, err := net.Listen(c.network, c.address)
			require.NoError(t, err)
			served := make(chan error, 1)
			go func() { served <- server.Serve(l) }()
			var dialled []net.Conn
			dial := func() *wire {
				conn, err := net.Dial(c.network, l.Addr().String())
				require.NoError(t, err)
				dialled = append(dialled, conn)
				require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
				return &wire{t, conn, bufio.NewReader(conn)}
			}
			open := func(client string) (*wire, int) {
				w := dial()
				headers := append([]string{"X-Forwarded-For: " + client}, upgradeHeaders...)
				return w, w.request("EIO=4&transport=websocket", headers...).StatusCode
			}
			for range 3 {
				first, status := open("198.51.100.7")
				require.Equal(t, 101, status)
				_, status = open("198.51.100.7:99")
				require.Equal(t, 101, status)
				_, status = open("198.51.100.7")
				require.Equal(t, 429, status)
				_, status = open("2001:db8::7")
				require.Equal(t, 101, status)
				require.NoError(t, first.conn.Close())
				require.Eventually(t, func() bool {
					_, status = open("198.51.100.7")
					return status == 101
				}, 30*time.Second, time.Millisecond, "room again")

				// Nor does the session that cannot be upgraded end for it.
				w := dial()
				sid := w.open()
				over := dial()
				require.Equal(t, 429, over.request("EIO=4&transport=websocket&sid="+sid, append([]string{"X-Forwarded-For: 198.51.100.7"}, upgradeHeaders...)...).StatusCode)
				_, err := w.conn.Write(request{method: "POST", target: "/engine.io/?EIO=4&transport=polling&sid=" + sid, body: "4hello", length: true}.bytes())
				require.NoError(t, err)
				answer, err := http.ReadResponse(w.in, nil)
				require.NoError(t, err)
				require.Equal(t, 200, answer.StatusCode, "the session goes on")
				for _, conn := range dialled {
					_ = conn.Close()
				}
				require.Eventually(t, func() bool { return server.Stats().Conns == 0 }, 30*time.Second, time.Millisecond)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_ = server.Shutdown(ctx) // cuts off polling sessions
			require.ErrorIs(t, <-served, ErrServerClosed)
		})
	}
}

// Ordinary requests through a trusted proxy allocate no more than others: their
// address is looked at where somebody wants it.
func TestForwardedAllocs(t *testing.T) {
	server, conn := fronted(t, Options{}, "")
	r := corsRequest("Host: turbine\nOrigin: https://turbine\nX-Forwarded-For: 198.51.100.7\nX-Forwarded-Proto: https")
	require.Zero(t, testing.AllocsPerRun(100, func() {
		require.True(t, server.originAllowed(r, conn, false))
	}))
	r = corsRequest("Forwarded: for=\"[2001:db8::7]:80\";proto=https, for=10.1.2.3")
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { server.clientAddr(r, conn) }), 2.0, "one for each address")
}

// What a trusted proxy has appended is the client, whatever comes before it; and
// nothing that is sent leads to an address that no proxy has said, or costs much.
func FuzzForwarded(f *testing.F) {
	f.Add([]byte("203.0.113.66, "), []byte(`for="203.0.113.66`), true)
	f.Add([]byte(`"`), []byte(`for=_x;proto="\"`), false)
	f.Add([]byte(",,10.0.0.1,[::1]:"), []byte(`for="[::1]:80";by="a,b"`), true)
	f.Fuzz(func(t *testing.T, before, element []byte, inOneField bool) {
		if bytes.ContainsAny(before, "\r\n") || bytes.ContainsAny(element, "\r\n") || len(before)+len(element) > 1<<14 {
			return
		}
		server, conn := fronted(t, Options{}, "")
		for _, c := range []struct{ name, said string }{
			{headerForwardedFor, "198.51.100.7"},
			{headerForwarded, `for="198.51.100.7";proto=https;host="a,b\"c"`},
		} {
			headers := c.name + ": " + string(before) + ", " + c.said
			if !inOneField {
				headers = c.name + ": " + string(before) + "\n" + c.name + ": " + c.said
			}
			r := corsRequest(headers)
			require.Equal(t, "198.51.100.7:0", server.clientAddr(r, conn).String(), "%q", headers)
		}
		r := corsRequest("X-Forwarded-Proto: " + string(before) + "\nForwarded: " + string(before) + ", for=198.51.100.7;proto=http")
		require.Equal(t, schemeHTTP, server.schemeOf(r, conn))

		// Alone: it is what it says, or nothing.
		r = corsRequest("Forwarded: " + string(element))
		got := server.clientAddr(r, conn)
		require.True(t, got.IsValid())
		if got != conn.RemoteAddr() {
			require.True(t, bytes.Contains(bytes.ToLower(element), []byte("for")), "%q leads to %v", element, got)
		}
		server.schemeOf(r, conn)
		if node, ok := parseNode(element); ok {
			again, ok := parseNode([]byte(node.String()))
			require.True(t, ok)
			require.Equal(t, node, again)
		}
	})
}
